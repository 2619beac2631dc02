"""The screens of reconciliation. Importing this package fills both sites."""

from reconciliation.admin import health, mismatches, repairs, reports

__all__ = ["health", "mismatches", "repairs", "reports"]
