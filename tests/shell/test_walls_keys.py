"""Same-tenant keys: a row of one clinic cannot point at another's, whatever the application believes (AS10)."""

from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, ProgrammingError, connection, models

from tenants.operations import key_name
from tenants.walls import TenantForeignKey, agency_tx, tenant_tx
from tests.conftest import House
from tests.isolation.objects import build, rows_above

pytestmark = pytest.mark.django_db

KEYS = [
    (model, field)
    for model in apps.get_models()
    for field in model._meta.concrete_fields
    if isinstance(field, TenantForeignKey)
]
ALSO = {  # what a row must be to have such a parent at all
    "Delivery.bulk_run": ", state = 'sending'",
    "Alert.flow": ", connection_id = NULL",
}


def name_of(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else value.name


@pytest.mark.parametrize(("model", "field"), KEYS, ids=name_of)
def test_each_key_is_a_pair_that_holds_at_once(model: type[models.Model], field: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_constraintdef(oid), condeferrable, condeferred FROM pg_constraint WHERE conname = %s",
            [key_name(model._meta.db_table, field.column)],
        )
        definition, may_wait, waits = cursor.fetchone()
    parent = field.related_model._meta.db_table
    assert definition.startswith(f"FOREIGN KEY (tenant_id, {field.column}) REFERENCES {parent}(tenant_id, id)")
    assert (may_wait, waits) == (True, False)


@pytest.mark.parametrize(("model", "field"), KEYS, ids=name_of)
def test_a_foreign_parent_is_refused_below_the_application(house: House, model: type[models.Model], field: Any) -> None:
    """By its key, or, in a table that may only be added to, before that."""
    above = rows_above(house.harbour, house.olga)
    theirs = build(field.related_model, house.ridge, {**above})
    row = build(model, house.harbour, {**above})
    both = [house.harbour.pk, house.ridge.pk]
    with (
        pytest.raises((IntegrityError, ProgrammingError), match=r"same_tenant|permission denied"),
        agency_tx(both, actor="", reason="test"),
        connection.cursor() as cursor,
    ):
        cursor.execute(
            f'UPDATE "{model._meta.db_table}" SET "{field.column}" = %s{ALSO.get(f"{model.__name__}.{field.name}", "")} WHERE id = %s',  # noqa: S608 - names of models
            [theirs.pk, row.pk],
        )


def test_there_are_keys_to_look_at() -> None:
    assert len(KEYS) > 5


def test_a_clinic_cannot_be_pulled_away_from_its_rows(house: House) -> None:
    build(KEYS[0][0], house.harbour)
    with tenant_tx(house.harbour.pk), pytest.raises(models.ProtectedError):
        house.harbour.delete()
