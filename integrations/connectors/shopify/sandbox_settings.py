"""What a test or a demo may change of a sandboxed shop."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class Settings:
    """A shop as it is set up."""

    name: str = ""
    plan: str = "Grow"
    zone: str = "Australia/Sydney"
    currency: str = "AUD"
    country: str = "AU"
    state: str = "open"  # open, frozen, forbidden, absent, locked, suspicious
    token: str = ""  # "" = any that does not hold "bad" or "revoked"
    scopes: Sequence[str] = (
        "write_customers", "write_products", "write_inventory", "read_locations", "write_orders", "read_all_orders",
        "write_payment_terms",
    )  # fmt: skip
    protected_data: bool = True
    b2b: bool = True  # whether the shop has companies
    search_lag_s: float = 0.0
    all_or_nothing: bool = True  # whether one refused row of a stock write refuses the others
    cancel_takes_s: float = 0.0  # orderCancel goes on for so long after its answer
    served_version: str = "2026-10"
    capacity: float = 2000.0
    restore_rate: float = 100.0
    most_points: int = 1000  # one document may ask for; lower, it is a shop that prices lists higher
    custom_id_writes_marker: bool = True  # whether customerSet by a custom id writes that metafield (not documented)
    staged_life_s: float = 3600.0
    bulk_rows_per_s: float = 500.0
    bulk_at_once: int = 5
    bulk_fail_after: int = -1  # rows after which the next run fails, once; -1 for never
    bulk_first_line: int = 0
