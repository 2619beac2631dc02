"""A flow with all that is needed to run it, loaded once: connections, plan, keys."""

import hashlib
import hmac
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import msgspec
import phonenumbers

from integrations.connectors import CONNECTORS
from integrations.connectors.base import Connector, Stream
from integrations.core import fingerprint
from integrations.core.records import Draft, Note, Record, State
from integrations.core.rules import Context
from integrations.core.values import Kind, Value
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import Config, FlowKind, Plan, Wish, make_plan
from integrations.models import Connection, Flow, FlowRevision
from integrations.services.overrides import Overrides, overrides_of
from integrations.vault import Vault, open_vault
from tenants.models import Tenant

DRAFT_FORMAT = 1
RULES_MAY_KNOW = ("taxes_included", "location", "b2b")
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Job:
    """One flow of one clinic, ready to run. Holds no database rows that somebody else may change meanwhile."""

    tenant_id: int
    flow_id: int
    flow_name: str
    mode: str
    pilot_keys: frozenset[str]
    revision_number: int
    source: Connection
    target: Connection
    plan: Plan
    vault: Vault = field(repr=False)
    kinds: Mapping[str, Kind] = field(repr=False)
    reading_key: bytes = field(repr=False)
    overrides: Overrides = field(default_factory=dict, repr=False)
    _orders: dict[tuple[str, ...], fingerprint.Order] = field(default_factory=dict, repr=False, compare=False)

    @property
    def kind(self) -> FlowKind:
        return self.plan.kind

    @property
    def source_stream(self) -> Stream:
        return self.plan.kind.source

    @property
    def target_stream(self) -> Stream:
        return self.plan.kind.target

    @property
    def source_connector(self) -> Connector:
        return CONNECTORS[self.source.vendor]

    @property
    def target_connector(self) -> Connector:
        return CONNECTORS[self.target.vendor]

    def ready_to_read(self) -> "Job":
        """The same flow, knowing the values that people gave. Call inside the clinic's transaction."""
        return replace(self, overrides=overrides_of(self.flow_id, self.kind, self.vault))

    def with_config(self, config: Config) -> "Job":
        """The same flow, configured otherwise: to see what that would do."""
        plan = make_plan(self.kind, config, self.plan.context, self.source.released_fields)
        kinds = {name: self.kind.target.kind_of(name) for name in plan.target_fields}
        return replace(self, plan=plan, kinds=kinds, _orders={})

    def wish(self, record: Record) -> Wish:
        """What this flow wishes for the record, with the values that people gave in the place of the source's."""
        own = self.overrides.get(record.key)
        if own is None or record.state is State.MERGED:
            return self.plan.wish(record)
        given = own.valid(self.plan.source_values(record))
        wish = self.plan.wish(record, given)
        targets = [rule.target for rule in self.plan.rules if rule.source in given]
        return replace(wish, notes=(*wish.notes, *(Note("value.overridden", name) for name in targets)))

    def ended_overrides(self, records: Iterable[Record]) -> dict[str, list[str]]:
        """By record, the source fields for which a person gave a value and whose own has changed since."""
        own = ((record, self.overrides[record.key]) for record in records if record.key in self.overrides)
        ended = {record.key: given.ended(self.plan.source_values(record)) for record, given in own}
        return {key: names for key, names in ended.items() if names}

    def kind_of(self, name: str) -> Kind:
        """Raises KeyError for a field that is none of this flow's target fields."""
        return self.kinds[name]

    def fingerprint(self, draft: Draft) -> bytes:
        names = tuple(draft.fields)
        if names not in self._orders:
            self._orders[names] = fingerprint.order_of(names, self.kind_of)
        return fingerprint.wish(self.vault.digest_key, draft, self.kind_of, self._orders[names])

    def reading(self, record: Record) -> str:
        """Equal for records that were read alike by a plan like this one: what was made of one then is made of it now."""
        return fingerprint.reading(self.reading_key, record)

    def digest(self, name: str, value: Value) -> str:
        return fingerprint.of_field(self.vault.digest_key, name, value, self.kinds.__getitem__)

    def seal(self, draft: Draft, source_key: str) -> bytes:
        """The draft as an outbox row keeps it: encrypted, bound to clinic, flow and source key."""
        kinds = self.kinds  # texts and nothing are their own JSON, whatever the kind
        body = {
            "v": DRAFT_FORMAT,
            "gone": draft.gone,
            "fields": {
                name: value if value is None or value.__class__ is str else kinds[name].dump(value)
                for name, value in draft.fields.items()
            },
        }
        return self.vault.seal(_encode(body), bound_to=self._bound(source_key))

    def unseal(self, sealed: bytes | memoryview, source_key: str) -> Draft:
        """The draft that was sealed, without fields that have left the plan since: a release taken back, say."""
        body = json.loads(self.vault.unseal(sealed, bound_to=self._bound(source_key)))
        fields: Mapping[str, object] = body["fields"]
        known = {name: self.kinds[name].load(raw) for name, raw in fields.items() if name in self.kinds}
        return Draft(known, gone=body["gone"])

    def _bound(self, source_key: str) -> str:
        return f"draft:{self.flow_id}:{source_key}"


def load_job(flow_id: int, *, revision_number: int | None = None, reads: bool = True) -> Job:
    """The job of a flow, by the revision a run started with or the current one. Call inside the clinic's transaction.

    One that ``reads`` no source needs no overrides.

    Raises Flow.DoesNotExist for a flow that is not this clinic's.
    """
    flow = Flow.objects.select_related("source", "target").get(pk=flow_id)
    number = flow.revision_number if revision_number is None else revision_number
    stored = FlowRevision.objects.filter(flow_id=flow_id, number=number).values_list("config", flat=True).first()
    tenant = Tenant.objects.get(pk=flow.tenant_id)
    context = clinic_context(tenant, flow.target)
    plan = make_plan(FLOW_KINDS[flow.kind], Config.from_json(stored or {}), context, flow.source.released_fields)
    vault = open_vault(flow.tenant_id)
    return Job(
        tenant_id=flow.tenant_id,
        flow_id=flow.pk,
        flow_name=flow.name,
        mode=flow.mode,
        pilot_keys=frozenset(flow.pilot_keys),
        revision_number=number,
        source=flow.source,
        target=flow.target,
        plan=plan,
        vault=vault,
        kinds={name: plan.kind.target.kind_of(name) for name in plan.target_fields},
        reading_key=hmac.digest(vault.digest_key, f"{_code()} {number} {_told(plan)}".encode(), "sha256"),
        overrides=overrides_of(flow_id, plan.kind, vault) if reads else {},
    )


def _told(plan: Plan) -> str:
    """What decides, besides our code, which wish a record makes."""
    return repr((plan.kind.name, plan.context, plan.rules, sorted(plan.source_fields), sorted(plan.target_fields)))


@cache
def _code() -> str:
    """A digest of the code that decodes, maps and fingerprints, so that a new release judges every record anew."""
    folder = Path(fingerprint.__file__).parents[1]
    digest = hashlib.sha256(f"{sys.version} {phonenumbers.__version__}".encode())
    for part in ("core", "flows", "toolkit", "connectors"):
        for path in sorted((folder / part).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def clinic_context(tenant: Tenant, target: Connection) -> Context:
    """What rules may know of the clinic, and of the account they write to."""
    facts = {name: str(target.facts[name]) for name in RULES_MAY_KNOW if target.facts.get(name)}
    return Context(country=tenant.country, zone=tenant.time_zone, currency=tenant.currency, target=facts)
