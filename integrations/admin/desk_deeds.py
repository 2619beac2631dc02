"""The buttons of a held record's page: each does one thing, and says in a sentence what became of it. They raise
`desk.Refused` with a sentence for the person."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.db.models import QuerySet
from django.http import QueryDict

from integrations.connectors import CONNECTORS
from integrations.messages import message
from integrations.models import Delivery
from integrations.services import desk, handling
from integrations.services.changes import By
from integrations.services.trail import Seen
from integrations.words import flow_name
from tenants.walls import app_now

IGNORE_DAYS = ((7, "a week"), (30, "a month"), (90, "three months"), (365, "a year"))
STAYING = frozenset({"comment", "assign"})
"""What leaves the record where it is."""
SOMEBODY_WAS_FASTER = "Nothing waits here any more: somebody was faster, or the record changed."


@dataclass(frozen=True, slots=True)
class Deed:
    """One press of a button: by whom, with which form. ``seen`` is the record at its source, where it was asked."""

    row: Delivery
    form: QueryDict
    by: By
    seen: Seen | None = None

    @property
    def only(self) -> QuerySet[Delivery]:
        alone: QuerySet[Delivery] = Delivery.objects.filter(pk=self.row.pk)
        return alone

    def given(self, name: str) -> str:
        return str(self.form.get(name, ""))


def do(deed: Deed) -> str:
    """Raises desk.Refused."""
    deed_of = _DEEDS.get(deed.given("do"))
    if deed_of is None:
        raise desk.Refused("Choose what to do.")
    return deed_of(deed)


def until(days: str, zone: str = "UTC") -> datetime:
    """The end of the day that was chosen, counted in the clinic's zone. Raises desk.Refused."""
    if days not in {str(number) for number, _ in IGNORE_DAYS}:
        raise desk.Refused("Choose for how long.")
    day = (app_now().astimezone(ZoneInfo(zone)) + timedelta(days=int(days))).date()
    return datetime.combine(day, time(23, 59), tzinfo=ZoneInfo(zone))


def records_said(count: int, what: str) -> str:
    return f"1 record is {what}" if count == 1 else f"{count:,} records are {what}"


def _retry(deed: Deed) -> str:
    if not desk.retry(deed.only):
        raise desk.Refused(SOMEBODY_WAS_FASTER)
    return f"{deed.row.source_key} is tried again."


def _map(deed: Deed) -> str:
    count = handling.fill_gap(deed.row, becomes=deed.given("becomes"), by=deed.by)
    return f"The line is in the value map, and {records_said(count, 'tried again')}."


def _fill(deed: Deed) -> str:
    if deed.seen is None or deed.seen.values is None:
        raise desk.Refused(_why_not_seen(deed))
    handling.give_value(deed.row, typed=deed.given("value"), source=deed.seen.values, by=deed.by)
    return f"{deed.row.source_key} goes out with the value you gave."


def _why_not_seen(deed: Deed) -> str:
    source = CONNECTORS[deed.row.flow.source.vendor].label
    if deed.seen is None:
        return SOMEBODY_WAS_FASTER
    if deed.seen.code:
        return f"{source} could not be asked just now, so nothing was kept. {message(deed.seen.code).sentence}"
    return f"{source} no longer has this record."


def _take_back(deed: Deed) -> str:
    handling.take_back(deed.row)
    desk.retry(deed.only, anew=True)
    return f"{deed.row.source_key} is read again as its source has it."


def _choose(deed: Deed) -> str:
    key = deed.given("key")
    desk.choose_candidate(deed.row, target_key=key)
    return f"{deed.row.source_key} goes to {key}, and they are linked from then on."


def _without(deed: Deed) -> str:
    desk.create_without(deed.row, fields=desk.may_leave_out(deed.row))
    return f"{deed.row.source_key} is sent without it."


def _ignore(deed: Deed) -> str:
    end = until(deed.given("days"), deed.row.tenant.time_zone)
    desk.ignore(deed.only, reason=deed.given("reason"), until=end)
    return f"{deed.row.source_key} is off the desk until then, or until it changes."


def _unignore(deed: Deed) -> str:
    desk.stop_ignoring(deed.only)
    return f"{deed.row.source_key} is back on the desk."


def _approve(deed: Deed) -> str:
    count = desk.approve_mass_change(deed.row.flow)
    return f"{count:,} records of {flow_name(deed.row.flow)} go through."


def _comment(deed: Deed) -> str:
    handling.comment(deed.row, text=deed.given("text"), by=deed.by)
    return "Your comment is kept with the record."


def _assign(deed: Deed) -> str:
    to = deed.given("to")
    handling.assign(deed.row, to=to)
    return f"{deed.row.source_key} is given to {to or 'nobody'}."


_DEEDS: Mapping[str, Callable[[Deed], str]] = {
    "map": _map,
    "fill": _fill,
    "take_back": _take_back,
    "choose": _choose,
    "without": _without,
    "ignore": _ignore,
    "unignore": _unignore,
    "approve": _approve,
    "retry": _retry,
    "comment": _comment,
    "assign": _assign,
}
