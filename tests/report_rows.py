"""Reports and mismatches as rows, for tests that ask how they are shown."""

import json
from datetime import timedelta
from typing import Any

from integrations.models import Flow
from integrations.services.jobs import load_job
from reconciliation import services
from reconciliation.compare import Found
from reconciliation.compare import Mismatch as Kind
from reconciliation.judging import bound_to
from reconciliation.models import Mismatch, Report, ReportState
from tenants.walls import app_now, tenant_tx

MAIL = "mia.chen@example.com"


def begin(flow: Flow, **given: Any) -> Report:
    with tenant_tx(flow.tenant_id):
        return services.begin(flow.pk, trigger="test", now=given.pop("now", None) or app_now())


def done(flow: Flow, **counts: int) -> Report:
    report = begin(flow)
    left = counts.get("agree", 0) + counts.get("different", 0) + counts.get("missing_right", 0)
    right = counts.get("agree", 0) + counts.get("different", 0)
    with tenant_tx(flow.tenant_id):
        Report.objects.filter(pk=report.pk).update(
            state=ReportState.DONE, finished_at=app_now(), left=left, right=right, **counts
        )
        return Report.objects.get(pk=report.pk)


def differ(flow: Flow, report: Report, key: str, *, field: str = "email", **given: Any) -> Mismatch:
    """A mismatch with both values sealed."""
    with tenant_tx(flow.tenant_id):
        found = Found(Kind.DIFFERENT, field=field)
        place = bound_to(flow.pk, found.kind.value, key, f"7{key}", field)
        sealed = load_job(flow.pk).vault.seal(json.dumps([MAIL, "=old@example.com"]).encode(), bound_to=place)
        values = {
            "kind": "different",
            "target_key": f"7{key}",
            "field": field,
            "cause": "hand",
            "sealed_values": sealed,
            **given,
        }
        row: Mismatch = Mismatch.objects.create(
            flow=flow, report=report, source_key=key,
            first_seen=app_now() - timedelta(days=3), last_seen=app_now(), **values,
        )  # fmt: skip
        return row
