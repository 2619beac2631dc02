"""The one way to change how a flow is configured: by forms, provisioning and nothing else.

Everything here runs inside the clinic's transaction. What would be wrong is refused as a whole, one sentence per field;
what changes is audited by name, never by value, and frozen as a revision.
"""

from collections.abc import Iterable, Sequence

from integrations.flows import FLOW_KINDS
from integrations.flows.kind import Config, FlowKind
from integrations.models import Connection, Flow, FlowRevision, LinkState, MappingRule, Mode, ValueMap
from integrations.services.changes import By, Fault, Refused, audit, refused
from integrations.services.config_faults import config_faults, direction_faults, ownership_faults, schedule_faults
from integrations.services.configured import config_changes, config_of, tidy
from tenants.walls import app_now, insert_rows

WRITING = (Mode.PILOT, Mode.LIVE)


def add_flow(
    *,
    kind: FlowKind,
    source: Connection,
    target: Connection,
    name: str,
    by: By,
    start: str | None = None,
    every: str = "15m",
) -> Flow:
    """A new flow, off, with revision 1: the kind as shipped. Raises Refused."""
    faults = [*direction_faults(kind, source, target), *schedule_faults(every, start or kind.start)]
    if Flow.objects.filter(name=name, tenant_id=source.tenant_id).exists():
        faults.append(Fault("name", "flow.name_taken", f"This clinic already has a flow named {name}."))
    if faults:
        raise Refused(faults)
    flow: Flow = Flow.objects.create(
        tenant_id=source.tenant_id,
        name=name,
        kind=kind.name,
        source=source,
        target=target,
        every=every,
        start=start or kind.start,
        urgent=kind.urgent,
        revision_number=1,
    )
    _freeze(flow, Config(), "As shipped", by)
    audit("flow.added", flow, by)
    return flow


def configure(
    flow: Flow,
    *,
    by: By,
    config: Config | None = None,
    every: str | None = None,
    start: str | None = None,
    urgent: bool | None = None,
    pilot_keys: Iterable[str] | None = None,
    pilot_tag: str | None = None,
    note: str = "",
    revision_seen: int | None = None,
) -> tuple[str, ...]:
    """Brings a flow to what is given; what is left out stays. Returns the names of what changed.

    A changed ``config`` becomes the next revision and asks for a full pass. ``revision_seen`` is the revision the
    author started from. Raises Refused, with a fault per field.
    """
    row: Flow = (
        Flow.objects.select_for_update(of=("self",), no_key=True).select_related("source", "target").get(pk=flow.pk)
    )
    if revision_seen is not None and row.revision_number != revision_seen:
        sentence = (
            f"Somebody published revision {row.revision_number} meanwhile. Look at it, then make your change again."
        )
        raise refused("", "flow.revision_moved", sentence)
    before = config_of(row)
    wanted = before if config is None else tidy(FLOW_KINDS[row.kind], config)
    columns = _columns(every=every, start=start, urgent=urgent, pilot_keys=pilot_keys, pilot_tag=pilot_tag)
    faults = [
        *schedule_faults(str(columns.get("every", row.every)), str(columns.get("start", row.start))),
        *(config_faults(row, wanted) if wanted != before else ()),
    ]
    if faults:
        raise Refused(faults)
    changed = [name for name, value in columns.items() if getattr(row, name) != value]
    names = config_changes(FLOW_KINDS[row.kind], before, wanted)
    if not (changed or names):
        return ()
    for name in changed:
        setattr(row, name, columns[name])
    if {"pilot_keys", "start"} & set(changed) or names:
        row.wants_full_pass = True
    if {"every", "urgent"} & set(changed):
        row.next_due_at = None
    if names:
        _save_config(row, wanted)
        row.revision_number += 1
        _freeze(row, wanted, note, by)
    row.save(update_fields=[*changed, "wants_full_pass", "next_due_at", "settings", "revision_number"])
    audit("flow.configured", row, by, reason=note, diff={"fields": [*names, *changed], "revision": row.revision_number})
    flow.refresh_from_db()
    return (*names, *changed)


def change_mode(flow: Flow, mode: str, *, by: By, waived: Sequence[str] = ()) -> bool:
    """Off, preview, pilot or live. A change asks for one full pass at once. False if it already was so.

    The first step to pilot or live is the flow's activation. Raises Refused: only the agency lets a flow write, and a
    target field has one owner among the flows that are on.
    """
    row: Flow = (
        Flow.objects.select_for_update(of=("self",), no_key=True).select_related("source", "target").get(pk=flow.pk)
    )
    if mode not in Mode.values:
        raise refused("mode", "mode.unknown", f"A mode is one of {', '.join(Mode.values)}.")
    if row.mode == mode:
        return False
    if mode in WRITING and not by.is_agency:
        raise refused("mode", "mode.denied", "Only the agency may let a flow write to the other system.")
    faults = [] if mode == Mode.OFF else ownership_faults(row, config_of(row))
    if mode == Mode.PILOT and not row.pilot_keys:
        faults.append(Fault("mode", "mode.pilot_empty", "A pilot needs at least one record on its list."))
    if faults:
        raise Refused(faults)
    if mode in WRITING and row.mode not in WRITING and not LinkState.objects.filter(flow=row).exists():
        row.activated_at = app_now()
    before, row.mode, row.wants_full_pass, row.next_due_at = row.mode, mode, True, None
    row.save(update_fields=["mode", "activated_at", "wants_full_pass", "next_due_at"])
    audit("flow.mode", row, by, diff={"from": before, "to": mode, "waived": list(waived)})
    flow.refresh_from_db()
    return True


def restore_revision(flow: Flow, number: int, *, by: By, revision_seen: int | None = None) -> tuple[str, ...]:
    """Publishes an older revision's configuration as a new one. Raises Refused if it may not be used any more."""
    stored = FlowRevision.objects.get(flow=flow, number=number)
    note = f"Back to revision {number}"
    return configure(flow, config=Config.from_json(stored.config), note=note, by=by, revision_seen=revision_seen)


# Rows


def _columns(*, pilot_keys: Iterable[str] | None, **given: object) -> dict[str, object]:
    columns = {name: value.strip() if isinstance(value, str) else value for name, value in given.items()}
    if pilot_keys is not None:
        columns["pilot_keys"] = list(dict.fromkeys(key.strip() for key in pilot_keys if key.strip()))
    return {name: value for name, value in columns.items() if value is not None}


def _save_config(flow: Flow, config: Config) -> None:
    flow.settings = dict(config.settings)
    flow.rules.all().delete()
    flow.value_maps.all().delete()
    insert_rows(
        MappingRule,
        ("flow_id", "target", "source", "transforms", "write", "conflict", "removed"),
        [
            (flow.pk, rule.target, rule.source, list(rule.transforms), rule.write.value, rule.conflict.value, False)
            for rule in config.rules
        ]
        + [(flow.pk, target, "", [], "always", "source", True) for target in sorted(config.removed)],
    )
    insert_rows(
        ValueMap,
        ("flow_id", "name", "source_value", "target_value"),
        [(flow.pk, name, line, value) for name, lines in config.value_maps.items() for line, value in lines.items()],
    )


def _freeze(flow: Flow, config: Config, note: str, by: By) -> None:
    FlowRevision.objects.create(
        tenant_id=flow.tenant_id,
        flow=flow,
        number=flow.revision_number,
        config=config.as_json(),
        author_id=by.user_id,
        note=" ".join(filter(None, (note.strip(), by.acted_by and f"(by {by.acted_by} in their name)")))[:255],
    )
