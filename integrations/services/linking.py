"""Links, when a person knows better: taken apart, pointed elsewhere, found.

A target carries its source's key as a marker, so that a link which is only forgotten here would be found again at
the next delivery. ``free_target`` takes the marker away first; the verbs that follow it touch our tables alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from integrations.connectors.base import WriteItem
from integrations.core import errors
from integrations.flows import FLOW_KINDS
from integrations.models import OPEN, Delivery, Flow, Link, LinkState, Mode, Run, RunState
from integrations.services import connections, desk
from integrations.services.desk import KEY, Refused
from integrations.services.jobs import Job, load_job
from integrations.services.synclog import Log
from integrations.toolkit.http import Client
from tenants.services import record_audit
from tenants.walls import app_now, narrow_to, tenant_tx

PATIENCE_S = 10.0


def by_key(links: QuerySet[Link], key: str) -> QuerySet[Link]:
    """Links in which this is a key of either side, or was before a merge. An address of a vendor's page will do."""
    key = last_part(key)
    return links.filter(
        Q(source_key=key) | Q(target_key=key) | Q(source_aliases__contains=[key]) | Q(target_aliases__contains=[key])
    )


def last_part(typed: str) -> str:
    """The key in what was pasted: a key, or the address of its page."""
    return typed.strip().split("?", 1)[0].rstrip("/").rpartition("/")[2]


def flows_of(link: Link) -> list[Flow]:
    """The flows that use the link: those between its connections whose kind joins its streams."""
    flows = Flow.objects.filter(source_id=link.source_id, target_id=link.target_id)
    streams = (link.source_stream, link.target_stream)
    return [
        flow
        for flow in flows
        if (kind := FLOW_KINDS.get(flow.kind)) and (kind.source.name, kind.target.name) == streams
    ]


# -- at the vendor ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Freed:
    """What came of a call: ``code`` says why the vendor could not be asked; ``is_there`` that the new target exists."""

    code: str = ""
    is_there: bool = True


def free_target(
    tenant_id: int,
    link_id: int,
    *,
    new_target_key: str = "",
    opener: Callable[..., Client] = connections.open_client,
) -> Freed:
    """Looks whether the new target exists and takes our marker off the old one; outside of any transaction.

    May run any number of times: what is already so is left alone. Should the second half never come, the next delivery
    puts the marker back. Flows that write nothing (off, preview) leave the vendor as it is.
    """
    with tenant_tx(tenant_id, reason="free target"):
        link = Link.objects.get(pk=link_id)
        flows = flows_of(link)
        job = load_job(flows[0].pk) if flows else None
        writes = any(flow.mode in {Mode.LIVE, Mode.PILOT} for flow in flows)
    if job is None or job.target_stream.read_many is None:
        return Freed()
    try:
        client = opener(tenant_id, job.target, interactive=True, patience_s=PATIENCE_S)
        return _free(client, job, link, new_target_key, writes=writes)
    except errors.SyncError as error:
        return Freed(error.code)


def _free(client: Client, job: Job, link: Link, new_target_key: str, *, writes: bool) -> Freed:
    stream, marker, fields = job.target_stream, job.kind.marker, job.plan.target_fields
    wanted = [key for key in (link.target_key, new_target_key) if key]
    records = stream.read_many(client, wanted, fields) if stream.read_many else {}
    if new_target_key and new_target_key not in records:
        return Freed(is_there=False)
    old = records.get(link.target_key)
    if old is None or old.values.get(marker) != link.source_key or stream.write_many is None or not writes:
        return Freed()
    gone = {marker: None}
    (written,) = stream.write_many(client, [WriteItem(link.source_key, gone, gone, old)], fields, marker)
    return Freed(written.error.code if written.error else "")


# -- here ------------------------------------------------------------------------------------------------------------


def unlink(link: Link, *, reason: str, send_again: bool = False) -> None:
    """Forgets that the two belong together, and what was written. Raises Refused.

    ``send_again`` reads and delivers the source record anew; else that waits for its next change. Deliveries held
    because of the link are tried again.
    """
    _refuse_unexplained(reason)
    flows = flows_of(link)
    with narrow_to(link.tenant_id):
        _log(link, flows, "unlink", link.target_key)
        record_audit("link.removed", target=f"link {link.pk}", reason=reason, diff=_pair(link))
        link.delete()
        for flow in flows:
            _deliver(flow, link.source_key, always=send_again)


def relink(link: Link, *, target_key: str, reason: str) -> None:
    """Points the link at another target record, to which everything is delivered anew. Raises Refused."""
    _refuse_unexplained(reason)
    if not KEY.fullmatch(target_key):
        raise Refused("That does not look like a record's number.")
    if target_key == link.target_key:
        raise Refused("It is linked to that record already.")
    taken = _same_pair(link).filter(target_key=target_key).exclude(pk=link.pk).first()
    if taken is not None:
        raise Refused(f"{target_key} is already linked to {taken.source_key}. Unlink that one first.")
    before, flows = link.target_key, flows_of(link)
    with narrow_to(link.tenant_id):
        if not Link.objects.filter(pk=link.pk, target_key=before).update(target_key=target_key, made_by="person"):
            raise Refused("Somebody else changed this link a moment ago. Look again.")
        LinkState.objects.filter(link_id=link.pk).update(
            wish=b"", wish_before=None, digests={}, dropped={}, source_version="", flips=0, flips_since=None
        )
        link.target_key = target_key
        _log(link, flows, "link", target_key)
        record_audit("link.changed", target=f"link {link.pk}", reason=reason, diff={**_pair(link), "before": before})
        for flow in flows:
            _deliver(flow, link.source_key, always=True)


def _refuse_unexplained(reason: str) -> None:
    if not reason.strip():
        raise Refused("Say why, so that the next person knows.")


def _pair(link: Link) -> dict[str, object]:
    return {"source": link.source_key, "target": link.target_key}


def _same_pair(link: Link) -> QuerySet[Link]:
    links: QuerySet[Link] = Link.objects.filter(
        source_id=link.source_id,
        source_stream=link.source_stream,
        target_id=link.target_id,
        target_stream=link.target_stream,
    )
    return links


def _log(link: Link, flows: list[Flow], action: str, target_key: str) -> None:
    for flow in flows:
        log = Log(flow.pk, None, app_now())
        log.add(link.source_key, action, "ok", target_key=target_key)
        log.save()


def _deliver(flow: Flow, source_key: str, *, always: bool) -> None:
    """What is open for this record is due now; where nothing is, and only if asked, the record is read anew.

    It is counted in a run of one record, so that its end is counted somewhere.
    """
    waiting = Delivery.objects.filter(flow=flow, source_key=source_key, state__in=OPEN)
    if waiting.exists():
        desk.retry(waiting)
        return
    if not always or flow.mode == Mode.OFF:
        return
    now = app_now()
    common: dict[str, Any] = {"flow": flow, "revision_number": flow.revision_number}
    run = Run(**common, trigger="person", state=RunState.DONE, started_at=now, finished_at=now, read=1, waiting=1)
    run.save(force_insert=True)
    delivery = Delivery(**common, run=run, target_id=flow.target_id, source_key=source_key, wish=b"", not_before=now)
    delivery.save(force_insert=True)
