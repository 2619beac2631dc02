"""What waits for a person."""

import json
from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q

from integrations.messages import message
from integrations.models import Delivery, DeliveryState
from tenants.models import Tenant
from tenants.walls import app_now, tenant_tx


class Command(BaseCommand):
    help = "List the records that wait for a person, oldest first, with what to do about each."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", default="", metavar="SLUG", help="one clinic (default: all)")
        parser.add_argument("--json", action="store_true", help="print one object and nothing else")

    def handle(self, *, tenant: str, json: bool, **_: object) -> None:
        tenants = Tenant.objects.order_by("slug")
        if tenant:
            tenants = tenants.filter(slug=tenant)
            if not tenants:
                raise CommandError(f"There is no clinic {tenant!r}.", returncode=2)
        rows = [row for clinic in tenants for row in held_of(clinic)]
        self._print_json(rows) if json else self._print_lines(rows)

    def _print_json(self, rows: list[dict[str, object]]) -> None:
        self.stdout.write(json.dumps({"held": rows}))

    def _print_lines(self, rows: list[dict[str, object]]) -> None:
        for row in rows:
            self.stdout.write(f"{row['since']}  {row['tenant']}  {row['flow']}  {row['key']}  [{row['code']}]")
            self.stdout.write(f"    {row['sentence']} {row['advice']}")
        self.stdout.write(f"{len(rows):,} waiting for a person." if rows else "Nothing waits for a person.")


def held_of(tenant: Tenant) -> list[dict[str, object]]:
    """The clinic's held deliveries, but for those a person chose to ignore for now."""
    with tenant_tx(tenant.pk, reason="held"):
        rows = (
            Delivery.objects.filter(state=DeliveryState.HELD)
            .exclude(Q(ignored_until__gt=app_now()))
            .select_related("flow")
            .order_by("held_at", "pk")
        )
        return [_told(tenant, row) for row in rows.iterator(2000)]


def _told(tenant: Tenant, row: Delivery) -> dict[str, object]:
    told = message(row.code)
    return {
        "tenant": tenant.slug,
        "flow": row.flow.name,
        "key": row.source_key,
        "code": row.code,
        "owner": told.owner.value,
        "sentence": told.sentence,
        "advice": told.advice,
        "since": row.held_at.isoformat() if row.held_at else None,
        "tries": row.tries,
        "candidates": row.candidates,
    }
