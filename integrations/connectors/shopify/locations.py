"""Where a shop can hold stock."""

from collections.abc import Sequence
from typing import NamedTuple

from integrations.connectors.shopify.call import read
from integrations.connectors.shopify.decoding import number_of
from integrations.connectors.shopify.inventory_documents import LOCATIONS
from integrations.core.errors import VendorChanged
from integrations.toolkit import payload
from integrations.toolkit.http import Client

_PAGE = 100


class Location(NamedTuple):
    """One place. The stock of a fulfilment service's place belongs to another app."""

    number: str
    name: str
    is_active: bool
    is_fulfillment_service: bool

    @property
    def is_ours(self) -> bool:
        return self.is_active and not self.is_fulfillment_service


def locations(client: Client) -> Sequence[Location]:
    """Every place of the shop, also those that are closed or belong to a fulfilment service.

    Raises AccountError without the scope ``read_locations``, and VendorChanged if the list does not move on.
    """
    found: list[Location] = []
    after: str | None = None
    while True:
        answered = read(client, LOCATIONS, {"first": _PAGE, "after": after}, cost=3 + _PAGE * 0.1)
        page = payload.obj(answered.data, "locations", "data")
        found += map(_decode, payload.items(page, "nodes", "locations"))
        info = payload.obj(page, "pageInfo", "locations")
        if not payload.flag(info, "hasNextPage", "pageInfo"):
            return found
        cursor = payload.text(info, "endCursor", "pageInfo")
        if cursor in ("", after):
            raise VendorChanged("shopify.paging_stuck", rows=len(found))
        after = cursor


def _decode(row: payload.Json) -> Location:
    return Location(
        number_of(payload.text(row, "id", "locations")),
        payload.text(row, "name", "locations"),
        payload.flag(row, "isActive", "locations"),
        payload.flag(row, "isFulfillmentService", "locations"),
    )
