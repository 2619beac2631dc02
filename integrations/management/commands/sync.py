"""Run flows here and now, without the queue."""

import json
import sys
from argparse import ArgumentParser
from contextlib import redirect_stdout

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from integrations.models import BUCKETS, Flow
from integrations.services import alerts, hooks, incidents
from integrations.services.sync import FlowReport, Report, sync
from tenants.models import Tenant
from tenants.walls import tenant_tx


class Command(BaseCommand):
    requires_system_checks = ("models",)
    help = (
        "Read every chosen flow's source and deliver. Exit status 0: ran to idle (held records are reported, not a "
        "failure); 1: a flow failed or a connection needs a person; 2: could not run."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", default="", metavar="SLUG", help="one clinic (default: all)")
        parser.add_argument("--flow", default="", metavar="NAME", help="flows of this name only")
        parser.add_argument(
            "--until-idle", action="store_true", help="wait for what becomes due, uncertain rows included"
        )
        parser.add_argument("--max-wait", type=float, default=settings.SUTURE_MAX_WAIT_S, metavar="SECONDS")
        parser.add_argument("--json", action="store_true", help="print one object and nothing else")

    def handle(self, *, tenant: str, flow: str, until_idle: bool, max_wait: float, json: bool, **_: object) -> None:
        chosen = Tenant.objects.filter(slug=tenant) if tenant else Tenant.objects.all()
        if tenant and not chosen.exists():
            raise CommandError(
                f"There is no clinic {tenant!r}. `manage.py doctor` lists those there are.", returncode=2
            )
        report = sync(
            tenant_slug=tenant,
            flow_name=flow,
            until_idle=until_idle,
            max_wait_s=max_wait,
            tell=self._progress if not json and sys.stderr.isatty() else lambda _: None,
        )
        with redirect_stdout(sys.stderr):  # a laptop prints its mails, and --json promises one object
            incidents.tell(hurry={clinic.pk for clinic in chosen})
            hooks.send_due()
            for clinic in chosen:
                alerts.tell(clinic.pk)
        if flow and not report.flows and not any(has_flow(clinic, flow) for clinic in chosen):
            raise CommandError(f"There is no flow {flow!r}. `manage.py doctor` lists those there are.", returncode=2)
        self._print_json(report) if json else self._print_table(report)
        if not report.ok:
            sys.exit(1)

    def _progress(self, flows: list[FlowReport]) -> None:
        read = sum(flow.counts.get("read", 0) for flow in flows)
        waiting = sum(flow.counts.get("waiting", 0) for flow in flows)
        self.stderr.write(f"\r  read {read:,} · waiting {waiting:,} ", ending="")

    def _print_json(self, report: Report) -> None:
        self.stdout.write(json.dumps({"flows": [flow.as_json() for flow in report.flows], "ok": report.ok}))

    def _print_table(self, report: Report) -> None:
        if not report.flows:
            self.stdout.write("No flow is on. Provision one, or set a flow to preview or live.")
            return
        shown = ("read", *BUCKETS)
        width = max(len(f"{flow.tenant} {flow.flow}") for flow in report.flows)
        self.stdout.write(f"{'':{width}}  " + "  ".join(f"{name:>10}" for name in shown))
        for flow in report.flows:
            counts = "  ".join(f"{flow.counts.get(name, 0):>10,}" for name in shown)
            self.stdout.write(f"{f'{flow.tenant} {flow.flow}':{width}}  {counts}")
            read, rest = flow.counts.get("read", 0), sum(flow.counts.get(name, 0) for name in BUCKETS)
            self.stdout.write(
                f"{'':{width}}  {read:,} read = {rest:,} accounted for, {flow.seconds:.1f} s"
                + (f", {flow.code}" if flow.code else "")
            )


def has_flow(clinic: Tenant, name: str) -> bool:
    with tenant_tx(clinic.pk, reason="sync"):
        return Flow.objects.filter(name=name).exists()
