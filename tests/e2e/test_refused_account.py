"""A connection that may not be opened ends its own flow in words, and stops nobody else's (V6)."""

from collections.abc import Iterator

import pytest

from integrations.models import Connection, RunState
from tenants.models import Tenant
from tenants.walls import tenant_tx
from tests.stage import Stage, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


@pytest.fixture
def on_stage(harbour: Tenant) -> Iterator[Stage]:
    with stage(harbour) as built:
        yield built


@pytest.mark.parametrize("name", ["practice", "shop"])
def test_a_key_of_another_account_is_reported_and_does_not_end_the_whole_sync(on_stage: Stage, name: str):
    on_stage.world.add_patient(first_name="Mia", last_name="Chen", email="mia@example.com")
    with tenant_tx(on_stage.tenant.pk, reason="test"):
        Connection.objects.filter(name=name).update(vendor_account="of another clinic", tested_at=None)
    report = on_stage.report()
    assert not report.ok
    assert [flow.code for flow in report.flows] == ["connection.other_account"]
    assert on_stage.customers() == []
    assert {run.state for run in on_stage.runs()} == {RunState.FAILED if name == "practice" else RunState.DONE}
