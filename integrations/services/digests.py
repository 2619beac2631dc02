"""The weekly digest (K39): what waits at a clinic, by who can fix it and how long, told by mail and signed off by a person.

Counts and links only: no record is named. Each kind of trouble is one line, whatever it was made of.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db.models import Count
from django.urls import reverse
from django.utils.http import urlencode

from integrations.messages import Owner, message
from integrations.models import Digest
from integrations.services import desk
from integrations.services.desk_choice import AGES, Chosen
from integrations.services.mails import Letter, send_claimed, written
from integrations.services.schedule import next_due
from tenants.models import Role, Tenant
from tenants.people import addresses
from tenants.services import record_audit
from tenants.walls import app_now, tenant_tx

MONDAYS = "0 8 * * 1"
KINDS_MAX = 10
MAIL_WITHIN = timedelta(days=3)
"""A mail server that is down for longer makes it old news."""
LANE_WORDS = {
    Owner.CLINIC.value: "You can fix",
    Owner.AGENCY.value: "Your agency looks after",
    Owner.VENDOR.value: "Waits for another system",
    Owner.SYSTEM.value: "Waits for Suture's engineers",
}
AGE_WORDS = {
    "day": "since less than a day",
    "week": "up to a week",
    "month": "up to a month",
    "old": "longer than a month",
}


def next_digest_at(clinic: Tenant, after: datetime) -> datetime:
    """Monday morning, in the clinic's zone."""
    due: datetime = next_due(MONDAYS, zone=clinic.time_zone, after=after, name=f"digest of {clinic.pk}")
    return due


def waiting_now(now: datetime) -> dict[str, Any]:
    """What waits on the desk, as counts: ``lanes`` by owner and age, ``kinds`` by code. Inside the clinic's scope."""
    lanes: dict[str, dict[str, int]] = {}
    kinds: Counter[str] = Counter()
    for age in AGES:
        rows = Chosen(age=age).narrow(desk.on_desk(now), now).order_by().values_list("code")
        for code, count in rows.annotate(n=Count("pk")):
            lane = lanes.setdefault(message(code).owner.value, {})
            lane[age] = lane.get(age, 0) + count
            kinds[code] += count
    return {"lanes": lanes, "kinds": kinds}


def kinds_of(waiting: Mapping[str, Any]) -> list[tuple[str, int]]:
    """The codes of what waited with their counts, the most frequent first: as kept, they are in no order."""
    return sorted(waiting.get("kinds", {}).items(), key=lambda kind: (-kind[1], kind[0]))


def total(waiting: Mapping[str, Any]) -> int:
    return sum(waiting.get("kinds", {}).values())


def make(now: datetime) -> Digest:
    """Inside the clinic's scope."""
    made: Digest = Digest.objects.create(made_at=now, waiting=waiting_now(now))
    return made


def send(tenant_id: int) -> int:
    """Mails what was made and not mailed yet; returns how many mails went out. Outside of any scope."""
    with tenant_tx(tenant_id, reason="digest"):
        fresh = Digest.objects.filter(mailed_at=None, made_at__gt=app_now() - MAIL_WITHIN)
        due = list(fresh.select_related("tenant").order_by("made_at"))
    return send_claimed([_letter(digest) for digest in due])


def _letter(digest: Digest) -> Letter:
    people = addresses(digest.tenant, Role.CLINIC_MANAGER)
    mails = [written(_subject(digest), _lines(digest), people)] if people else []
    return Letter(mails, partial(_claim, digest))


def _claim(digest: Digest) -> bool:
    with tenant_tx(digest.tenant_id, reason="digest"):
        return bool(Digest.objects.filter(pk=digest.pk, mailed_at=None).update(mailed_at=app_now()))


def _subject(digest: Digest) -> str:
    count = total(digest.waiting)
    said = "nothing waits" if not count else "1 record waits" if count == 1 else f"{count:,} records wait"
    return f"{digest.tenant}: {said} this week"


def _lines(digest: Digest) -> list[str]:
    page = f"{settings.SUTURE_BASE_URL}{reverse('clinic:integrations_digest_change', args=[digest.pk])}"
    if not total(digest.waiting):
        return ["Every record went through.", "", "Please sign off that you have seen this:", page]
    lanes = digest.waiting["lanes"]
    lines = [lane_said(owner, lanes[owner]) for owner in LANE_WORDS if owner in lanes]
    kinds = kinds_of(digest.waiting)
    lines += ["", "What waits:"]
    lines += [f"{count:,} x {message(code).sentence} {desk_page(code)}" for code, count in kinds[:KINDS_MAX]]
    if len(kinds) > KINDS_MAX:
        lines += [f"and {len(kinds) - KINDS_MAX} more kinds: {desk_page()}"]
    return [*lines, "", "Please look at them, then sign off that you have seen this:", page]


def lane_said(owner: str, ages: Mapping[str, int]) -> str:
    """``You can fix 12: 8 since less than a day, 4 longer than a month``."""
    parts = ", ".join(f"{ages[age]:,} {words}" for age, words in AGE_WORDS.items() if ages.get(age))
    return f"{LANE_WORDS[owner]} {sum(ages.values()):,}: {parts}"


def desk_page(code: str = "") -> str:
    asked = f"?{urlencode({'code': code})}" if code else ""
    return f"{settings.SUTURE_BASE_URL}{reverse('clinic:integrations_delivery_changelist')}{asked}"


def sign_off(digest: Digest, *, by: str) -> None:
    """Keeps who has seen it, when, and what waited then. Raises desk.Refused where somebody has signed already. In the
    scope of who signs, narrowed to the clinic."""
    now = app_now()
    waiting = waiting_now(now)
    unsigned = Digest.objects.filter(pk=digest.pk, signed_at=None)
    if not unsigned.update(signed_at=now, signed_by=by, signed_waiting=waiting):
        raise desk.Refused("Somebody has signed it off already.")
    record_audit(
        "digest.signed",
        target=f"digest {digest.pk}",
        diff={"waiting": total(waiting)},
        tenant_id=digest.tenant_id,
    )
