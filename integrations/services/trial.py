"""One real record, mapped by rules that need not be saved yet, and what that would change at the target.

Reads the source and the target, writes nothing anywhere. What it returns holds personal values: it is for the page that
asked, masked there for who may only look, and kept nowhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from integrations.connectors.base import Wanted
from integrations.core import errors
from integrations.core.records import Record, State
from integrations.core.values import Value
from integrations.flows.kind import Config, Plan, Wish
from integrations.models import Mode
from integrations.services import connections
from integrations.services.batch import Batch, Clients, Drained
from integrations.services.children import MISSING
from integrations.services.foresight import new_item, rehearse
from integrations.services.jobs import Job, load_job
from integrations.toolkit.http import Client
from tenants.walls import tenant_tx

PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class FieldTrial:
    """One rule at work. ``before`` is the source's value, ``after`` what the rule made of it, ``there`` what the target
    holds (None: not looked at); ``code`` is a note or a problem; ``writes`` that this field would be written."""

    target: str
    source: str
    before: Value = None
    after: Value = None
    there: Value = None
    code: str = ""
    is_problem: bool = False
    writes: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """``action``: create, update, archive, nothing, hold, skip; "" when the record could not be read."""

    key: str = ""
    target_key: str = ""
    action: str = ""
    code: str = ""
    fields: tuple[FieldTrial, ...] = ()
    candidates: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()


def try_record(
    tenant_id: int,
    flow_id: int,
    asked: str,
    *,
    config: Config | None = None,
    opener: Callable[..., Client] = connections.open_client,
) -> Trial:
    """Tries the record of this key, or of this e-mail address. ``config`` replaces the flow's own for this once."""
    with tenant_tx(tenant_id, reason="try a record"):
        job = load_job(flow_id)
    if config is not None:
        job = job.with_config(config)
    clients = Clients(tenant_id, partial(opener, interactive=True, patience_s=PATIENCE_S))
    try:
        record, choices = _read(job, asked.strip(), clients)
        if record is None:
            return Trial(choices=choices, code="" if choices else "record.gone")
        return _tried(job, record, clients)
    except errors.SyncError as error:
        return Trial(code=error.code)


def _read(job: Job, asked: str, clients: Clients) -> tuple[Record | None, tuple[str, ...]]:
    """The record, or the keys to choose from where an address finds several."""
    client = clients.to(job.source)
    stream = job.source_stream
    if "@" in asked and stream.find is not None:
        wanted = Wanted("asked", "", {"email": asked})
        found = stream.find(client, [wanted], job.plan.source_fields, "").get("asked")
        records = tuple(record for some in found.by_key.values() for record in some) if found else ()
        return (records[0], ()) if len(records) == 1 else (None, tuple(record.key for record in records))
    if stream.read_many is None:
        return None, ()
    return stream.read_many(client, [asked], job.plan.source_fields).get(asked), ()


def _tried(job: Job, record: Record, clients: Clients) -> Trial:
    """The change it would make, decided by a delivery that only looks, whatever the flow's mode."""
    wish = job.wish(record) if record.state is not State.MERGED else Wish(record, skip="record.merged")
    if wish.draft is None:
        code = wish.skip or wish.problems[0][0]
        return Trial(record.key, "", "skip" if wish.skip else "hold", code, _fields(job.plan, record, wish))
    item = new_item(job, record.key)
    ahead = rehearse(Batch(replace(job, mode=Mode.LIVE), [item], clients, Drained(), looks_only=True), item, record)
    fields = _fields(
        job.plan,
        record,
        replace(wish, notes=tuple(item.notes)),
        current=item.current,
        writes={name: item.wanted.get(name) for name in ahead.writes},
    )
    code = MISSING if ahead.action == "wait" else ahead.code
    action = "hold" if ahead.action == "wait" else ahead.action
    return Trial(record.key, item.target_key, action, code, fields, ahead.candidates)


def _fields(
    plan: Plan,
    record: Record,
    wish: Wish,
    *,
    current: Record | None = None,
    writes: Mapping[str, Value] | None = None,
) -> tuple[FieldTrial, ...]:
    """Every rule at work, then the fields a draft holds without a rule (what an archived record asks for)."""
    values = plan.source_values(record)
    mapped = plan.mapper(values)
    made = wish.draft.fields if wish.draft else mapped.fields
    codes = {note.field: (note.code, False) for note in (*mapped.notes, *wish.notes)}
    codes |= {name: (code, True) for code, name in (*mapped.problems, *wish.problems) if name}
    sources = {rule.target: rule.source for rule in plan.rules}
    names = [*sources, *(name for name in (writes or {}) if name not in sources)]
    there = current.values if current else {}
    return tuple(
        FieldTrial(
            target=name,
            source=sources.get(name, ""),
            before=values.get(sources.get(name, "")),
            after=made.get(name),
            there=there.get(name),
            code=codes.get(name, ("", False))[0],
            is_problem=codes.get(name, ("", False))[1],
            writes=name in (writes or {}),
        )
        for name in names
        if name != plan.kind.marker
    )
