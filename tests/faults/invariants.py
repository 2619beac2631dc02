"""What must hold after any fault, once the vendors behave and everything due was done (`faults.md` 1)."""

from collections import Counter

from django.conf import settings

from integrations.models import BUCKETS, IN_FLIGHT, Delivery, DeliveryState, Link, LinkState, Run
from integrations.services.targets import CREATES_MAX
from tenants.walls import tenant_tx
from tests.faults.theatre import Theatre
from tests.stage import SHOP

OUTCOMES = ("created", "updated", "archived", "skipped")


def assert_invariants(shown: Theatre, *, strangers: int = 0) -> None:
    """``strangers`` are customers that the merchant made and nobody matched."""
    with tenant_tx(shown.tenant.pk):
        deliveries = list(Delivery.objects.all())
        links = {link.source_key: link for link in Link.objects.all()}
        states = {state.source_key: state for state in LinkState.objects.all()}
        runs = list(Run.objects.all())
    _nothing_is_under_way(deliveries, runs)
    _counts_add_up(deliveries, runs)
    _attempts_are_bounded(deliveries)
    _one_customer_per_marker(shown, links, strangers)
    _every_write_was_announced(shown, deliveries)
    _nothing_is_lost(shown, deliveries, links, states)
    assert set(shown.shopify.vendor.shops) <= {SHOP}  # I3


def _nothing_is_under_way(deliveries: list[Delivery], runs: list[Run]) -> None:
    """I8: every row that was under way has an end. A finished one keeps no draft; an open one per key at most."""
    assert not [row for row in deliveries if row.state in (*IN_FLIGHT, DeliveryState.WAITING)]
    assert all(row.sealed_draft is None for row in deliveries if row.state == DeliveryState.DONE)
    assert all(run.state != "running" for run in runs)


def _counts_add_up(deliveries: list[Delivery], runs: list[Run]) -> None:
    for run in runs:
        assert run.read == sum(getattr(run, bucket) for bucket in BUCKETS)
        assert min(getattr(run, bucket) for bucket in BUCKETS) >= 0
        assert run.waiting == run.uncertain == 0
        mine = Counter(row.outcome or row.state for row in deliveries if row.run_id == run.pk)
        for outcome in OUTCOMES[:-1]:
            assert getattr(run, outcome) == mine[outcome], (run.pk, outcome)
        assert run.held >= mine[DeliveryState.HELD]


def _attempts_are_bounded(deliveries: list[Delivery]) -> None:
    """I5."""
    for row in deliveries:
        assert row.tries <= settings.SUTURE_MAX_TRIES
        assert row.crashes <= settings.SUTURE_CRASH_TRIES
        assert row.creates <= CREATES_MAX


def _one_customer_per_marker(shown: Theatre, links: dict[str, Link], strangers: int) -> None:
    """I2, and no customer of ours without a link or a marker."""
    marked = shown.marked()
    assert all(len(rows) == 1 for rows in marked.values())
    assert len(shown.customers()) == len(marked) + strangers
    by_target = {link.target_key: link for link in links.values()}
    assert len(by_target) == len(links)
    for key, (row,) in marked.items():
        link = by_target.get(str(row["id"]))
        assert link is not None and key in (link.source_key, *link.source_aliases), "a customer nobody knows of"


def _every_write_was_announced(shown: Theatre, deliveries: list[Delivery]) -> None:
    """I8: behind every customer stands a delivery that was *sending*."""
    sent = {row.source_key for row in deliveries if row.sent_at is not None}
    assert set(shown.marked()) <= sent


def _nothing_is_lost(
    shown: Theatre, deliveries: list[Delivery], links: dict[str, Link], states: dict[str, LinkState]
) -> None:
    """I1, I4: equal at the target, or one row on the error desk."""
    held = {row.source_key for row in deliveries if row.state == DeliveryState.HELD}
    customers = {str(row["id"]): row for row in shown.customers()}
    for key, patient in shown.world.patients.items():
        if key in held or patient.get("merged_with") or patient.get("accepted_privacy_policy") is False:
            continue
        link = links.get(key)
        if patient.get("archived_at"):
            assert link is None or "inactive" in customers[link.target_key]["tags"], f"{key}: not tagged"
            continue
        assert link is not None, f"{key}: lost"
        _assert_equal(patient, customers[link.target_key], states[key])


def _assert_equal(patient: dict[str, object], customer: dict[str, object], state: LinkState) -> None:
    assert (customer["firstName"], customer["lastName"]) == (patient["first_name"], patient["last_name"])
    if "email" not in state.dropped:
        assert customer["email"] == (str(patient.get("email") or "").lower() or None)
    assert "inactive" not in customer["tags"]
