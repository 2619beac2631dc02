"""Explain this record: which record is meant, what both sides hold now, how each field came about, and what is next."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from django.db.models import F, Q

from integrations.connectors.base import Find, Stream, Wanted
from integrations.core import errors
from integrations.core.diffing import Fate
from integrations.core.rules import Rule, Unusable
from integrations.core.values import Email, Value
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import ALL_TRANSFORMS
from integrations.models import Connection, Delivery, Flow, FlowRevision, Link, SyncLogEntry
from integrations.models.log import Action, Outcome
from integrations.services import connections, linking
from integrations.services.batch import Clients
from integrations.services.candidates import page_of
from integrations.services.desk import KEY
from integrations.services.foresight import PATIENCE_S, Foreseen, foresee
from integrations.services.jobs import Job, load_job
from integrations.services.lookup import find_by_email
from integrations.toolkit.http import Client
from tenants.walls import tenant_tx

CANDIDATES_MAX = 25
LOG_LINES, LOG_SHOWN = 100, 20
DELIVERIES_SHOWN = 10
WRITES = (Action.CREATE, Action.UPDATE, Action.ARCHIVE)


def open_tested(tenant_id: int, connection: Connection, *, interactive: bool, patience_s: float) -> Client:
    """A client for pages that only look: a connection that was never tested would be introduced first, and that is kept."""
    if connection.tested_at is None:
        raise errors.AccountError("connection.untested")
    return connections.open_client(tenant_id, connection, interactive=interactive, patience_s=patience_s)


# -- which record is meant


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record that could be meant. Without a ``source_key`` it is one at a target that is linked to nothing."""

    flow_id: int
    flow_name: str
    source_key: str
    target_key: str = ""
    where: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Located:
    """``failed`` says which connections could not be asked, with the code; ``asked`` names those that were."""

    candidates: tuple[Candidate, ...] = ()
    asked: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()

    @property
    def one(self) -> Candidate | None:
        """The only record that can be meant, if there is only one."""
        return self.candidates[0] if len(self.candidates) == 1 and self.candidates[0].source_key else None


@dataclass(slots=True)
class _Search:
    """What is being looked for, in which flows, and what was found so far."""

    tenant_id: int
    flows: Sequence[Flow]
    clients: Clients
    found: dict[tuple[int, str, str], Candidate] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, flow: Flow, source_key: str, target_key: str = "", *, where: str = "", url: str = "") -> None:
        """One more candidate; a target that turns out to be a known record's is told with it."""
        place = (flow.pk, source_key, "" if source_key else target_key)
        if (known := self.found.get(place)) is not None:
            self.found[place] = replace(known, target_key=known.target_key or target_key)
        elif len(self.found) < CANDIDATES_MAX:
            self.found[place] = Candidate(flow.pk, flow.name, source_key, target_key, where, url)

    def located(self) -> Located:
        known = {one.target_key for one in self.found.values() if one.source_key}
        kept = [one for one in self.found.values() if one.source_key or one.target_key not in known]
        return Located(tuple(kept), tuple(dict.fromkeys(self.asked)), tuple(self.failed.items()))


def locate(
    tenant_id: int, asked: str, *, flow_name: str = "", opener: Callable[..., Client] = connections.open_client
) -> Located:
    """The records that a key, an address of a vendor's page, an e-mail address or an order's or invoice's number may
    mean; outside of any transaction. Our tables first, the vendors only for what these do not know."""
    asked = asked.strip()
    with tenant_tx(tenant_id, reason="explain"):
        flows = list(Flow.objects.select_related("source", "target").order_by("name"))
    flows = [flow for flow in flows if flow_name in ("", flow.name) and flow.kind in FLOW_KINDS]
    clients = Clients(tenant_id, partial(opener, interactive=True, patience_s=PATIENCE_S))
    search = _Search(tenant_id, flows, clients)
    if "@" in asked:
        _by_email(search, asked, opener)
        return search.located()
    key = linking.last_part(asked)
    if KEY.fullmatch(key):
        with tenant_tx(tenant_id, reason="explain"):
            _by_tables(search, key)
        if not search.found:
            _by_key(search, key)
    if not search.found:
        _by_number(search, key)
    return search.located()


def _by_tables(search: _Search, key: str) -> None:
    flows = {flow.pk: flow for flow in search.flows}
    for link in linking.by_key(Link.objects.all(), key)[:CANDIDATES_MAX]:
        for flow in search.flows:
            if _uses(flow, link):
                search.add(flow, link.source_key, link.target_key)
    for flow_id in (
        Delivery.objects.filter(source_key=key, flow_id__in=flows).values_list("flow_id", flat=True).distinct()
    ):
        search.add(flows[flow_id], key)
    if not search.found:
        told = SyncLogEntry.objects.filter(Q(source_key=key) | Q(target_key=key), flow_id__in=flows).order_by("-at")
        for flow_id, source_key in told.values_list("flow_id", "source_key")[:CANDIDATES_MAX]:
            search.add(flows[flow_id], source_key)


def _uses(flow: Flow, link: Link) -> bool:
    kind = FLOW_KINDS[flow.kind]
    ends = (flow.source_id, kind.source.name, flow.target_id, kind.target.name)
    return ends == (link.source_id, link.source_stream, link.target_id, link.target_stream)


def _fields_of(search: _Search, flow: Flow) -> frozenset[str]:
    with tenant_tx(search.tenant_id, reason="explain"):
        return load_job(flow.pk).plan.source_fields


def _streams(search: _Search, *, of_targets: bool = False) -> list[tuple[Stream, Connection, list[Flow]]]:
    """Every stream that the flows read (or write), once, with the flows that do."""
    found: dict[tuple[int, str], tuple[Stream, Connection, list[Flow]]] = {}
    for flow in search.flows:
        kind = FLOW_KINDS[flow.kind]
        stream, end = (kind.target, flow.target) if of_targets else (kind.source, flow.source)
        found.setdefault((end.pk, stream.name), (stream, end, []))[2].append(flow)
    return list(found.values())


def _ask(search: _Search, end: Connection, ask: Callable[[Client], Iterable[str]]) -> list[str]:
    """The keys that a vendor answers with. One that cannot be asked is told of, and the others go on."""
    if str(end) in search.failed:
        return []
    try:
        keys = list(ask(search.clients.to(end)))
    except errors.SyncError as error:
        search.failed[str(end)] = error.code
        return []
    search.asked.append(str(end))
    return keys


def _by_key(search: _Search, key: str) -> None:
    """A record that no flow has touched yet, by its own key at the source."""
    for stream, end, flows in _streams(search):
        read_many = stream.read_many
        if read_many is None:
            continue
        fields = _fields_of(search, flows[0])
        if key in _ask(search, end, partial(read_many, keys=[key], fields=fields)):
            for flow in flows:
                search.add(flow, key, where=str(end))


def _by_number(search: _Search, number: str) -> None:
    for stream, end, flows in _streams(search):
        if stream.numbered is not None:
            for key in _ask(search, end, partial(stream.numbered, number=number)):
                for flow in flows:
                    search.add(flow, key, where=str(end))
    for stream, end, flows in _streams(search, of_targets=True):
        if stream.numbered is not None:
            keys = _ask(search, end, partial(stream.numbered, number=number))
            _add_targets(search, stream, end, flows, keys)


def _add_targets(search: _Search, stream: Stream, end: Connection, flows: Sequence[Flow], keys: Sequence[str]) -> None:
    """Records at a target: each is its link's source record, or nobody's."""
    with tenant_tx(search.tenant_id, reason="explain"):
        links = Link.objects.filter(target_id=end.pk, target_stream=stream.name, target_key__in=list(keys))
        linked = {link.target_key: link.source_key for link in links}
    for key in keys:
        for flow in flows if key in linked else flows[:1]:
            search.add(flow, linked.get(key, ""), key, where=str(end), url=page_of(stream, end.facts, key))


def _by_email(search: _Search, typed: str, opener: Callable[..., Client]) -> None:
    """Everybody who has the address, at the sources and at the targets."""
    address = Email.canon(typed)
    for stream, end, flows in _streams(search):
        if stream.find is None or not _finds_people(stream):
            continue
        fields = _fields_of(search, flows[0])
        for key in _ask(search, end, partial(_having, stream.find, address, fields)):
            for flow in flows:
                search.add(flow, key, where=str(end))
    looked = find_by_email(search.tenant_id, address, opener=opener)
    search.asked += looked.asked
    search.failed |= {name: code for name, code in looked.failed if name not in search.failed}
    for hit in looked.hits:
        for flow in search.flows:
            if str(flow.target) == hit.connection and _finds_people(FLOW_KINDS[flow.kind].target):
                search.add(flow, hit.source_key, hit.key, where=hit.connection, url=hit.url)


def _finds_people(stream: Stream) -> bool:
    return stream.find is not None and stream.find_field("email") is not None


def _having(find: Find, address: str, fields: frozenset[str], client: Client) -> list[str]:
    answer = find(client, [Wanted("asked", "", {"email": address})], fields, "").get("asked")
    return [record.key for some in answer.by_key.values() for record in some] if answer else []


# -- the record


@dataclass(frozen=True, slots=True)
class FieldTold:
    """One target field: the rule, what it made of the source's value, what is there now, and what becomes of it.

    ``steps`` are the transforms' names with what each made. ``verdict`` is a ``Fate``, or: *new* (a create would carry
    it), *waits* (would be written, and something else holds the record), *clash* (its value belongs to another record of the
    target, which holds the record), *stays* (differs, but the record has not changed
    since it was delivered), *dropped* (left out), *problem* (the rule cannot make it), *unmade* (nothing was made),
    *unknown* (the target was not seen). ``code`` says more about dropped ones and problems. ``written`` is the newest log
    line that tells of this field being written; ``changed_here`` and ``changed_there`` compare with what we then wrote.
    """

    name: str
    rule: Rule | None
    before: Value = None
    steps: tuple[tuple[str, Value], ...] = ()
    made: Value = None
    there: Value = None
    is_seen: bool = False
    verdict: str = "unknown"
    code: str = ""
    written: SyncLogEntry | None = None
    changed_here: bool = False
    changed_there: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything about one record in one flow. Holds personal values: for the page that asked, and kept nowhere."""

    foreseen: Foreseen
    fields: tuple[FieldTold, ...] = ()
    revision: FlowRevision | None = None
    written_revision: int = 0
    log: tuple[SyncLogEntry, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    written_at: datetime | None = None

    @property
    def changed_fields(self) -> tuple[str, ...]:
        """Target fields for which the record or the rules make something else than what was written."""
        return tuple(one.name for one in self.fields if one.changed_here)


def explain(
    tenant_id: int, flow_id: int, key: str, *, opener: Callable[..., Client] = connections.open_client
) -> Explanation:
    """Explains the record of this key; outside of any transaction. Raises Flow.DoesNotExist."""
    foreseen = foresee(tenant_id, flow_id, key, opener=opener)
    keys = list(
        dict.fromkeys((foreseen.key, *foreseen.merged, *(foreseen.link.source_aliases if foreseen.link else ())))
    )
    with tenant_tx(tenant_id, reason="explain"):
        log = list(SyncLogEntry.objects.filter(flow_id=flow_id, source_key__in=keys).order_by("-at", "-pk")[:LOG_LINES])
        rows = Delivery.objects.filter(flow_id=flow_id, source_key__in=keys).defer("sealed_draft", "wish")
        deliveries = tuple(rows.order_by("-pk")[:DELIVERIES_SHOWN])
        number = foreseen.job.revision_number
        revisions = FlowRevision.objects.filter(flow_id=flow_id, number=number).annotate(wrote=F("author__email"))
        revision = revisions.first()
    return Explanation(
        foreseen=foreseen,
        fields=tuple(_fields(foreseen, log)),
        revision=revision,
        written_revision=foreseen.state.revision_number if foreseen.state else 0,
        log=tuple(log[:LOG_SHOWN]),
        deliveries=deliveries,
        written_at=foreseen.state.written_at if foreseen.state else None,
    )


def _fields(told: Foreseen, log: Sequence[SyncLogEntry]) -> list[FieldTold]:
    """Every rule at work, then the fields that come from elsewhere (what an archived record asks for) and say something."""
    rules = {rule.target: rule for rule in told.job.plan.rules}
    draft = told.wish.draft.fields if told.wish and told.wish.draft else {}
    others = [name for name in (*draft, *told.next.writes) if name not in rules and name != told.job.kind.marker]
    values = told.job.plan.source_values(told.record) if told.record else {}
    written = _written(log)
    lines = [
        _field(told, name, rules.get(name), values, written.get(name)) for name in dict.fromkeys((*rules, *others))
    ]
    return [one for one in lines if one.rule is not None or one.verdict != Fate.SAME]


def _field(
    told: Foreseen, name: str, rule: Rule | None, values: Mapping[str, Value], written: SyncLogEntry | None
) -> FieldTold:
    draft = told.wish.draft.fields if told.wish and told.wish.draft else {}
    there = told.current.values if told.current else {}
    verdict, code = _verdict(told, name)
    wanted = told.wanted.get(name, draft.get(name))
    return FieldTold(
        name=name,
        rule=rule,
        before=values.get(rule.source) if rule else None,
        steps=_steps(told.job, rule, values) if rule else (),
        made=draft.get(name),
        there=there.get(name),
        is_seen=name in there,
        verdict=verdict,
        code=code,
        written=written,
        changed_here=name in draft and _differs(told, name, wanted),
        changed_there=name in there and _differs(told, name, there[name]),
    )


def _steps(job: Job, rule: Rule, values: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
    """What each of the rule's transforms makes of the value, as far as they get."""
    value, steps = values.get(rule.source), []
    for name in rule.transforms:
        if value is None or name not in ALL_TRANSFORMS:
            break
        try:
            value = ALL_TRANSFORMS[name].apply(value, job.plan.context)
        except Unusable:
            break
        steps.append((name, value))
    return tuple(steps)


def _verdict(told: Foreseen, name: str) -> tuple[str, str]:
    wish = told.wish
    if wish is None:
        return "unknown", ""
    problems = {field: code for code, field in reversed(wish.problems)}
    if name in problems:
        return "problem", problems[name]
    notes = {note.field: note.code for note in (*wish.notes, *told.notes)}
    clashes = {key.field for key in told.job.kind.matching.natural if key.shared_code == told.next.code}
    if wish.draft is None or name not in wish.draft.fields:
        word = "unmade"
    elif name in told.dropped:
        word = "dropped"
    elif name in clashes:
        return "clash", told.next.code
    elif name in told.fates:
        word = _in_context(told, told.fates[name])
    else:
        word = _unheld(told, name)
    if (
        word in (Fate.UNSEEN, "waits", "unknown")
        and wish.draft is not None
        and wish.draft.fields.get(name) in (None, ())
    ):
        word = "unmade"  # nothing is wished, so nothing is missed
    return word, notes.get(name, "")


def _unheld(told: Foreseen, name: str) -> str:
    """The word for a field that nothing at the target was held against."""
    if told.current is None and name in told.next.writes and told.next.when != "desk":
        return "new"
    is_absent = told.current is None and not (told.link or told.target_code)
    return "waits" if is_absent and told.next.action in {"hold", "wait", "create", "flying", "looking"} else "unknown"


def _in_context(told: Foreseen, fate: Fate) -> str:
    """A field's fate, where the record as a whole is not written: it stays, or waits with the record."""
    if fate is Fate.SAME or fate in (Fate.UNSEEN, Fate.MODE, Fate.THEIRS, Fate.ONCE, Fate.KEPT):
        return fate.value
    if told.next.action == "nothing":
        return "stays"
    is_written = told.next.action in {"create", "update", "archive"} and told.next.when != "desk"
    return "waits" if fate is Fate.WRITE and not is_written else fate.value


def _differs(told: Foreseen, name: str, value: Value) -> bool:
    """Whether this is something else than what the target answered to our last write of the field."""
    digests = told.state.digests if told.state else {}
    return name in digests and told.job.digest(name, value) != digests[name]


def _written(log: Sequence[SyncLogEntry]) -> dict[str, SyncLogEntry]:
    """The newest line that tells of each field being written."""
    newest: dict[str, SyncLogEntry] = {}
    for line in log:
        if line.outcome == Outcome.OK and line.action in WRITES:
            for name in line.fields:
                newest.setdefault(name, line)
    return newest
