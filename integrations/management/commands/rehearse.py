"""Rehearse a proposed configuration of a flow on the records of the last days."""

import json as jsonlib
import sys
from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import replace

from django.core.management.base import BaseCommand, CommandError

from integrations.flows.kind import Config
from integrations.messages import message
from integrations.models import Flow, FlowRevision, Prediction, Proposal, Rehearsal, RehearsalState
from integrations.services import proposals, rehearsal
from integrations.services.changes import OPERATOR, Refused
from integrations.services.configured import config_of
from tenants.models import Tenant
from tenants.walls import app_now, tenant_tx

COUNTS = ("created", "updated", "archived", "unchanged", "skipped", "held", "unclear")


class Command(BaseCommand):
    requires_system_checks = ("models",)
    help = (
        "Rehearse a proposal on the records of the last days, as it is or made here of settings, lines of value maps or an "
        "older revision. Writes nothing at a vendor and publishes nothing. Exit status 0: rehearsed; 1: it could not be "
        "ended; 2: could not run."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("flow", metavar="FLOW", help="the flow's name")
        parser.add_argument("--tenant", required=True, metavar="SLUG", help="the clinic")
        parser.add_argument("--proposal", type=int, metavar="N", help="this proposal; else the newest that is open")
        parser.add_argument("--revision", type=int, metavar="N", help="propose going back to this revision")
        parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE", help="propose this setting")
        parser.add_argument("--map", action="append", default=[], metavar="MAP.LINE=VALUE", help="propose this line")
        parser.add_argument("--note", default="", help="what a new proposal is for")
        parser.add_argument("--days", type=int, metavar="N", help="how far back; else SUTURE_REHEARSAL_DAYS")
        parser.add_argument("--records", type=int, metavar="N", help="at most so many; else SUTURE_REHEARSAL_RECORDS")
        parser.add_argument("--max-wait", type=float, default=600, metavar="SECONDS", help="give up on a longer wait")
        parser.add_argument("--json", action="store_true", help="print one object and nothing else")

    def handle(self, *, flow: str, tenant: str, json: bool, **given: object) -> None:
        clinic = Tenant.objects.filter(slug=tenant).first()
        if clinic is None:
            raise CommandError(
                f"There is no clinic {tenant!r}. `manage.py doctor` lists those there are.", returncode=2
            )
        try:
            with tenant_tx(clinic.pk, reason="rehearse"):
                row = self._begun(flow, given)
        except Refused as refusal:
            raise CommandError(str(refusal), returncode=2) from None
        tell = _hear if json else self._tell
        told = rehearsal.carry_through(clinic.pk, row.pk, max_wait_s=float(str(given["max_wait"])), tell=tell)
        with tenant_tx(clinic.pk, reason="rehearse"):
            changed = list(Prediction.objects.filter(rehearsal_id=told.pk, is_changed=True).order_by("pk"))
        self._print_json(clinic, flow, told, changed) if json else self._print(told, changed)
        if told.state != RehearsalState.DONE:
            sys.exit(1)

    def _begun(self, name: str, given: dict[str, object]) -> Rehearsal:
        flow = Flow.objects.select_related("source", "target").filter(name=name).first()
        if flow is None:
            raise CommandError(f"There is no flow {name!r}. `manage.py doctor` lists those there are.", returncode=2)
        days, most = given["days"], given["records"]
        return rehearsal.begin(
            self._proposal(flow, given),
            now=app_now(),
            days=days if isinstance(days, int) else None,
            most=most if isinstance(most, int) else None,
        )

    def _proposal(self, flow: Flow, given: dict[str, object]) -> Proposal:
        settings, lines = _pairs(given["set"], "--set"), _pairs(given["map"], "--map")
        if isinstance(number := given["revision"], int):
            try:
                return proposals.propose_revision(flow, number, by=OPERATOR)
            except FlowRevision.DoesNotExist:
                raise CommandError(f"This flow has no revision {number}.", returncode=2) from None
        if settings or lines:
            wanted = _changed(config_of(flow), settings, lines)
            return proposals.propose(flow, wanted, by=OPERATOR, note=str(given["note"]))
        rows = Proposal.objects.filter(flow=flow).select_related("flow")
        asked = given["proposal"]
        proposal: Proposal | None = rows.filter(pk=asked).first() if asked else rows.filter(state="open").first()
        if proposal is None:
            raise CommandError("There is no such proposal. Make one with --set, --map or --revision.", returncode=2)
        return proposal

    def _tell(self, row: Rehearsal) -> None:
        self.stderr.write(f"{row.read} looked at, {row.changed} would change")

    def _print(self, row: Rehearsal, changed: Iterable[Prediction]) -> None:
        write = self.stdout.write
        write(f"Rehearsal {row.pk} of proposal {row.proposal_id}: {row.get_state_display().lower()}")
        if row.code:
            write(f"{message(row.code).sentence} {message(row.code).advice} [{row.code}]")
        write(
            f"{row.read} records looked at{' (there were more)' if row.is_cut else ''}, held against revision {row.revision_number}"
        )
        write("  " + ", ".join(f"{name} {getattr(row, name)}" for name in COUNTS))
        write(f"{row.changed} would change, {row.newly_held} of them newly wait for a person")
        for name, count in sorted(row.fields.items(), key=lambda pair: -pair[1]):
            write(f"  {name}: {count}")
        for code, count in sorted(row.codes.items(), key=lambda pair: -pair[1]):
            write(f"  {code}: {count}  {message(code).sentence}")
        for one in changed:
            write(f"{one.source_key}  {_spoken(one.was_action, one.was_code)} -> {_spoken(one.action, one.code)}")

    def _print_json(self, clinic: Tenant, flow: str, row: Rehearsal, changed: Iterable[Prediction]) -> None:
        told = {
            "tenant": clinic.slug,
            "flow": flow,
            "proposal": row.proposal_id,
            "rehearsal": row.pk,
            "revision": row.revision_number,
            "state": row.state,
            "code": row.code,
            "read": row.read,
            "cut": row.is_cut,
            **{name: getattr(row, name) for name in COUNTS},
            "changed": row.changed,
            "newly_held": row.newly_held,
            "fields": row.fields,
            "codes": row.codes,
            "records": [
                {
                    "key": one.source_key,
                    "now": {"action": one.was_action, "code": one.was_code},
                    "then": {"action": one.action, "code": one.code, "fields": one.fields},
                }
                for one in changed
            ],
        }
        self.stdout.write(jsonlib.dumps(told))


def _hear(_: Rehearsal) -> None:
    """One object is printed and nothing else."""


def _pairs(given: object, option: str) -> dict[str, str]:
    """``NAME=VALUE`` as often as it was given. Raises CommandError."""
    told = [str(one) for one in given] if isinstance(given, list) else []
    if wrong := [one for one in told if "=" not in one]:
        raise CommandError(f"{option} {wrong[0]}: write NAME=VALUE.", returncode=2)
    return dict(one.split("=", 1) for one in told)


def _changed(config: Config, settings: dict[str, str], lines: dict[str, str]) -> Config:
    """The configuration with these settings and lines (``MAP.LINE``) instead of its own."""
    maps = {name: dict(own) for name, own in config.value_maps.items()}
    for place, value in lines.items():
        name, _, line = place.partition(".")
        maps.setdefault(name, {})[line] = value
    return replace(config, settings={**config.settings, **settings}, value_maps=maps)


def _spoken(action: str, code: str) -> str:
    return f"{action} [{code}]" if code else action
