"""Links corrected by a person (C15, ask 6)."""

import pytest

from integrations.models import Delivery, Flow, Link, LinkState, Run, SyncLogEntry
from integrations.services import linking
from integrations.services.desk import Refused
from tenants.models import AuditEntry, Tenant
from tenants.walls import agency_tx, tenant_tx
from tests.desk_rows import hold, make_flow, make_link

pytestmark = pytest.mark.django_db


@pytest.fixture
def flow(harbour: Tenant) -> Flow:
    return make_flow(harbour)


def test_an_unlinked_pair_is_forgotten_with_its_digests_and_said_in_the_log(flow: Flow) -> None:
    link = make_link(flow, "1", "71")
    with tenant_tx(flow.tenant_id, actor="olga"):
        linking.unlink(Link.objects.get(pk=link.pk), reason="wrong person")
        assert not Link.objects.exists()
        assert not LinkState.objects.exists()
        assert not Delivery.objects.exists()
        entry = SyncLogEntry.objects.get()
        assert (entry.action, entry.source_key, entry.target_key, entry.actor) == ("unlink", "1", "71", "olga")
        audit = AuditEntry.objects.get(action="link.removed")
        assert (audit.reason, audit.diff) == ("wrong person", {"source": "1", "target": "71"})


def test_what_was_held_because_of_the_link_is_tried_again(flow: Flow) -> None:
    link = make_link(flow, "1", "71")
    held = hold(flow, "1", code="link.target_gone")
    with tenant_tx(flow.tenant_id):
        linking.unlink(Link.objects.get(pk=link.pk), reason="deleted in the shop")
        assert Delivery.objects.get(pk=held.pk).state == "waiting"


def test_a_pointed_link_forgets_what_was_written_and_sends_everything_anew(flow: Flow) -> None:
    link = make_link(flow, "1", "71")
    with tenant_tx(flow.tenant_id, actor="olga"):
        linking.relink(Link.objects.get(pk=link.pk), target_key="72", reason="twin")
        moved, state = Link.objects.get(), LinkState.objects.get()
        assert (moved.target_key, moved.made_by) == ("72", "person")
        assert (bytes(state.wish), state.digests) == (b"", {})
        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.source_key, delivery.sealed_draft) == ("waiting", "1", None)
        assert delivery.run.trigger == "person"
        assert (delivery.run.read, delivery.run.waiting) == (1, 1)
        assert AuditEntry.objects.get(action="link.changed").diff["before"] == "71"


def test_a_target_that_is_somebody_elses_is_refused(flow: Flow) -> None:
    link = make_link(flow, "1", "71")
    make_link(flow, "2", "72")
    with tenant_tx(flow.tenant_id):
        with pytest.raises(Refused, match="72 is already linked to 2"):
            linking.relink(Link.objects.get(pk=link.pk), target_key="72", reason="twin")
        assert Link.objects.get(pk=link.pk).target_key == "71"


def test_two_people_at_once_do_not_undo_each_other(flow: Flow) -> None:
    link = make_link(flow, "1", "71")
    with tenant_tx(flow.tenant_id):
        seen = Link.objects.get(pk=link.pk)
        Link.objects.filter(pk=link.pk).update(target_key="70")
        with pytest.raises(Refused, match="a moment ago"):
            linking.relink(seen, target_key="72", reason="twin")


@pytest.mark.parametrize("verb", ["unlink", "relink"])
def test_a_reason_is_asked_for(flow: Flow, verb: str) -> None:
    link = make_link(flow, "1", "71")
    with tenant_tx(flow.tenant_id), pytest.raises(Refused, match="Say why"):
        seen = Link.objects.get(pk=link.pk)
        linking.unlink(seen, reason=" ") if verb == "unlink" else linking.relink(seen, target_key="72", reason="")


def test_the_agency_corrects_a_link_from_its_own_scope(flow: Flow) -> None:
    link = make_link(flow, "1", "71")
    with agency_tx([flow.tenant_id], actor="ana", reason="agency site"):
        linking.relink(Link.objects.get(pk=link.pk), target_key="72", reason="twin")
        linking.unlink(Link.objects.get(pk=link.pk), reason="after all", send_again=True)
        assert Run.objects.filter(trigger="person").count() == 1


def test_a_flow_that_is_off_is_not_woken(flow: Flow) -> None:
    link = make_link(flow, "1", "71")
    with tenant_tx(flow.tenant_id):
        Flow.objects.update(mode="off")
        linking.relink(Link.objects.get(pk=link.pk), target_key="72", reason="twin")
        assert not Delivery.objects.exists()


@pytest.mark.parametrize(
    "typed",
    ["1", "71", "old-1", "old-71", " 1 ", "https://admin.shopify.com/store/x/customers/71?tab=a", "/patients/1/"],
)
def test_a_link_is_found_by_any_key_it_ever_had_and_by_a_pages_address(flow: Flow, typed: str) -> None:
    link = make_link(flow, "1", "71", source_aliases=["old-1"], target_aliases=["old-71"])
    make_link(flow, "2", "72")
    with tenant_tx(flow.tenant_id):
        assert [found.pk for found in linking.by_key(Link.objects.all(), typed)] == [link.pk]
