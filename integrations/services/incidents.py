"""Incidents: the same fault of many clinics' connections, or the same trouble of their records, folded into one, of which
the agency hears once.

An alert waits for a short window, so that the first mail can say how many clinics it is about. What is one clinic's alone
is left to its own alert. Everything here is seen as app_system: ids, codes, times and names, nothing that is sealed. A
mail is claimed before it is sent, as with alerts.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import connection as database
from django.db.models import Exists, OuterRef
from django.db.models.functions import Coalesce
from django.urls import reverse

from integrations.flows import FLOW_KINDS
from integrations.messages import Fix, Owner, message
from integrations.models import Alert, Call, Incident, Telling
from integrations.services import hooks
from integrations.services.alerts import flow_label
from integrations.services.mails import Letter, instant, send_claimed, vendor_name, written
from tenants.people import Reader, readers
from tenants.walls import app_now, system_tx

GROWS = 10  # told anew when this many times as many clinics are concerned
NAMED_MAX = 10  # clinics that a message names


def fingerprint_of(vendor: str, code: str, call: str) -> str:
    """What folds. A vendor that is away shows in many codes and in every kind of call; what people must mend, in one."""
    return f"{vendor}:outage" if _is_outage(code) else f"{vendor}:{code}:{call}"


def fingerprint_of_records(kind: str, code: str, field: str) -> str:
    """What folds of records: the same code, about the same field, in the same kind of flow."""
    return f"{kind}:{code}:{field}"


def _is_outage(code: str) -> bool:
    return message(code).fix is Fix.WAIT


def _is_clinics(code: str) -> bool:
    """Whether each clinic's managers mend it themselves."""
    return message(code).owner is Owner.CLINIC


def tell(*, hurry: Collection[int] = ()) -> int:
    """Folds what is new, tells what is due, ends what is over; returns how many mails went to the agency.

    The clinics in ``hurry`` wait for no window: whatever there was to try has been tried.
    """
    with system_tx("incidents"):
        _one_at_a_time()
        now = app_now()
        fold(now)
        leave_to_clinics(now, hurry)
        due = _due(now, hurry)
    return send_claimed([_letter(news) for news in due])


def _one_at_a_time() -> None:
    """Until the end of the transaction: a second worker would fold the same alerts."""
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('suture incidents'))")


def remove_aged(now: datetime) -> int:
    """Incidents that ended long ago and whose alerts are gone. Inside `system_tx`."""
    edge = now - timedelta(days=settings.SUTURE_KEEP_RUN_DAYS)
    left = Alert.objects.filter(incident_id=OuterRef("pk"))
    removed: int = Incident.objects.filter(~Exists(left), ended_at__lt=edge).delete()[0]
    return removed


# Folding


_JOIN = """
INSERT INTO integrations_incident
    (agency_id, vendor, kind, fingerprint, code, call, joins, opened_at, last_joined_at, told_clinics)
VALUES (%s, %s, %s, %s, %s, %s, true, %s, %s, 0)
ON CONFLICT (agency_id, fingerprint) WHERE joins DO UPDATE
SET last_joined_at = greatest(integrations_incident.last_joined_at, excluded.last_joined_at)
RETURNING id, told_clinics
"""

_END = """
UPDATE integrations_incident i SET joins = false,
    -- of connections that were removed there is nothing more to tell
    end_told_at = CASE WHEN NOT EXISTS (SELECT FROM integrations_alert a WHERE a.incident_id = i.id)
                       THEN coalesce(i.end_told_at, %(now)s) ELSE i.end_told_at END,
    ended_at = (SELECT coalesce(max(a.ended_at), %(now)s) FROM integrations_alert a WHERE a.incident_id = i.id)
WHERE i.ended_at IS NULL
  AND NOT EXISTS (SELECT FROM integrations_alert a WHERE a.incident_id = i.id AND a.ended_at IS NULL)
"""


_Group = tuple[int, str, str, str]  # agency, vendor, kind of flow, fingerprint


def fold(now: datetime) -> None:
    """Takes new alerts into their incidents, and ends incidents of which nothing is left. Inside `system_tx`."""
    new = Alert.objects.filter(telling=Telling.UNDECIDED, incident=None, ended_at=None)
    columns = ("pk", "tenant__agency_id", "connection__vendor", "flow__kind", "code", "field", "call", "opened_at")
    groups: defaultdict[_Group, list[tuple[int, str, str, datetime]]] = defaultdict(list)
    for pk, agency_id, vendor, kind, code, field, call, opened_at in new.order_by("opened_at", "pk").values_list(
        *columns
    ):
        mark = fingerprint_of_records(kind, code, field) if kind else fingerprint_of(vendor, code, call)
        source = FLOW_KINDS[kind].source_vendor if kind in FLOW_KINDS else vendor or ""
        groups[agency_id, source, kind or "", mark].append((pk, code, call, opened_at))
    for (agency_id, vendor, kind, mark), members in sorted(groups.items()):
        _, code, call, opened_at = members[0]
        with database.cursor() as cursor:
            cursor.execute(_JOIN, [agency_id, vendor, kind, mark, code, call, opened_at, members[-1][3]])
            incident_id, told_clinics = cursor.fetchone()
        joining = Alert.objects.filter(pk__in=[member[0] for member in members], incident=None)
        if told_clinics > 1:
            joining.update(incident_id=incident_id, telling=Telling.INCIDENT, told_at=now)
        elif told_clinics == 1:
            joining.update(incident_id=incident_id, telling=Telling.INCIDENT)
        else:
            joining.update(incident_id=incident_id)
    with database.cursor() as cursor:
        cursor.execute(_END, {"now": now})


def leave_to_clinics(now: datetime, hurry: Collection[int] = ()) -> None:
    """What is one clinic's alone is told by its own alert. Inside `system_tx`."""
    for incident in Incident.objects.filter(told_at=None, ended_at=None):
        stand = _stand(incident)
        if len(stand.open_clinics) == 1 and _waited(stand, now, hurry):
            _leave(stand, now)
    for incident in Incident.objects.filter(told_clinics=1, ended_at__isnull=False, end_told_at=None):
        is_news = bool(Incident.objects.filter(pk=incident.pk, end_told_at=None).update(end_told_at=now))
        if is_news and not incident.kind:
            hooks.enqueue(incident.agency_id, f"{_stand(incident).subject} works again.", now)


def _leave(stand: "Stand", now: datetime) -> None:
    incident = stand.incident
    changes = {"told_at": now, "told_clinics": 1, "joins": _goes_on(incident)}
    if Incident.objects.filter(pk=incident.pk, told_at=None, ended_at=None).update(**changes):
        incident.alerts.filter(telling=Telling.UNDECIDED, ended_at=None).update(telling=Telling.OWN)
        hooks.enqueue(
            incident.agency_id,
            f"{_stopped_alone(stand)} {message(incident.code).sentence} {_page(incident)}",
            now,
        )


# What is known of one


@dataclass(frozen=True, slots=True)
class Member:
    """One alert of an incident; ``place`` is the connection it is about, or the flow."""

    clinic_id: int
    clinic: str
    place: str
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Stand:
    """An incident and its alerts, those of one person's clinics or all."""

    incident: Incident
    members: Sequence[Member]

    @property
    def clinics(self) -> dict[int, str]:
        """Every clinic that was ever part of it."""
        return {one.clinic_id: one.clinic for one in sorted(self.members, key=lambda one: one.clinic)}

    @property
    def open_clinics(self) -> dict[int, str]:
        """Those where it goes on."""
        ordered = sorted(self.members, key=lambda one: one.clinic)
        return {one.clinic_id: one.clinic for one in ordered if one.ended_at is None}

    @property
    def subject(self) -> str:
        """What it is about, for a message that names: the one connection or flow, or the system."""
        about = FLOW_KINDS[self.incident.kind].label if self.incident.kind else vendor_name(self.incident.vendor)
        if len(self.clinics) != 1:
            return f"{about} ({count_of(len(self.clinics))})"
        one = self.members[0]
        return f"{one.clinic}: {one.place}" + ("" if one.place == about else f" ({about})")

    def only(self, clinics: Collection[int]) -> "Stand":
        """As seen by somebody who reaches these clinics."""
        return Stand(self.incident, [one for one in self.members if one.clinic_id in clinics])


def _stand(incident: Incident) -> Stand:
    columns = ("tenant_id", "tenant__name", "connection__label", "connection__name", "flow__name", "ended_at")
    rows = Alert.objects.filter(incident_id=incident.pk).order_by("pk").values_list(*columns)
    return Stand(
        incident,
        [
            Member(clinic_id, clinic, flow_label(flow, incident.kind) if flow else label or name, ended_at)
            for clinic_id, clinic, label, name, flow, ended_at in rows
        ],
    )


def _goes_on(incident: Incident) -> bool:
    """Whether later alerts join it until it is over: another clinic's refused key is news, one more outage is not, nor
    are more records with the same trouble."""
    return _is_outage(incident.code) or bool(incident.kind)


def count_of(clinics: int) -> str:
    return "1 clinic" if clinics == 1 else f"{clinics:,} clinics"


def _waited(stand: Stand, now: datetime, hurry: Collection[int]) -> bool:
    window = timedelta(seconds=settings.SUTURE_INCIDENT_WINDOW_S)
    return stand.incident.opened_at + window <= now or not stand.clinics.keys().isdisjoint(hurry)


# Telling


@dataclass(frozen=True, slots=True)
class News:
    """What the agency should hear of an incident, and the claim of it, which is made inside `system_tx`."""

    stand: Stand
    claim: Callable[[datetime], bool]
    subject: Callable[[Stand], str]
    lines: Callable[[Stand], list[str]]


def _due(now: datetime, hurry: Collection[int]) -> list[News]:
    found = []
    for incident in Incident.objects.filter(end_told_at=None).exclude(told_at=None, ended_at__isnull=False):
        news = _news(_stand(incident), now, hurry)
        if news is not None:
            found.append(news)
    return found


def _news(stand: Stand, now: datetime, hurry: Collection[int]) -> News | None:
    incident, concerned = stand.incident, len(stand.open_clinics)
    if incident.told_at is None:
        if concerned > 1 and _waited(stand, now, hurry):
            return News(stand, partial(_claim_beginning, stand), _stopped, _beginning)
        return None
    if incident.ended_at is not None:
        return News(stand, partial(_claim_end, stand), _works_again, _end) if incident.told_clinics > 1 else None
    if concerned >= GROWS * incident.told_clinics:
        return News(stand, partial(_claim_beginning, stand), _stopped, _beginning)
    if incident.told_clinics > 1 and not incident.kind and _is_left_over(stand, now):
        return News(stand, partial(_claim_end, stand), _works_nearly, _left)
    return None


def _is_left_over(stand: Stand, now: datetime) -> bool:
    """Nearly all of them work again, and the rest had its time to follow."""
    recovered = [one.ended_at for one in stand.members if one.ended_at is not None]
    settled = bool(recovered) and max(recovered) + timedelta(seconds=settings.SUTURE_BACKOFF_CAP_S) <= now
    return settled and len(stand.open_clinics) * GROWS <= len(stand.clinics)


def _claim_beginning(stand: Stand, now: datetime) -> bool:
    """That it is told, also as told of each alert: by the incident, but for what clinics mend themselves."""
    incident, code = stand.incident, stand.incident.code
    row = Incident.objects.filter(pk=incident.pk, told_clinics=incident.told_clinics, ended_at=None)
    told_at = now if incident.told_at is None else incident.told_at
    if not row.update(told_at=told_at, told_clinics=len(stand.open_clinics), joins=_goes_on(incident)):
        return False
    members = incident.alerts.filter(ended_at=None)
    if _is_clinics(code) and not incident.kind:
        members.filter(telling=Telling.UNDECIDED).update(telling=Telling.MANAGERS)
    else:
        members.update(telling=Telling.INCIDENT, told_at=Coalesce("told_at", now))
    return True


def _claim_end(stand: Stand, now: datetime) -> bool:
    row = Incident.objects.filter(pk=stand.incident.pk, end_told_at=None, ended_at=stand.incident.ended_at)
    return bool(row.update(end_told_at=now, joins=False))


def _letter(news: News) -> Letter:
    """One mail to all who see the same clinics; who reaches none of them hears nothing."""
    groups: defaultdict[frozenset[int], list[Reader]] = defaultdict(list)
    for reader in readers(news.stand.incident.agency_id):
        groups[reader.reached(news.stand.clinics)].append(reader)
    mails = [_mail(news, news.stand.only(seen), people) for seen, people in groups.items() if seen]
    return Letter(mails, partial(_claim, news))


def _claim(news: News) -> bool:
    incident = news.stand.incident
    with system_tx("incidents"):
        now = app_now()
        if not news.claim(now):
            return False
        hooks.enqueue(incident.agency_id, " ".join([*news.lines(news.stand)[:3], _page(incident)]), now)
    return True


def _mail(news: News, seen: Stand, people: Iterable[Reader]) -> EmailMessage:
    lines = [*news.lines(seen), "", f"The incident's page: {_page(seen.incident)}"]
    return written(news.subject(seen), lines, [reader.address for reader in people])


def _page(incident: Incident) -> str:
    return f"{settings.SUTURE_BASE_URL}{reverse('agency:integrations_incident_change', args=[incident.pk])}"


# What is said. The first three lines are the webhook's as well.


def _stopped_alone(seen: Stand) -> str:
    if seen.incident.call == Call.SILENCE:
        return f"{seen.subject} is unusually quiet."
    return f"{seen.subject}: records wait." if seen.incident.kind else f"{seen.subject} has stopped."


def _stopped(seen: Stand) -> str:
    if seen.incident.kind:
        what = "is unusually quiet" if seen.incident.call == Call.SILENCE else "waits for people"
        return f"{FLOW_KINDS[seen.incident.kind].label}: {what} in {count_of(len(seen.open_clinics))}"
    return f"{vendor_name(seen.incident.vendor)} has stopped for {count_of(len(seen.open_clinics))}"


def _beginning(seen: Stand) -> list[str]:
    told, clinics = message(seen.incident.code), seen.open_clinics
    return [
        f"{_stopped(seen)}: {in_short(clinics.values())}.",
        told.sentence,
        told.advice,
        "",
        f"Since: {instant(seen.incident.opened_at, settings.TIME_ZONE)}",
        "Clinics that join later are on the incident's page. We write again when it is over, or ten times as large.",
    ]


def _works_again(seen: Stand) -> str:
    if seen.incident.kind:
        return f"{FLOW_KINDS[seen.incident.kind].label}: over everywhere"
    return f"{vendor_name(seen.incident.vendor)} works again everywhere"


def _end(seen: Stand) -> list[str]:
    ended_at = seen.incident.ended_at or app_now()
    return [
        f"{_works_again(seen)}: {count_of(len(seen.clinics))}.",
        "What had failed has worked again." if not seen.incident.kind else "What had waited is settled.",
        "What waited goes on by itself." if not seen.incident.kind else "There is nothing left to do.",
        "",
        f"It had stopped: {instant(seen.incident.opened_at, settings.TIME_ZONE)}",
        f"({message(seen.incident.code).sentence})",
        f"It works since: {instant(ended_at, settings.TIME_ZONE)}",
    ]


def _works_nearly(seen: Stand) -> str:
    working = len(seen.clinics) - len(seen.open_clinics)
    return f"{vendor_name(seen.incident.vendor)} works again for {working:,} of {count_of(len(seen.clinics))}"


def _left(seen: Stand) -> list[str]:
    left = f"Left: {in_short(seen.open_clinics.values())}." if seen.open_clinics else "None of your clinics is left."
    return [
        f"{_works_nearly(seen)}.",
        left,
        message(seen.incident.code).sentence,
        "",
        f"Since: {instant(seen.incident.opened_at, settings.TIME_ZONE)}",
    ]


def in_short(names: Iterable[str]) -> str:
    """The first names and how many more."""
    known = list(names)
    more = f" and {len(known) - NAMED_MAX:,} more" if len(known) > NAMED_MAX else ""
    return ", ".join(known[:NAMED_MAX]) + more
