"""Deliveries that wait for a parent: what they are called, and how the parent's link sends them on."""

from collections.abc import Iterable

from integrations.models import Delivery, DeliveryState
from integrations.services.counts import Moves
from tenants.walls import app_now

MISSING = "parent.missing"


def waits_for(stream: str, key: str, *, is_target: bool = False) -> str:
    """The name of a parent, as its children's rows keep it: the source of the link they need, or its target."""
    return f"{'to ' if is_target else ''}{stream}/{key}"


def wake(names: Iterable[str]) -> None:
    """Sends on what waited for these links. Call inside the clinic's transaction, once they are made."""
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
