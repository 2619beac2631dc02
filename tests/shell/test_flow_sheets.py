"""Rules and value maps as a file: kept, shown line by line before anything changes, published as a revision (B2)."""

from dataclasses import dataclass
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext

from integrations.flows.kind import Config
from integrations.models import Flow, FlowRevision, Proposal
from integrations.services import changes, configuration, configured
from tenants.models import AuditEntry, Tenant
from tenants.walls import tenant_tx
from tests.blueprint_rows import add_flow
from tests.conftest import House, sign_in
from tests.shell.screens import page, text

pytestmark = pytest.mark.django_db

KIND = "invoices-to-orders"
GOOD = "Value map;Value;Becomes\r\nInvoice status;25;Cancel\r\nInvoice status;Grün;Leave out\r\n".encode("cp1252")
MIXED = b"Value map,Value,Becomes\nInvoice status,25,Cancel\nInvoice status,26,Explode\nstatus,=1+1,hold\n"


@dataclass
class Shown:
    """A clinic's flow that nobody runs."""

    tenant: Tenant
    flow_id: int


@pytest.fixture
def bills(house: House) -> Shown:
    return Shown(house.harbour, add_flow(house.harbour, KIND))


@pytest.fixture
def patients(house: House) -> Shown:
    return Shown(house.harbour, add_flow(house.harbour, "patients-to-customers"))


@pytest.fixture
def ana_at(house: House) -> Client:
    return sign_in(house.ana)


@pytest.fixture
def olga_at(house: House) -> Client:
    return sign_in(house.olga)


@pytest.fixture
def vik_at(house: House) -> Client:
    return sign_in(house.vik)


def url(of: Shown, place: str, what: str = "values", site: str = "clinic") -> str:
    return f"/{site}/integrations/flow/{of.flow_id}/{place}/?what={what}"


def upload(client: Client, address: str, data: bytes, **more: str) -> Any:
    return client.post(address, {"sheet": SimpleUploadedFile("maps.csv", data), **more})


def confirm(client: Client, address: str, shown: Any, **more: str) -> Any:
    given = {"shown": shown.context["file"].sealed, "revision": "1", "do": "publish", **more}
    return client.post(address, given, follow=True)


def config_of(of: Shown) -> Config:
    with tenant_tx(of.tenant.pk):
        return configured.config_of(Flow.objects.get(pk=of.flow_id))


def test_a_file_is_shown_first_then_published_as_a_revision_with_its_author(bills: Shown, olga_at: Client) -> None:
    shown = upload(olga_at, url(bills, "import"), GOOD)
    body = text(shown)
    assert "2 lines" in body and "Windows-1252" in body and "Grün" in body
    assert config_of(bills) == Config()
    answer = confirm(olga_at, url(bills, "import"), shown, note="From the bookkeeper")
    assert "Published as revision 2: Invoice status." in text(answer)
    assert config_of(bills).value_maps == {"status": {"25": "cancel", "Grün": "ignore"}}
    with tenant_tx(bills.tenant.pk):
        revision = FlowRevision.objects.get(flow_id=bills.flow_id, number=2)
        audited = AuditEntry.objects.filter(action="flow.configured").latest("pk")
    assert (revision.author.email, revision.note) == ("olga@example.test", "From the bookkeeper")
    assert (audited.actor, audited.diff["fields"]) == ("olga@example.test", ["values.status"])


def test_with_refused_lines_nothing_is_saved_unless_the_good_ones_are_enough(bills: Shown, olga_at: Client) -> None:
    shown = upload(olga_at, url(bills, "import"), MIXED)
    assert "is none of: Leave unpaid" in text(shown) and "begins as a formula does" in text(shown)
    refused = confirm(olga_at, url(bills, "import"), shown)
    assert "Nothing was published: some lines were refused." in text(refused)
    assert config_of(bills) == Config()
    confirm(olga_at, url(bills, "import"), shown, good="1")
    assert config_of(bills).value_maps == {"status": {"25": "cancel"}}


def test_a_file_is_rehearsed_before_it_is_published(bills: Shown, olga_at: Client) -> None:
    shown = upload(olga_at, url(bills, "import"), GOOD)
    answer = confirm(olga_at, url(bills, "import"), shown, do="rehearse")
    assert "The rehearsal begins." in text(answer)
    with tenant_tx(bills.tenant.pk):
        proposal = Proposal.objects.get()
    assert proposal.config["value_maps"] == {"status": {"25": "cancel", "Grün": "ignore"}}
    assert config_of(bills) == Config()


def test_what_is_exported_comes_back_without_a_change(bills: Shown, olga_at: Client) -> None:
    hostile = {"=1+1": "hold", "a;b": "cancel", 'say "hi"\r\n,': "ignore", "\ufeff@x": "hold", "＝": "hold"}
    with tenant_tx(bills.tenant.pk):
        flow = Flow.objects.get(pk=bills.flow_id)
        configuration.configure(flow, config=Config(value_maps={"status": hostile}), by=changes.OPERATOR)
    answer = olga_at.get(url(bills, "export"))
    assert answer["Content-Disposition"] == f'attachment; filename="harbour-physio-{KIND}-values.csv"'
    file = answer.content
    assert file.startswith(b"\xef\xbb\xbfValue map,Value,Meaning,Becomes\r\n")
    assert b"\n=" not in file and b",=" not in file
    shown = upload(olga_at, url(bills, "import"), file, takes_away="1")
    assert "Nothing would change" in text(shown)
    assert {line.verdict for line in shown.context["reading"].lines} == {"same"}


def test_a_rule_that_another_flow_owns_is_a_refused_line(patients: Shown, ana_at: Client) -> None:
    with tenant_tx(patients.tenant.pk):
        flow = Flow.objects.select_related("source", "target").get(pk=patients.flow_id)
        configuration.configure(
            flow, config=Config(removed=frozenset({"firstName"})), by=changes.OPERATOR, note="given up"
        )
        other = configuration.add_flow(
            kind=configuration.FLOW_KINDS[flow.kind], source=flow.source, target=flow.target, name="twin",
            by=changes.OPERATOR,
        )  # fmt: skip
        shipped = configuration.FLOW_KINDS[flow.kind].rules
        only_first = Config(removed=frozenset(rule.target for rule in shipped if rule.target != "firstName"))
        configuration.configure(other, config=only_first, by=changes.OPERATOR)
        Flow.objects.filter(pk=other.pk).update(mode="preview")
        Flow.objects.filter(pk=flow.pk).update(mode="preview")
    data = b"Field,Comes from\nFirst name,First name\nLast name,First name\n"
    shown = upload(ana_at, url(patients, "import", "fields", "agency"), data)
    lines = {line.what: (line.verdict, line.why) for line in shown.context["reading"].lines}
    assert lines["First name"] == ("refused", "“firstName” is already written by the flow twin.")
    assert lines["Last name"] == ("changed", "")


def test_somebody_who_published_meanwhile_is_not_overwritten(bills: Shown, olga_at: Client) -> None:
    shown = upload(olga_at, url(bills, "import"), GOOD)
    with tenant_tx(bills.tenant.pk):
        flow = Flow.objects.get(pk=bills.flow_id)
        configuration.configure(flow, config=Config(value_maps={"status": {"25": "hold"}}), by=changes.OPERATOR)
    assert "Somebody published revision 2 meanwhile" in text(confirm(olga_at, url(bills, "import"), shown))
    assert config_of(bills).value_maps == {"status": {"25": "hold"}}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("Value map,Value\n".encode("utf-16"), "no text file"),
        (b"Name,Price\n", "must name the columns"),
        (b"Value map,Value,Becomes\n" + b"status,1,hold\n" * 80_000, "larger than 1 MB"),
        (b"Value map,Value,Becomes\n" + b"status,1,hold\n" * 5001, "more than 5,000 lines"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(bills: Shown, olga_at: Client, data: bytes, words: str) -> None:
    assert words in text(upload(olga_at, url(bills, "import"), data))


def test_a_preview_is_of_one_flow_and_cannot_be_forged(bills: Shown, olga_at: Client) -> None:
    shown = upload(olga_at, url(bills, "import"), GOOD)
    other = Shown(bills.tenant, add_flow(bills.tenant, "products-to-products"))
    answer = confirm(olga_at, url(other, "import"), shown)
    assert "Choose the file once more." in text(answer)
    given = {"shown": "zq", "do": "publish"}
    assert "Choose the file once more." in text(olga_at.post(url(bills, "import"), given))


def test_who_may_import(bills: Shown, ana_at: Client, olga_at: Client, vik_at: Client) -> None:
    """A viewer keeps what is shown and changes nothing; fields are the agency's."""
    assert vik_at.get(url(bills, "export")).status_code == 200
    assert upload(vik_at, url(bills, "import"), GOOD).status_code == 403
    assert olga_at.get(url(bills, "import", "fields")).status_code == 403
    assert ana_at.get(url(bills, "import", "fields", "agency")).status_code == 200
    assert "Import a file" not in text(page(vik_at, "clinic", bills.flow_id, "values"))
    assert "Import a file" not in text(page(olga_at, "clinic", bills.flow_id, "fields"))
    assert "Import a file" in text(page(olga_at, "clinic", bills.flow_id, "values"))


def test_questions_do_not_grow_with_the_lines(bills: Shown, olga_at: Client) -> None:
    def asked(lines: int) -> int:
        data = "Value map,Value,Becomes\n" + "".join(f"status,x{number},hold\n" for number in range(lines))
        with CaptureQueriesContext(database) as queries:
            assert upload(olga_at, url(bills, "import"), data.encode()).status_code == 200
        return len(queries)

    asked(1)
    assert asked(400) == asked(2)
