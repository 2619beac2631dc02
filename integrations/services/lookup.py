"""A person's keys by their e-mail, asked of the vendors now. The address is kept nowhere."""

from collections.abc import Callable
from dataclasses import dataclass

from integrations.connectors.base import Wanted
from integrations.core import errors
from integrations.core.values import Email
from integrations.flows import FLOW_KINDS
from integrations.models import Flow, Link
from integrations.services import connections
from integrations.services.candidates import page_of
from integrations.services.jobs import Job, load_job
from integrations.toolkit.http import Client
from tenants.walls import tenant_tx

PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Hit:
    """A record that has the address: where, under which key, and the source record it is linked to, if any."""

    connection: str
    key: str
    url: str
    source_key: str


@dataclass(frozen=True, slots=True)
class Looked:
    """Who was found, where was asked, and why somewhere could not be (connection, code)."""

    hits: tuple[Hit, ...] = ()
    asked: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()


def find_by_email(tenant_id: int, email: str, *, opener: Callable[..., Client] = connections.open_client) -> Looked:
    """Looks at the target of each of the clinic's flows that can be searched by e-mail; outside of any transaction."""
    address = Email.canon(email)
    with tenant_tx(tenant_id, reason="find a person"):
        jobs = _one_per_target(tenant_id)
    hits: list[Hit] = []
    asked: list[str] = []
    failed: list[tuple[str, str]] = []
    for job, name in jobs:
        try:
            hits += _ask(job, name, address, opener(tenant_id, job.target, interactive=True, patience_s=PATIENCE_S))
            asked.append(str(job.target))
        except errors.SyncError as error:
            failed.append((str(job.target), error.code))
    return Looked(tuple(hits), tuple(asked), tuple(failed))


def _one_per_target(tenant_id: int) -> list[tuple[Job, str]]:
    """A job per target connection and stream that has an e-mail to look by, with that field's name."""
    jobs: dict[tuple[int, str], tuple[Job, str]] = {}
    for flow in Flow.objects.filter(tenant_id=tenant_id):
        kind = FLOW_KINDS.get(flow.kind)
        name = (
            next((key.field for key in kind.matching.natural if kind.target.kind_of(key.field) is Email), "")
            if kind
            else ""
        )
        if kind and name and kind.target.find is not None:
            jobs.setdefault((flow.target_id, kind.target.name), (load_job(flow.pk), name))
    return list(jobs.values())


def _ask(job: Job, name: str, address: str, client: Client) -> list[Hit]:
    find, marker = job.target_stream.find, job.kind.marker
    if find is None or not address:
        return []
    answer = find(client, [Wanted("person", "", {name: address})], frozenset({name, marker}), marker)["person"]
    records = answer.by_key.get(name, ())
    with tenant_tx(job.tenant_id, reason="find a person"):
        links = Link.objects.filter(
            target_id=job.target.pk,
            target_stream=job.target_stream.name,
            target_key__in=[record.key for record in records],
        )
        linked = dict(links.values_list("target_key", "source_key"))
    return [
        Hit(
            str(job.target),
            record.key,
            page_of(job.target_stream, job.target.facts, record.key),
            linked.get(record.key, ""),
        )
        for record in records
    ]
