"""Connections: opening a client, testing an account, keeping credentials, and the breaker."""

import json
import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection as database
from django.db.models import Exists, F, OuterRef, Q

from integrations.connectors import CONNECTORS
from integrations.connectors.base import Account, Connector, Probe
from integrations.core import errors
from integrations.models import Alert, Call, Connection, ConnectionState, Flow
from integrations.services import alerts, meters
from integrations.services.jobs import RULES_MAY_KNOW
from integrations.services.quota import open_gate
from integrations.toolkit.http import Client, HttpClient
from integrations.toolkit.wire import Bounds
from integrations.vault import open_vault
from tenants.services import record_audit
from tenants.walls import app_now, current_scope, tenant_tx


class BadAccount(ValueError):
    """What was typed does not name an account; the message is a sentence for the person."""


def save_credentials(connection: Connection, given: Mapping[str, str]) -> None:
    """Seals credentials; boxes left empty keep what was there. The account is normalised and must stay valid.

    Raises BadAccount. Call inside the clinic's transaction; the connection has a primary key already.
    """
    connector = CONNECTORS[connection.vendor]
    kept = {**credentials_of(connection), **{name: value.strip() for name, value in given.items() if value.strip()}}
    missing = [box.label for box in connector.credentials if box.required and not kept.get(box.name)]
    if missing:
        raise BadAccount(f"Missing: {', '.join(missing)}.")
    try:
        connection.account = connector.normalise_account(connection.account, kept)
        account = _account(connection, kept)
        connector.origin(account)
        connector.headers(account)
    except ValueError as refusal:
        raise BadAccount(str(refusal)) from None
    vault = open_vault(connection.tenant_id)
    connection.sealed_credentials = vault.seal(json.dumps(kept).encode(), bound_to=_bound(connection))
    secret = {box.name for box in connector.credentials if box.secret}
    connection.hints = {name: value[-4:] if name in secret else value for name, value in kept.items()}
    connection.state, connection.state_code = ConnectionState.UNVERIFIED, ""
    connection.failures, connection.open_until, connection.tested_at = 0, None, None
    connection.save(
        update_fields=[
            "account",
            "sealed_credentials",
            "hints",
            "state",
            "state_code",
            "failures",
            "open_until",
            "tested_at",
        ]
    )


def credentials_of(connection: Connection) -> dict[str, str]:
    """The opened credentials; inside the clinic's transaction. Never show, log or keep them."""
    if not connection.sealed_credentials:
        return {}
    plain = open_vault(connection.tenant_id).unseal(connection.sealed_credentials, bound_to=_bound(connection))
    opened: dict[str, str] = json.loads(plain)
    return opened


def _bound(connection: Connection) -> str:
    return f"connection:{connection.pk}:credentials"


def _account(connection: Connection, credentials: Mapping[str, str]) -> Account:
    return Account(name=connection.account, credentials=credentials, facts=connection.facts)


def quota_subject(connector: Connector, account: Account, probed: str) -> str:
    return probed or connector.subject(account)


def open_client(
    tenant_id: int, connection: Connection, *, interactive: bool = False, patience_s: float | None = None
) -> Client:
    """The one client through which this connection is called. Opens its own transaction to read the credentials.

    A connection that was never tested is introduced first: the quota belongs to whom the vendor says, not to the key.
    """
    if connection.tested_at is None:
        connection = _introduce(tenant_id, connection)
    return _client(tenant_id, connection, interactive=interactive, patience_s=patience_s)


def _client(tenant_id: int, connection: Connection, *, interactive: bool, patience_s: float | None) -> Client:
    with tenant_tx(tenant_id, reason="open client"):
        credentials = credentials_of(connection)
    connector = CONNECTORS[connection.vendor]
    if any(box.required and not credentials.get(box.name) for box in connector.credentials):
        raise errors.AccountError("connection.incomplete")
    account = _account(connection, credentials)
    gate = open_gate(
        connector.name,
        quota_subject(connector, account, connection.quota_subject),
        connector.limit,
        interactive=interactive,
        patience_s=settings.SUTURE_QUOTA_PATIENCE_S if patience_s is None else patience_s,
    )
    client = HttpClient(
        vendor=connector.name,
        account=account.name,
        tenant_id=tenant_id,
        origin=connector.origin(account),
        sandbox_origin=stand_in(connector, account),
        headers=connector.headers(account),
        facts=account.facts,
        gate=gate,
        errors=connector.errors,
        never=connector.never,
        assert_idle=assert_idle,
        current_tenant=lambda: getattr(current_scope(), "id", None),
        bounds=Bounds(settings.SUTURE_CONNECT_S, settings.SUTURE_READ_S, settings.SUTURE_CALL_S),
    )
    meters.watch(connection.pk, client)
    return client


def _introduce(tenant_id: int, connection: Connection) -> Connection:
    """Asks once who we are and keeps it. What is wrong shows when work is tried, in its own words; only a key of
    another account stops here, because its links would be wrong. Raises AccountError then."""
    probe: Probe | None
    try:
        probe = CONNECTORS[connection.vendor].verify(_client(tenant_id, connection, interactive=False, patience_s=None))
    except errors.SyncError:
        probe = None
    stranger = probe and connection.vendor_account and probe.account_id != connection.vendor_account
    if stranger:
        refusal = errors.AccountError("connection.other_account")
        with tenant_tx(tenant_id, reason="introduce"):
            record_failure(connection.pk, refusal, call=Call.TEST)
        raise refusal
    with tenant_tx(tenant_id, reason="introduce"):
        if probe is None:
            Connection.objects.filter(pk=connection.pk).update(tested_at=app_now())
        else:
            _keep(connection.pk, probe, otherwise=ConnectionState.UNVERIFIED)
        fresh: Connection = Connection.objects.get(pk=connection.pk)
    return fresh


def assert_idle() -> None:
    """No vendor is called while a scope, and with it a transaction, is open."""
    if current_scope() is not None or (database.in_atomic_block and not database.savepoint_ids):
        raise RuntimeError("a vendor must not be called inside a transaction")


def stand_in(connector: Connector, account: Account) -> str:
    """The stand-in that SUTURE_VENDOR_URLS names for the vendor (sandbox only), or ``""`` for the real one.

    ``{account}`` is the first label of the account's own host.
    """
    override = str(settings.SUTURE_VENDOR_URLS.get(connector.name, ""))
    return override.replace("{account}", connector.origin(account).removeprefix("https://").split(".")[0])


def test_connection(
    tenant_id: int, connection_id: int, *, actor: str = "", opener: Callable[..., Client] = _client
) -> Probe | errors.SyncError:
    """Asks the vendor who we are, and keeps what it says. Returns the probe, or the error in the core's words.

    A key of another account than the one this connection was made for is refused: its links would be wrong.
    """
    with tenant_tx(tenant_id, actor=actor, reason="test connection"):
        connection = Connection.objects.get(pk=connection_id)
    try:
        probe = CONNECTORS[connection.vendor].verify(opener(tenant_id, connection, interactive=True, patience_s=20))
        if connection.vendor_account and probe.account_id != connection.vendor_account:
            raise errors.AccountError("connection.other_account")
    except errors.SyncError as error:
        with tenant_tx(tenant_id, actor=actor, reason="test connection"):
            record_failure(connection_id, error, call=Call.TEST, tested=True)
            record_audit(action="connection.tested", target=connection.name, diff={"result": error.code})
        return error
    with tenant_tx(tenant_id, actor=actor, reason="test connection"):
        _keep(connection_id, probe)
        record_audit(
            action="connection.tested", target=connection.name, diff={"result": "ok" if probe.works else "problem"}
        )
    return probe


def _judge_anew(before: Connection, probe: Probe) -> None:
    """Where an account is no longer as its flows' rules knew it, they go over everything once: the gate stops what stays
    the same."""
    if before.facts and any(before.facts.get(name) != probe.facts.get(name) for name in RULES_MAY_KNOW):
        Flow.objects.filter(target_id=before.pk).update(wants_full_pass=True)


def _keep(connection_id: int, probe: Probe, *, otherwise: ConnectionState = ConnectionState.NEEDS_REAUTH) -> None:
    """What the vendor said. A probe that found a problem leaves the connection in state ``otherwise``; one that a
    person paused stays paused."""
    now = app_now()
    row = Connection.objects.filter(pk=connection_id)
    _judge_anew(row.get(), probe)
    row.update(
        vendor_account=probe.account_id,
        quota_subject=probe.subject,
        zone=probe.zone,
        facts={**probe.facts, "account_name": probe.account_name},
        findings=[{"word": word, "sentence": sentence} for word, sentence in probe.findings],
        tested_at=now,
        last_answer_at=now,
        failures=0,
        open_until=None,
    )
    state, code = (ConnectionState.OK, "") if probe.works else (otherwise, "connection.probe_failed")
    open_row = row.exclude(state=ConnectionState.PAUSED)
    changed = open_row.exclude(state=state).update(state=state, state_code=code, state_since=now)
    if not changed:
        open_row.update(state_code=code)
    if probe.works:
        alerts.end_alert(connection_id, Call.TEST, now)
    elif changed and state == ConnectionState.NEEDS_REAUTH:
        alerts.open_alert(connection_id, code, Call.TEST, now)


def record_success(connection_id: int, now: datetime, *, call: Call = Call.WRITE) -> None:
    """The account answers: closes the breaker, and ends the alert that began with such a call. Writes only when there is
    something to say."""
    stale = now - timedelta(seconds=30)
    row = Connection.objects.filter(pk=connection_id)
    alerted = Exists(Alert.objects.filter(connection_id=OuterRef("pk"), ended_at=None))
    refused = ConnectionState.NEEDS_REAUTH  # by a later call than the one that tells of its success now
    if row.exclude(state=refused).filter(Q(state=ConnectionState.FAILING) | alerted).exists():
        row.filter(state=ConnectionState.FAILING).update(state=ConnectionState.OK, state_code="", state_since=now)
        alerts.end_alert(connection_id, call, now)
    row.exclude(failures=0, open_until=None, last_answer_at__gt=stale).update(
        failures=0, open_until=None, last_answer_at=now
    )


def record_failure(
    connection_id: int, error: errors.SyncError, *, call: Call = Call.WRITE, tested: bool = False
) -> datetime | None:
    """Tells the connection what went wrong and returns when to try again (None: not before a person acted).

    An account error stops it at once; an outage opens the breaker after five failures in a row, with growing waits.
    The failure that stops it opens an alert about ``call``. What a person paused stays paused.
    """
    now = app_now()
    row = Connection.objects.filter(pk=connection_id)
    if tested:
        row.update(tested_at=now)
    if isinstance(error, errors.AccountError):
        _refuse(connection_id, error.code, call, now)
        return None
    if isinstance(error, errors.Throttled):
        return error.retry_at
    if not isinstance(error, errors.Unavailable | errors.Uncertain):
        return None
    row.update(failures=F("failures") + 1)
    failures = row.values_list("failures", flat=True).get()
    retry_at = now + timedelta(seconds=backoff_s(failures))
    if failures >= settings.SUTURE_BREAKER_FAILURES:
        works = row.filter(state__in=(ConnectionState.OK, ConnectionState.UNVERIFIED))
        if works.update(state=ConnectionState.FAILING, state_code=error.code, state_since=now):
            alerts.open_alert(connection_id, error.code, call, now)
    row.update(open_until=retry_at)
    return retry_at


def _refuse(connection_id: int, code: str, call: Call, now: datetime) -> None:
    """Nobody calls there before a person acted. A second refusal says what is wrong now, and is no news."""
    row = Connection.objects.filter(pk=connection_id)
    refused = ConnectionState.NEEDS_REAUTH
    works = row.exclude(state__in=(ConnectionState.PAUSED, refused))
    if works.update(state=refused, state_code=code, state_since=now, findings=[]):
        alerts.open_alert(connection_id, code, call, now)
    else:
        row.filter(state=refused).update(state_code=code, findings=[])


def backoff_s(tries: int) -> float:
    """Seconds to wait after so many failures: exponential, capped, with full jitter above a floor of one half."""
    ceiling = min(settings.SUTURE_BACKOFF_CAP_S, settings.SUTURE_BACKOFF_BASE_S * 2 ** max(0, tries - 1))
    return float(ceiling * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, guards nothing
