"""Rows for the tests of the desk and the screens around it: a flow, its run, deliveries, links and log lines."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from integrations.core.records import Draft
from integrations.core.values import Value
from integrations.models import (
    Connection,
    ConnectionState,
    Delivery,
    Flow,
    FlowRevision,
    Link,
    LinkState,
    Mode,
    Run,
    SyncLogEntry,
)
from integrations.services.connections import save_credentials
from integrations.services.jobs import load_job
from tenants.models import Tenant
from tenants.walls import app_now, insert_rows, tenant_tx

KIND = "patients-to-customers"
MARKER = "metafields.suture.cliniko_patient_id"
KINDS_OF_TROUBLE = (
    "match.shared_email",
    "record.email_missing",
    "rule.phone_unusable",
    "match.several",
    "field.conflict",
    "link.target_gone",
    "guard.flapping",
    "internal.poison",
)
MIA: Mapping[str, Value] = {
    "firstName": "Mia",
    "lastName": "Chen",
    "email": "chen.family@example.test",
    "phone": "+61412345678",
}


def make_flow(clinic: Tenant, *, name: str = KIND, **given: Any) -> Flow:
    """A live flow between a practice and a shop, with one run that read nothing yet."""
    with tenant_tx(clinic.pk):
        ok = {"state": ConnectionState.OK, "last_answer_at": app_now(), "tested_at": app_now()}
        practice = Connection.objects.create(name=f"practice-{name}", label="Practice", vendor="cliniko", **ok)
        save_credentials(practice, {"api_key": "stage-key-of-harbour-au1", "contact_email": "ops@agency.example"})
        shop = Connection.objects.create(
            name=f"shop-{name}", label="Shop", vendor="shopify", account="harbour-physio.myshopify.com", **ok
        )
        save_credentials(shop, {"access_token": "shpat_stage"})
        Connection.objects.update(state=ConnectionState.OK)
        now = app_now()
        flow: Flow = Flow.objects.create(
            name=name,
            kind=KIND,
            source=practice,
            target=shop,
            revision_number=1,
            **{"mode": Mode.LIVE, "last_success_at": now, "next_due_at": now + timedelta(minutes=15), **given},
        )
        FlowRevision.objects.create(flow=flow, number=1, config={})
        Run.objects.create(flow=flow, state="done", started_at=now, finished_at=now, revision_number=1)
    return flow


def hold(
    flow: Flow,
    key: str,
    *,
    code: str = "match.shared_email",
    fields: Mapping[str, Value] | None = None,
    candidates: Sequence[str] = (),
    **given: Any,
) -> Delivery:
    """One held delivery of the flow's newest run, counted there, with a sealed draft."""
    with tenant_tx(flow.tenant_id):
        run = Run.objects.filter(flow=flow).latest("pk")
        Run.objects.filter(pk=run.pk).update(read=run.read + 1, held=run.held + 1)
        draft = {**(MIA if fields is None else fields), MARKER: key}
        now = app_now()
        delivery: Delivery = Delivery.objects.create(
            flow=flow,
            run=run,
            target_id=flow.target_id,
            source_key=key,
            revision_number=1,
            wish=b"wish",
            sealed_draft=load_job(flow.pk).seal(Draft(draft), key),
            state="held",
            code=code,
            candidates=list(candidates),
            not_before=now,
            **{"held_at": now, "codes": [{"code": code, "field": ""}], **given},
        )
    return delivery


def hold_many(flow: Flow, count: int, *, start: int = 1) -> None:
    """So many held deliveries of all kinds, one minute apart, without drafts."""
    with tenant_tx(flow.tenant_id):
        run = Run.objects.filter(flow=flow).latest("pk")
        now = app_now()
        columns = (
            "flow_id",
            "run_id",
            "target_id",
            "source_key",
            "state",
            "code",
            "codes",
            "held_at",
            "not_before",
            "created_at",
        )
        rows = []
        for number in range(start, start + count):
            code = KINDS_OF_TROUBLE[number % len(KINDS_OF_TROUBLE)]
            at = now - timedelta(minutes=number)
            codes = [{"code": code, "field": "phone" if "phone" in code else ""}]
            rows.append((flow.pk, run.pk, flow.target_id, str(9000 + number), "held", code, codes, at, at, at))
        insert_rows(Delivery, columns, rows)
        Run.objects.filter(pk=run.pk).update(read=run.read + count, held=run.held + count)


def make_link(flow: Flow, source_key: str, target_key: str, **given: Any) -> Link:
    with tenant_tx(flow.tenant_id):
        link: Link = Link.objects.create(
            source_id=flow.source_id,
            target_id=flow.target_id,
            source_stream="patients",
            target_stream="customers",
            source_key=source_key,
            target_key=target_key,
            **given,
        )
        LinkState.objects.create(
            flow=flow, link=link, source_key=source_key, wish=b"wish", digests={"email": "x"}, revision_number=1
        )
    return link


def log_many(flow: Flow, count: int, *, start: int = 1) -> None:
    outcomes = (
        ("create", "ok", "", ["firstName", "lastName", "email"]),
        ("update", "ok", "", ["email"]),
        ("map", "held", "rule.phone_unusable", ["phone"]),
        ("update", "retry", "http.timeout", []),
        ("skip", "skipped", "record.privacy_refused", []),
    )
    with tenant_tx(flow.tenant_id):
        now = app_now()
        for number in range(start, start + count):
            action, outcome, code, fields = outcomes[number % len(outcomes)]
            SyncLogEntry.objects.create(
                at=now - timedelta(minutes=number * 7),
                flow=flow,
                source_key=str(9000 + number),
                target_key=str(7_100_000_000_000 + number) if outcome == "ok" else "",
                action=action,
                outcome=outcome,
                code=code,
                fields=fields,
                duration_ms=120 + number,
            )
