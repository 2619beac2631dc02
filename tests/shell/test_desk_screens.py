"""The screens around the desk: who sees and may do what, in how many queries, with nothing personal kept (AS1-AS24)."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from integrations.models import Delivery, Flow, Link, Run, SyncLogEntry
from integrations.services import candidates, desk
from tenants.models import AuditEntry
from tenants.walls import app_now, tenant_tx
from tests.conftest import House, sign_in
from tests.desk_rows import KINDS_OF_TROUBLE, hold, hold_many, log_many, make_flow, make_link

pytestmark = pytest.mark.django_db


@pytest.fixture
def flow(house: House) -> Flow:
    return make_flow(house.harbour)


@pytest.fixture
def foreign(house: House) -> Flow:
    """Ridge's flow, whose rows must never appear."""
    flow = make_flow(house.ridge, name="ridge-flow")
    hold(flow, "RIDGE-1")
    make_link(flow, "RIDGE-2", "RIDGE-72")
    log_many(flow, 2)
    return flow


def body(response: Any) -> str:
    assert response.status_code == 200, response.status_code
    return str(response.content.decode())


LISTS = ("delivery", "run", "synclogentry", "link")


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("site", ["agency", "clinic"])
def test_a_list_costs_the_same_with_three_rows_and_thirty(house: House, flow: Flow, name: str, site: str) -> None:
    client = sign_in(house.ana if site == "agency" else house.olga)

    def fill(start: int, count: int) -> None:
        hold_many(flow, count, start=start)
        log_many(flow, count, start=start)
        for number in range(start, start + count):
            make_link(flow, f"s{number}", f"t{number}")
        with tenant_tx(flow.tenant_id):
            for _ in range(count):
                Run.objects.create(flow=flow, state="done", started_at=app_now())

    def asked() -> int:
        with CaptureQueriesContext(connection) as captured:
            body(client.get(f"/{site}/integrations/{name}/"))
        return len(captured)

    fill(1, 3)
    asked()  # sign-in's first request writes the session
    few = asked()
    fill(4, 27)
    assert asked() == few
    assert few <= 24


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("person", ["olga", "vik", "sam"])
def test_nothing_of_the_other_clinic_is_on_any_list(
    house: House, flow: Flow, foreign: Flow, name: str, person: str
) -> None:
    site = "agency" if person == "sam" else "clinic"
    client = sign_in(getattr(house, person))
    for query in ("", "?show=all", "?flow=ridge-flow", "?clinic=ridge-podiatry", "?q=RIDGE-1", "?q=RIDGE-2"):
        answer = client.get(f"/{site}/integrations/{name}/{query}")
        assert answer.status_code in {200, 400}  # a question this list does not answer
        text = re.sub(r'<input type="search"[^>]*>', "", answer.content.decode())
        assert "Ridge" not in text
        assert "RIDGE" not in text


def test_a_foreign_row_answers_like_an_absent_one(house: House, flow: Flow, foreign: Flow) -> None:
    with tenant_tx(house.ridge.pk):
        rows = {
            "delivery": Delivery.objects.get().pk,
            "link": Link.objects.get().pk,
            "run": Run.objects.get().pk,
            "synclogentry": SyncLogEntry.objects.first().pk,
        }
    client = sign_in(house.olga)
    for name, pk in rows.items():
        for method in (client.get, client.post):
            theirs = method(f"/clinic/integrations/{name}/{pk}/change/")
            absent = method(f"/clinic/integrations/{name}/999999999/change/")
            if theirs.status_code == 403:
                assert absent.status_code == 403
                continue
            assert (theirs.status_code, theirs.headers.get("Location")) == (
                absent.status_code,
                absent.headers.get("Location"),
            )


@pytest.mark.parametrize(
    "lookup", ["source_key__startswith=9", "flow__name=x", "tenant__name=x", "sealed_draft__isnull=0", "o=1", "e=1"]
)
def test_a_list_answers_its_own_questions_only(house: House, flow: Flow, lookup: str) -> None:
    hold_many(flow, 3)
    response = sign_in(house.olga).get(f"/clinic/integrations/delivery/?{lookup}", follow=False)
    assert response.status_code in {200, 302, 400}
    if response.status_code == 302:
        assert response.headers["Location"].endswith("?e=1")


def test_the_desk_says_what_happened_in_words_and_counts_the_kinds(house: House, flow: Flow) -> None:
    hold_many(flow, 16)
    text = body(sign_in(house.olga).get("/clinic/integrations/delivery/"))
    assert "The phone number cannot be used." in text
    assert "The clinic" in text
    assert "<title>Error desk" in text
    assert len(re.findall(r'class="su-kinds".*?</ul>', text, re.S)[0].split("<li>")) == len(KINDS_OF_TROUBLE) + 1


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", 8),
        ("?owner=system", 1),
        ("?owner=agency", 1),
        ("?code=match.several", 1),
        ("?age=day", 8),
        ("?age=week", 0),
        ("?flow=patients-to-customers", 8),
        ("?flow=other", 0),
        ("?q=9003", 1),
        ("?q=/patients/9003/", 1),
        ("?show=waiting", 0),
        ("?show=all", 8),
        ("?show=ignored", 0),
    ],
)
def test_the_desk_is_narrowed_by_what_people_ask(house: House, flow: Flow, query: str, expected: int) -> None:
    hold_many(flow, 8)
    response = sign_in(house.olga).get(f"/clinic/integrations/delivery/{query}")
    assert len(response.context["rows"]) == expected


def test_an_empty_desk_says_that_all_is_well(house: House, flow: Flow) -> None:
    text = body(sign_in(house.olga).get("/clinic/integrations/delivery/"))
    assert "Nobody is waited for" in text


def test_many_are_retried_only_after_a_page_that_counts_them(house: House, flow: Flow) -> None:
    hold_many(flow, 16)
    client = sign_in(house.olga)
    asked = {"action": "retry_chosen", "index": "0", "select_across": "1", "_selected_action": ["0"]}
    text = body(client.post("/clinic/integrations/delivery/?code=match.several", asked))
    assert "2 records" in text
    with tenant_tx(flow.tenant_id):
        assert Delivery.objects.filter(state="waiting").count() == 0
    done = client.post("/clinic/integrations/delivery/?code=match.several", {**asked, "confirmed": "1"})
    assert done.status_code == 302
    with tenant_tx(flow.tenant_id):
        assert set(Delivery.objects.filter(state="waiting").values_list("tries", flat=True)) == {0}
        assert Delivery.objects.filter(state="waiting").count() == 2


def test_only_the_ticked_ones_are_ignored_and_a_reason_is_asked_for(house: House, flow: Flow) -> None:
    first, _ = hold(flow, "1"), hold(flow, "2")
    client = sign_in(house.olga)
    asked = {
        "action": "ignore_chosen",
        "index": "0",
        "_selected_action": ["0", str(first.pk)],
        "confirmed": "1",
        "days": "30",
    }
    assert "Say why" in body(client.post("/clinic/integrations/delivery/", {**asked, "reason": " "}))
    client.post("/clinic/integrations/delivery/", {**asked, "reason": "moved away"})
    with tenant_tx(flow.tenant_id):
        assert list(Delivery.objects.exclude(ignored_until=None).values_list("source_key", flat=True)) == ["1"]
    assert len(client.get("/clinic/integrations/delivery/").context["rows"]) == 1
    assert "Ignored: moved away" in body(client.get("/clinic/integrations/delivery/?show=ignored"))


def test_nothing_ticked_does_nothing(house: House, flow: Flow) -> None:
    hold(flow, "1")
    asked = {"action": "retry_chosen", "index": "0", "_selected_action": ["0"]}
    assert "nothing was ticked" in body(sign_in(house.olga).post("/clinic/integrations/delivery/", asked))


@pytest.mark.parametrize("do", ["retry", "ignore", "choose", "without", "approve", "unignore"])
def test_a_viewer_may_look_and_decide_nothing(house: House, flow: Flow, do: str, no_vendor: None) -> None:
    held = hold(flow, "1", candidates=["72"])
    client = sign_in(house.vik)
    page = f"/clinic/integrations/delivery/{held.pk}/change/"
    text = body(client.get(page))
    assert 'name="do"' not in text
    assert client.post(page, {"do": do, "key": "72", "reason": "x", "days": "30"}).status_code == 403
    client.post(
        "/clinic/integrations/delivery/",
        {"action": "retry_chosen", "index": "0", "_selected_action": [held.pk], "confirmed": "1"},
    )
    with tenant_tx(flow.tenant_id):
        row = Delivery.objects.get(pk=held.pk)
        assert (row.state, row.ignored_until) == ("held", None)


@pytest.fixture
def no_vendor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vendor cannot be asked; what a page shows then comes from here alone."""
    from integrations.core.errors import Unavailable

    def refuse(*args: object, **kwargs: object) -> None:
        raise Unavailable("http.connect")

    monkeypatch.setattr(
        candidates.compare, "__kwdefaults__", {**(candidates.compare.__kwdefaults__ or {}), "opener": refuse}
    )


def test_a_page_is_whole_when_the_vendor_does_not_answer(house: House, flow: Flow, no_vendor: None) -> None:
    held = hold(flow, "1", candidates=["72"])
    text = body(sign_in(house.olga).get(f"/clinic/integrations/delivery/{held.pk}/change/"))
    assert "could not be asked just now" in text
    assert "chen.family@example.test" in text
    assert "Create without the e-mail" in text


def test_a_viewer_sees_masks_and_no_value(house: House, flow: Flow, no_vendor: None) -> None:
    held = hold(flow, "1", candidates=["72"])
    text = body(sign_in(house.vik).get(f"/clinic/integrations/delivery/{held.pk}/change/"))
    assert "c***@e***.test" in text
    for value in ("chen.family", "Mia", "Chen", "412345678"):
        assert value not in text


def test_one_record_is_decided_on_its_page(house: House, flow: Flow, no_vendor: None) -> None:
    client = sign_in(house.olga)
    chosen, without, later = hold(flow, "1", candidates=["72"]), hold(flow, "2"), hold(flow, "3")
    for row, given in (
        (chosen, {"do": "choose", "key": "72"}),
        (without, {"do": "without"}),
        (later, {"do": "ignore", "reason": "moved away", "days": "7"}),
    ):
        assert client.post(f"/clinic/integrations/delivery/{row.pk}/change/", given).status_code == 302
    with tenant_tx(flow.tenant_id):
        assert Delivery.objects.get(pk=chosen.pk).decision == {"chosen": "72"}
        assert Delivery.objects.get(pk=without.pk).decision == {"drop": ["email"]}
        until = Delivery.objects.get(pk=later.pk).ignored_until
        assert timedelta(days=6) < until - app_now() <= timedelta(days=8)
        assert AuditEntry.objects.filter(actor="olga@example.test").count() == 3


def test_looking_writes_nothing(house: House, flow: Flow, no_vendor: None) -> None:
    held = hold(flow, "1", candidates=["72"])
    make_link(flow, "5", "75")
    log_many(flow, 1)
    client = sign_in(house.olga)
    client.get("/clinic/")
    with tenant_tx(flow.tenant_id):
        pks = {
            "delivery": held.pk,
            "link": Link.objects.get().pk,
            "run": Run.objects.get().pk,
            "synclogentry": SyncLogEntry.objects.get().pk,
        }
    for name, pk in pks.items():
        for method in (client.get, client.head, client.options):
            with CaptureQueriesContext(connection) as captured:
                method(f"/clinic/integrations/{name}/{pk}/change/")
            written = [query["sql"] for query in captured if re.match(r"\s*(INSERT|UPDATE|DELETE)", query["sql"])]
            assert written == []


def test_a_runs_page_shows_a_sum_that_adds_up(house: House, flow: Flow) -> None:
    hold_many(flow, 3)
    with tenant_tx(flow.tenant_id):
        run = Run.objects.get()
        Run.objects.filter(pk=run.pk).update(read=10, created=4, unchanged=3)
    text = body(sign_in(house.olga).get(f"/clinic/integrations/run/{run.pk}/change/"))
    assert "adds up" in text
    assert re.search(r"need a person", text)


@pytest.mark.parametrize(
    ("query", "outcomes"),
    [("failed", {"held", "retry"}), ("written", {"ok"}), ("left", {"skipped"}), ("preview", set())],
)
def test_the_log_answers_a_question(house: House, flow: Flow, query: str, outcomes: set[str]) -> None:
    log_many(flow, 10)
    response = sign_in(house.olga).get(f"/clinic/integrations/synclogentry/?show={query}")
    assert {row.outcome for row in response.context["cl"].result_list} == outcomes


def test_a_day_of_the_log_is_the_clinics_day(house: House, flow: Flow) -> None:
    from zoneinfo import ZoneInfo

    log_many(flow, 30)
    today = app_now().astimezone(ZoneInfo("Australia/Sydney")).date()
    response = sign_in(house.olga).get(f"/clinic/integrations/synclogentry/?day={today.isoformat()}")
    with tenant_tx(flow.tenant_id):
        expected = sum(
            row.at.astimezone(ZoneInfo("Australia/Sydney")).date() == today for row in SyncLogEntry.objects.all()
        )
    assert len(response.context["rows"]) == expected


@pytest.mark.parametrize("site", ["agency", "clinic"])
def test_a_persons_address_is_asked_by_post_and_kept_nowhere(house: House, site: str) -> None:
    client = sign_in(house.ana if site == "agency" else house.olga)
    page = f"/{site}/integrations/synclogentry/find/"
    assert 'method="post"' in body(client.get(page))
    given = {"email": "mia.chen@example.test", "clinic": str(house.harbour.pk)}
    with CaptureQueriesContext(connection) as captured:
        text = body(client.post(page, given))
    assert "There is nowhere to look yet" in text
    assert not any("mia.chen" in query["sql"] for query in captured)


def test_the_agency_cannot_look_up_a_person_of_a_clinic_it_may_not_see(house: House, foreign: Flow) -> None:
    given = {"email": "mia.chen@example.test", "clinic": str(house.ridge.pk)}
    text = body(sign_in(house.sam).post("/agency/integrations/synclogentry/find/", given))
    assert "Select a valid choice" in text


def test_a_link_is_corrected_on_its_page_with_a_reason(
    house: House, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    from integrations.services import linking

    monkeypatch.setattr(linking, "free_target", lambda *args, **kwargs: linking.Freed())
    link = make_link(flow, "1", "71")
    client = sign_in(house.olga)
    page = f"/clinic/integrations/link/{link.pk}/change/"
    assert "Unlink" in body(client.get(page))
    client.post(page, {"do": "relink", "key": "https://admin.shopify.com/store/h/customers/72", "reason": ""})
    with tenant_tx(flow.tenant_id):
        assert Link.objects.get().target_key == "71"
    client.post(page, {"do": "relink", "key": "https://admin.shopify.com/store/h/customers/72", "reason": "twin"})
    with tenant_tx(flow.tenant_id):
        assert Link.objects.get().target_key == "72"
    client.post(page, {"do": "unlink", "reason": "after all"})
    with tenant_tx(flow.tenant_id):
        assert not Link.objects.exists()


def test_a_link_stays_when_the_vendor_cannot_be_asked(
    house: House, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    from integrations.services import linking

    monkeypatch.setattr(linking, "free_target", lambda *args, **kwargs: linking.Freed("http.timeout"))
    link = make_link(flow, "1", "71")
    client = sign_in(house.olga)
    client.post(f"/clinic/integrations/link/{link.pk}/change/", {"do": "unlink", "reason": "wrong"})
    with tenant_tx(flow.tenant_id):
        assert Link.objects.get().target_key == "71"


@pytest.mark.parametrize("person", ["vik"])
def test_a_viewer_changes_no_link(house: House, flow: Flow, person: str) -> None:
    link = make_link(flow, "1", "71")
    client = sign_in(getattr(house, person))
    page = f"/clinic/integrations/link/{link.pk}/change/"
    assert 'name="do"' not in body(client.get(page))
    assert client.post(page, {"do": "unlink", "reason": "x"}).status_code == 403


def test_vendor_text_is_shown_as_text(house: House, flow: Flow, no_vendor: None) -> None:
    held = hold(flow, "1", fields={"firstName": "<script>alert(1)</script>", "lastName": "Chen"})
    text = body(sign_in(house.olga).get(f"/clinic/integrations/delivery/{held.pk}/change/"))
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_the_kinds_count_all_that_waits_however_old(house: House, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_many(flow, 5_100)
    hold(flow, "1", code="record.name_missing", held_at=app_now() - timedelta(days=30))
    client = sign_in(house.olga)
    response = client.get("/clinic/integrations/delivery/")
    counts = {told.code: count for told, count, _ in response.context["kinds"]}
    assert sum(count for *_, count, _ in response.context["lanes"]) == 5_101
    assert set(counts.values()) <= {637, 638}, "of each kind as many as there are"
    assert "This person has no name." in body(response), "the oldest kind can be asked for"
    assert "count the newest" not in body(response)
    monkeypatch.setattr(desk, "COUNT_MAX", 60)
    assert "These numbers count the newest 60 only." in body(client.get("/clinic/integrations/delivery/"))


def test_many_rows_are_counted_to_a_bound(house: House, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    from integrations.admin import records

    monkeypatch.setattr(records, "COUNT_MAX", 60)
    hold_many(flow, 70)
    response = sign_in(house.olga).get("/clinic/integrations/delivery/")
    assert "More than 60" in body(response)
    assert response.context["pages"]["last"] == 2
    beyond = sign_in(house.olga).get("/clinic/integrations/delivery/?p=9")
    assert (beyond.context["pages"]["number"], len(beyond.context["rows"])) == (2, 20)


@pytest.mark.parametrize(
    ("code", "tab", "words"),
    [
        ("unmapped_value", "values", "Open the value map"),
        ("product.sku_missing", "settings", "Open the flow&#x27;s settings"),
        ("match.several", "", ""),
    ],
)
def test_a_held_record_leads_to_the_page_where_it_is_put_right(
    house: House, flow: Flow, code: str, tab: str, words: str
) -> None:
    row = hold(flow, "77", code=code)
    page = body(sign_in(house.olga).get(f"/clinic/integrations/delivery/{row.pk}/change/"))
    for place in ("values", "settings"):
        assert (f"/clinic/integrations/flow/{flow.pk}/{place}/" in page) == (place == tab)
    assert words in page


@pytest.mark.parametrize("name", ["delivery", "run", "synclogentry"])
def test_lists_call_a_flow_as_its_own_page_does(house: House, flow: Flow, name: str) -> None:
    hold(flow, "77")
    log_many(flow, 2)
    page = body(sign_in(house.olga).get(f"/clinic/integrations/{name}/"))
    assert "Patients become customers" in re.sub(r"<option.*?</option>", "", page)
    assert ">patients-to-customers<" not in page


def test_the_journal_says_when_in_the_clinics_zone_and_what_in_words(house: House) -> None:
    page = body(sign_in(house.olga).get("/clinic/tenants/auditentry/"))
    assert re.search(r"\d\d:\d\d AE[DS]T", page)
    assert "Member added" in page
    assert "<title>Audit | Suture" in re.sub(r"\s*(</?title>)\s*", r"\1", page)
    assert "Ridge Podiatry" in body(sign_in(house.ana).get("/agency/tenants/auditentry/"))
