"""Bring a flow's history in, here and now, without the queue."""

import json as jsonlib
import sys
from argparse import ArgumentParser
from datetime import date
from functools import partial

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from integrations.core.errors import SyncError
from integrations.messages import message
from integrations.models import BUCKETS, Flow
from integrations.services import backfill
from integrations.services.sync import FlowReport, Report, sync
from tenants.models import Tenant
from tenants.walls import app_now, tenant_tx


class Command(BaseCommand):
    requires_system_checks = ("models",)
    help = (
        "Import the history of one flow: everything, or what was made since a day. May be stopped at any time; the same "
        "command carries on where it stood, and a second time writes nothing. Exit status as for sync."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("flow", metavar="FLOW", help="the flow's name")
        parser.add_argument("--tenant", required=True, metavar="SLUG", help="the clinic")
        parser.add_argument(
            "--since", type=date.fromisoformat, metavar="DATE", help="only what was made since this day"
        )
        parser.add_argument("--max-wait", type=float, default=settings.SUTURE_MAX_WAIT_S, metavar="SECONDS")
        parser.add_argument("--json", action="store_true", help="print one object and nothing else")

    def handle(self, *, flow: str, tenant: str, since: date | None, max_wait: float, json: bool, **_: object) -> None:
        clinic = Tenant.objects.filter(slug=tenant).first()
        if clinic is None:
            raise CommandError(
                f"There is no clinic {tenant!r}. `manage.py doctor` lists those there are.", returncode=2
            )
        with tenant_tx(clinic.pk, reason="backfill"):
            flow_id = Flow.objects.filter(name=flow).values_list("pk", flat=True).first()
        if flow_id is None:
            raise CommandError(f"There is no flow {flow!r}. `manage.py doctor` lists those there are.", returncode=2)
        if not json:
            self._say_estimate(clinic.pk, flow_id)
        try:
            report = sync(
                tenant_slug=tenant,
                flow_name=flow,
                until_idle=True,
                max_wait_s=max_wait,
                tell=self._progress if not json and sys.stderr.isatty() else lambda _: None,
                begin=partial(_begin, since=since),
            )
        except backfill.Refused as refusal:
            raise CommandError(str(refusal), returncode=2) from None
        self._print(report, json=json)
        if not report.ok:
            sys.exit(1)

    def _say_estimate(self, tenant_id: int, flow_id: int) -> None:
        try:
            told = backfill.estimate(tenant_id, flow_id)
        except SyncError as error:
            self.stderr.write(f"No estimate: {message(error.code).sentence}")
            return
        records = "an unknown number of" if told.records is None else f"{told.records:,}"
        self.stderr.write(
            f"{records} records; about {told.seconds / 60:,.0f} minutes at the vendors' limits "
            f"(reading {told.read_s / 60:,.0f}, writing {told.write_s / 60:,.0f})"
        )

    def _progress(self, flows: list[FlowReport]) -> None:
        for flow in flows:
            read, waiting = flow.counts.get("read", 0), flow.counts.get("waiting", 0)
            self.stderr.write(f"\r  {flow.flow}: read {read:,} · waiting {waiting:,} ", ending="")

    def _print(self, report: Report, *, json: bool) -> None:
        if json:
            told = {"flows": [flow.as_json() for flow in report.flows], "ok": report.ok}
            self.stdout.write(jsonlib.dumps(told))
            return
        for flow in report.flows:
            counted = ", ".join(f"{flow.counts[name]:,} {name}" for name in BUCKETS if flow.counts.get(name))
            self.stdout.write(
                f"{flow.tenant} {flow.flow}: {flow.counts.get('read', 0):,} read = {counted or 'nothing'}"
            )


def _begin(tenant_id: int, flow_id: int, *, since: date | None) -> int:
    with tenant_tx(tenant_id, reason="backfill"):
        return backfill.begin(flow_id, since=since, now=app_now()).pk
