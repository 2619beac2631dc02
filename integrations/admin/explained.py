"""Why an invoice's lines do or do not come to its stated total and tax, in sentences (B5)."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from integrations.admin.setup import said
from integrations.connectors.base import Stream
from integrations.core import cents
from integrations.core.cents import Balanced, Difference, Off
from integrations.core.lines import Line, tax_of, to_cents, total_of
from integrations.core.values import Value, as_lines
from integrations.messages import Message
from integrations.models import Delivery
from integrations.services.desk import kind_of
from integrations.services.trail import Answer, read_source
from tenants.sites import Ask

CODES = frozenset(("invoice.total_differs", "invoice.tax_differs", "invoice.rounding"))
"""What the error desk says of an invoice whose figures are worth explaining."""
FIGURES = frozenset(("lines", "total", "tax"))
FINEST = Decimal("0.0001")


@dataclass(frozen=True, slots=True)
class ShownLine:
    """A line as the invoice has it, and in cents where the lines can be balanced."""

    words: str
    quantity: str
    rate: str
    total: str
    tax: str
    total_in_cents: str = ""
    tax_in_cents: str = ""


@dataclass(frozen=True, slots=True)
class Explained:
    """``verdict`` says whether the lines come to what is stated, ``why`` which rounding gives the stated figures."""

    lines: tuple[ShownLine, ...]
    total: str
    tax: str
    lines_total: str
    lines_tax: str
    verdict: str
    why: str
    comes_out: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """What the page about one record's figures shows. ``why_not`` says why the source could not be asked."""

    explained: Explained | None = None
    why_not: Message | None = None
    is_gone: bool = False


def figures_of(delivery: Delivery) -> Generator[Ask, Any, Figures]:
    """Asks the source for the delivery's record."""
    stream, source = kind_of(delivery).source, delivery.flow.source
    key = delivery.source_key
    answer: Answer = yield lambda: read_source(delivery.tenant_id, source, stream, [key], FIGURES)
    record = answer.records.get(key)
    if record is None:
        return Figures(why_not=said(answer.code), is_gone=not answer.code)
    return Figures(explained(record.values))


def has_figures(stream: Stream) -> bool:
    return all(stream.find_field(name) for name in FIGURES)


def explained(values: Mapping[str, Value]) -> Explained | None:
    """None for a record without lines."""
    lines = as_lines(values.get("lines"))
    if not lines:
        return None
    total, tax = _number(values.get("total")), _number(values.get("tax"))
    made = cents.balance(lines, total, tax)
    stated = (total_of(lines) if total is None else total, tax_of(lines) if tax is None else tax)
    return Explained(
        lines=_shown(lines, made),
        total="" if total is None else _money(total),
        tax="" if tax is None else _money(tax),
        lines_total=_exact(total_of(lines)),
        lines_tax=_exact(tax_of(lines)),
        verdict=_verdict(made),
        why=_why(cents.explain(lines, *stated)),
        comes_out=isinstance(made, Balanced),
    )


def _number(value: Value) -> Decimal | None:
    return value if isinstance(value, Decimal) else None


def _shown(lines: Sequence[Line], made: Balanced | Difference) -> tuple[ShownLine, ...]:
    balanced: Sequence[Line | None] = made.lines if isinstance(made, Balanced) else [None] * len(lines)
    return tuple(
        ShownLine(
            words=f"Product {line.product}" if line.product else line.title or "Service",
            quantity=_plain(line.quantity),
            rate=_plain(line.rate),
            total=_exact(line.total),
            tax=_exact(line.tax),
            total_in_cents=_money(cent.total) if cent else "",
            tax_in_cents=_money(cent.tax) if cent else "",
        )
        for line, cent in zip(lines, balanced, strict=True)
    )


def _verdict(made: Balanced | Difference) -> str:
    if isinstance(made, Difference):
        what = "total" if made.what is Off.TOTAL else "tax"
        return (
            f"The lines come to {'a' if what == 'total' else 'the'} {what} of {_money(made.summed)}, and {_money(made.stated)} "
            f"is stated: {_money(abs(made.by))} {'more' if made.by > 0 else 'less'}. That is more than rounding can explain."
        )
    if not made.spread:
        return "The lines come to the stated total and tax."
    cents_over = int(abs(made.spread) * 100)
    word = "is" if cents_over == 1 else "are"
    where = "missing from" if made.spread > 0 else "too many in"
    return (
        f"{cents_over} cent{'' if cents_over == 1 else 's'} {word} {where} the lines once each is rounded. That is put right "
        "a cent at a time, on the lines that rounding moved most."
    )


def _why(told: cents.Explanation) -> str:
    ours = cents.POLICIES[0]
    if told.policy is ours:
        return f"The figures come out if {ours.label}."
    if told.policy is not None:
        gives = _each(told, "less", "more") or "the same sums"
        return f"The figures come out if {told.policy.label}; rounding each line by itself gives {gives}."
    left = _each(told, "", "") or "parts of a cent"
    return f"No way of rounding that we know gives these figures: {left} cannot be explained by it."


def _each(told: cents.Explanation, if_less: str, if_more: str) -> str:
    """What our own way leaves of total and tax: ``0.01 less``, ``0.02 more tax``, ``2.00``."""
    parts = [
        " ".join(filter(None, (_money(abs(by)), if_less if by > 0 else if_more, what)))
        for by, what in ((told.total_by, ""), (told.tax_by, "tax"))
        if by
    ]
    return " and ".join(parts)


def _money(amount: Decimal) -> str:
    return f"{to_cents(amount):,}"


def _exact(amount: Decimal) -> str:
    """Money with the parts of a cent that the vendor keeps, at most four decimals."""
    kept = amount.quantize(FINEST).normalize()
    return _money(kept) if kept == to_cents(kept) else f"{kept:,f}"


def _plain(number: Decimal) -> str:
    return format(number.normalize() + Decimal(0), "f")
