"""Every page x role x own, foreign or absent object (`faults.md` 6, AS1-AS24), read from the URL map and both registries.

A page or model added tomorrow is asked tomorrow. `make test` walks it with both walls; `make proof` with each wall alone too.
"""

import copy
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import openpyxl
import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.db import connection, models, transaction
from django.http import HttpResponseBase
from django.test import Client

from integrations.models import Alert, FlowDay, Incident, Link
from integrations.vault import open_vault
from tenants.bases import Wall
from tenants.checks import walled_models
from tenants.models import AgencyAuditEntry, Membership, Role, Tenant
from tenants.services import add_member
from tenants.sites import SITES, SutureSite, agency_site, clinic_site, load_admins
from tenants.walls import app_now, system_tx, tenant_tx
from tests.conftest import House, begin_acting, lift_wall_1, sign_in, wall_2_lifted
from tests.isolation.objects import build, canary
from tests.isolation.pages import Ask, Page, all_pages, clinic_asks, key_asks, list_asks, object_asks, site_pages

load_admins()

ABSENT = 987_654_321
ADMITTED = (("sam", agency_site), ("olga", clinic_site), ("vik", clinic_site))
# A page that asks a vendor counts its requests.
WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE)\b(?! .*(django_session|integrations_connectionday))", re.IGNORECASE)
WAYS = [
    "both",
    pytest.param("wall_1", marks=pytest.mark.proof),
    pytest.param("wall_2", marks=pytest.mark.proof),
]
TENANT_MODELS = [model for model in walled_models() if model.wall is Wall.TENANT]


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any) -> Iterator[str]:
    with django_db_blocker.unblock(), wall_2_lifted() if request.param in ("wall_1", "neither") else nullcontext():
        yield request.param


@pytest.fixture
def walls(way: str, monkeypatch: pytest.MonkeyPatch) -> str:
    if way in ("wall_2", "neither"):
        lift_wall_1(monkeypatch)
    return way


@pytest.fixture
def rows(walls: str, house: House) -> dict[type[models.Model], dict[str, int]]:
    """For each model on either site, the key of Harbour's row and of Ridge's."""
    made: dict[str, dict[type[models.Model], Any]] = {"harbour": {}, "ridge": {}}
    for clinic in (house.harbour, house.ridge):
        with tenant_tx(clinic.pk):
            open_vault(clinic.pk)  # a clinic has its data key since its first credentials were sealed
        build(FlowDay, clinic, made["harbour" if clinic == house.harbour else "ridge"])
    return {model: {who: _key(model, getattr(house, who), house, made[who]) for who in made} for model in registered()}


def _key(model: type[models.Model], tenant: Tenant, house: House, made: dict[type[models.Model], Any]) -> int:
    if model is Tenant:
        return int(tenant.pk)
    if model is Membership:
        person = house.olga if tenant == house.harbour else house.rita
        return int(Membership.objects.get(user=person).pk)
    if model is Incident:
        return incident_of(build(Alert, tenant, made))
    if getattr(model, "wall", None) is Wall.TENANT:
        return int(build(model, tenant, made).pk)
    return ABSENT


def incident_of(alert: Alert) -> int:
    """An incident of this clinic's alone: it is the agency's row, and shows nothing to who does not reach the clinic."""
    now = app_now()
    with system_tx("test"):
        incident = Incident.objects.create(
            agency_id=Tenant.objects.get(pk=alert.tenant_id).agency_id, vendor="cliniko", fingerprint=f"{alert.pk}",
            code="http.timeout", call="read", opened_at=now, last_joined_at=now,
        )  # fmt: skip
        Alert.objects.filter(pk=alert.pk).update(incident_id=incident.pk)
    return int(incident.pk)


def registered() -> list[type[models.Model]]:
    return sorted({model for site in SITES for model in site._registry}, key=lambda model: model._meta.label)


# The walk


@pytest.mark.django_db
@pytest.mark.proof
@pytest.mark.parametrize("way", ["neither"], indirect=True)
def test_with_both_walls_lifted_the_walk_finds_the_leaks(house: House, rows: Any, way: str) -> None:
    faults = "\n".join(Walk(house, clinic_site, "olga", sign_in(house.olga)).faults(rows))
    for surface in ("AS1 ", "AS3 ", "AS8 ", "AS12 "):
        assert surface in faults


@pytest.mark.django_db
@pytest.mark.parametrize(("person", "site"), ADMITTED, ids=lambda value: getattr(value, "name", value))
def test_no_page_shows_or_changes_another_clinics_rows(house: House, rows: Any, site: SutureSite, person: str) -> None:
    faults = Walk(house, site, person, sign_in(getattr(house, person))).faults(rows)
    assert not faults, "\n".join(faults)


class Walk:
    """One person through every page of one site. Each request is rolled back, so that none depends on another."""

    def __init__(self, house: House, site: SutureSite, person: str, client: Client) -> None:
        self.house, self.site, self.person, self.client = house, site, person, client
        self.client.raise_request_exception = False
        self.cookies = copy.deepcopy(client.cookies)
        self.forbidden = {canary(house.ridge), house.ridge.name, house.ridge.slug, "rita@example.test"}
        self.ridges_key = _numbered(house.ridge)
        self.before = _snapshot(house.ridge)
        self.asked = 0

    def faults(self, rows: dict[type[models.Model], dict[str, int]]) -> list[str]:
        found: list[str] = []
        for page in site_pages(self.site):
            if page.admin is not None and "object_id" in page.params and page.admin.model in rows:
                found += self._object_faults(page, rows[page.admin.model])
            else:
                found += self._faults(Ask("AS22", "GET", page.url()))
                found += self._faults(Ask("AS22", "POST", page.url()))
                if page.name.endswith("_link_explain"):
                    for ask in key_asks(page, (canary(self.house.ridge), self.ridges_key), self.house.ridge.slug):
                        found += self._faults(ask)
                if page.name in {f"{self.site.name}:health", f"{self.site.name}:usage"}:
                    for ask in clinic_asks(page, self.house.ridge.slug):
                        found += self._faults(ask)
        for model, admin in self.site._registry.items():
            for ask in list_asks(admin, self.site, key=rows[model]["ridge"], word=canary(self.house.ridge)):
                found += self._faults(ask)
        assert self.asked > 50
        return found

    def _object_faults(self, page: Page, keys: dict[str, int]) -> Iterator[str]:
        for ask in object_asks(page, keys["harbour"]):
            yield from self._faults(ask)
        for foreign, absent in zip(object_asks(page, keys["ridge"]), object_asks(page, ABSENT), strict=True):
            answers: list[str] = []
            yield from self._faults(foreign, lambda response: answers.append(_told(response, keys["ridge"])))  # noqa: B023
            yield from self._faults(absent, lambda response: answers.append(_told(response, ABSENT)))  # noqa: B023
            if answers[0] != answers[1]:
                yield f"AS8 {self.person} {foreign.method} {foreign.url}: {answers[0][:40]!r}, absent: {answers[1][:40]!r}"

    def _faults(self, ask: Ask, see: Callable[[Any], None] = lambda response: None) -> Iterator[str]:
        name = f"{ask.surface} {self.person} {ask.method} {ask.url} {dict(ask.form) or ''}"
        written: list[str] = []
        with undone(), connection.execute_wrapper(_journal(written)):
            response = self._send(ask)
            after = _snapshot(self.house.ridge) if ask.method == "POST" and written else self.before
        see(response)
        if response.status_code >= 500:
            yield f"{name}: {response.status_code} {getattr(response, 'exc_info', ('', ''))[1]!r}"
        leaked = [word for word in self.forbidden if word in _body_without_echo(response, ask)]
        if leaked:
            yield f"{name}: shows {leaked}"
        if after != self.before:
            yield f"{name}: changed another clinic's rows"
        if written and (ask.method == "GET" or self.person == "vik"):
            yield f"AS24 {name}: wrote {written[0][:80]}"

    def _send(self, ask: Ask) -> HttpResponseBase:
        """One request with the cookies the person came with, whatever an earlier one did to them."""
        self.asked += 1
        self.client.cookies = copy.deepcopy(self.cookies)
        response = getattr(self.client, ask.method.lower())(ask.url, ask.form or None)
        if response.streaming:
            response.told = b"".join(response.streaming_content)
        return response


def _numbered(tenant: Tenant) -> str:
    """A link of the clinic's whose keys look like a vendor's: what an address may hold."""
    key = f"{canary(tenant)}-7"
    with tenant_tx(tenant.pk):
        link = Link.objects.first()
        if link is not None:
            link.pk, link.source_key, link.target_key = None, key, key
            link.save(force_insert=True)
    return key


def _told(response: HttpResponseBase, key: int) -> str:
    said = f"{response.headers.get('Location', '')} {_plain(response)}"
    return f"{response.status_code} " + re.sub(rf"(?<=[/“]){key}(?=[/”])", "ID", said)


@contextmanager
def undone() -> Iterator[None]:
    """A savepoint that is always taken back, and that `durable` takes for the test's own."""
    savepoint = transaction.atomic()
    savepoint._from_testcase = True  # type: ignore[attr-defined]
    with savepoint:
        yield
        transaction.set_rollback(True)


def _journal(written: list[str]) -> Callable[..., Any]:
    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if WRITES.match(sql):
            written.append(sql)
        return execute(sql, params, many, context)

    return note


def _snapshot(tenant: Tenant) -> list[Any]:
    """A digest of every row of a clinic, table by table."""
    tables = [model._meta.db_table for model in TENANT_MODELS] + [Membership._meta.db_table, Tenant._meta.db_table]
    parts = [
        f"SELECT '{table}', md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t"  # noqa: S608 - names of models
        f" WHERE {'id' if table == Tenant._meta.db_table else 'tenant_id'} = {tenant.pk:d}"
        for table in tables
    ]
    with tenant_tx(tenant.pk), connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts))
        return sorted(cursor.fetchall())


def _plain(response: HttpResponseBase) -> str:
    body = (getattr(response, "told", b"") or getattr(response, "content", b"")).decode(errors="replace")
    body = re.sub(r'(csrfmiddlewaretoken" value|csrf-token" content|nonce)="[^"]*"', "", body)
    return re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "REQUEST", body)


def _body_without_echo(response: HttpResponseBase, ask: Ask) -> str:
    """What the page says, less what the request said itself: a search box repeats its word."""
    body = _plain(response)
    if "=" not in ask.url and not ask.form:
        return body
    return re.sub(r'(value|href|action|data-[a-z-]+|hx-[a-z-]+)="[^"]*"', "", body)


# Who comes in at all


@pytest.mark.django_db
@pytest.mark.parametrize("site", SITES, ids=lambda site: site.name)
def test_strangers_and_people_without_a_place_get_nowhere(house: House, rows: Any, site: SutureSite) -> None:
    clients = {"anonymous": Client(), "nobody": sign_in(house.nobody)}
    clients |= {"olga": sign_in(house.olga)} if site is agency_site else {"ana": sign_in(house.ana)}
    faults = []
    for page in site_pages(site):
        if page.name.endswith((":logout", ":login")):
            continue
        for who, client in clients.items():
            for method in ("get", "post"):
                response = getattr(client, method)(page.url(object_id=1, app_label="tenants"))
                if response.status_code not in (302, 403) or "zq" in _plain(response):
                    faults.append(f"{who} {method} {page.name}: {response.status_code}")
    assert not faults, "\n".join(faults)


@pytest.mark.django_db
def test_the_agency_gets_nowhere_without_its_second_factor(house: House, rows: Any) -> None:
    client = sign_in(house.ana, second_factor=False)
    for page in site_pages(agency_site):
        if page.name.rpartition(":")[2] not in {"login", "logout", "password_change", "password_change_done"}:
            response = client.get(page.url(object_id=1, app_label="tenants"))
            assert (response.status_code, response.headers.get("Location")) == (302, "/accounts/2fa/"), page.name


@pytest.mark.django_db
def test_the_agencys_owner_sees_both_clinics(house: House, rows: Any) -> None:
    """The walk above would also pass on empty pages."""
    client = sign_in(house.ana)
    pages = [page for page in site_pages(agency_site) if page.name.endswith("_changelist")]
    shown = "".join(_plain(client.get(page.url())) for page in pages)
    assert house.ridge.name in shown
    assert house.harbour.name in shown


@pytest.mark.django_db
@pytest.mark.parametrize("person", ["olga", "vik"])
def test_a_clinics_people_see_their_own_rows(house: House, rows: Any, person: str) -> None:
    client = sign_in(getattr(house, person))
    faults = []
    for model, admin in clinic_site._registry.items():
        page = Page(f"clinic:{model._meta.app_label}_{model._meta.model_name}_change", frozenset({"object_id"}), admin)
        response = client.get(page.url(object_id=rows[model]["harbour"]))
        may_view = person == "olga" or "clinic_viewer" in getattr(admin, "may_view", ())
        if response.status_code != (200 if may_view else 403):
            faults.append(f"{page.name}: {response.status_code}")
    assert not faults, "\n".join(faults)


@pytest.mark.django_db
@pytest.mark.parametrize("person", ["anonymous", "nobody", "olga", "vik"])
def test_pages_outside_the_sites_show_no_clinic(house: House, rows: Any, person: str) -> None:
    client = Client() if person == "anonymous" else sign_in(getattr(house, person))
    faults = []
    for page in all_pages():
        if page.name.partition(":")[0] in {site.name for site in SITES} or "logout" in page.name:
            continue
        for method in ("get", "post", "head", "options"):
            with undone():
                response = getattr(client, method)(page.url(**dict.fromkeys(page.params, ABSENT)))
            if response.status_code >= 500 or canary(house.ridge) in _plain(response):
                faults.append(f"{method} {page.name}: {response.status_code}")
    assert not faults, "\n".join(faults)


# Files


LISTED, SUMMARY = "reconciliation/mismatch/", "reconciliation/report/summary/"
WHOLE = {"_selected_action": "0", "select_across": "1", "index": "0"}
FILES = (
    (LISTED, {"action": "download_csv", **WHOLE}),
    (LISTED, {"action": "download_xlsx", **WHOLE}),
    (SUMMARY, {"do": "csv"}),
    (SUMMARY, {"do": "xlsx"}),
)


def _words_of_file(response: HttpResponseBase) -> str:
    """All that a downloaded file says."""
    if response.streaming:
        return b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]
    book = openpyxl.load_workbook(io.BytesIO(response.content))  # type: ignore[attr-defined]
    return " ".join(str(cell) for sheet in book.worksheets for row in sheet.values for cell in row)


@pytest.mark.django_db
@pytest.mark.parametrize(("person", "site"), [("ana", "agency"), ("sam", "agency"), ("olga", "clinic")])
def test_files_hold_the_clinics_in_scope_and_no_other(house: House, rows: Any, person: str, site: str) -> None:
    """AS12, AS13: what is streamed after the page's own transaction is walled as well."""
    client = sign_in(getattr(house, person))
    for page, asked in FILES:
        told = _words_of_file(client.post(f"/{site}/{page}", asked))
        assert house.harbour.name in told, (page, asked)
        assert (house.ridge.name in told or canary(house.ridge) in told) == (person == "ana"), (page, asked)


@pytest.mark.django_db
def test_a_viewer_and_a_stranger_take_no_file(house: House, rows: Any) -> None:
    for person in ("vik", "nobody"):
        client = sign_in(getattr(house, person))
        for page, asked in FILES:
            response = client.post(f"/clinic/{page}", asked)
            assert not response.streaming and "attachment" not in response.headers.get("Content-Disposition", "")


# What is not there at all


def test_what_has_no_place_on_a_site_is_not_registered() -> None:
    """AS9, AS11, AS18, AS19."""
    for site in SITES:
        assert not {LogEntry, Permission, Group, User} & set(site._registry)
        assert not [
            model for model in site._registry if model._meta.app_label in {"django_q", "sessions", "mfa", "account"}
        ]
        assert f"{site.name}:view_on_site" not in {page.name for page in all_pages()}
    assert Tenant not in clinic_site._registry
    assert AgencyAuditEntry not in clinic_site._registry


@pytest.mark.django_db
def test_only_the_agency_may_act_as_somebody_else(house: House) -> None:
    """AS21. The address of the package's own page is not there at all."""
    for person in (house.olga, house.vik, house.nobody, house.rita):
        for other in (house.ana, house.sam, house.olga, house.vik):
            form = {"user_pk": other.pk, "clinic": house.harbour.pk, "reason": "to look at it"}
            assert sign_in(person).post("/acting/begin/", form).status_code == 403
            assert sign_in(person).post("/hijack/acquire/", form).status_code == 404


@pytest.mark.django_db
@pytest.mark.proof
def test_who_acts_as_somebody_walks_within_that_clinic(house: House, rows: Any) -> None:
    """AS21: Sam, who reaches Harbour alone, as Olga, who belongs to Ridge too."""
    add_member(user_id=house.olga.pk, role=Role.CLINIC_MANAGER, tenant_id=house.ridge.pk)
    client = begin_acting(house.sam, house.olga, house.harbour)
    faults = Walk(house, clinic_site, "olga", client).faults(rows)
    assert not faults, "\n".join(faults)


@pytest.mark.django_db
def test_who_acts_as_somebody_of_two_clinics_reaches_the_one(house: House, rows: Any) -> None:
    """AS21."""
    add_member(user_id=house.olga.pk, role=Role.CLINIC_MANAGER, tenant_id=house.ridge.pk)
    client = begin_acting(house.sam, house.olga, house.harbour)
    shown = "".join(
        _plain(client.get(page.url())) for page in site_pages(clinic_site) if page.name.endswith("_changelist")
    )
    assert canary(house.harbour) in shown
    assert canary(house.ridge) not in shown
    assert client.post("/clinic/choose/", {"clinic": house.ridge.pk}).status_code == 403
    assert client.get("/agency/").status_code in (302, 403)


@pytest.mark.django_db
def test_rights_are_read_again_for_each_request(house: House, rows: Any) -> None:
    client = sign_in(house.olga)
    assert client.get("/clinic/").status_code == 200
    with tenant_tx(house.harbour.pk):
        Membership.objects.filter(user=house.olga).delete()
    assert client.get("/clinic/").status_code in (302, 403)


@pytest.mark.django_db
def test_someone_with_two_clinics_sees_one_at_a_time(house: House, rows: Any) -> None:
    add_member(user_id=house.olga.pk, role=Role.CLINIC_VIEWER, tenant_id=house.ridge.pk)
    client = sign_in(house.olga)
    listed = "/clinic/tenants/auditentry/"
    assert client.post("/clinic/choose/", {"clinic": house.ridge.pk}).status_code == 302
    assert client.get(listed).status_code == 403  # a viewer there, though a manager at home
    assert client.post("/clinic/choose/", {"clinic": house.harbour.pk}).status_code == 302
    shown = _plain(client.get(listed))
    assert canary(house.harbour) in shown
    assert canary(house.ridge) not in shown
    assert client.post("/clinic/choose/", {"clinic": ABSENT}).status_code == 403
