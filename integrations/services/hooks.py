"""The agency's webhook: alerts as Slack-compatible JSON, to one https address outside, each at most once.

A message is claimed before it is sent. One that was refused in so many words is tried again a few times; one that may
have arrived is not, since it is read by people.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.conf import settings

from integrations.models import AlertHook, HookPost, PostState
from integrations.services.connections import assert_idle, backoff_s
from integrations.toolkit.addresses import Resolve, https_origin, is_public, resolve_by_system, resolve_within
from integrations.toolkit.bodies import Broken
from integrations.toolkit.wire import Bounds, Wire
from integrations.vault import Unsealable, seal_for_agency, unseal_for_agency
from tenants.walls import agency_tx, app_now, system_tx

logger = logging.getLogger(__name__)

BOUNDS = Bounds(connect_s=5, read_s=10, total_s=10, wire_bytes=64 * 1024, decoded_bytes=64 * 1024)
TRIES_MAX = 5
AT_ONCE = 20
LEASE = timedelta(seconds=60)
PLACE = "alert hook"
LONGEST = 2000
FINAL = frozenset({"webhook.refused", "http.not_public"})  # trying again changes nothing

Opener = Callable[[str], Wire]


class BadAddress(ValueError):
    """The address cannot be used; the message is a sentence for the person and does not repeat it."""


@dataclass(frozen=True, slots=True)
class Address:
    origin: str
    target: str

    @property
    def host(self) -> str:
        return self.origin.partition("://")[2]


def open_wire(origin: str) -> Wire:
    """The one way out: public addresses only, judged as they are called; no redirects, no proxies."""
    return Wire(origin, bounds=BOUNDS)


def parsed(url: str) -> Address:
    """Raises BadAddress for anything but a public https address without user, port or fragment."""
    given = url.strip()
    if not (given.isascii() and given.isprintable()) or " " in given or "\\" in given or len(given) > LONGEST:
        raise BadAddress("The address has characters that an address cannot hold.")
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError:
        raise BadAddress("This is not an address.") from None
    if parts.scheme != "https":
        raise BadAddress("The address must begin with https://.")
    if parts.username is not None or port not in (None, 443) or parts.fragment:
        raise BadAddress("The address may hold neither a user, nor a port, nor a #.")
    try:
        origin = https_origin(parts.hostname or "")
    except ValueError as refusal:
        raise BadAddress(str(refusal)) from None
    target = parts.path or "/"
    return Address(origin, f"{target}?{parts.query}" if parts.query else target)


def check_public(address: Address, *, resolve: Resolve = resolve_by_system) -> None:
    """Raises BadAddress where the name leads nowhere, or inside. Asks the resolver: not inside a transaction."""
    try:
        found = resolve_within(resolve, address.host, 443, BOUNDS.connect_s)
    except OSError:
        raise BadAddress("No such host can be found.") from None
    if not all(map(is_public, found)):
        raise BadAddress("The host leads into a private network.")


def set_address(agency_id: int, url: str) -> AlertHook:
    """Keeps the address, sealed. Inside the agency's scope."""
    address = parsed(url)
    sealed = seal_for_agency(agency_id, url.strip().encode(), bound_to=PLACE)
    hook, _ = AlertHook.objects.update_or_create(
        agency_id=agency_id, defaults={"sealed_url": sealed, "host": address.host, "set_at": app_now()}
    )
    return hook


def address_of(hook: AlertHook) -> str:
    """Raises Unsealable. Never show, log or keep it."""
    return unseal_for_agency(hook.agency_id, hook.sealed_url, bound_to=PLACE).decode()


def remove_address(agency_id: int) -> None:
    """What still waits is not sent."""
    AlertHook.objects.filter(agency_id=agency_id).delete()
    HookPost.objects.filter(agency_id=agency_id, state=PostState.WAITING).delete()


def enqueue(agency_id: int, text: str, now: datetime) -> None:
    """A message for the webhook, if the agency has one; in the transaction that claims what it tells."""
    if AlertHook.objects.filter(agency_id=agency_id).exists():
        line = " ".join(text.split())
        HookPost.objects.create(agency_id=agency_id, text=line[:LONGEST], made_at=now, not_before=now)


def _slack(text: str) -> str:
    """Three characters are Slack's own: in a clinic's name they could mention everybody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def send_due(*, seconds: float = 30, opener: Opener = open_wire) -> int:
    """Sends what is due, beginning none after so many seconds; returns how many messages were taken."""
    ends = time.monotonic() + seconds
    with system_tx("webhook"):
        lost = HookPost.objects.filter(state=PostState.SENDING, not_before__lt=app_now())
        lost.update(state=PostState.UNCLEAR, code="webhook.unclear")
        due = HookPost.objects.filter(state=PostState.WAITING, not_before__lte=app_now())
        posts = list(due.order_by("made_at", "pk")[:AT_ONCE])
    return sum(_send(post, opener) for post in posts if time.monotonic() < ends)


def _send(post: HookPost, opener: Opener) -> bool:
    with system_tx("webhook"):
        row = HookPost.objects.filter(pk=post.pk, state=PostState.WAITING)
        if not row.update(state=PostState.SENDING, tries=post.tries + 1, not_before=app_now() + LEASE):
            return False
    code = deliver(post.agency_id, post.text, opener=opener)
    with system_tx("webhook"):
        HookPost.objects.filter(pk=post.pk, state=PostState.SENDING).update(**_outcome(code, post.tries + 1))
    return not code


def _outcome(code: str, tries: int) -> dict[str, object]:
    if not code:
        return {"state": PostState.SENT, "code": ""}
    if code == "webhook.unclear":
        return {"state": PostState.UNCLEAR, "code": code}
    if code in FINAL or tries >= TRIES_MAX:
        return {"state": PostState.FAILED, "code": code}
    retry_at = app_now() + timedelta(seconds=backoff_s(tries))
    return {"state": PostState.WAITING, "code": code, "not_before": retry_at}


def deliver(agency_id: int, text: str, *, opener: Opener = open_wire) -> str:
    """Sends one message now; returns the code of what went wrong, "" for nothing. Outside of any transaction."""
    with agency_tx((), actor="", reason="webhook"):
        hook = AlertHook.objects.filter(agency_id=agency_id).first()
    if hook is None:
        return "webhook.refused"
    try:
        address = parsed(address_of(hook))
    except (Unsealable, BadAddress):
        return "webhook.refused"
    assert_idle()
    wire = opener(address.origin)
    try:
        return _judge(wire, address, json.dumps({"text": _slack(text)}).encode())
    finally:
        wire.close()


def _judge(wire: Wire, address: Address, body: bytes) -> str:
    headers = {
        "Host": address.host,
        "User-Agent": "Suture",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    try:
        status = wire.exchange("POST", address.target, headers, body).status
    except Broken as broken:
        logger.warning("alerts: the webhook did not take a message (%s)", broken.code)
        return "webhook.unclear" if broken.sent else broken.code
    if 200 <= status < 300:
        return ""
    return "webhook.busy" if status == 429 or status >= 500 else "webhook.refused"


def remove_aged(now: datetime) -> int:
    """Inside `system_tx`."""
    edge = now - timedelta(days=settings.SUTURE_KEEP_LOG_DAYS)
    removed: int = HookPost.objects.filter(made_at__lt=edge).exclude(state=PostState.WAITING).delete()[0]
    return removed
