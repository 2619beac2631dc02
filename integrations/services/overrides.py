"""Values that people gave in the place of a source's own: sealed, for one record, until its source's value changes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from integrations.core import fingerprint
from integrations.core.values import Code, Email, Kind, Number, Phone, Text, Value
from integrations.flows.kind import FlowKind
from integrations.models import Flow, Override
from integrations.vault import Unsealable, Vault
from tenants.walls import app_now

LONGEST = 255
TYPED = (Text, Email, Phone, Code, Number)
"""The kinds of value that a person can type."""


class BadValue(ValueError):
    """What was typed is no such value; the message is a sentence for the person."""


@dataclass(frozen=True, slots=True)
class Given:
    """The overrides of one record. ``values`` and ``seen`` are by source field."""

    kind: FlowKind
    digest_key: bytes = field(repr=False)
    values: Mapping[str, Value] = field(repr=False)
    seen: Mapping[str, str] = field(repr=False)

    def valid(self, source: Mapping[str, Value]) -> dict[str, Value]:
        """Those whose source says what it said when they were given."""
        return {
            name: value
            for name, value in self.values.items()
            if name in source and seen_digest(self.kind, self.digest_key, name, source[name]) == self.seen[name]
        }

    def ended(self, source: Mapping[str, Value]) -> list[str]:
        """The fields whose source says something else by now."""
        return sorted(self.values.keys() - self.valid(source).keys())


Overrides = Mapping[str, Given]
"""By source key."""


def overrides_of(flow_id: int, kind: FlowKind, vault: Vault) -> dict[str, Given]:
    """All of a flow's, which are few: each was typed by a person. Call inside the clinic's transaction."""
    values: dict[str, dict[str, Value]] = {}
    seen: dict[str, dict[str, str]] = {}
    for row in Override.objects.filter(flow_id=flow_id):
        try:
            raw = json.loads(vault.unseal(row.sealed_value, bound_to=_place(flow_id, row.source_key, row.field)))
            value = source_kind(kind, row.field).load(raw)
        except (Unsealable, KeyError):  # a field that has left the stream since
            continue
        values.setdefault(row.source_key, {})[row.field] = value
        seen.setdefault(row.source_key, {})[row.field] = row.seen_digest
    return {key: Given(kind, vault.digest_key, own, seen[key]) for key, own in values.items()}


def give(
    flow: Flow, kind: FlowKind, vault: Vault, *, source_key: str, name: str, value: Value, seen: Value, author: str
) -> None:
    """Keeps a value for a record's source field; a second one takes the first one's place. Inside the clinic's
    transaction."""
    sealed = json.dumps(source_kind(kind, name).dump(value)).encode()
    Override.objects.update_or_create(
        flow=flow,
        source_key=source_key,
        field=name,
        defaults={
            "sealed_value": vault.seal(sealed, bound_to=_place(flow.pk, source_key, name)),
            "seen_digest": seen_digest(kind, vault.digest_key, name, seen),
            "author": author,
            "made_at": app_now(),
        },
    )


def end(flow_id: int, ended: Mapping[str, list[str]]) -> None:
    """Removes overrides by record and field: their source has spoken. Inside the clinic's transaction."""
    for key, names in ended.items():
        Override.objects.filter(flow_id=flow_id, source_key=key, field__in=names).delete()


def parsed(kind: Kind, typed: str) -> Value:
    """What was typed, as a value of this kind. Raises BadValue."""
    text = " ".join(typed.split())
    if not text:
        raise BadValue("Type the value that is missing.")
    if len(text) > LONGEST:
        raise BadValue("That is too long.")
    if kind is Number:
        return _number(text)
    if kind is Email and "@" not in text.strip("@"):
        raise BadValue("That is not a complete e-mail address.")
    return text


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text.replace(",", ""))
    except InvalidOperation:
        raise BadValue("Type a number, such as 12.50.") from None
    if not number.is_finite() or abs(number) > Decimal(10**9):
        raise BadValue("Type a number, such as 12.50.")
    return number


def source_kind(kind: FlowKind, name: str) -> Kind:
    """The kind of value of a source field, or of one that is derived."""
    derived = kind.derived_field(name)
    return derived.kind if derived is not None else kind.source.kind_of(name)


def seen_digest(kind: FlowKind, digest_key: bytes, name: str, value: Value) -> str:
    return fingerprint.of_field(digest_key, f"source {name}", value, lambda _: source_kind(kind, name))


def _place(flow_id: int, source_key: str, name: str) -> str:
    return f"override:{flow_id}:{source_key}:{name}"
