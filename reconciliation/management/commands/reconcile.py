"""Compare both sides of every flow here and now, without the queue."""

import csv
import json as jsonlib
import sys
from argparse import ArgumentParser
from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from integrations.messages import message
from integrations.models import Flow
from reconciliation.here import Told, compare_all
from reconciliation.models import Mismatch, Report
from tenants.models import Tenant
from tenants.walls import tenant_tx


class Command(BaseCommand):
    requires_system_checks = ("models",)
    _trouble = ""
    help = (
        "Read both sides of every chosen flow completely and report what is not equal; nothing is written at either. "
        "Exit status 0: compared (mismatches are reported, not a failure); 1: a flow could not be compared to its end; "
        "2: could not run."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", default="", metavar="SLUG", help="one clinic (default: all)")
        parser.add_argument("--flow", default="", metavar="NAME", help="flows of this name only")
        parser.add_argument("--csv", default="", metavar="PATH", help="write the open mismatches there, values masked")
        parser.add_argument("--max-wait", type=float, default=settings.SUTURE_MAX_WAIT_S, metavar="SECONDS")
        parser.add_argument("--json", action="store_true", help="print one object and nothing else")

    def handle(self, *, tenant: str, flow: str, csv: str, max_wait: float, json: bool, **_: object) -> None:
        chosen = Tenant.objects.filter(slug=tenant) if tenant else Tenant.objects.all()
        if tenant and not chosen.exists():
            raise CommandError(
                f"There is no clinic {tenant!r}. `manage.py doctor` lists those there are.", returncode=2
            )
        if csv and not Path(csv).resolve().parent.is_dir():
            raise CommandError(f"There is no folder for {csv}.", returncode=2)
        told = compare_all(
            tenant_slug=tenant,
            flow_name=flow,
            max_wait_s=max_wait,
            tell=self._progress if not json else lambda _: None,
        )
        if flow and not told and not any(_has_flow(clinic, flow) for clinic in chosen):
            raise CommandError(f"There is no flow {flow!r}. `manage.py doctor` lists those there are.", returncode=2)
        if csv:
            self._write_csv(Path(csv), told)
        ok = all(one.is_done for one in told)
        if json:
            self.stdout.write(jsonlib.dumps({"flows": [one.as_json() for one in told], "ok": ok}))
        else:
            self._print(told)
        if not ok:
            sys.exit(1)

    def _progress(self, report: Report) -> None:
        """A line for each new trouble; how far it is, where somebody watches."""
        if report.code != self._trouble and report.code:
            self.stderr.write(f"{report.flow.name}: {message(report.code).sentence} Trying again.")
        self._trouble = report.code
        if not sys.stderr.isatty():
            return
        read = f"read {report.read_left:,} and {report.read_right:,}"
        self.stderr.write(f"\r  {report.get_phase_display()}: {read} ", ending="")

    def _print(self, told: list[Told]) -> None:
        if not told:
            self.stdout.write("No flow is on. Provision one, or set a flow to preview or live.")
        for one in told:
            report = one.report
            self.stdout.write(
                f"{one.tenant} {one.flow}: {report.left:,} and {report.right:,} records, {one.seconds:.1f} s"
            )
            parts = [f"{count:,} {name.replace('_', ' ')}" for name, count in report.counts.items() if count]
            self.stdout.write(f"  {', '.join(parts) or 'nothing to compare'}")
            if not one.is_done:
                why = (
                    message(report.code).sentence if report.code else "It goes on with the next command, or by itself."
                )
                self.stdout.write(f"  not finished: {why}")

    def _write_csv(self, path: Path, told: list[Told]) -> None:
        from reconciliation.exports import MismatchResource, pages_of  # noqa: PLC0415 - heavy, and few ask for a file

        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.writer(file)
            writer.writerow(MismatchResource().get_export_headers())
            for one in told:
                with tenant_tx(one.report.tenant_id, reason="reconcile"):
                    resource = MismatchResource()
                    rows = Mismatch.objects.filter(flow_id=one.report.flow_id, closed_at=None)
                    for page in pages_of(rows):
                        writer.writerows(resource.line(row) for row in page)


def _has_flow(clinic: Tenant, name: str) -> bool:
    with tenant_tx(clinic.pk, reason="reconcile"):
        return bool(Flow.objects.filter(name=name).exists())
