"""The screens of reconciliation. Importing this package fills both sites."""

from reconciliation.admin import mismatches, reports

__all__ = ["mismatches", "reports"]
