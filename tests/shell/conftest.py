"""A flow on stage, and the browsers of three people: Ana of the agency, Olga who manages the clinic, Vik who may look."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from integrations.flows import FLOW_KINDS
from integrations.models import Connection, Flow
from integrations.services import configuration
from integrations.services.changes import OPERATOR
from tenants.walls import tenant_tx
from tests.conftest import House, sign_in
from tests.stage import KIND, Stage, open_wide, stage

WITHOUT_OFFICE = "no LibreOffice was found, so the hostile files were not opened in one: apt install libreoffice-calc"


@pytest.fixture
def on_stage(transactional_db: None, house: House) -> Iterator[Stage]:
    with stage(house.harbour, mode="off") as made:
        open_wide(made)
        yield made


@pytest.fixture
def ana_at(house: House) -> Client:
    return sign_in(house.ana)


@pytest.fixture
def olga_at(house: House) -> Client:
    return sign_in(house.olga)


@pytest.fixture
def vik_at(house: House) -> Client:
    return sign_in(house.vik)


@pytest.fixture
def flow(house: House) -> Iterator[Flow]:
    """Off, as shipped, between Harbour's two connections; in Harbour's scope."""
    with tenant_tx(house.harbour.pk, actor="test"):
        yield configuration.add_flow(
            kind=FLOW_KINDS[KIND],
            source=connect("practice", "cliniko"),
            target=connect("shop", "shopify"),
            name=KIND,
            by=OPERATOR,
        )


def connect(name: str, vendor: str) -> Connection:
    made: Connection = Connection.objects.create(name=name, vendor=vendor, account=f"{name}.myshopify.com")
    return made


def pytest_terminal_summary(terminalreporter: Any) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if any(WITHOUT_OFFICE in str(report.longrepr) for report in skipped):
        terminalreporter.section("NO FILE WAS OPENED IN A SPREADSHEET", sep="!", red=True, bold=True)
        terminalreporter.line(WITHOUT_OFFICE)
