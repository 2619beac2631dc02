"""The agency's webhook (issue 4, alerts; ASVS 13.2.4): a secret, public https only, each message at most once, failures shown."""

import json
import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import ProgrammingError
from django.test import override_settings

from integrations.models import AlertHook, HookPost, PostState
from integrations.services import hooks, incidents, key_rotation
from integrations.toolkit.wire import Wire
from integrations.vault import Unsealable, agency_key_id, seal_for_agency, unseal_for_agency
from tenants.models import AgencyAuditEntry
from tenants.walls import agency_tx, app_now, system_tx
from tests.conftest import House, MovedClock, sign_in
from tests.faults.wire_server import Wires, wires
from tests.shell.test_connections_admin import fresh as proved
from tests.shell.test_incidents import REFUSED, WINDOW, fail, open_clinics, recover, told

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

URL = "https://hooks.chat.example/services/T1/B2/zqsecretzq?team=1"
PAGE = "/agency/integrations/incident/webhook/"
ANSWER = {
    200: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    302: b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    404: b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    429: b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
    503: b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n",
}


class Chat:
    """The chat's side: ``statuses`` are its next answers, the last one for good; 0 hangs up without one."""

    def __init__(self) -> None:
        self.statuses = [200]
        self.server: Wires

    def script(self, peer: socket.socket, _: bytes) -> None:
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status:
            peer.sendall(ANSWER[status])
        else:
            peer.close()

    def opener(self, origin: str) -> Wire:
        assert origin == "https://hooks.chat.example"
        return Wire(self.server.origin, bounds=hooks.BOUNDS, allow_private=True)

    def send(self) -> int:
        return hooks.send_due(opener=self.opener)

    @property
    def texts(self) -> list[str]:
        return [json.loads(request.partition(b"\r\n\r\n")[2])["text"] for request in self.server.requests]


@pytest.fixture
def chat() -> Iterator[Chat]:
    found = Chat()
    with wires(found.script) as found.server:
        yield found


@pytest.fixture
def hook(house: House) -> AlertHook:
    with agency_tx((), actor="ana", reason="test"):
        return hooks.set_address(house.agency.pk, URL)


def enqueue(house: House, text: str) -> None:
    with system_tx("test"):
        hooks.enqueue(house.agency.pk, text, app_now())


def posts() -> list[HookPost]:
    with system_tx("test"):
        return list(HookPost.objects.order_by("pk"))


# What is sent


def test_an_incident_is_written_once_and_once_more_when_it_is_over(
    house: House, hook: AlertHook, chat: Chat, clock: MovedClock
) -> None:
    shops = open_clinics(house, 12)
    fail(*shops)
    clock.forward(WINDOW)
    told()
    assert (chat.send(), chat.send()) == (1, 0)
    (text,) = chat.texts
    assert text.startswith("Shopify has stopped for 12 clinics: Clinic 1, ")
    assert f"{settings.SUTURE_BASE_URL}/agency/integrations/incident/" in text
    recover(*shops)
    told()
    chat.send()
    assert chat.texts[1:] and "works again everywhere: 12 clinics." in chat.texts[1]
    request = chat.server.requests[0].decode()
    assert request.startswith("POST /services/T1/B2/zqsecretzq?team=1 HTTP/1.1\r\n")
    assert "Host: hooks.chat.example\r\n" in request and "Content-Type: application/json\r\n" in request


def test_one_clinics_own_alert_names_its_connection(
    house: House, hook: AlertHook, chat: Chat, clock: MovedClock
) -> None:
    (shop,) = open_clinics(house, 1)
    fail(shop, error=REFUSED)
    clock.forward(WINDOW)
    told()
    recover(shop)
    told()
    chat.send()
    first, last = chat.texts
    assert first.startswith("Clinic 1: Shop (Shopify) has stopped. The shop does not accept the access token")
    assert last == "Clinic 1: Shop (Shopify) works again."


def test_a_name_mentions_nobody(house: House, hook: AlertHook, chat: Chat) -> None:
    enqueue(house, "<!channel> Rock & Roll\nPhysio")
    chat.send()
    assert chat.texts == ["&lt;!channel&gt; Rock &amp; Roll Physio"]


def test_without_an_address_nothing_is_kept(house: House) -> None:
    enqueue(house, "Nobody reads this.")
    assert posts() == []


# What goes wrong


@pytest.mark.parametrize("status", [429, 503])
def test_what_was_refused_for_now_is_tried_again(
    house: House, hook: AlertHook, chat: Chat, clock: MovedClock, status: int
) -> None:
    chat.statuses = [status, 200]
    enqueue(house, "Once.")
    assert chat.send() == 0
    assert (posts()[0].state, posts()[0].code) == (PostState.WAITING, "webhook.busy")
    assert chat.send() == 0 and len(chat.texts) == 1, "not before its pause"
    clock.forward(timedelta(hours=1))
    assert chat.send() == 1
    assert (posts()[0].state, posts()[0].tries, posts()[0].code) == (PostState.SENT, 2, "")


def test_it_is_tried_five_times_and_then_left(house: House, hook: AlertHook, chat: Chat, clock: MovedClock) -> None:
    chat.statuses = [503]
    enqueue(house, "Never.")
    for _ in range(8):
        chat.send()
        clock.forward(timedelta(hours=2))
    assert len(chat.texts) == hooks.TRIES_MAX == 5
    assert (posts()[0].state, posts()[0].code) == (PostState.FAILED, "webhook.busy")


def test_a_slow_channel_does_not_outlast_the_task(house: House, hook: AlertHook, chat: Chat) -> None:
    for number in range(3):
        enqueue(house, f"Message {number}.")
    assert hooks.send_due(seconds=0, opener=chat.opener) == 0
    assert [post.state for post in posts()] == [PostState.WAITING] * 3
    assert chat.send() == 3
    assert chat.texts == [f"Message {number}." for number in range(3)]


@pytest.mark.parametrize("status", [302, 404])
def test_a_refusal_and_a_redirect_are_final(
    house: House, hook: AlertHook, chat: Chat, clock: MovedClock, status: int
) -> None:
    chat.statuses = [status]
    enqueue(house, "Gone.")
    chat.send()
    clock.forward(timedelta(hours=2))
    chat.send()
    assert len(chat.texts) == 1
    assert (posts()[0].state, posts()[0].code) == (PostState.FAILED, "webhook.refused")


def test_a_lost_answer_is_not_sent_again(house: House, hook: AlertHook, chat: Chat, clock: MovedClock) -> None:
    chat.statuses = [0]
    enqueue(house, "Perhaps.")
    chat.send()
    clock.forward(timedelta(hours=2))
    chat.send()
    assert len(chat.texts) == 1
    assert (posts()[0].state, posts()[0].code) == (PostState.UNCLEAR, "webhook.unclear")


def test_a_worker_that_died_with_it_leaves_it_unclear(
    house: House, hook: AlertHook, chat: Chat, clock: MovedClock
) -> None:
    enqueue(house, "Perhaps.")

    def die(_: str) -> Wire:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hooks.send_due(opener=die)
    assert posts()[0].state == PostState.SENDING
    clock.forward(timedelta(minutes=2))
    assert chat.send() == 0 and chat.texts == []
    assert posts()[0].state == PostState.UNCLEAR


def test_a_host_that_turned_inward_is_not_called(house: House, hook: AlertHook, chat: Chat) -> None:
    """The address was public when it was kept."""
    enqueue(house, "Inside.")
    hooks.send_due(opener=lambda origin: Wire(origin, bounds=hooks.BOUNDS, resolve=lambda *_: ["169.254.169.254"]))
    assert (posts()[0].state, posts()[0].code) == (PostState.FAILED, "http.not_public")


def test_a_webhook_that_is_away_delays_no_mail(house: House, hook: AlertHook, chat: Chat, clock: MovedClock) -> None:
    fail(*open_clinics(house, 2))
    clock.forward(WINDOW)
    assert incidents.tell() == 1
    hooks.send_due(opener=lambda origin: Wire(origin, bounds=hooks.BOUNDS, resolve=nowhere))
    assert (posts()[0].state, posts()[0].code) == (PostState.WAITING, "http.dns")


def nowhere(host: str, port: int) -> Sequence[str]:
    raise OSError


# The address


def test_the_address_is_sealed_for_its_agency_and_not_for_the_pulse(house: House, hook: AlertHook) -> None:
    assert b"zqsecretzq" not in bytes(hook.sealed_url) and hook.host == "hooks.chat.example"
    assert unseal_for_agency(house.agency.pk, hook.sealed_url, bound_to=hooks.PLACE).decode() == URL
    for agency_id, place in ((house.agency.pk + 1, hooks.PLACE), (house.agency.pk, "elsewhere")):
        with pytest.raises(Unsealable):
            unseal_for_agency(agency_id, hook.sealed_url, bound_to=place)
    for sealed in (b"", b"\x01", b"\x01nokey:" + b"0" * 40, bytes(hook.sealed_url)[:-1]):
        with pytest.raises(Unsealable):
            unseal_for_agency(house.agency.pk, sealed, bound_to=hooks.PLACE)
    with pytest.raises(ProgrammingError, match="permission denied"), system_tx("test"):
        list(AlertHook.objects.values_list("sealed_url"))


def test_a_new_key_of_the_ring_takes_the_address_over(house: House, hook: AlertHook) -> None:
    ring = ["new:" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=", *settings.SUTURE_KEY_RING]
    with override_settings(SUTURE_KEY_RING=ring):
        key_rotation.rotate()
        with agency_tx((), actor="ana", reason="test"):
            moved = AlertHook.objects.get()
        assert agency_key_id(moved.sealed_url) == "new"
    with override_settings(SUTURE_KEY_RING=ring[:1]):
        assert hooks.address_of(moved) == URL
    assert seal_for_agency(1, b"x", bound_to="y") != seal_for_agency(1, b"x", bound_to="y")


# The page


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What the system's resolver says."""

    def answer(address: str) -> None:
        entry: Any = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entry)

    return answer


def fresh(house: House) -> Any:
    """Ana, who proved who she is just now."""
    return proved(sign_in(house.ana))


def test_the_owner_keeps_tests_and_removes_an_address(house: House, resolves: Callable[[str], None]) -> None:
    ana = fresh(house)
    assert "Address of an incoming webhook" in ana.get(PAGE).content.decode()
    resolves("10.0.0.8")
    assert "private network" in ana.post(PAGE, {"do": "save", "url": URL}).content.decode()
    assert "must begin with https" in ana.post(PAGE, {"do": "save", "url": "http://x.example/"}).content.decode()
    resolves("93.184.216.34")
    assert ana.post(PAGE, {"do": "save", "url": URL}).status_code == 302
    page = ana.get(PAGE).content.decode()
    assert "hooks.chat.example" in page and "zqsecretzq" not in page and "Send a test" in page
    resolves("10.0.0.8")  # and so the test is refused before anything is sent
    assert "private network" in ana.post(PAGE, {"do": "test"}).content.decode()
    assert ana.post(PAGE, {"do": "remove"}).status_code == 302
    with agency_tx((), actor="ana", reason="test"):
        assert not AlertHook.objects.exists()
        done = [(one.action, one.actor, one.diff) for one in AgencyAuditEntry.objects.filter(action__contains="hook")]
    who = house.ana.username
    assert done == [("alert_hook.set", who, {}), ("alert_hook.removed", who, {})]


def test_who_did_not_prove_it_lately_is_asked_to(house: House) -> None:
    response = sign_in(house.ana).post(PAGE, {"do": "remove"})
    assert response.status_code == 302 and "reauthenticate" in response["Location"]


def test_staff_see_whether_it_works_and_not_the_page(house: House, hook: AlertHook, chat: Chat) -> None:
    chat.statuses = [404]
    enqueue(house, "Ridge Podiatry: Shop has stopped.")
    chat.send()
    sam = sign_in(house.sam)
    assert sam.get(PAGE).status_code == sam.post(PAGE, {"do": "remove"}).status_code == 403
    listed = sam.get("/agency/integrations/incident/").content.decode()
    assert "hooks.chat.example" in listed and "Not sent" in listed and "Ridge" not in listed
    shown = fresh(house).get(PAGE).content.decode()
    assert "Ridge Podiatry: Shop has stopped." in shown and "Not sent" in shown and "refused a message" in shown
