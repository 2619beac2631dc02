"""A sample agency with three clinics at sandboxed vendors, from nothing to a browser."""

import json
import os
import signal
import sys
import time
import tomllib
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections as databases

from integrations.core.errors import SyncError
from integrations.demo import people
from integrations.demo.children import ChildDied, Children, free_port
from integrations.demo.vendors import AlreadyRunning, Vendors, as_setting, serving
from integrations.management.commands.held import held_of
from integrations.messages import message
from integrations.models import BUCKETS, Connection, ConnectionState
from integrations.services import connections
from integrations.services.provisioning import provision
from integrations.services.sync import FlowReport, Report, sync
from tenants.models import Tenant
from tenants.walls import tenant_tx

FILE = Path(people.__file__).with_name("clinics.toml")
FIRST_SYNC_S = 300.0
ALWAYS = ("created", "updated", "unchanged", "skipped", "held")


class Command(BaseCommand):
    help = (
        "Start sandboxed vendors, three clinics, their first syncs, a worker and a web server; Ctrl-C ends all of it. What "
        "is made stays in SUTURE_VAR: a second run finds it. Exit status 1: something failed (held records are normal)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--once", action="store_true", help="end after the first syncs, with a table of what they did"
        )
        parser.add_argument("--json", action="store_true", help="print one object and nothing else on standard output")
        parser.add_argument(
            "--people", action="store_true", help="say who signs in, with codes of this moment, and end"
        )

    def handle(self, *, once: bool, json: bool, people: bool, **_: object) -> None:
        self.as_json = json
        self.folder = Path(settings.SUTURE_VAR) / "demo"
        if people:
            return self._introduce()
        for asked in (signal.SIGTERM, signal.SIGINT):
            signal.signal(asked, _interrupt)
        try:
            with serving(Path(settings.SUTURE_VAR) / "sandbox") as vendors:
                self._run(vendors, stays=not once)
        except AlreadyRunning:
            raise CommandError(
                f"A demo or sandbox is running in {settings.SUTURE_VAR} already.", returncode=2
            ) from None
        except ChildDied as trouble:
            raise CommandError(str(trouble)) from None
        except KeyboardInterrupt:
            self._say("\nStopped. What was made is kept; `make demo` goes on from here.")
            if once:
                sys.exit(130)
        return None

    def _run(self, vendors: Vendors, *, stays: bool) -> None:
        began = time.monotonic()
        use_sandboxes(vendors)
        self._step("Sandboxed vendors", ", ".join(f"{name} at {url}" for name, url in vendors.urls.items()))
        document = self._set_up()
        faults = self._test_connections()
        report = sync(until_idle=True, max_wait_s=FIRST_SYNC_S, tell=self._progress)
        self._summarise(report, vendors, document, faults, time.monotonic() - began)
        if not stays:
            if faults or not report.ok:
                sys.exit(1)
            return
        self._stay()

    # Setting up

    def _set_up(self) -> dict[str, Any]:
        """Agency, clinics, connections, flows and people, as far as they are not there."""
        kept = self.folder / "people.json"
        if not kept.exists() and Tenant.objects.exists():
            raise CommandError(
                "This database holds clinics that the demo did not make, and it keeps its hands off them. Use another "
                "database, or another SUTURE_VAR.",
                returncode=2,
            )
        document = tomllib.loads(FILE.read_text("utf-8"))
        cast = people.keep(kept)
        agency = people.ensure_agency()
        told = provision(document, origin="the demo")
        people.let_in(cast, agency)
        self._step("Clinics", f"{len(told)} changes" if told else "as they were")
        return document

    def _test_connections(self) -> list[str]:
        """What "Test connection" says of those not working yet; a sentence for each that still does not."""
        faults, tested = [], 0
        for tenant in Tenant.objects.filter(active=True).order_by("slug"):
            with tenant_tx(tenant.pk, reason="demo"):
                waiting = list(
                    Connection.objects.exclude(state=ConnectionState.OK).exclude(state=ConnectionState.PAUSED)
                )
            for connection in waiting:
                said = connections.test_connection(tenant.pk, connection.pk, actor=people.ACTOR)
                tested += 1
                if isinstance(said, SyncError):
                    faults.append(f"{tenant.slug}/{connection.name}: {message(said.code).sentence} ({said.code})")
                elif not said.works:
                    faults.append(f"{tenant.slug}/{connection.name}: {message('connection.probe_failed').sentence}")
        self._step("Connections", f"{tested} tested" if tested else "tested before")
        for fault in faults:
            self._say(f"  {fault}")
        return faults

    # Telling

    @property
    def _out(self) -> Any:
        """Where people read: standard output, unless that is kept for the JSON object."""
        return self.stderr if self.as_json else self.stdout

    def _say(self, text: str = "") -> None:
        self._out.write(text)
        self._out.flush()

    def _step(self, what: str, how: str) -> None:
        self._say(f"{what + ' ':.<22} {how}")

    def _progress(self, flows: list[FlowReport]) -> None:
        """One line that grows: what is read, and how much of it has found its place."""
        if self.as_json or not sys.stdout.isatty():
            return
        read = sum(flow.counts.get("read", 0) for flow in flows)
        waiting = sum(flow.counts.get("waiting", 0) for flow in flows)
        done = (read - waiting) * 20 // read if read else 0
        self.stdout.write(
            f"\rFirst syncs .......... [{'#' * done}{' ' * (20 - done)}] {read:,} read, {waiting:,} on their way  ",
            ending="",
        )
        self.stdout.flush()

    def _summarise(
        self, report: Report, vendors: Vendors, document: Mapping[str, Any], faults: list[str], seconds: float
    ) -> None:
        written = writes_per_clinic(vendors, document)
        if self.as_json:
            flows = [flow.as_json() | {"writes": written.get(flow.tenant, {})} for flow in report.flows]
            ok = report.ok and not faults
            total = sum(sum(per.values()) for per in written.values())
            self.stdout.write(json.dumps({"flows": flows, "writes": total, "seconds": round(seconds, 1), "ok": ok}))
            return
        if sys.stdout.isatty():
            self._say()
        self._say(table(report, written))
        codes = sorted({flow.code for flow in report.flows if flow.code})
        for code in codes:
            self._say(f"{code}: {message(code).sentence} {message(code).advice}")
        held = sum(len(held_of(tenant)) for tenant in Tenant.objects.order_by("slug"))
        self._say(f"{held} records wait for a person at the error desk, as some always do. Done in {seconds:.0f} s.")

    def _introduce(self) -> None:
        path = self.folder / "people.json"
        if not path.exists():
            raise CommandError("Nobody is there yet: run `make demo` first.", returncode=2)
        self._say("\nWho signs in (made-up people, on this machine only):")
        for person in people.keep(path):
            self._say(f"\n  {person.name}, {person.what}")
            self._say(f"    e-mail {person.email}   password {person.password}   code now {person.code()}")
            self._say(f"    for an authenticator app: {person.address()}")
        self._say("\nA code lives half a minute: `make demo ARGS=--people` in another terminal shows fresh ones.")

    # Staying

    def _stay(self) -> None:
        port = free_port()
        address = f"http://localhost:{port}"
        databases.close_all()
        children = Children(self.folder, {"SUTURE_BASE_URL": address})
        try:
            children.start("worker", "manage.py", "worker")
            children.start(
                "web", "-m", "gunicorn", "config.wsgi", "--bind", f"127.0.0.1:{port}", "--threads", "8",
                "--no-control-socket", "--graceful-timeout", "5",
            )  # fmt: skip
            children.wait_for(f"{address}/health")
            self._introduce()
            self._say("\nOther commands reach these sandboxes from another terminal after:")
            self._say(f"  export SUTURE_SANDBOX=1 SUTURE_VENDOR_URLS='{os.environ['SUTURE_VENDOR_URLS']}'")
            self._say(f"\nLook at {address} and sign in as Ana, Olga or Vik (above). Ctrl-C ends everything.")
            while True:
                time.sleep(1)
                children.look()
        finally:
            children.stop()


def use_sandboxes(vendors: Vendors) -> None:
    """This process and its children talk to the sandboxes and to nobody else."""
    settings.SUTURE_SANDBOX = True
    settings.SUTURE_VENDOR_URLS = vendors.urls
    os.environ |= {"SUTURE_SANDBOX": "1", "SUTURE_VENDOR_URLS": as_setting(vendors.urls)}


def writes_per_clinic(vendors: Vendors, document: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Per clinic of the file and vendor, what the vendors' journals say was written."""
    told = {}
    for tenant in document["tenant"]:
        practice, _ = tenant["connection"]
        told[tenant["slug"]] = vendors.writes(api_key=practice["credentials"]["api_key"], shop=tenant["slug"])
    return told


def table(report: Report, written: Mapping[str, Mapping[str, int]]) -> str:
    """A line per flow: where each record it read ended; and what the vendors of each clinic were asked to write."""
    shown = [name for name in BUCKETS if name in ALWAYS or any(flow.counts.get(name) for flow in report.flows)]
    vendors = sorted({vendor for per in written.values() for vendor in per})
    rows = [["clinic", "flow", "read", *shown, *(f"{vendor} writes" for vendor in vendors)]]
    clinics: set[str] = set()
    for flow in report.flows:
        counts = [f"{flow.counts.get(name, 0):,}" for name in ("read", *shown)]
        is_first = flow.tenant not in clinics
        clinics.add(flow.tenant)
        counts += [f"{written.get(flow.tenant, {}).get(vendor, 0):,}" if is_first else "" for vendor in vendors]
        rows.append([flow.tenant if is_first else "", flow.flow, *counts])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), row[1].ljust(widths[1]), *map(str.rjust, row[2:], widths[2:])])
        for row in rows
    ]
    return "\n".join(["", lines[0], "-" * len(lines[0]), *lines[1:], ""])


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """SIGTERM ends the demo as Ctrl-C does; asked twice, it is already ending."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
