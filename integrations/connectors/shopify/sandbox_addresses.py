"""Addresses of the sandboxed shop's customers, and what Shopify says against one."""

import re
from collections.abc import Mapping

from integrations.connectors.shopify.sandbox_rows import Complaint, Row, as_list, as_row, complaint, label
from integrations.connectors.shopify.sandbox_shop import Shop

PROVINCES = {
    "AU": frozenset({"ACT", "NSW", "NT", "QLD", "SA", "TAS", "VIC", "WA"}),
    "NZ": frozenset({"AUK", "BOP", "CAN", "GIS", "HKB", "MBH", "MWT", "NSN", "NTL", "OTA", "STL", "TAS", "TKI", "WGN", "WKO", "WTC"}),
}  # fmt: skip
_ADDRESS = (
    "firstName", "lastName", "company", "address1", "address2", "city", "provinceCode", "countryCode", "zip", "phone",
)  # fmt: skip


def write_address(
    shop: Shop, row: Row, given: Mapping[str, object], address: Row | None, *, default: bool
) -> tuple[Row | None, list[Complaint]]:
    """Makes an address, or changes ``address``, which belongs to this row."""
    made: Row = dict(address) if address is not None else {"id": 0, **dict.fromkeys(_ADDRESS)}
    made |= {name: given[name] or None for name in _ADDRESS if name in given}
    if complaints := _address_complaints(made):
        return None, complaints
    same = [other for other in map(as_row, as_list(row["addresses"])) if other["id"] != made["id"]]
    if any({**other, "id": 0} == {**made, "id": 0} for other in same):
        return None, [complaint(("address",), "Address already exists")]
    made["id"] = made["id"] or shop.next_id()
    others = [made if other["id"] == made["id"] else other for other in map(as_row, as_list(row["addresses"]))]
    row["addresses"] = others if made in others else [*others, made]
    if default or row["default"] is None:
        row["default"] = made["id"]
    return made, []


def default_address(row: Row) -> Row | None:
    return next(
        (address for address in map(as_row, as_list(row["addresses"])) if address["id"] == row["default"]), None
    )


def _address_complaints(address: Row) -> list[Complaint]:
    country, province = str(address["countryCode"] or ""), str(address["provinceCode"] or "")
    complaints = []
    if province and province not in PROVINCES.get(country, {province}):
        complaints.append(complaint(("address", "province"), "Province is not valid for this country"))
    if country == "AU" and address["zip"] and not re.fullmatch(r"\d{4}", str(address["zip"])):
        complaints.append(complaint(("address", "zip"), "Zip is not valid for Australia"))
    complaints += [
        complaint(("address", name), f"{label(name)} is too long (maximum is 255 characters)")
        for name in _ADDRESS
        if len(str(address[name] or "")) > 255
    ]
    return complaints
