"""How a connection is set up: its account and keys, its pauses, and the custom fields that may be read there.

The one way to change it, by forms and provisioning. Everything here runs inside the clinic's transaction; what changes is
audited by name, never by value.
"""

import re
from collections.abc import Mapping

from integrations.connectors import CONNECTORS
from integrations.connectors.base import Account, OpenFields
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import effective_rules
from integrations.models import Connection, ConnectionState, Flow, Link
from integrations.services.changes import By, audit, refused
from integrations.services.configured import config_of
from integrations.services.connections import BadAccount, credentials_of, save_credentials
from tenants.walls import app_now

_NOT_SLUG = re.compile(r"[^a-z0-9]+")


def set_credentials(connection: Connection, given: Mapping[str, str], *, account: str | None, by: By) -> bool:
    """Keeps a connection's account and keys; boxes left empty keep what was there. False if nothing is new.

    Raises Refused. A connection that already has links keeps its account: they would mean other records.
    """
    connector, kept = CONNECTORS[connection.vendor], credentials_of(connection)
    told = {name: value.strip() for name, value in given.items() if value.strip()}
    changed = sorted(name for name, value in told.items() if kept.get(name) != value)
    wanted = {**kept, **told}
    missing = [box.label for box in connector.credentials if box.required and not wanted.get(box.name)]
    if missing:
        raise refused("credentials", "connection.incomplete", f"Missing: {', '.join(missing)}.")
    before = connection.account
    try:
        connection.account = connector.normalise_account(account or before, wanted)
        if before and connection.account != before and _is_linked(connection):
            raise BadAccount(
                f"This connection holds links to records of {before}. Make a new connection for {connection.account}."
            )
    except ValueError as refusal:
        connection.account = before
        where = "account" if connector.account_label else "credentials"
        raise refused(where, "connection.account", str(refusal)) from None
    if not changed and connection.account == before and connection.sealed_credentials:
        return False
    try:
        connector.headers(Account(connection.account, wanted))
        save_credentials(connection, told)
    except ValueError as refusal:
        connection.account = before
        raise refused("credentials", "connection.credentials", str(refusal)) from None
    if connection.account != before:
        connection.vendor_account = ""
        connection.save(update_fields=["vendor_account"])
    names = [*(["account"] if connection.account != before else []), *changed]
    audit("connection.credentials", connection, by, diff={"fields": names})
    return True


def pause_connection(connection: Connection, *, reason: str, by: By) -> None:
    """No work is sent there until somebody resumes it; what is due waits."""
    _set_state(connection, ConnectionState.PAUSED, "connection.paused")
    audit("connection.paused", connection, by, reason=reason)


def resume_connection(connection: Connection, *, by: By) -> None:
    """Work goes on. Whether the account still answers shows with the first call."""
    _set_state(connection, ConnectionState.OK if connection.tested_at else ConnectionState.UNVERIFIED, "")
    audit("connection.resumed", connection, by)


def _set_state(connection: Connection, state: ConnectionState, code: str) -> None:
    connection.state, connection.state_code, connection.state_since = state, code, app_now()
    connection.failures, connection.open_until = 0, None
    connection.save(update_fields=["state", "state_code", "state_since", "failures", "open_until"])


def _is_linked(connection: Connection) -> bool:
    return Link.objects.filter(source=connection).exists() or Link.objects.filter(target=connection).exists()


def open_family(connection: Connection, name: str = "") -> OpenFields | None:
    """The fields of this account that are clinical until released by name, or None; of several families the one that
    ``name`` belongs to, else the first."""
    streams = CONNECTORS[connection.vendor].streams
    families = [family for stream in streams for family in stream.open_fields if family.released]
    return next((family for family in families if family.holds(name)), families[0] if families else None)


def release_field(connection: Connection, name: str, *, reason: str, by: By) -> str:
    """Lets rules read one custom field, named as the vendor shows it or as rules do. Returns its name in rules.

    Raises Refused for anybody but the agency's owner: whether a field is clinical is the agency's to answer for.
    """
    if not by.is_owner:
        raise refused("name", "field.release_denied", "Only the agency's owner may release a custom field.")
    full = _full_name(connection, name)
    if not reason.strip():
        raise refused("reason", "field.reason_missing", "Say why this field is not clinical; the audit keeps it.")
    if full not in connection.released_fields:
        _set_released(connection, full, sorted({*connection.released_fields, full}))
        audit("connection.field_released", connection, by, reason=reason, diff={"field": full})
    return full


def take_back_field(connection: Connection, name: str, *, reason: str, by: By) -> None:
    """Closes a custom field again. Rules that read it are left out from now on; what was written stays."""
    if not by.is_owner:
        raise refused("name", "field.release_denied", "Only the agency's owner may take a custom field back.")
    if name in connection.released_fields:
        _set_released(connection, name, [kept for kept in connection.released_fields if kept != name])
        audit("connection.field_taken_back", connection, by, reason=reason, diff={"field": name})


def _full_name(connection: Connection, name: str) -> str:
    family = open_family(connection, name.strip())
    if family is None:
        raise refused("name", "field.none_to_release", "This vendor has no custom fields that need releasing.")
    if family.holds(name.strip()):
        return name.strip()
    slug = _NOT_SLUG.sub("_", name.strip().removeprefix(family.prefix).lower()).strip("_")
    if not slug:
        raise refused("name", "field.name_missing", "Name the custom field as the practice system shows it.")
    return f"{family.prefix}{slug}"


def _set_released(connection: Connection, name: str, released: list[str]) -> None:
    connection.released_fields = released
    connection.save(update_fields=["released_fields"])
    for flow in Flow.objects.filter(source=connection):
        if any(rule.source == name for rule in effective_rules(FLOW_KINDS[flow.kind], config_of(flow))):
            Flow.objects.filter(pk=flow.pk).update(wants_full_pass=True)
