"""Explain one record: what both sides hold, how each field came about, and what happens next."""

import json as jsonlib
import sys
from argparse import ArgumentParser
from datetime import datetime
from zoneinfo import ZoneInfo

from django.core.management.base import BaseCommand, CommandError

from integrations.flows import FLOW_KINDS
from integrations.messages import message
from integrations.models import Delivery, Flow, SyncLogEntry
from integrations.services.candidates import page_of
from integrations.services.explain import Candidate, Explanation, FieldTold, Located, explain, locate
from integrations.services.wording import Wording, spelt
from tenants.models import Tenant
from tenants.walls import tenant_tx


class Command(BaseCommand):
    requires_system_checks = ("models",)
    help = (
        "Explain one record of a flow: both sides read now, the rules field by field, what happened, what happens next. "
        "Writes nothing. Exit status 0: explained; 1: no record or several could be meant, or a vendor could not be asked "
        "(what our tables know is told); 2: could not run."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("flow", metavar="FLOW", help="the flow's name")
        parser.add_argument(
            "key", metavar="KEY", help="the record's number on either side, an e-mail, an order's or invoice's number"
        )
        parser.add_argument("--tenant", required=True, metavar="SLUG", help="the clinic")
        parser.add_argument("--values", action="store_true", help="show what tells of a person instead of masking it")
        parser.add_argument("--json", action="store_true", help="print one object and nothing else")

    def handle(self, *, flow: str, key: str, tenant: str, values: bool, json: bool, **_: object) -> None:
        clinic = Tenant.objects.filter(slug=tenant).first()
        if clinic is None:
            raise CommandError(
                f"There is no clinic {tenant!r}. `manage.py doctor` lists those there are.", returncode=2
            )
        with tenant_tx(clinic.pk, reason="explain"):
            kind = Flow.objects.filter(name=flow).values_list("kind", flat=True).first()
        if kind is None:
            raise CommandError(f"There is no flow {flow!r}. `manage.py doctor` lists those there are.", returncode=2)
        located = locate(clinic.pk, key, flow_name=flow)
        one = located.one
        if one is None:
            self._print_choice(clinic, flow, key, located, json=json)
            sys.exit(1)
        told = explain(clinic.pk, one.flow_id, one.source_key)
        words = Wording(FLOW_KINDS[kind], ZoneInfo(clinic.time_zone), masked=not values)
        self._print_json(clinic, told, words) if json else self._print(clinic, told, words)
        if told.foreseen.source_code or told.foreseen.target_code:
            sys.exit(1)

    # -- nothing, or several

    def _print_choice(self, clinic: Tenant, flow: str, key: str, located: Located, *, json: bool) -> None:
        failed = [{"connection": name, **_told(code)} for name, code in located.failed]
        if json:
            told = {"tenant": clinic.slug, "flow": flow, "found": False, "failed": failed}
            self.stdout.write(jsonlib.dumps({**told, "candidates": [_candidate(one) for one in located.candidates]}))
            return
        for one in located.candidates:
            self.stdout.write(f"{one.source_key or '(linked to nothing)'}  {one.target_key}  {one.where}".rstrip())
        if located.candidates:
            self.stdout.write(
                "Several records could be meant: ask for one by its number."
                if len(located.candidates) > 1
                else "It is linked to no record of the source."
            )
        else:
            self.stdout.write(
                "Nothing found. Try the record's number on either side, an e-mail address, or the number on the order or invoice."
            )
        for one_failed in failed:
            self.stdout.write(
                f"{one_failed['connection']} could not be asked: {one_failed['sentence']} {one_failed['advice']} [{one_failed['code']}]"
            )

    # -- one

    def _print(self, clinic: Tenant, told: Explanation, words: Wording) -> None:
        seen, write = told.foreseen, self.stdout.write
        write(
            f"{words.source_record.capitalize()} {seen.key} in {words.source}"
            + (
                f" → {words.target_record} {seen.link.target_key} in {words.target}"
                if seen.link
                else f", not linked in {words.target}"
            )
        )
        write(
            f"{clinic.name} · {seen.flow.name} · {seen.flow.get_mode_display()} · revision {seen.job.revision_number}{_author(told)}"
        )
        for side, code in ((words.source, seen.source_code), (words.target, seen.target_code)):
            if code:
                write(f"{side} could not be asked: {message(code).sentence} {message(code).advice} [{code}]")
        for gone in seen.merged:
            write(f"{words.source_record.capitalize()} {gone} was merged into it.")
        ahead = words.next(told)
        write(f"\n{ahead.title}. {ahead.text}".rstrip())
        write(words.since(told))
        write("")
        for one in told.fields:
            self._print_field(one, words)
        if told.log:
            write("\nWhat happened, newest first")
        for line in told.log:
            parts = [
                spelt(line.at, words.zone),
                line.get_action_display(),
                line.get_outcome_display(),
                message(line.code).sentence if line.code else "",
                f"by {line.actor}" if line.actor else "",
            ]
            write("  " + " · ".join(filter(None, parts)))

    def _print_field(self, one: FieldTold, words: Wording) -> None:
        verdict = words.verdict(one)
        before = words.source_value(one.rule.source, one.before) if one.rule else ""
        made, there = words.target_value(one.name, one.made), words.target_value(one.name, one.there)
        self.stdout.write(
            f"{words.target_field(one.name)}: {verdict.title}" + (f" ({verdict.text})" if verdict.text else "")
        )
        steps = ", ".join(words.step(name) for name, _ in one.steps)
        source = words.source_field(one.rule.source) if one.rule else "set by the flow"
        self.stdout.write(
            f"    {source}: {before or '–'} → {f'{steps} → ' if steps else ''}{made or '–'} · there now: {there or '–' if one.is_seen else 'not seen'}"
        )

    def _print_json(self, clinic: Tenant, told: Explanation, words: Wording) -> None:
        seen, ahead = told.foreseen, told.foreseen.next
        said = words.next(told)
        target_key = seen.link.target_key if seen.link else seen.current.key if seen.current else ""
        body = {
            "tenant": clinic.slug,
            "flow": seen.flow.name,
            "found": True,
            "key": seen.key,
            "merged": list(seen.merged),
            "source": {
                "connection": str(seen.flow.source),
                "is_there": seen.record is not None,
                "state": seen.record.state.value if seen.record else "",
                "url": page_of(words.kind.source, seen.flow.source.facts, seen.key),
                "error": _message(seen.source_code),
            },
            "target": {
                "connection": str(seen.flow.target),
                "key": target_key,
                "is_there": seen.current is not None,
                "url": page_of(words.kind.target, seen.flow.target.facts, target_key) if target_key else "",
                "error": _message(seen.target_code),
            },
            "link": {
                "made_by": seen.link.made_by,
                "since": _iso(seen.link.created_at),
                "aliases": seen.link.source_aliases,
            }
            if seen.link
            else None,
            "revision": {"number": seen.job.revision_number, "written_with": told.written_revision or None},
            "is_as_delivered": seen.is_as_delivered,
            "since": words.since(told),
            "fields": [_field(one, words) for one in told.fields],
            "next": {
                "action": ahead.action,
                "when": ahead.when,
                "code": ahead.code,
                "blocked": ahead.blocked,
                "is_preview": ahead.is_preview,
                "writes": list(ahead.writes),
                "candidates": list(ahead.candidates),
                "waits_for": list(ahead.waits_for),
                "sentence": said.title,
                "advice": said.text,
            },
            "log": [_line(line) for line in told.log],
            "deliveries": [_delivery(row) for row in told.deliveries],
            "masked": words.masked,
        }
        self.stdout.write(jsonlib.dumps(body, ensure_ascii=False))


def _author(told: Explanation) -> str:
    row = told.revision
    return f" ({row.created_at:%Y-%m-%d}{f', {row.note}' if row.note else ''})" if row else ""


def _message(code: str) -> dict[str, str] | None:
    return _told(code) if code else None


def _told(code: str) -> dict[str, str]:
    told = message(code)
    return {"code": code, "owner": told.owner.value, "sentence": told.sentence, "advice": told.advice}


def _candidate(one: Candidate) -> dict[str, str]:
    return {
        "flow": one.flow_name,
        "key": one.source_key,
        "target_key": one.target_key,
        "where": one.where,
        "url": one.url,
    }


def _field(one: FieldTold, words: Wording) -> dict[str, object]:
    said = words.verdict(one)
    return {
        "target": one.name,
        "label": words.target_field(one.name),
        "source": one.rule.source if one.rule else "",
        "write": one.rule.write.value if one.rule else "",
        "conflict": one.rule.conflict.value if one.rule else "",
        "before": words.source_value(one.rule.source, one.before) if one.rule else "",
        "transforms": [{"name": name, "made": words.target_value(one.name, value)} for name, value in one.steps],
        "after": words.target_value(one.name, one.made),
        "there": words.target_value(one.name, one.there) if one.is_seen else None,
        "verdict": str(one.verdict),
        "code": one.code,
        "sentence": " ".join(filter(None, (f"{said.title}.", said.text))),
        "written": _iso(one.written.at) if one.written else None,
        "changed_here": one.changed_here,
        "changed_there": one.changed_there,
    }


def _line(line: SyncLogEntry) -> dict[str, object]:
    return {
        "at": _iso(line.at),
        "key": line.source_key,
        "target_key": line.target_key,
        "action": line.action,
        "outcome": line.outcome,
        "code": line.code,
        "fields": line.fields,
        "run": line.run_number,
        "actor": line.actor,
    }


def _delivery(row: Delivery) -> dict[str, object]:
    return {
        "state": row.state,
        "outcome": row.outcome,
        "code": row.code,
        "revision": row.revision_number,
        "since": _iso(row.held_at or row.done_at or row.created_at),
        "tries": row.tries,
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
