"""C9, gate: a record that is read just as it was when its wish was delivered is not judged again; any other is."""

import pytest

from integrations.flows.kind import Plan
from integrations.models import Flow, FlowRevision, LinkState, Run
from integrations.services import jobs
from tenants.walls import tenant_tx
from tests.bench.test_statements import a_clinic, read_all

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the records of which a wish was made."""
    keys: list[str] = []
    wish = Plan.wish

    def noting(plan, record):
        keys.append(record.key)
        return wish(plan, record)

    monkeypatch.setattr(Plan, "wish", noting)
    return keys


def newest(clinic) -> Run:
    with tenant_tx(clinic.tenant_id):
        return Run.objects.order_by("-pk")[0]


def test_what_was_delivered_as_it_is_read_now_is_only_counted(judged, monkeypatch) -> None:
    with a_clinic(20) as clinic:
        read_all(clinic)
        clinic.settle_waiting()
        assert len(judged) == 20
        read_all(clinic)
        assert len(judged) == 20
        run = newest(clinic)
        assert (run.read, run.unchanged) == (20, 20)

        with tenant_tx(clinic.tenant_id):
            one = LinkState.objects.order_by("pk")[0]
            LinkState.objects.filter(pk=one.pk).update(wish=b"")
        read_all(clinic)
        assert judged[20:] == [one.source_key], "a wish that was taken back is made again"
        clinic.settle_waiting()

        with tenant_tx(clinic.tenant_id):
            FlowRevision.objects.create(flow_id=clinic.flow_id, number=2, config={"settings": {"bad_phone": "hold"}})
            Flow.objects.filter(pk=clinic.flow_id).update(revision_number=2)
        read_all(clinic)
        assert len(judged) == 41, "another revision judges everything anew"
        assert newest(clinic).unchanged == 20

        monkeypatch.setattr(jobs, "_code", lambda: "another release")
        read_all(clinic)
        assert len(judged) == 61, "and so does other code"


def test_what_is_open_or_on_its_way_is_judged(judged) -> None:
    with a_clinic(5) as clinic:
        read_all(clinic)
        read_all(clinic)
        assert len(judged) == 10
