"""Writing stock levels: see that the item is tracked, that it is stocked at the location, then set what is available.

All three in one call, because to the shell they are one field. Quantities are set with what was read before, so that
a sale in between is refused and not overwritten; many levels go in one mutation, and singly where that one is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from integrations.connectors.base import WriteItem, Written
from integrations.connectors.shopify.inventory_documents import LEVEL, SHAPES, StockStep
from integrations.connectors.shopify.inventory_refusals import stock_refused
from integrations.connectors.shopify.levels import available_in
from integrations.connectors.shopify.lists import slices
from integrations.connectors.shopify.once import document_uri
from integrations.connectors.shopify.operations import Selection
from integrations.connectors.shopify.repeats import keyed, send_once
from integrations.connectors.shopify.steps import Job, Run, Withheld, Writer, over
from integrations.core.errors import AccountError, RecordError, Rejected, SyncError, Throttled, VendorChanged
from integrations.core.records import Record
from integrations.toolkit import payload
from integrations.toolkit.graphql import UserError
from integrations.toolkit.http import Client

MOST_ROWS = 250
MOST = 1_000_000_000
TURNS = 3  # keys that one attempt may use up


def write_many(client: Client, items: Sequence[WriteItem], fields: frozenset[str], marker: str) -> Sequence[Written]:
    """Each level with the quantity wished. A wish without one answers its record as it was.

    Raises what concerns the connection (AccountError, Throttled, VendorChanged) only when nothing at all was written.
    """
    work = _Work(Run(client, _WRITER, LEVEL, marker))
    for item in items:
        try:
            work.take(item)
        except RecordError as error:
            work.outcomes[item.ref] = Written(item.ref, error=error)
    work.track()
    work.activate()
    work.set()
    return [work.outcomes[item.ref] for item in items]


@dataclass(slots=True)
class _Work:
    """The levels of one call on their way: ``left`` are those not written yet, as they are by now."""

    run: Run
    left: dict[str, WriteItem] = field(default_factory=dict)
    outcomes: dict[str, Written] = field(default_factory=dict)
    wrote: bool = False

    def take(self, item: WriteItem) -> None:
        """Raises Rejected for what cannot be written."""
        if item.current is None:
            raise Rejected("shopify.stock_unplaced")
        if "available" not in item.fields:
            self.outcomes[item.ref] = Written(item.ref, item.current)
            return
        if item.current.handles.get("variants") == "several":
            raise Rejected("shopify.product_has_variants")
        _whole(item)
        self.left[item.ref] = _seeded(item)

    def track(self) -> None:
        self._do([_track(item) for item in self.left.values() if _handles(item)["tracked"] == "no"])

    def activate(self) -> None:
        self._do([_activate(item) for item in self.left.values() if _handles(item)["active"] == "no"])
        for ref, item in list(self.left.items()):
            if "no" in (_handles(item)["active"], _handles(item)["tracked"]):
                self._end(ref, Written(ref, error=Rejected("shopify.stock_not_kept")))
            elif _handles(item)["quantity"] == str(_whole(item)):
                self._end(ref, self.outcomes[ref] if ref in self.outcomes else Written(ref, item.current))

    def set(self) -> None:
        for some in slices(list(self.left.values()), MOST_ROWS):
            if len(some) > 1 and self._set_together(some):
                continue
            self._do([_set([item]) for item in some])

    def _set_together(self, items: Sequence[WriteItem]) -> bool:
        """One mutation for all. False where Shopify refused it, whatever it did of it: each is then sent alone, and
        one that was done meanwhile is refused as changed and read again."""
        [told] = self._send([_set(items)]).values()
        if isinstance(told.error, RecordError):
            return False
        for item in items:
            record = None if told.error else _with(item, _whole(item))
            self._end(item.ref, Written(item.ref, record, told.error, told.request_id))
        return True

    def _do(self, jobs: Sequence[Job]) -> None:
        """Runs a step of each. Those that fail are out, the others go on from what they are now."""
        for ref, told in self._send(jobs).items():
            if told.error is not None:
                self._end(ref, told)
                continue
            self.outcomes[ref] = told
            self.left[ref] = replace(self.left[ref], current=told.record)

    def _send(self, jobs: Sequence[Job]) -> dict[str, Written]:
        """The outcome of each job, the key changed where Shopify says that one is spent."""
        return send_once(jobs, self._run, is_spent=_is_spent, turns=TURNS)

    def _run(self, jobs: Sequence[Job]) -> dict[str, Written]:
        try:
            sent = self.run.all(jobs)
        except (AccountError, Throttled, VendorChanged) as error:
            if not self.wrote:
                raise
            return {job.item.ref: Written(job.item.ref, error=error) for job in jobs}
        self.wrote = self.wrote or any(told.error is None for told in sent.values())
        return sent

    def _end(self, ref: str, told: Written) -> None:
        self.outcomes[ref] = told
        self.left.pop(ref, None)


def _handles(item: WriteItem) -> Mapping[str, str]:
    return _current(item).handles


def _current(item: WriteItem) -> Record:
    if item.current is None:
        raise payload.wrong("record", "a level to change", None)
    return item.current


def _whole(item: WriteItem) -> int:
    """The quantity wished. Raises Rejected for none, for a part of one, and for more than Shopify counts to."""
    wish = item.fields["available"]
    if not isinstance(wish, Decimal) or abs(wish) > MOST:
        raise Rejected("shopify.stock_quantity_invalid", field="available")
    if wish != wish.to_integral_value():
        raise Rejected("shopify.stock_fraction", field="available")
    return int(wish)


# -- the steps


def _track(item: WriteItem) -> Job:
    return Job(item, StockStep.TRACK, {"c": _handles(item)["item"], "i": {"tracked": True}})


def _activate(item: WriteItem) -> Job:
    """A level that was there before keeps its quantity and takes no other with this; it is set afterwards."""
    handles = _handles(item)
    variables: dict[str, object] = {"c": handles["item"], "l": handles["location"]}
    if not handles["quantity"]:
        variables["i"] = _whole(item)
    return keyed(Job(item, StockStep.ACTIVATE, variables))


def _set(items: Sequence[WriteItem]) -> Job:
    """``changeFromQuantity`` is always there: null says that nothing is known to compare with."""
    rows = []
    for item in items:
        handles = _handles(item)
        known = handles["quantity"]
        rows.append(
            {
                "inventoryItemId": handles["item"],
                "locationId": handles["location"],
                "quantity": _whole(item),
                "changeFromQuantity": int(known) if known else None,
            }
        )
    seed = "\n".join(item.seed for item in items)
    sent = {
        "name": "available",
        "reason": "correction",
        "referenceDocumentUri": document_uri(seed),
        "quantities": rows,
    }
    return keyed(Job(replace(items[0], seed=seed), StockStep.SET, {"i": sent}))


def _seeded(item: WriteItem) -> WriteItem:
    """With something to make the key of besides the input: without a wish's own seed, the level as it was read."""
    return item if item.seed else replace(item, seed=f"{_current(item).key} {_current(item).version}")


def _is_spent(error: SyncError) -> bool:
    return error.code == "shopify.request_key_spent"


def _answer(job: Job, result: payload.Json, _withheld: Withheld, _selected: Selection) -> Record:
    """The level after the step."""
    match job.step:
        case StockStep.TRACK:
            tracked = payload.flag(payload.obj(result, "inventoryItem"), "tracked", "inventoryItem")
            return _kept(job.item, {"tracked": "yes" if tracked else "no"})
        case StockStep.ACTIVATE:
            level = payload.obj(result, "inventoryLevel")
            active, quantity = payload.flag(level, "isActive", "inventoryLevel"), available_in(level)
            handles = {"active": "yes" if active else "no", "quantity": "" if quantity is None else str(quantity)}
            return _kept(job.item, handles)
        case _:
            return _with(job.item, _whole(job.item))


def _kept(item: WriteItem, told: Mapping[str, str]) -> Record:
    """The level with handles as a step told them: it has a quantity only where it is tracked and active."""
    handles = {**_handles(item), **told}
    keeps = (handles["tracked"], handles["active"]) == ("yes", "yes") and handles["quantity"]
    return over(item.current, {"available": Decimal(handles["quantity"]) if keeps else None}, handles)


def _with(item: WriteItem, quantity: int) -> Record:
    return over(item.current, {"available": Decimal(quantity)}, {"quantity": str(quantity)})


def _refuse(errors: Sequence[UserError], _job: Job, _marks: bool) -> SyncError:
    return stock_refused(errors)


_WRITER = Writer("Stock", SHAPES, _answer, _refuse)
