"""Why an invoice's lines do or do not come to what is stated, on the error desk (B5)."""

from decimal import Decimal

import pytest
from django.test import Client

from integrations.admin.explained import explained
from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.core.lines import Line
from integrations.models import Connection
from integrations.services.connections import save_credentials
from tenants.walls import tenant_tx
from tests.conftest import House, sign_in
from tests.shell.screens import text
from tests.stage import Stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

D = Decimal
KIND = "invoices-to-orders"


def gst(net: str) -> Line:
    return Line(D(net) * D("1.1"), D(net) * D("0.1"), D(10))


@pytest.mark.parametrize(
    ("lines", "total", "tax", "verdict", "why"),
    [
        (
            [Line(D("110"), D("10"), D(10))], "110", "10",
            "The lines come to the stated total and tax.",
            "The figures come out if each line is rounded by itself, halves up.",
        ),
        (
            [gst("0.145"), gst("0.145")], "0.33", "0.03",
            "1 cent is missing from the lines once each is rounded.",
            "net prices are rounded first and tax is put on top of their sum; rounding each line by itself gives 0.01 less",
        ),
        (
            [Line(D("90"), D("8.18"), D(10))], "91", "8.18",
            "The lines come to a total of 90.00, and 91.00 is stated: 1.00 more.",
            "No way of rounding that we know gives these figures: 1.00 cannot be explained by it.",
        ),
        (
            [Line(D("90"), D("8.18"), D(10))], "90", "9",
            "The lines come to the tax of 8.18, and 9.00 is stated: 0.82 more.",
            "0.82 tax cannot be explained by it.",
        ),
        (
            [Line(D("10.004")), Line(D("10.004"))], None, None,
            "1 cent is missing from the lines once each is rounded.",
            "The figures come out if only the sum is rounded, halves up; rounding each line by itself gives 0.01 less.",
        ),
    ],
    ids=["agrees", "net prices", "total", "tax", "not stated"],
)  # fmt: skip
def test_the_sentences(lines: list[Line], total: str | None, tax: str | None, verdict: str, why: str) -> None:
    told = explained({"lines": tuple(lines), "total": D(total) if total else None, "tax": D(tax) if tax else None})
    assert told is not None
    assert told.verdict.startswith(verdict)
    assert why in told.why


def test_nothing_is_said_of_what_has_no_lines() -> None:
    assert explained({"total": D("5")}) is None


@pytest.fixture
def held(on_stage: Stage) -> str:
    """The desk's page of an invoice that states another total than its lines come to."""
    on_stage.join(KIND)
    key = bills.add_invoice(on_stage.world, [{"price": "90", "name": "Dry needling"}], status=20)
    bills.edit_invoice(on_stage.world, str(key), total_amount="95.0")
    on_stage.sync()
    (row,) = on_stage.deliveries(state="held")
    assert row.code == "invoice.total_differs"
    return f"integrations/delivery/{row.pk}"


def test_the_desk_leads_to_the_explanation(held: str, olga_at: Client, vik_at: Client, ana_at: Client) -> None:
    for client, site in ((olga_at, "clinic"), (vik_at, "clinic"), (ana_at, "agency")):
        address = f"/{site}/{held}/explain/"
        body = text(client.get(f"/{site}/{held}/change/"))
        assert address in body and "Why does it differ?" in body
        said = text(client.get(address))
        assert "The lines come to a total of 90.00, and 95.00 is stated: 5.00 more." in said
        assert "needling" not in said


def test_another_trouble_has_no_explanation(on_stage: Stage, olga_at: Client) -> None:
    on_stage.join(KIND)
    bills.add_invoice(on_stage.world, [{"price": "90"}], status=25)
    on_stage.sync()
    (row,) = on_stage.deliveries(state="held")
    assert "Why does it differ?" not in text(olga_at.get(f"/clinic/integrations/delivery/{row.pk}/change/"))


def test_a_source_that_does_not_answer_is_told(on_stage: Stage, held: str, olga_at: Client) -> None:
    with tenant_tx(on_stage.tenant.pk):
        save_credentials(Connection.objects.get(vendor="cliniko"), {"api_key": "bad-planted-key-au1"})
    said = text(olga_at.get(f"/clinic/{held}/explain/"))
    assert "could not be asked just now" in said and "planted" not in said


def test_another_clinics_figures_are_as_absent_as_those_that_never_were(held: str, house: House) -> None:
    rita = sign_in(house.rita)
    foreign = rita.get(f"/clinic/{held}/explain/")
    absent = rita.get("/clinic/integrations/delivery/987654321/explain/")
    assert (foreign.status_code, foreign.headers["location"]) == (absent.status_code, absent.headers["location"])
