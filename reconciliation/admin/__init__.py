"""The screens of reconciliation. Importing this package fills both sites."""

from reconciliation.admin import mismatches, repairs, reports

__all__ = ["mismatches", "repairs", "reports"]
