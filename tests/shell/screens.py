"""A flow's pages as a browser asks for them and sends their forms."""

import re
from typing import Any

from django.test import Client


def page(client: Client, site: str, flow_id: int, tab: str = "change", **query: str) -> Any:
    return client.get(f"/{site}/integrations/flow/{flow_id}/{tab}/", query)


def text(response: Any) -> str:
    assert response.status_code == 200, response.status_code
    return re.sub(r"\s+", " ", response.content.decode())


def post(client: Client, flow_id: int, tab: str, site: str = "agency", **given: Any) -> Any:
    return client.post(f"/{site}/integrations/flow/{flow_id}/{tab}/", given)
