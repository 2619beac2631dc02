"""One real record, mapped by rules that need not be saved yet, and what that would change at the target.

Reads the source and the target, writes nothing anywhere. What it returns holds personal values: it is for the page that
asked, masked there for who may only look, and kept nowhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from integrations.connectors.base import Wanted
from integrations.core import errors
from integrations.core.diffing import diff, new
from integrations.core.matching import Decision, Found, Judge
from integrations.core.records import Record, State
from integrations.core.values import Value
from integrations.flows.kind import Config, Plan, Wish, make_plan
from integrations.models import Connection, Link, LinkState
from integrations.services import connections, parents
from integrations.services.children import MISSING
from integrations.services.jobs import Job, load_job
from integrations.services.merges import links_of
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


@dataclass(slots=True)
class _Look:
    """What is known of the record's target."""

    link: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    was_gone: bool = False
    current: Record | None = None


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
        released = job.source.released_fields
        job = replace(job, plan=make_plan(job.kind, config, job.plan.context, released))
    try:
        record, choices = _read(job, asked.strip(), opener)
        if record is None:
            return Trial(choices=choices, code="" if choices else "record.gone")
        return _tried(job, record, opener)
    except errors.SyncError as error:
        return Trial(code=error.code)


def _read(job: Job, asked: str, opener: Callable[..., Client]) -> tuple[Record | None, tuple[str, ...]]:
    """The record, or the keys to choose from where an address finds several."""
    client = _open(job, job.source, opener)
    stream = job.source_stream
    if "@" in asked and stream.find is not None:
        wanted = Wanted("asked", "", {"email": asked})
        found = stream.find(client, [wanted], job.plan.source_fields, "").get("asked")
        records = tuple(record for some in found.by_key.values() for record in some) if found else ()
        return (records[0], ()) if len(records) == 1 else (None, tuple(record.key for record in records))
    if stream.read_many is None:
        return None, ()
    return stream.read_many(client, [asked], job.plan.source_fields).get(asked), ()


def _open(job: Job, connection: Connection, opener: Callable[..., Client]) -> Client:
    return opener(job.tenant_id, connection, interactive=True, patience_s=PATIENCE_S)


def _tried(job: Job, record: Record, opener: Callable[..., Client]) -> Trial:
    wish = job.plan.wish(record) if record.state is not State.MERGED else Wish(record, skip="record.merged")
    if wish.draft is None:
        code = wish.skip or wish.problems[0][0]
        return Trial(record.key, "", "skip" if wish.skip else "hold", code, _fields(job.plan, record, wish))
    look = _look(job, record.key)
    client = _open(job, job.target, opener)
    if look.link and job.target_stream.read_many is not None:
        look.current = job.target_stream.read_many(client, [look.link], job.plan.target_fields).get(look.link)
        if look.current is None:
            return Trial(record.key, look.link, "hold", "link.target_gone", _fields(job.plan, record, wish))
    return _compared(job, record, wish, look, client)


def _look(job: Job, key: str) -> _Look:
    with tenant_tx(job.tenant_id, reason="try a record"):
        link = Link.objects.filter(links_of(job), source_key=key).values_list("target_key", flat=True).first()
        state = LinkState.objects.filter(flow_id=job.flow_id, source_key=key).first()
    if state is None:
        return _Look(link or "")
    return _Look(link or "", dict(state.digests), dict(state.dropped), state.gone)


def _compared(job: Job, record: Record, wish: Wish, look: _Look, client: Client) -> Trial:
    """The change it would make, decided as a delivery decides it."""
    draft = wish.draft
    if draft is None or (draft.gone and not look.link):
        return Trial(record.key, "", "skip", "record.archived_unlinked", _fields(job.plan, record, wish))
    wanted = {
        name: value
        for name, value in draft.fields.items()
        if name not in look.dropped or job.digest(name, value) != look.dropped[name]
    }
    with tenant_tx(job.tenant_id, reason="try a record"):
        wanted, missing = parents.placed(job, wanted)
    if missing:
        fields = _fields(job.plan, record, wish, current=look.current)
        return Trial(record.key, look.link, "hold", MISSING, fields)
    notes = list(wish.notes)
    if look.current is None:
        decision = _judge(job, record.key, wanted, client)
        if decision.code:
            fields = _fields(job.plan, record, wish)
            return Trial(record.key, "", "hold", decision.code, fields, decision.candidates)
        wanted = {name: value for name, value in wanted.items() if name not in decision.drop}
        if decision.drop:
            wanted = job.kind.finish(wanted, job.plan.context)
        notes += decision.notes
        look.current = decision.target
    if look.current is None:
        patch = new(wanted, job.kind_of)
        action = "create"
    else:
        patch = diff(
            wanted,
            look.current.values,
            kind_of=job.kind_of,
            digest=job.digest,
            written=look.digests,
            policies=job.plan.policies_for(is_new=False, is_gone=draft.gone, was_gone=look.was_gone),
            fixed=job.plan.fixed,
        )
        stuck = patch.conflicts or patch.fixed
        action = "hold" if stuck else ("archive" if draft.gone else "update") if patch else "nothing"
    wish = replace(wish, notes=(*notes, *patch.notes))
    fields = _fields(job.plan, record, wish, current=look.current, writes=patch.fields)
    code = "field.conflict" if patch.conflicts else "field.fixed" if patch.fixed else ""
    return Trial(record.key, look.current.key if look.current else "", action, code, fields)


def _judge(job: Job, key: str, wanted: Mapping[str, Value], client: Client) -> Decision:
    if job.target_stream.find is None:
        return Judge(job.kind.matching, job.plan.context.settings, lambda _: False, job.kind_of).choose(wanted, Found())
    keys = {
        one.field: text
        for one in job.kind.matching.natural
        if (text := job.kind_of(one.field).canon(wanted.get(one.field)))
    }
    answer = job.target_stream.find(client, [Wanted(key, key, keys, wanted)], job.plan.target_fields, job.kind.marker)[
        key
    ]
    candidates = [record.key for records in answer.by_key.values() for record in records]
    taken = _taken(job, candidates)
    judge = Judge(job.kind.matching, job.plan.context.settings, taken.__contains__, job.kind_of)
    return judge.choose(wanted, Found(answer.by_marker, answer.by_key))


def _taken(job: Job, keys: Sequence[str]) -> set[str]:
    with tenant_tx(job.tenant_id, reason="try a record"):
        linked = Link.objects.filter(target_id=job.target.pk, target_stream=job.target_stream.name, target_key__in=keys)
        return set(linked.values_list("target_key", flat=True))


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
