"""What every test stands on: the database rules, two clinics, their people, and the two walls one at a time.

Tests run as app_login, never as the owner. `default` mirrors `owner` in name only, so a test that commits names both,
since only the owner may empty the tables, and a test that rolls back names neither, since the owner would not see its rows.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from hypothesis import HealthCheck, settings
from pytest_django import fixtures as pytest_django_fixtures

from tenants import roles
from tenants.models import Agency, Role, Tenant

# A busy machine makes neither a slow draw nor a slow example a fault.
settings.register_profile("suture", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suture")

BOTH = {"default", "owner"}
COMMITTING = {"transactional_db", "live_server", "django_db_reset_sequences"}


_named_by_tests = pytest_django_fixtures._get_databases_for_setup


def _with_the_owner(items: Any) -> tuple[set[str], set[str]]:
    """`default` mirrors `owner`, so the owner's database is made even where no test of this session names it."""
    aliases, serialized = _named_by_tests(items)
    return aliases | ({"owner"} if aliases else set()), serialized


pytest_django_fixtures._get_databases_for_setup = _with_the_owner


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "proof: the whole campaign; `make proof` runs it, `make test` a sample")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "proof" not in (config.option.markexpr or "") and not os.environ.get("SUTURE_PROOF"):
        whole = [item for item in items if item.get_closest_marker("proof")]
        config.hook.pytest_deselected(items=whole)
        items[:] = [item for item in items if item not in whole]
    wrong = [f"{item.nodeid}: {fault}" for item in items if (fault := _database_fault(item))]
    if wrong:
        raise pytest.UsageError("\n".join(wrong))


def _database_fault(item: pytest.Item) -> str:
    mark = item.get_closest_marker("django_db")
    options = mark.kwargs if mark else {}
    named = set(options.get("databases") or ())
    commits = bool(options.get("transaction")) or bool(COMMITTING & set(getattr(item, "fixturenames", ())))
    if commits and named != BOTH:
        return 'a test that commits says databases=["default", "owner"], or nothing is ever emptied'
    if not commits and "owner" in named:
        return "a test that rolls back does not name `owner`, who would see none of its rows"
    return ""


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Hangs up at the end: a mirror's connection would keep the owner's database from being dropped."""
    yield
    with django_db_blocker.unblock():
        connections["default"].close()


# Two clinics and their people


@dataclass(frozen=True, slots=True)
class House:
    """Harbour Physio is ours; nothing of Ridge Podiatry may ever appear. Ana owns the agency, Olga manages and Vik
    views Harbour, Rita manages Ridge, Sam is agency staff for Harbour alone, Nobody has an account and no place."""

    agency: Agency
    harbour: Tenant
    ridge: Tenant
    ana: User
    sam: User
    olga: User
    vik: User
    rita: User
    nobody: User


def make_user(name: str) -> User:
    return User.objects.create_user(
        username=f"{name}@example.test", email=f"{name}@example.test", first_name=name.title()
    )


def make_house() -> House:
    from tenants.services import add_agency, add_member, add_tenant

    people = {name: make_user(name) for name in ("ana", "sam", "olga", "vik", "rita", "nobody")}
    agency = add_agency(name="Tideway Agency", slug="tideway")
    harbour = add_tenant(agency=agency, slug="harbour-physio", name="Harbour Physio")
    ridge = add_tenant(agency=agency, slug="ridge-podiatry", name="Ridge Podiatry", time_zone="Australia/Perth")
    add_member(user_id=people["ana"].pk, role=Role.AGENCY_OWNER, agency_id=agency.pk)
    add_member(user_id=people["sam"].pk, role=Role.AGENCY_STAFF, agency_id=agency.pk, tenant_id=harbour.pk)
    add_member(user_id=people["olga"].pk, role=Role.CLINIC_MANAGER, tenant_id=harbour.pk)
    add_member(user_id=people["vik"].pk, role=Role.CLINIC_VIEWER, tenant_id=harbour.pk)
    add_member(user_id=people["rita"].pk, role=Role.CLINIC_MANAGER, tenant_id=ridge.pk)
    return House(agency=agency, harbour=harbour, ridge=ridge, **people)


@pytest.fixture
def house(db: None) -> House:
    return make_house()


@pytest.fixture
def harbour(house: House) -> Tenant:
    return house.harbour


@pytest.fixture
def ridge(house: House) -> Tenant:
    return house.ridge


@pytest.fixture
def ana(house: House) -> User:
    return house.ana


@pytest.fixture
def olga(house: House) -> User:
    return house.olga


@pytest.fixture
def vik(house: House) -> User:
    return house.vik


def sign_in(user: User, *, second_factor: bool = True) -> Client:
    """A browser in which this person is signed in; the agency's people need their second factor to get anywhere."""
    from allauth.mfa.models import Authenticator

    if second_factor:
        Authenticator.objects.get_or_create(user=user, type=Authenticator.Type.TOTP, defaults={"data": {"secret": "-"}})
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def sign_in_lately(user: User) -> Client:
    """The same, having just proved who they are."""
    client = sign_in(user)
    session = client.session
    session["account_authentication_methods_user"] = session["_auth_user_id"]
    session["account_authentication_methods"] = [{"method": "password", "at": time.time(), "reauthenticated": True}]
    session.save()
    return client


def begin_acting(staff: User, other: User, clinic: Tenant, reason: str = "Ticket 7: her list is empty") -> Client:
    """A browser in which one of the agency's people acts as somebody of a clinic."""
    client = sign_in_lately(staff)
    answer = client.post("/acting/begin/", {"user_pk": other.pk, "clinic": clinic.pk, "reason": reason})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/clinic/")
    return client


# The clock


@dataclass(slots=True)
class MovedClock:
    by: timedelta = timedelta()

    def forward(self, by: timedelta) -> None:
        from tenants.walls import move_clock

        self.by += by
        move_clock(self.by)


@pytest.fixture
def clock(request: pytest.FixtureRequest) -> Iterator[MovedClock]:
    """Moves `app_now()` for this test's connection."""
    from tenants.walls import move_clock

    request.getfixturevalue("db" if "transactional_db" not in request.fixturenames else "transactional_db")
    moved = MovedClock()
    yield moved
    move_clock(timedelta())


# One wall at a time


@pytest.fixture
def wall_2_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lifts wall 1: no filter, no guard, no stamp check. What is left is PostgreSQL."""
    lift_wall_1(monkeypatch)


def lift_wall_1(monkeypatch: pytest.MonkeyPatch) -> None:
    from tenants import bases, guard, managers, rows

    monkeypatch.setattr(managers.InScope, "as_sql", lambda *args, **kwargs: ("TRUE", ()))
    monkeypatch.setattr(guard, "refuse_unscoped", lambda execute, *args: execute(*args))
    monkeypatch.setattr(rows, "_verify_tenants", lambda tenant_ids: None)
    for module in (bases, managers):
        monkeypatch.setattr(module, "stamp", _stamp_unverified)


def _stamp_unverified(row: Any, scope: Any = None) -> None:
    from tenants.walls import TenantScope, current_scope

    scope = scope or current_scope()
    if row.tenant_id is None and isinstance(scope, TenantScope):
        row.tenant_id = scope.id


@pytest.fixture(scope="module")
def wall_1_alone(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Lifts wall 2 for a module: every role may see every row of the tables it may touch, as a login that bypasses."""
    with django_db_blocker.unblock(), wall_2_lifted():
        yield


@contextmanager
def wall_2_lifted() -> Iterator[None]:
    row_level_security("NO FORCE", "DISABLE")
    try:
        yield
    finally:
        row_level_security("FORCE", "ENABLE")


def row_level_security(*verbs: str) -> None:
    from tenants.checks import walled_models

    with connections["owner"].cursor() as cursor:
        for model in walled_models():
            for verb in verbs:
                cursor.execute(f'ALTER TABLE "{model._meta.db_table}" {verb} ROW LEVEL SECURITY')
    connections["owner"].close()


@pytest.fixture
def as_role(db: None) -> Callable[[str], None]:
    """Enters a database role by hand, as a bug or an attacker would."""
    from django.db import connection

    def enter(role: str) -> None:
        assert role in roles.BY_WORD.values()
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('role', %s, true)", [role])

    return enter
