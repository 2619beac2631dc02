"""Deliveries that wait for a parent: what they are called, and how the parent's link sends them on."""

from collections.abc import Collection, Iterable

from django.db import connection as database
from django.db.models import Q

from integrations.flows.kind import Parent
from integrations.models import Delivery, DeliveryState, Link
from integrations.services.counts import Moves
from integrations.services.jobs import Job
from tenants.walls import app_now, current_tenant_id

MISSING = "parent.missing"


def waits_for(stream: str, key: str, *, is_target: bool = False) -> str:
    """The name of a parent, as its children's rows keep it: the source of the link they need, or its target."""
    return f"{'to ' if is_target else ''}{stream}/{key}"


def name_of(parent: Parent, key: str) -> str:
    stream = parent.target_stream if parent.is_reversed else parent.source_stream
    return waits_for(stream, key, is_target=parent.is_reversed)


def targets_of(job: Job, parent: Parent, keys: Collection[str]) -> dict[str, str]:
    """Source key -> target key, for those that are linked; a merged record's key finds its survivor's link."""
    asked = sorted(keys)
    streams = {"source_stream": parent.source_stream, "target_stream": parent.target_stream}
    there = Link.objects.filter(source_id=job.source.pk, target_id=job.target.pk, **streams)
    if parent.is_reversed:
        there = Link.objects.filter(source_id=job.target.pk, target_id=job.source.pk, **streams)
        return dict(there.filter(target_key__in=asked).values_list("target_key", "source_key"))
    found: dict[str, str] = {}
    rows = there.filter(Q(source_key__in=asked) | Q(source_aliases__overlap=asked))
    for key, aliases, target in rows.values_list("source_key", "source_aliases", "target_key"):
        found |= dict.fromkeys({key, *aliases}.intersection(asked), target)
    return found


def in_turn() -> None:
    """Lets whoever makes a link and whoever holds what waits for one go one after the other, within a clinic: else each
    could look before the other has committed, and nobody would send the child on. Until the end of the transaction."""
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('children'), hashtext(%s))", [str(current_tenant_id())])


def linked_since(job: Job, names: Collection[str]) -> list[str]:
    """Those of these parents that have their link by now. Call after ``in_turn``."""
    found: list[str] = []
    for parent in job.kind.parents if names else ():
        start = name_of(parent, "")
        keys = {name.removeprefix(start) for name in names if name.startswith(start)}
        found += [name_of(parent, key) for key in targets_of(job, parent, keys)] if keys else []
    return found


def wake(names: Iterable[str]) -> None:
    """Sends on what waited for these links. Call inside the clinic's transaction, once they are made and ``in_turn``."""
    names = list(names)
    held = Delivery.objects.filter(state=DeliveryState.HELD, code=MISSING, waits_for__overlap=names)
    rows = list(held.order_by("pk").select_for_update().values_list("pk", "run_id")) if names else []
    if not rows:
        return
    Delivery.objects.filter(pk__in=[pk for pk, _ in rows]).update(
        state=DeliveryState.WAITING, not_before=app_now(), code="", codes=[], waits_for=[], held_at=None
    )
    moves = Moves()
    for _, run_id in rows:
        moves.move(run_id, "held", "waiting")
    moves.save()
