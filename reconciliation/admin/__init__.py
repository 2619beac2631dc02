"""The screens of reconciliation. Importing this package fills both sites."""

from reconciliation.admin import health, mismatches, reports

__all__ = ["health", "mismatches", "reports"]
