"""What "Test connection" asks Cliniko, and how the answers read to a person."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from integrations.connectors.base import Probe
from integrations.connectors.cliniko.decoding import custom_field_slug
from integrations.connectors.cliniko.zones import zone_of
from integrations.core.errors import AccountError, Rejected, VendorChanged
from integrations.toolkit import payload
from integrations.toolkit.http import Client
from integrations.toolkit.payload import Json

Finding = tuple[str, str]

_SUBDOMAIN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SHARD = re.compile(r"[a-z]{2}[0-9]{1,2}")
_COUNTRY = re.compile(r"[A-Z]{2}")

_NOT_FOR_US = (AccountError, Rejected, VendorChanged)  # what an optional read may answer without stopping the probe


@dataclass(frozen=True, slots=True)
class _Settings:
    facts: Mapping[str, str]
    findings: tuple[Finding, ...]


def verify(client: Client) -> Probe:
    """Who the key's owner is and what the account may do.

    Raises what the client raises if the key is refused. A role that may not read something optional is a finding.
    """
    user = payload.as_object(client.get("/v1/user").data, "user")
    account = payload.obj(payload.as_object(client.get("/v1/settings/public").data, ""), "account")
    account_id, user_id = payload.key(account, "id", "account"), payload.key(user, "id", "user")
    name, role = _text(account, "name"), _text(user, "role")
    zone, zone_findings = _zone(client, user)
    settings = _settings(client)
    facts = {
        "user_id": user_id,
        "role": role,
        "shard": _matching(_SHARD, client.account),
        "country": _matching(_COUNTRY, _text(account, "country_code")),
        "subdomain": _matching(_SUBDOMAIN, _text(account, "subdomain").lower()),
        "zone": zone,
        **settings.facts,
    }
    found = (_owner(name, role), *_patients(client), *zone_findings, *settings.findings)
    return Probe(
        account_id, name, f"user:{user_id}", zone, {named: fact for named, fact in facts.items() if fact}, found
    )


def _owner(account_name: str, role: str) -> Finding:
    if not role:
        return ("warning", f"{account_name}: the key works, but its owner has no role in Cliniko.")
    if role == "administrator":
        return (
            "warning",
            f"{account_name}: the key belongs to an administrator and can read everything, health records included. "
            "A user of its own with a lower role is safer.",
        )
    return ("ok", f"{account_name}: the key works; its owner is a {role}.")


def _patients(client: Client) -> tuple[Finding, ...]:
    """Whether the role may list patients, asked without reading one: no patient has the id 0."""
    try:
        client.get("/v1/patients", (("q[]", "id:=0"), ("per_page", "1")))
    except AccountError:
        return (("problem", "The key's owner may not read patients. Give that user a role that sees them."),)
    return ()


def _zone(client: Client, user: Json) -> tuple[str, tuple[Finding, ...]]:
    """The zone of the clinic's first business; the key owner's if businesses may not be read."""
    try:
        data = payload.as_object(client.get("/v1/businesses", (("per_page", "100"),)).data, "")
    except _NOT_FOR_US:
        zone = zone_of(user)
        said = ("warning", "The key's owner may not read businesses, so the zone is taken from that user.")
        return zone, (said, *_missing(zone))
    zones = list(dict.fromkeys(found for row in payload.items(data, "businesses") if (found := zone_of(row))))
    zone = zones[0] if zones else zone_of(user)
    if len(zones) > 1:
        told = f"The clinic's businesses lie in {len(zones)} time zones ({', '.join(zones)}); {zone} is used."
        return zone, (("warning", told),)
    return zone, _missing(zone)


def _missing(zone: str) -> tuple[Finding, ...]:
    return () if zone else (("warning", "Cliniko names no usable time zone; choose the clinic's zone by hand."),)


def _settings(client: Client) -> _Settings:
    """Names of the clinic's custom fields, and whether Cliniko's own Xero push is on. Optional: depends on the role."""
    try:
        data = payload.as_object(client.get("/v1/settings").data, "")
    except _NOT_FOR_US:
        said = "The key's owner may not read the settings, so the custom fields cannot be listed by name."
        return _Settings({}, (("warning", said),))
    xero = payload.optional_obj(payload.optional_obj(data, "integrations") or {}, "xero") or {}
    definition = payload.optional_obj(data, "patient_custom_fields_definition") or {}
    sections = payload.optional_items(definition, "sections", "patient_custom_fields_definition")
    rows = [
        row for section in sections if not section.get("archived") for row in payload.optional_items(section, "fields")
    ]
    slugs = dict.fromkeys(custom_field_slug(_text(row, "name")) for row in rows if not row.get("archived"))
    facts = {
        "custom_fields": ",".join(slug for slug in slugs if slug),
        "xero_push": "on" if xero.get("enabled") is True else "off",
    }
    return _Settings(facts, ())


def _text(row: Json, name: str) -> str:
    raw = row.get(name)
    return " ".join(raw.split())[:200] if isinstance(raw, str) else ""


def _matching(pattern: re.Pattern[str], text: str) -> str:
    return text if pattern.fullmatch(text) else ""
