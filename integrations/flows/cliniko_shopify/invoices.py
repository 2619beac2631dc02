"""Invoices of the practice system become orders of the shop, credit notes become refunds on them; to the cent.

What an invoice says about a treatment stays behind: lines without a product carry the one neutral name that the clinic
chose. Orders made here notify nobody and touch no stock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from integrations.connectors.cliniko.invoices import INVOICES
from integrations.connectors.shopify.orders import ORDERS
from integrations.core.cents import Balanced, Difference, Off, balance, fold_negatives
from integrations.core.dates import business_instant
from integrations.core.lines import Line, tax_of, total_of
from integrations.core.matching import Matching
from integrations.core.records import OnConflict, Record, State
from integrations.core.rules import Choice, Context, FreeText, Rule
from integrations.core.values import Day, Instant, Lines, Number, Value, YesNoUnknown, as_lines
from integrations.flows.kind import Derived, FlowKind, Parent, ValueMapSpec, Verdict

OWNER = "metafields.suture.owner"
PRODUCT_FATE = "unlinked_product"
STATUSES = {"10": "Open", "20": "Paid", "30": "Closed", "40": "Open (credit)"}
OPEN_CREDIT = frozenset(("10", "40"))  # the money of a credit note is not paid out: it is kept for the patient
UNKNOWN = "*"


# -- what the lines come to


def _balanced(values: Mapping[str, Value]) -> Balanced | Difference:
    return balance(as_lines(values.get("lines")), _number(values, "total"), _number(values, "tax"))


def _number(values: Mapping[str, Value], name: str) -> Decimal | None:
    value = values.get(name)
    return value if isinstance(value, Decimal) else None


def _is_credit(values: Mapping[str, Value]) -> bool:
    return bool(values.get("original_invoice"))


def _whole_lines(values: Mapping[str, Value], made: Balanced) -> tuple[Line, ...] | None:
    """The lines in cents, a credit note's turned round; None where one below zero can be taken off no other."""
    return fold_negatives(tuple(map(_turned, made.lines)) if _is_credit(values) else made.lines)


def _turned(line: Line) -> Line:
    return replace(line, total=-line.total, tax=-line.tax, quantity=abs(line.quantity), discount=abs(line.discount))


def _shop_lines(values: Mapping[str, Value], context: Context) -> tuple[Line, ...] | None:
    """The lines as the shop takes them: in cents, none below zero, services under the neutral name."""
    made = _balanced(values)
    whole = _whole_lines(values, made) if isinstance(made, Balanced) else None
    return None if whole is None else _named(whole, context)


def _lines(values: Mapping[str, Value], context: Context) -> Value:
    return None if _is_credit(values) else _shop_lines(values, context)


def _credit_lines(values: Mapping[str, Value], context: Context) -> Value:
    """What goes back by a credit note."""
    return _shop_lines(values, context) if _is_credit(values) else None


def _named(lines: Sequence[Line], context: Context) -> tuple[Line, ...]:
    neutral = context.settings["service_title"].strip() or "Service"
    return tuple(line if line.product else replace(line, title=neutral) for line in lines)


def _total(values: Mapping[str, Value], _: Context) -> Value:
    lines = as_lines(values.get("shop_lines"))
    return total_of(lines) if lines else None


def _tax(values: Mapping[str, Value], _: Context) -> Value:
    lines = as_lines(values.get("shop_lines"))
    return tax_of(lines) if lines else None


def _credit_amount(values: Mapping[str, Value], _: Context) -> Value:
    lines = as_lines(values.get("credit_lines"))
    return total_of(lines) if lines else None


# -- dates and status


def _issued_at(values: Mapping[str, Value], context: Context) -> Value:
    """The instant that stands for the invoice's date in the zone of its business, in whole seconds as shops keep it."""
    day, given, zone = values.get("issue_date"), values.get("created_at"), values.get("zone")
    written_at = given.replace(microsecond=0) if isinstance(given, datetime) else None
    if not isinstance(day, date):
        return written_at
    return business_instant(day, written_at, zone if isinstance(zone, str) and zone else context.zone)


def _action(values: Mapping[str, Value], context: Context) -> str:
    lines = context.value_maps["status"]
    return lines.get(str(values.get("status") or ""), lines.get(UNKNOWN, "hold"))


def _payment(values: Mapping[str, Value], context: Context) -> Value:
    return "paid" if _action(values, context) == "mark_paid" else "unpaid"


def _closed(values: Mapping[str, Value], context: Context) -> Value:
    return True if _action(values, context) == "close" else None


def _cancelled(values: Mapping[str, Value], context: Context) -> Value:
    return True if _action(values, context) == "cancel" else None


def _due_on(values: Mapping[str, Value], context: Context) -> Value:
    days, day = context.settings["payment_terms"].strip(), values.get("issue_date")
    if not days.isdecimal() or not isinstance(day, date) or _action(values, context) != "leave_unpaid":
        return None
    try:
        return day + timedelta(days=int(days[:4]))
    except OverflowError:  # a date that was mistyped far ahead
        return None


def _moves_money(values: Mapping[str, Value], context: Context) -> Value:
    """By the status; one that nobody documented says nothing of money, unless its line in the value map does."""
    if not _is_credit(values):
        return None
    if not _is_known_status(values):
        return _action(values, context) == "mark_paid"
    return values.get("status") not in OPEN_CREDIT or context.settings["open_credit"] == "refund"


def _is_known_status(values: Mapping[str, Value]) -> bool:
    return values.get("status") in STATUSES


def _credit_note(values: Mapping[str, Value], _: Context) -> Value:
    return f"Credit note {values['number']}" if _is_credit(values) and values.get("number") else None


def _currency(_: Mapping[str, Value], context: Context) -> Value:
    return context.currency


# -- what does not pass


def _unmapped_status(record: Record, context: Context) -> Verdict | None:
    """A status without a line in the value map, or with one that says so, waits for a person (C19). Of credit notes
    the map judges only what nobody documented."""
    if _is_credit(record.values) and _is_known_status(record.values):
        return None
    status = str(record.values.get("status") or "")
    action = _action(record.values, context)
    if action == "ignore":
        return Verdict("skip", "value.ignored", f"status {status}")
    return Verdict("hold", "unmapped_value", f"status {status}") if action == "hold" else None


def _archived_credit(record: Record, _: Context) -> Verdict | None:
    is_gone = record.state is State.ARCHIVED and _is_credit(record.values)
    return Verdict("hold", "invoice.credit_archived") if is_gone else None


def _negative_alone(record: Record, _: Context) -> Verdict | None:
    """A negative invoice that reverses no other has no order to refund."""
    total = _number(record.values, "total")
    is_alone = total is not None and total < 0 and not _is_credit(record.values)
    return Verdict("hold", "invoice.negative_alone") if is_alone and record.state is State.LIVE else None


def _empty(record: Record, _: Context) -> Verdict | None:
    is_empty = not as_lines(record.values.get("lines")) and not _number(record.values, "total")
    return Verdict("skip", "invoice.empty") if is_empty and record.state is State.LIVE else None


def _unbalanced(record: Record, context: Context) -> Verdict | None:
    """The lines do not come to the stated total or tax, by more than rounding explains; or by rounding, where the clinic
    wants to see that too."""
    if record.state is not State.LIVE:
        return None
    made = _balanced(record.values)
    if isinstance(made, Difference):
        code = "invoice.total_differs" if made.what is Off.TOTAL else "invoice.tax_differs"
        return Verdict("hold", code, f"{made.what} {made.stated}, lines {made.summed}, difference {made.by}")
    if made.spread and context.settings["rounding"] == "hold":
        return Verdict("hold", "invoice.rounding", f"difference {made.spread}")
    is_whole = _whole_lines(record.values, made) is not None
    return None if is_whole else Verdict("hold", "invoice.negative_line")


def _finish(fields: dict[str, Value], context: Context) -> dict[str, Value]:
    """A refund has the fields of a refund, an order those of an order."""
    if fields.get("refund.order"):
        return {name: value for name, value in fields.items() if name.startswith("refund.")}
    made = {name: value for name, value in fields.items() if not name.startswith("refund.")}
    if OWNER in made and not made[OWNER]:
        made[OWNER] = context.settings["default_owner"].strip() or None
    return made


def _gone(context: Context) -> Mapping[str, Value] | Verdict:
    if context.settings["archived"] == "cancel":
        return {"cancelled": True}
    return Verdict("hold", "record.archived_ask")


def _where_wished(settings: Mapping[str, str]) -> Sequence[Rule]:
    """What only some clinics send. A field that nobody wishes is not read either: payment terms need a scope of their own."""
    due = (Rule("dueOn", "due_on"),) if settings.get("payment_terms", "").strip() else ()
    owner = (Rule(OWNER, "owner.email", ("email",)),) if settings.get("owner") == "on" else ()
    return (*due, *owner)


INVOICES_TO_ORDERS = FlowKind(
    name="invoices-to-orders",
    label="Invoices become orders",
    minutes_by_hand=4.0,
    source_vendor="cliniko",
    source=INVOICES,
    target_vendor="shopify",
    target=ORDERS,
    rules=(
        Rule("customer", "patient"),
        Rule("number", "number"),
        Rule("processedAt", "issued_at"),
        Rule("currency", "clinic_currency"),
        Rule("lines", "shop_lines"),
        Rule("total", "shop_total"),
        Rule("tax", "shop_tax"),
        Rule("payment", "payment_state", conflict=OnConflict.TARGET_WINS),
        Rule("closed", "is_closed", conflict=OnConflict.TARGET_WINS),
        Rule("cancelled", "is_cancelled"),
        Rule("refund.order", "original_invoice"),
        Rule("refund.lines", "credit_lines"),
        Rule("refund.amount", "credit_amount"),
        Rule("refund.moves_money", "credit_moves_money"),
        Rule("refund.processedAt", "issued_at"),
        Rule("refund.note", "credit_note"),
    ),
    matching=Matching(marker="metafields.suture.cliniko_invoice_id"),
    settings=(
        FreeText(
            "service_title",
            "Name for services on orders",
            "What a treatment is called would tell about a person's health, so all of them get this neutral name.",
            default="Service",
        ),
        Choice(
            "missing_customer",
            "Invoice of a patient who is no customer",
            (("hold", "Ask a person"), ("drop", "Create the order without a customer")),
        ),
        Choice(
            PRODUCT_FATE,
            "Line with a product that is not in the shop",
            (("hold", "Ask a person"), ("drop", "Sell it under the name for services")),
        ),
        Choice(
            "rounding",
            "Cents that rounding leaves over",
            (("spread", "Give them to the lines, one by one"), ("hold", "Ask a person")),
            help="The order always comes to the invoice's total and tax. A practice system may keep parts of a cent.",
        ),
        Choice(
            "archived",
            "Invoice that was archived and already is an order",
            (("hold", "Ask a person"), ("cancel", "Cancel the order")),
        ),
        Choice(
            "open_credit",
            "Credit note whose money stays with the clinic as credit",
            (
                ("keep", "Refund the goods, move no money"),
                ("refund", "Refund the money as well"),
            ),
        ),
        FreeText("payment_terms", "Days until an unpaid invoice is due", "A whole number; empty: no due date."),
        Choice(
            "owner",
            "Practitioner's e-mail on the order",
            (("off", "Do not send"), ("on", "Send, once the agency owner has released owner.email")),
        ),
        FreeText("default_owner", "Owner where there is none", "An e-mail address; empty: none."),
    ),
    value_maps=(
        ValueMapSpec(
            "status",
            "Invoice status",
            source="status",
            defaults={"10": "leave_unpaid", "20": "mark_paid", "30": "close", "40": "mark_paid", UNKNOWN: "hold"},
            actions=(
                ("leave_unpaid", "Leave unpaid"),
                ("mark_paid", "Mark as paid"),
                ("close", "Leave unpaid and archive"),
                ("cancel", "Cancel"),
                ("hold", "Ask a person"),
                ("ignore", "Leave out"),
            ),
            known=STATUSES,
        ),
    ),
    derived=(
        Derived("shop_lines", "Lines, to the cent", _lines, Lines),
        Derived("shop_total", "Total of the lines", _total, Number),
        Derived("shop_tax", "Tax of the lines", _tax, Number),
        Derived("credit_lines", "Lines of a credit note", _credit_lines, Lines),
        Derived("credit_amount", "Amount of a credit note", _credit_amount, Number),
        Derived("credit_moves_money", "Whether a credit note was paid out", _moves_money, YesNoUnknown),
        Derived("credit_note", "Words for a credit note", _credit_note),
        Derived("issued_at", "Invoice date as an instant", _issued_at, Instant),
        Derived("clinic_currency", "The clinic's currency", _currency),
        Derived("payment_state", "Paid or unpaid, by the status", _payment),
        Derived("due_on", "Due date, by the payment terms", _due_on, Day),
        Derived("is_closed", "Closed, by the status", _closed, YesNoUnknown),
        Derived("is_cancelled", "Cancelled, by the status", _cancelled, YesNoUnknown),
    ),
    refuse=(_archived_credit, _empty, _unmapped_status, _negative_alone, _unbalanced),
    finish=_finish,
    gone=_gone,
    extra_rules=_where_wished,
    parents=(
        Parent("customer", "patients", "customers", setting="missing_customer"),
        Parent("lines", "products", "products", setting=PRODUCT_FATE),
        Parent("refund.order", "invoices", "orders"),
        Parent("refund.lines", "products", "products", setting=PRODUCT_FATE),
    ),
    start="activation",
)
