"""What an invoice becomes: an order or a refund, to the cent, without a word about a treatment (C07, C18-C20, A47, D)."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from integrations.core.lines import Line, tax_of, total_of
from integrations.core.records import Record, State
from integrations.core.rules import Context
from integrations.core.values import Value, as_lines
from integrations.flows.cliniko_shopify.invoices import INVOICES_TO_ORDERS, OWNER
from integrations.flows.kind import Config, Plan, Wish, make_plan

D = Decimal
SERVICE = Line(D("100"), quantity=D(1))
ROLLER = Line(D("90"), D("8.181818"), D("10.0"), D(2), product="7")


def plan(*, released: tuple[str, ...] = (), maps: dict[str, str] | None = None, **settings: str) -> Plan:
    config = Config(settings=settings, value_maps={"status": maps} if maps else {})
    return make_plan(INVOICES_TO_ORDERS, config, Context(), released)


def invoice(*lines: Line, state: State = State.LIVE, **given: Value) -> Record:
    values: dict[str, Value] = {
        "number": "10452",
        "issue_date": date(2026, 6, 30),
        "created_at": datetime(2026, 6, 30, 4, 40, 2, tzinfo=UTC),
        "zone": "Australia/Melbourne",
        "status": "20",
        "total": total_of(lines),
        "tax": tax_of(lines),
        "lines": lines,
        "patient": "17",
        "original_invoice": None,
        **given,
    }
    return Record("900", "v1", values, state=state)


def fields(record: Record, **settings: str) -> dict[str, Value]:
    wish = plan(**settings).wish(record)
    assert wish.draft is not None, wish
    return dict(wish.draft.fields)


def code(wish: Wish) -> str:
    return wish.skip or wish.problems[0][0]


def test_a_paid_invoice_is_a_paid_order_with_neutral_names():
    made = fields(invoice(SERVICE, ROLLER))
    assert made["customer"] == "17"
    assert (made["total"], made["tax"], made["payment"]) == (D("190.00"), D("8.18"), "paid")
    assert [(line.title, line.product) for line in as_lines(made["lines"])] == [("Service", ""), ("", "7")]
    assert made["metafields.suture.cliniko_invoice_id"] == "900"
    assert made["processedAt"] == datetime(2026, 6, 30, 4, 40, 2, tzinfo=UTC)
    assert not any(name.startswith("refund.") for name in made)


def test_services_carry_the_name_the_clinic_chose():
    (line,) = as_lines(fields(invoice(SERVICE), service_title="Visit")["lines"])
    assert line.title == "Visit"


@pytest.mark.parametrize(
    ("status", "payment", "closed", "cancelled"),
    [
        ("10", "unpaid", None, None),
        ("20", "paid", None, None),
        ("30", "unpaid", True, None),
        ("40", "paid", None, None),
    ],
)
def test_the_status_map_makes_actions(status, payment, closed, cancelled):
    made = fields(invoice(SERVICE, status=status))
    assert (made["payment"], made["closed"], made["cancelled"]) == (payment, closed, cancelled)


def test_the_status_map_round_trips_through_a_revision():
    config = Config(value_maps={"status": {"10": "cancel", "*": "mark_paid"}})
    assert Config.from_json(config.as_json()) == config
    made = make_plan(INVOICES_TO_ORDERS, config, Context(), ()).wish(invoice(SERVICE, status="10"))
    assert made.draft is not None and made.draft.fields["cancelled"] is True


def test_a_status_nobody_mapped_waits_for_a_person_and_says_which():
    wish = plan().wish(invoice(SERVICE, status="25"))
    assert wish.problems == (("unmapped_value", "status 25"),)
    assert plan(maps={"25": "ignore"}).wish(invoice(SERVICE, status="25")).skip == "value.ignored"
    assert plan(maps={"*": "leave_unpaid"}).wish(invoice(SERVICE, status="25")).draft is not None


def test_lines_that_do_not_come_to_the_total_wait_with_the_difference():
    wish = plan().wish(invoice(SERVICE, total=D("103")))
    assert wish.problems[0][0] == "invoice.total_differs"
    assert "3.00" in wish.problems[0][1]


def test_cents_left_over_are_spread_or_asked_about():
    odd = invoice(Line(D("33.334")), Line(D("33.334")), Line(D("33.334")), total=D("100.00"))
    assert fields(odd)["total"] == D("100.00")
    assert code(plan(rounding="hold").wish(odd)) == "invoice.rounding"


def test_a_deposit_taken_off_leaves_no_line_below_zero():
    made = fields(invoice(SERVICE, Line(D("-40"))))
    assert [(line.total, line.discount) for line in as_lines(made["lines"])] == [(D("60.00"), D("40.00"))]


def test_a_product_that_comes_back_inside_an_invoice_waits():
    assert code(plan().wish(invoice(SERVICE, Line(D("-40"), product="7", quantity=D(-1))))) == "invoice.negative_line"


def test_a_credit_note_is_a_refund_and_nothing_else():
    note = invoice(Line(D("-90"), D("-8.181818"), D("10"), D(-2), product="7"), original_invoice="800", number="10460")
    made = fields(note)
    assert {name for name in made if not name.startswith("refund.")} == {"metafields.suture.cliniko_invoice_id"}
    assert (made["refund.order"], made["refund.amount"], made["refund.moves_money"]) == ("800", D("90.00"), True)
    (line,) = as_lines(made["refund.lines"])
    assert (line.quantity, line.total, line.tax) == (D(2), D("90.00"), D("8.18"))


@pytest.mark.parametrize(("choice", "moves"), [("keep", False), ("refund", True)])
def test_a_credit_that_stays_with_the_clinic_moves_money_only_if_so_set(choice, moves):
    note = invoice(Line(D("-50")), original_invoice="800", status="40")
    assert fields(note, open_credit=choice)["refund.moves_money"] is moves


def test_a_negative_invoice_that_reverses_nothing_waits():
    assert code(plan().wish(invoice(Line(D("-50"))))) == "invoice.negative_alone"


def test_an_archived_invoice_asks_or_cancels():
    gone = invoice(SERVICE, state=State.ARCHIVED)
    assert code(plan().wish(gone)) == "record.archived_ask"
    wish = plan(archived="cancel").wish(gone)
    assert wish.draft is not None and wish.draft.gone and wish.draft.fields == {"cancelled": True}


def test_an_archived_credit_note_never_cancels_anything():
    gone = invoice(Line(D("-50")), original_invoice="800", state=State.ARCHIVED)
    assert code(plan(archived="cancel").wish(gone)) == "invoice.credit_archived"


def test_the_date_is_the_business_date_in_the_zone_of_the_business():
    """B6, ask 25: written after midnight UTC, dated the day before in Perth."""
    late = invoice(SERVICE, issue_date=date(2026, 6, 30), created_at=datetime(2026, 7, 2, tzinfo=UTC), zone=None)
    assert fields(late)["processedAt"] == datetime(2026, 6, 30, 2, tzinfo=UTC)  # noon in Sydney, the clinic's own zone


def test_terms_make_a_due_date_for_what_is_unpaid():
    assert fields(invoice(SERVICE, status="10"), payment_terms="14")["dueOn"] == date(2026, 7, 14)
    assert fields(invoice(SERVICE, status="20"), payment_terms="14")["dueOn"] is None


def test_the_owner_is_sent_only_once_released_and_switched_on():
    """C22: off until the agency owner releases it."""
    record = invoice(SERVICE, **{"owner.email": "Tama@Clinic.example"})
    assert OWNER not in plan(released=("owner.email",)).wish(record).draft.fields  # type: ignore[union-attr]
    assert OWNER not in plan(owner="on").wish(record).draft.fields  # type: ignore[union-attr]
    on = plan(released=("owner.email",), owner="on", default_owner="desk@clinic.example")
    assert on.wish(record).draft.fields[OWNER] == "tama@clinic.example"  # type: ignore[union-attr]
    nobody = invoice(SERVICE, **{"owner.email": None})
    assert on.wish(nobody).draft.fields[OWNER] == "desk@clinic.example"  # type: ignore[union-attr]


def test_an_empty_invoice_makes_nothing():
    assert plan().wish(invoice(total=D(0), tax=D(0))).skip == "invoice.empty"


CREDIT = {"original_invoice": "800", "total": D("-100"), "tax": D(0)}
RETURNED = Line(D("-100"), quantity=D(-1))


@pytest.mark.parametrize("status", [None, "25"])
def test_a_credit_note_of_an_unknown_status_moves_no_money_unasked(status):
    wish = plan().wish(invoice(RETURNED, status=status, **CREDIT))
    assert wish.problems[0] == ("unmapped_value", f"status {status or ''}")


@pytest.mark.parametrize(("action", "moves"), [("mark_paid", True), ("leave_unpaid", False)])
def test_a_line_of_the_value_map_says_what_an_unknown_status_of_a_credit_note_means(action, moves):
    wish = plan(maps={"25": action}).wish(invoice(RETURNED, status="25", **CREDIT))
    assert wish.draft is not None
    assert wish.draft.fields["refund.moves_money"] is moves


@pytest.mark.parametrize("status", ["10", "20", "30", "40"])
def test_the_value_map_does_not_judge_the_known_statuses_of_credit_notes(status):
    maps = dict.fromkeys(("10", "20", "30", "40"), "hold")
    assert plan(maps=maps).wish(invoice(RETURNED, status=status, **CREDIT)).draft is not None


def test_parts_of_a_second_are_left_behind():
    """Shopify keeps whole seconds: an order's date would differ for ever."""
    made = fields(invoice(SERVICE, created_at=datetime(2026, 6, 30, 4, 40, 2, 123000, tzinfo=UTC)))
    assert made["processedAt"] == datetime(2026, 6, 30, 4, 40, 2, tzinfo=UTC)


def test_a_date_at_the_end_of_time_stops_nobody():
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    made = fields(invoice(SERVICE, issue_date=last.date(), created_at=last, status="10"), payment_terms="30")
    assert made["processedAt"] == datetime(9999, 12, 31, 1, tzinfo=UTC)
    assert made["dueOn"] is None


@pytest.mark.parametrize("typed", ["²", "14 days", "-3"])
def test_payment_terms_that_are_no_number_make_no_due_date(typed):
    assert fields(invoice(SERVICE, status="10"), payment_terms=typed)["dueOn"] is None
