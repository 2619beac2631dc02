"""Both walls, property by property (`faults.md` 9). Clinic names, people and roles: conftest."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.db.utils import DataError, InternalError

from tenants import roles
from tenants.checks import database_faults, walled_models
from tenants.models import AgencyAuditEntry, AuditEntry, Lease, Membership, Tenant, TenantKey
from tenants.services import record_audit
from tenants.walls import (
    AppNow,
    ForeignRow,
    NoScope,
    ScopeChanged,
    TenantScope,
    Wall,
    agency_tx,
    all_tenants,
    app_now,
    current_scope,
    insert_rows,
    narrow_to,
    system_tx,
    tenant_tx,
)
from tests.conftest import House

pytestmark = pytest.mark.django_db

TENANT_TABLES = [model for model in walled_models() if model.wall is Wall.TENANT]


def note(tenant: Tenant, action: str = "noted") -> None:
    with tenant_tx(tenant.pk, actor="test"):
        record_audit(action, target=tenant.slug)


def actions() -> set[str]:
    return set(AuditEntry.objects.values_list("target", flat=True)) - {"", *_members()}


def _members() -> set[str]:
    return {target for target in AuditEntry.objects.values_list("target", flat=True) if target.startswith("user ")}


# Wall 1


def test_a_query_without_scope_raises_and_never_means_no_rows(house: House) -> None:
    with pytest.raises(NoScope):
        list(AuditEntry.objects.all())
    with pytest.raises(NoScope):
        AuditEntry.objects.count()
    with pytest.raises(NoScope):
        AuditEntry.objects.filter(action="x").exists()
    with pytest.raises(NoScope):
        AuditEntry.objects.filter(action="x").delete()
    with pytest.raises(NoScope):
        AuditEntry(action="x").save()
    with pytest.raises(NoScope):
        AuditEntry.objects.bulk_create([AuditEntry(action="x")])


def test_a_queryset_built_without_scope_means_the_scope_it_runs_in(house: House) -> None:
    note(house.harbour)
    note(house.ridge)
    entries = AuditEntry.objects.filter(action="noted")
    with tenant_tx(house.harbour.pk):
        assert [entry.target for entry in entries.all()] == ["harbour-physio"]
    with tenant_tx(house.ridge.pk):
        assert [entry.target for entry in entries.all()] == ["ridge-podiatry"]
    with agency_tx([house.harbour.pk, house.ridge.pk], actor="ana", reason="test"):
        assert entries.count() == 2
    with agency_tx([house.ridge.pk], actor="sam", reason="test"):
        assert entries.count() == 1


@pytest.mark.parametrize("model", TENANT_TABLES, ids=lambda model: model.__name__)
def test_raw_sql_that_names_a_tenant_table_is_refused_without_scope(house: House, model: type[TenantKey]) -> None:
    with pytest.raises(NoScope), connection.cursor() as cursor:
        cursor.execute("TABLE " + model._meta.db_table)
    with pytest.raises(NoScope):
        list(model._base_manager.all())
    with pytest.raises(NoScope):
        list(model._base_manager.raw("TABLE " + model._meta.db_table))


def test_the_guard_lets_pass_what_names_no_tenant_table(house: House) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'tenants_auditentrys', count(*) FROM tenants_tenant")
        assert cursor.fetchone()[1] == 2


def test_saving_over_a_guessed_primary_key_does_not_reach_the_other_clinic(house: House) -> None:
    with tenant_tx(house.ridge.pk):
        TenantKey.objects.create(key_id="k1", wrapped=b"theirs")
        foreign = TenantKey.objects.get().pk
    with pytest.raises(IntegrityError), tenant_tx(house.harbour.pk):
        TenantKey(pk=foreign, key_id="k1", wrapped=b"ours").save()
    with tenant_tx(house.ridge.pk):
        assert bytes(TenantKey.objects.get().wrapped) == b"theirs"


def test_writes_are_stamped_and_another_clinics_are_refused(house: House) -> None:
    with tenant_tx(house.harbour.pk):
        key = TenantKey.objects.create(key_id="k", wrapped=b"")
        assert key.tenant_id == house.harbour.pk
        with pytest.raises(ForeignRow):
            TenantKey(tenant_id=house.ridge.pk, key_id="k", wrapped=b"").save()
        with pytest.raises(ForeignRow):
            TenantKey.objects.bulk_create([TenantKey(tenant=house.ridge, key_id="k", wrapped=b"")])
        with pytest.raises(ForeignRow):
            TenantKey.objects.update(tenant=house.ridge)
        with pytest.raises(ForeignRow):
            TenantKey.objects.bulk_update([key], ["tenant"])


def test_all_tenants_lifts_wall_1_alone_and_needs_a_reason(house: House) -> None:
    with pytest.raises(ValueError, match="reason"), all_tenants(""):
        pass
    with pytest.raises(ProgrammingError, match="permission denied"), all_tenants("to show that wall 2 holds"):
        list(AuditEntry.objects.all())


# Scopes


def test_a_nested_change_of_scope_raises_and_the_same_clinic_is_no_op(house: House) -> None:
    with tenant_tx(house.harbour.pk, actor="olga") as outer:
        with tenant_tx(house.harbour.pk) as inner:
            assert inner is outer
        assert current_scope() is outer
        for change in (
            tenant_tx(house.ridge.pk),
            agency_tx([house.ridge.pk], actor="", reason=""),
            system_tx("test"),
            narrow_to(house.ridge.pk),
        ):
            with pytest.raises(ScopeChanged), change:
                pass
    assert current_scope() is None


def test_an_agency_narrows_to_one_of_its_own_clinics_and_comes_back(house: House) -> None:
    with agency_tx([house.harbour.pk], actor="ana", reason="test"):
        with narrow_to(house.harbour.pk) as scope:
            assert scope == TenantScope(house.harbour.pk, "ana", "test")
            TenantKey.objects.create(key_id="k", wrapped=b"")
        with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
            list(TenantKey.objects.all())
        with pytest.raises(ScopeChanged), narrow_to(house.ridge.pk):
            pass
        assert AuditEntry.objects.count() >= 1


def test_a_failed_scope_leaves_role_and_clinic_as_they_were(house: House) -> None:
    with pytest.raises(ZeroDivisionError), tenant_tx(house.harbour.pk):
        raise ZeroDivisionError
    assert current_scope() is None
    assert _role() == roles.LOGIN
    with tenant_tx(house.ridge.pk):
        assert _role() == roles.TENANT
    assert _role() == roles.LOGIN


def _role() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        return str(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_a_scope_refuses_to_run_in_somebody_elses_transaction() -> None:
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"), tenant_tx(1):
        pass


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_nothing_of_a_scope_outlives_its_transaction() -> None:
    from tests.conftest import make_house

    house = make_house()
    with tenant_tx(house.harbour.pk):
        pass
    assert _role() == roles.LOGIN
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('app.tenant_id', true)")
        assert cursor.fetchone()[0] == ""


# Wall 2


@pytest.mark.parametrize("model", TENANT_TABLES, ids=lambda model: model.__name__)
def test_outside_a_scope_a_tenant_table_is_permission_denied(
    wall_2_alone: None, house: House, model: type[TenantKey]
) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        model._base_manager.count()


def test_a_role_without_its_setting_raises_and_never_means_no_rows(wall_2_alone: None, house: House, as_role) -> None:
    note(house.harbour)
    as_role(roles.TENANT)
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('app.tenant_id', true)")
        never_set = cursor.fetchone()[0] is None
    expected, words = (
        (ProgrammingError, "unrecognized configuration parameter") if never_set else (DataError, "invalid input syntax")
    )
    with pytest.raises(expected, match=words):
        list(AuditEntry._base_manager.all())


@pytest.mark.parametrize("model", TENANT_TABLES, ids=lambda model: model.__name__)
def test_every_policy_reads_its_setting_strictly(db: None, model: type[TenantKey]) -> None:
    """An empty table would show nothing either way, so the condition itself is read."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT qual, with_check FROM pg_policies WHERE tablename = %s AND policyname = 'wall_tenant'",
            [model._meta.db_table],
        )
        ((seen, written),) = cursor.fetchall()
    for condition in (seen, written):
        assert "current_setting('app.tenant_id'::text)" in condition
        assert "true)" not in condition.lower()


def test_wall_2_alone_shows_one_clinic(wall_2_alone: None, house: House) -> None:
    note(house.harbour)
    note(house.ridge)
    with tenant_tx(house.harbour.pk):
        assert actions() == {"harbour-physio"}
        assert list(Tenant.objects.values_list("slug", flat=True)) == ["harbour-physio"]
        assert not Membership.objects.filter(user=house.rita).exists()
    with agency_tx([house.ridge.pk], actor="", reason="test"):
        assert actions() == {"ridge-podiatry"}


def test_wall_2_alone_refuses_to_write_for_another_clinic(wall_2_alone: None, house: House) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"), tenant_tx(house.harbour.pk):
        TenantKey(tenant_id=house.ridge.pk, key_id="k", wrapped=b"").save()
    with pytest.raises(ProgrammingError, match="row-level security"), tenant_tx(house.harbour.pk):
        TenantKey.objects.bulk_create([TenantKey(tenant_id=house.ridge.pk, key_id="k", wrapped=b"")])


@pytest.mark.parametrize("model", walled_models(), ids=lambda model: model.__name__)
def test_each_table_of_ours_has_its_wall_enabled_forced_and_role_named(db: None, model: type[TenantKey]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relrowsecurity, relforcerowsecurity, (SELECT array_agg(DISTINCT pg_get_userbyid(named)::text)"
            " FROM pg_policy, unnest(polroles) named WHERE polrelid = pg_class.oid) FROM pg_class WHERE relname = %s",
            [model._meta.db_table],
        )
        enabled, forced, named = cursor.fetchone()
    assert (enabled, forced) == (True, True)
    assert named and set(named) <= {*roles.BY_WORD.values(), roles.OWNER}


def test_the_database_check_finds_no_fault_and_tests_run_as_app_login(db: None) -> None:
    assert list(database_faults()) == []
    with connection.cursor() as cursor:
        cursor.execute("SELECT session_user, current_user")
        assert cursor.fetchone() == (roles.LOGIN, roles.LOGIN)


def test_app_login_may_not_change_walls(db: None) -> None:
    with pytest.raises(ProgrammingError, match="must be owner"), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE tenants_lease DISABLE ROW LEVEL SECURITY")


def test_a_clinic_sees_the_names_of_its_own_people_only(house: House) -> None:
    with tenant_tx(house.harbour.pk), connection.cursor() as cursor:
        cursor.execute("SELECT email FROM auth_user")
        assert {email for (email,) in cursor} == {"olga@example.test", "vik@example.test"}
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        tenant_tx(house.harbour.pk),
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT password FROM auth_user")


def test_a_manager_cannot_make_agency_people_even_by_hand(wall_2_alone: None, house: House) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"), tenant_tx(house.harbour.pk):
        Membership(user=house.olga, agency=house.agency, role="agency_owner").save(force_insert=True)


@pytest.mark.parametrize("model", [AuditEntry, AgencyAuditEntry])
def test_the_audit_can_be_added_to_and_nothing_else(house: House, model: type[AuditEntry]) -> None:
    for change in (lambda: model.objects.all().update(reason=""), lambda: model._base_manager.all().delete()):
        scope = agency_tx([house.harbour.pk], actor="", reason="test")
        with pytest.raises(ProgrammingError, match="permission denied"), scope:
            change()


def test_app_system_serves_leases_and_sees_no_key(house: House) -> None:
    with system_tx("test"):
        Lease.objects.create(name="pulse", expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(ProgrammingError, match="permission denied"), system_tx("test"):
        list(TenantKey.objects.all())
    with pytest.raises(ProgrammingError, match="permission denied"), tenant_tx(house.harbour.pk):
        list(Lease.objects.all())


# Many rows at once


def audit_rows(count: int) -> list[tuple[object, ...]]:
    return [(f"bulk {i}", {"n": i, "text": 'a "quoted" \\ word, {} %s'}) for i in range(count)]


def test_insert_rows_stamps_the_clinic_in_pages(house: House) -> None:
    with tenant_tx(house.harbour.pk):
        done = insert_rows(AuditEntry, ["action", "diff"], audit_rows(2500), returning=["id", "action"])
        assert done.written == len(done) == 2500
        entry = AuditEntry.objects.get(action="bulk 2400")
        assert entry.tenant_id == house.harbour.pk
        assert entry.diff == {"n": 2400, "text": 'a "quoted" \\ word, {} %s'}
        assert (entry.reason, entry.actor) == ("", "")
    with tenant_tx(house.ridge.pk):
        assert not AuditEntry.objects.filter(action__startswith="bulk").exists()


def test_insert_rows_is_guarded(house: House) -> None:
    with pytest.raises(NoScope):
        insert_rows(AuditEntry, ["action"], [("x",)])
    with tenant_tx(house.harbour.pk), pytest.raises(ForeignRow):
        insert_rows(AuditEntry, ["tenant_id", "action"], [(house.ridge.pk, "x")])
    with agency_tx([house.harbour.pk], actor="", reason="test"):
        with pytest.raises(ForeignRow):
            insert_rows(AuditEntry, ["action"], [("x",)])
        with pytest.raises(ForeignRow):
            insert_rows(AuditEntry, ["tenant_id", "action"], [(house.harbour.pk, "x"), (house.ridge.pk, "x")])
        assert insert_rows(AuditEntry, ["tenant_id", "action"], [(house.harbour.pk, "x")]).written == 1


def test_insert_rows_obeys_wall_2_alone(wall_2_alone: None, house: House) -> None:
    scope = agency_tx([house.harbour.pk], actor="", reason="test")
    with pytest.raises(ProgrammingError, match="row-level security"), scope:
        insert_rows(AuditEntry, ["tenant_id", "action"], [(house.ridge.pk, "x")])


def test_insert_rows_settles_conflicts_and_refuses_what_is_too_long(house: House) -> None:
    with tenant_tx(house.harbour.pk):
        columns, row = ["key_id", "wrapped"], ("k1", b"\x00\xff\\")
        assert insert_rows(TenantKey, columns, [row]).written == 1
        assert insert_rows(TenantKey, columns, [row], on_conflict="(tenant_id) DO NOTHING").written == 0
        merge = "(tenant_id) DO UPDATE SET key_id = EXCLUDED.key_id"
        assert insert_rows(TenantKey, columns, [("k2", b"")], on_conflict=merge).written == 1
        key = TenantKey.objects.get()
        assert (key.key_id, bytes(key.wrapped)) == ("k2", b"\x00\xff\\")
    with pytest.raises(DataError, match="too long"), tenant_tx(house.ridge.pk):
        insert_rows(TenantKey, columns, [("k" * 41, b"")])


# The clock


def test_the_clock_is_the_databases_and_tests_move_it(db: None, clock) -> None:
    before = app_now()
    clock.forward(timedelta(hours=3))
    assert timedelta(hours=3) <= app_now() - before < timedelta(hours=3, minutes=1)
    with system_tx("test"):
        Lease.objects.create(name="old", expires_at=before + timedelta(hours=1))
        assert Lease.objects.filter(expires_at__lt=AppNow()).count() == 1


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_the_owner_moves_the_clock_of_every_process_and_app_login_cannot() -> None:
    from django.db import connections

    with pytest.raises(ProgrammingError, match="permission denied"), connection.cursor() as cursor:
        cursor.execute("INSERT INTO tenants_clock (moved_at, shows, rate) VALUES (now(), now(), 1)")
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "INSERT INTO tenants_clock (moved_at, shows, rate) VALUES (clock_timestamp(), '2030-01-01Z', 60)"
        )
    assert app_now().year == 2030


def test_the_guards_errors_are_ours_and_not_the_drivers() -> None:
    assert not issubclass(NoScope, (InternalError, ProgrammingError))
