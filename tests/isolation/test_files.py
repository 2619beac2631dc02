"""Files that leave and come in: an export holds one clinic's lines, and a file of another clinic brings in only words."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from integrations.connectors.base import OpenFields
from integrations.core.rules import Rule
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import Config
from integrations.models import Connection, Flow, FlowRevision, MappingRule, ValueMap
from integrations.services import configuration, configured
from integrations.services.changes import OPERATOR
from tenants.models import Tenant
from tenants.walls import tenant_tx
from tests.conftest import House, sign_in
from tests.isolation.objects import canary
from tests.isolation.test_matrix import _snapshot

pytestmark = pytest.mark.django_db

PATIENTS, INVOICES = "patients-to-customers", "invoices-to-orders"


def own_flow(tenant: Tenant, kind: str, config: Config) -> int:
    """A flow of this clinic's, with the clinic's canary among its lines."""
    with tenant_tx(tenant.pk):
        sides: list[Any] = []
        for vendor in ("cliniko", "shopify"):
            row, _ = Connection.objects.get_or_create(
                name=vendor, defaults={"vendor": vendor, "account": f"{tenant.slug}.{vendor}.test"}
            )
            row.released_fields = [f"custom_fields.{canary(tenant)}"] if vendor == "cliniko" else []
            row.save(update_fields=["released_fields"])
            sides.append(row)
        flow = configuration.add_flow(kind=FLOW_KINDS[kind], source=sides[0], target=sides[1], name=kind, by=OPERATOR)
        configuration.configure(flow, config=config, by=OPERATOR)
        return flow.pk


def lines_of(tenant: Tenant) -> Config:
    return Config(value_maps={"status": {canary(tenant): "cancel"}})


def rules_of(tenant: Tenant) -> Config:
    return Config(rules=(Rule("metafields.clinic.note", f"custom_fields.{canary(tenant)}"),))


@pytest.fixture
def flows(house: House) -> dict[str, int]:
    """Each clinic's two flows, by clinic and kind."""
    assert any(isinstance(family, OpenFields) for family in FLOW_KINDS[PATIENTS].source.open_fields)
    made = {}
    for clinic in (house.harbour, house.ridge):
        made[f"{clinic.slug} values"] = own_flow(clinic, INVOICES, lines_of(clinic))
        made[f"{clinic.slug} fields"] = own_flow(clinic, PATIENTS, rules_of(clinic))
    return made


def address(flow_id: int, place: str, what: str, site: str = "clinic") -> str:
    return f"/{site}/integrations/flow/{flow_id}/{place}/?what={what}"


@pytest.mark.parametrize("what", ["values", "fields"])
@pytest.mark.parametrize(("person", "site"), [("sam", "agency"), ("olga", "clinic"), ("vik", "clinic")])
def test_an_export_holds_ones_own_lines_alone(house: House, flows: dict[str, int], person: str, site: str, what: str):
    client = sign_in(getattr(house, person))
    own = client.get(address(flows[f"harbour-physio {what}"], "export", what, site))
    assert canary(house.harbour) in own.content.decode()
    assert canary(house.ridge) not in own.content.decode()
    foreign = client.get(address(flows[f"ridge-podiatry {what}"], "export", what, site))
    absent = client.get(address(987_654_321, "export", what, site))
    assert (foreign.status_code, absent.status_code) == (302, 302)


@pytest.mark.parametrize("what", ["values", "fields"])
def test_a_file_of_another_clinic_brings_in_words_and_nothing_that_is_its(
    house: House, flows: dict[str, int], what: str
):
    """Words of a value map are a bookkeeper's to carry over; a field that is released there is not released here."""
    foreign = sign_in(house.ana).get(address(flows[f"ridge-podiatry {what}"], "export", what, "agency")).content
    ridge_before = _snapshot(house.ridge)
    own = flows[f"harbour-physio {what}"]
    sam = sign_in(house.sam)
    shown = _upload(sam, own, what, foreign)
    reading = shown.context["reading"]
    sam.post(
        address(own, "import", what, "agency"),
        {"shown": shown.context["file"].sealed, "revision": "2", "do": "publish", "good": "1"},
    )
    assert _snapshot(house.ridge) == ridge_before
    with tenant_tx(house.harbour.pk):
        flow = Flow.objects.get(pk=own)
        kept = configured.config_of(flow)
        for model in (FlowRevision, MappingRule, ValueMap):
            assert {row.flow_id for row in model.objects.all()} <= {flows["harbour-physio values"], flows["harbour-physio fields"]}  # fmt: skip
    if what == "values":
        assert kept.value_maps["status"] == {canary(house.harbour): "cancel", canary(house.ridge): "cancel"}
    else:
        (refused,) = [line for line in reading.lines if line.verdict == "refused"]
        assert "has not released for this clinic" in refused.why
        assert kept == rules_of(house.harbour)


def test_a_preview_of_another_clinics_flow_is_absent(house: House, flows: dict[str, int]):
    olga = sign_in(house.olga)
    data = b"Value map,Value,Becomes\nstatus,1,hold\n"
    for flow_id in (flows["ridge-podiatry values"], 987_654_321):
        assert _upload(olga, flow_id, "values", data, "clinic").status_code == 302


def _upload(client: Client, flow_id: int, what: str, data: bytes, site: str = "agency") -> Any:
    return client.post(address(flow_id, "import", what, site), {"sheet": SimpleUploadedFile("sheet.csv", data)})
