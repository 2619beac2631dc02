"""Clinics, connections and flows from a file: what ``manage.py provision`` does.

The file says what should be; a second run changes nothing. Every mistake is told at once, with its path in the file, and
then nothing is written. What the file leaves out stays as it is; a list or table it does give (a flow's rules, its
settings, one value map) replaces the one that is there.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from integrations.connectors import CONNECTORS
from integrations.connectors.base import OpenFields
from integrations.core.records import OnConflict, Write
from integrations.core.rules import Rule
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import ALL_TRANSFORMS, Config, effective_rules
from integrations.models import Connection, Flow, Mode
from integrations.services import changes, configuration, configured, connection_setup, following
from integrations.services.changes import OPERATOR, Refused
from tenants.models import Agency, Tenant
from tenants.services import add_agency, add_tenant, record_audit
from tenants.walls import agency_tx, narrow_to

_ENV = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
EMPTY: Mapping[str, str] = MappingProxyType({})


class BadFile(ValueError):
    """What is wrong with the file: (path in the file, sentence), all of it."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__("\n".join(f"{path}: {sentence}" for path, sentence in faults))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class ConnectionSpec:
    path: str
    name: str
    vendor: str
    account: str | None = None
    label: str | None = None
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class FlowSpec:
    path: str
    name: str
    kind: str
    source: str
    target: str
    mode: str | None = None
    start: str | None = None
    every: str | None = None
    urgent: bool | None = None
    settings: Mapping[str, str] | None = None
    pilot_keys: tuple[str, ...] | None = None
    pilot_tag: str | None = None
    rules: tuple[tuple[str, Rule | None], ...] | None = None
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    waive: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TenantSpec:
    path: str
    slug: str
    name: str | None = None
    time_zone: str | None = None
    country: str | None = None
    currency: str | None = None
    connections: tuple[ConnectionSpec, ...] = ()
    flows: tuple[FlowSpec, ...] = ()


def provision(document: Mapping[str, object], *, dry_run: bool = False, origin: str = "a file") -> list[str]:
    """Brings the installation to what the document says, in one transaction. Returns what changed, a line each.

    ``origin`` names the file in the audit. Raises BadFile.
    """
    tenants = read(document)
    known = dict(Tenant.objects.filter(slug__in=[spec.slug for spec in tenants]).values_list("slug", "pk"))
    with agency_tx(known.values(), actor=OPERATOR.actor, reason=f"provision {origin}"):
        making = _Making(origin)
        for spec in tenants:
            making.tenant(spec)
        if dry_run or making.faults:
            transaction.set_rollback(True)
    if making.faults:
        raise BadFile(making.faults)
    return making.told


# Reading


def read(document: Mapping[str, object]) -> tuple[TenantSpec, ...]:
    """The document as values. Raises BadFile for everything that can be told from the text alone."""
    faults: list[tuple[str, str]] = []
    top = _Table(document, "", faults)
    tenants = tuple(_tenant(table) for table in top.tables("tenant"))
    if not tenants and not faults:
        top.wrong("tenant", "The file names no clinic; it needs at least one [[tenant]].")
    top.no_more()
    _once(faults, [(spec.path, "slug", spec.slug) for spec in tenants])
    if faults:
        raise BadFile(faults)
    return tenants


_Made = TypeVar("_Made")


class _Table:
    """One table of the file; what does not fit is noted with its path, and reading goes on."""

    def __init__(self, raw: Mapping[str, object], path: str, faults: list[tuple[str, str]]) -> None:
        self.raw, self.path, self.faults = raw, path, faults
        self.seen: set[str] = set()

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def wrong(self, name: str, sentence: str) -> None:
        self.faults.append((self.at(name), sentence))

    def has(self, name: str) -> bool:
        return name in self.raw

    def text(self, name: str) -> str | None:
        value = self._take(name)
        if value is None or isinstance(value, str):
            return value
        self.wrong(name, "Must be text in quotation marks.")
        return None

    def needed(self, name: str) -> str:
        value = self.text(name)
        if not value and not any(path == self.at(name) for path, _ in self.faults):
            self.wrong(name, "Is missing.")
        return value or ""

    def slug(self, name: str, *, default: str = "") -> str:
        value = self.needed(name) if not default or self.has(name) else default
        if value and not _SLUG.fullmatch(value):
            self.wrong(name, "May hold small letters, digits, - and _ only, at most 60.")
        return value

    def flag(self, name: str) -> bool | None:
        value = self._take(name)
        if value is None or isinstance(value, bool):
            return value
        self.wrong(name, "Must be true or false.")
        return None

    def choice(self, name: str, options: Sequence[str], *, what: str) -> str | None:
        value = self.text(name)
        if value is not None and value not in options:
            self.wrong(name, f"{value!r} is no {what}; it is one of {', '.join(options)}.")
            return None
        return value

    def texts(self, name: str) -> tuple[str, ...] | None:
        """A list of texts; whole numbers are taken as they are written."""
        value = self._take(name)
        if value is None:
            return None
        if isinstance(value, list) and all(isinstance(one, str | int) and not isinstance(one, bool) for one in value):
            return tuple(str(one) for one in value)
        self.wrong(name, 'Must be a list of texts, such as ["a", "b"].')
        return None

    def mapping(self, name: str) -> dict[str, str] | None:
        """A table of texts."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.wrong(name, "Must be a table.")
            return None
        for key, one in value.items():
            if not isinstance(one, str):
                self.wrong(f"{name}.{key}", "Must be text in quotation marks.")
        return {key: one for key, one in value.items() if isinstance(one, str)}

    def table(self, name: str) -> "_Table | None":
        value = self._take(name)
        if value is None:
            return None
        if isinstance(value, dict):
            return _Table(value, self.at(name), self.faults)
        self.wrong(name, "Must be a table.")
        return None

    def tables(self, name: str) -> Iterator["_Table"]:
        value = self._take(name)
        if value is None:
            return
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            self.wrong(name, f"Must be written as [[{name}]] tables.")
            return
        for number, one in enumerate(value):
            yield _Table(one, f"{self.at(name)}[{number}]", self.faults)

    def no_more(self) -> None:
        for name in self.raw:
            if name not in self.seen:
                known = ", ".join(sorted(self.seen))
                self.wrong(name, f"Is not known here; known are {known}.")

    def _take(self, name: str) -> object:
        self.seen.add(name)
        return self.raw.get(name)


def _tenant(table: _Table) -> TenantSpec:
    spec = TenantSpec(
        path=table.path,
        slug=table.slug("slug"),
        name=table.text("name"),
        time_zone=table.text("time_zone"),
        country=table.text("country"),
        currency=table.text("currency"),
        connections=tuple(_connection(one) for one in table.tables("connection")),
        flows=tuple(_flow(one) for one in table.tables("flow")),
    )
    table.no_more()
    _once(table.faults, [(one.path, "name", one.name) for one in spec.connections])
    _once(table.faults, [(one.path, "name", one.name) for one in spec.flows])
    return spec


def _connection(table: _Table) -> ConnectionSpec:
    vendor = table.choice("vendor", sorted(CONNECTORS), what="vendor") or ""
    if not table.has("vendor"):
        table.wrong("vendor", "Is missing.")
    spec = ConnectionSpec(
        path=table.path,
        name=table.slug("name"),
        vendor=vendor,
        account=table.text("account"),
        label=table.text("label"),
        credentials=_credentials(table, vendor),
    )
    table.no_more()
    return spec


def _credentials(table: _Table, vendor: str) -> dict[str, str]:
    boxes = {box.name: box for box in CONNECTORS[vendor].credentials} if vendor else {}
    opened = {}
    for name, value in (table.mapping("credentials") or {}).items():
        box = boxes.get(name)
        if vendor and box is None:
            table.wrong(f"credentials.{name}", f"Is not known here; known are {', '.join(boxes)}.")
        elif from_env := _ENV.fullmatch(value):
            opened[name] = _from_environment(table, name, from_env[1])
        elif box is not None and box.secret and not settings.SUTURE_SANDBOX:
            sentence = 'A secret is not written into the file: name an environment variable, as in "env:CLINIC_KEY".'
            table.wrong(f"credentials.{name}", sentence)
        else:
            opened[name] = value
    return opened


def _from_environment(table: _Table, name: str, variable: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        table.wrong(f"credentials.{name}", f"The environment variable {variable} is empty or not set.")
    return value


def _flow(table: _Table) -> FlowSpec:
    kind = table.choice("kind", sorted(FLOW_KINDS), what="flow kind") or ""
    if not table.has("kind"):
        table.wrong("kind", "Is missing.")
    pilot, rules = table.table("pilot"), tuple(_rule(one) for one in table.tables("rule"))
    spec = FlowSpec(
        path=table.path,
        name=table.slug("name", default=kind or "flow"),
        kind=kind,
        source=table.needed("source"),
        target=table.needed("target"),
        mode=table.choice("mode", Mode.values, what="mode"),
        start=_start(table),
        every=table.text("every"),
        urgent=table.flag("urgent"),
        settings=table.mapping("settings"),
        pilot_keys=pilot.texts("keys") if pilot else None,
        pilot_tag=pilot.text("tag") if pilot else None,
        rules=rules if table.has("rule") else None,
        values=_values(table),
        waive=table.texts("waive") or (),
    )
    if pilot is not None:
        pilot.no_more()
    table.no_more()
    return spec


def _start(table: _Table) -> str | None:
    """TOML writes a date without quotation marks, people with; both mean the same."""
    if isinstance(value := table.raw.get("start"), date):
        table.seen.add("start")
        return value.isoformat()[:10]
    return table.text("start")


def _values(table: _Table) -> dict[str, Mapping[str, str]]:
    maps = table.table("values")
    if maps is None:
        return {}
    return {name: lines for name in maps.raw if (lines := maps.mapping(name)) is not None}


def _rule(table: _Table) -> tuple[str, Rule | None]:
    """A departure; None for a target field that is taken away."""
    target, is_removed = table.needed("target"), table.flag("removed")
    source = table.text("source") if is_removed else table.needed("source")
    transforms = table.texts("transforms") or ()
    for name in transforms:
        if name not in ALL_TRANSFORMS:
            table.wrong("transforms", f"{name!r} is no step; known are {', '.join(sorted(ALL_TRANSFORMS))}.")
    write = table.choice("write", [mode.value for mode in Write], what="write mode") or Write.ALWAYS
    wins = table.choice("conflict", [policy.value for policy in OnConflict], what="answer to who wins")
    table.no_more()
    if is_removed:
        return target, None
    return target, Rule(target, source or "", transforms, Write(write), OnConflict(wins or OnConflict.SOURCE_WINS))


def _once(faults: list[tuple[str, str]], named: Sequence[tuple[str, str, str]]) -> None:
    seen: set[str] = set()
    for path, what, name in named:
        if name and name in seen:
            faults.append((f"{path}.{what}", f"{name!r} stands in the file twice."))
        seen.add(name)


# Making


class _Making:
    """Applies specifications one after another; mistakes are collected, and the caller takes everything back."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.told: list[str] = []
        self.faults: list[tuple[str, str]] = []

    def tenant(self, spec: TenantSpec) -> None:
        tenant = self._attempt(spec.path, partial(self._clinic, spec))
        if tenant is None:
            return
        with narrow_to(tenant.pk):
            made = {one.name: self._attempt(one.path, partial(self._connect, spec, one)) for one in spec.connections}
            for connection in Connection.objects.exclude(name__in=made):
                made[connection.name] = connection
            for flow in spec.flows:
                self._attempt(flow.path, partial(self._join, spec, flow, made), _places(flow))

    def _attempt(self, path: str, make: Callable[[], _Made], places: Mapping[str, str] = EMPTY) -> _Made | None:
        """What ``make`` made, or None with its mistakes noted under ``path``; ``places`` respells some in the file's way."""
        try:
            with transaction.atomic():
                return make()
        except Refused as refusal:
            for fault in refusal.faults:
                self.faults.append((f"{path}.{places.get(fault.where, fault.where)}".rstrip("."), fault.sentence))
        except ValidationError as refusal:
            told = refusal.message_dict if hasattr(refusal, "error_dict") else {"": refusal.messages}
            self.faults += [(f"{path}.{name}".rstrip("."), " ".join(said)) for name, said in told.items()]
        return None

    def _say(self, what: str) -> None:
        self.told.append(what)

    def _clinic(self, spec: TenantSpec) -> Tenant:
        given = {
            name: value
            for name in ("name", "time_zone", "country", "currency")
            if (value := getattr(spec, name)) is not None
        }
        tenant = Tenant.objects.filter(slug=spec.slug).first()
        if tenant is None:
            tenant = add_tenant(
                agency=self._agency(), slug=spec.slug, actor=OPERATOR.actor, **{"name": spec.slug, **given}
            )
            self._say(f"{spec.slug}: clinic added")
            return tenant
        changed = [name for name, value in given.items() if getattr(tenant, name) != value]
        if changed:
            for name in changed:
                setattr(tenant, name, given[name])
            tenant.full_clean()
            tenant.save(update_fields=changed)
            record_audit("clinic.changed", target=f"tenant {tenant.pk}", diff={"fields": changed}, tenant_id=tenant.pk)
            self._say(f"{spec.slug}: {', '.join(changed)} changed")
        return tenant

    def _agency(self) -> Agency:
        """The installation's agency, made with a name to be changed where there is none yet."""
        found = Agency.objects.order_by("pk").first()
        if found is not None:
            return found
        self._say("agency added")
        return add_agency(name="Agency", slug="agency", actor=OPERATOR.actor)

    def _connect(self, tenant: TenantSpec, spec: ConnectionSpec) -> Connection:
        where = f"{tenant.slug}/{spec.name}"
        connection: Connection | None = Connection.objects.filter(name=spec.name).first()
        if connection is None:
            connection = Connection.objects.create(name=spec.name, vendor=spec.vendor, label=spec.label or "")
            self._say(f"{where}: connection to {CONNECTORS[spec.vendor].label} added")
        elif connection.vendor != spec.vendor:
            sentence = f"This connection is one to {connection.vendor}; give a new one another name."
            raise changes.refused("vendor", "connection.vendor", sentence)
        elif spec.label is not None and connection.label != spec.label:
            connection.label = spec.label
            connection.save(update_fields=["label"])
            self._say(f"{where}: label changed")
        before = connection.hints
        if connection_setup.set_credentials(connection, spec.credentials, account=spec.account, by=OPERATOR) and before:
            self._say(f"{where}: account or credentials changed")
        return connection

    def _join(self, tenant: TenantSpec, spec: FlowSpec, connections: Mapping[str, Connection | None]) -> None:
        source, target = self._end(spec, "source", connections), self._end(spec, "target", connections)
        if source is None or target is None:
            return
        where, kind = f"{tenant.slug}/{spec.name}", FLOW_KINDS[spec.kind]
        flow = Flow.objects.select_related("source", "target").filter(name=spec.name).first()
        if flow is None:
            flow = configuration.add_flow(
                kind=kind,
                source=source,
                target=target,
                name=spec.name,
                by=OPERATOR,
                start=spec.start,
                every=spec.every or "15m",
            )
            self._say(f"{where}: flow added")
        elif (flow.kind, flow.source_id, flow.target_id) != (spec.kind, source.pk, target.pk):
            sentence = "A flow keeps its kind, source and target; give the new one another name."
            raise changes.refused("name", "flow.other_ends", sentence)
        self._configure(where, spec, flow)

    def _end(self, spec: FlowSpec, side: str, connections: Mapping[str, Connection | None]) -> Connection | None:
        name = getattr(spec, side)
        if name not in connections:
            self.faults.append((f"{spec.path}.{side}", f"This clinic has no connection named {name!r}."))
        return connections.get(name)

    def _configure(self, where: str, spec: FlowSpec, flow: Flow) -> None:
        config = following.still_inheriting(flow, _wanted(spec, configured.config_of(flow)))
        self._release(where, flow, config)
        changed = configuration.configure(
            flow,
            config=config,
            every=spec.every,
            start=spec.start,
            urgent=spec.urgent,
            pilot_keys=spec.pilot_keys,
            pilot_tag=spec.pilot_tag,
            note=f"From {self.origin}",
            by=OPERATOR,
        )
        if changed:
            self._say(f"{where}: {', '.join(changed)} changed")
        if spec.mode is not None and configuration.change_mode(flow, spec.mode, by=OPERATOR, waived=spec.waive):
            self._say(f"{where}: mode is {spec.mode}")

    def _release(self, where: str, flow: Flow, config: Config) -> None:
        """Naming a custom field in the file is the operator's release of it."""
        kind = FLOW_KINDS[flow.kind]
        for rule in effective_rules(kind, config):
            family = kind.source.find_field(rule.source)
            if isinstance(family, OpenFields) and family.released and rule.source not in flow.source.released_fields:
                connection_setup.release_field(flow.source, rule.source, reason=f"Named in {self.origin}", by=OPERATOR)
                self._say(f"{where}: {rule.source} released")


def _wanted(spec: FlowSpec, before: Config) -> Config:
    """The configuration with what the file gives put in the place of what was there."""
    rules, removed = before.rules, before.removed
    if spec.rules is not None:
        rules = tuple(rule for _, rule in spec.rules if rule is not None)
        removed = frozenset(target for target, rule in spec.rules if rule is None)
    chosen = before.settings if spec.settings is None else spec.settings
    return Config(rules, removed, chosen, {**before.value_maps, **spec.values})


def _places(spec: FlowSpec) -> dict[str, str]:
    """Where the file writes what the configuration calls ``rules.TARGET``."""
    return {f"rules.{target}": f"rule[{number}]" for number, (target, _) in enumerate(spec.rules or ())}
