"""Follows merges on the source side: the link of a merged record moves to the record that survives."""

from collections.abc import Mapping, Sequence

from django.db.models import Q

from integrations.core.records import Record
from integrations.models import Link, LinkState
from integrations.services.children import in_turn, waits_for, wake
from integrations.services.jobs import Job
from integrations.services.synclog import Log


def links_of(job: Job) -> Q:
    """The links between this job's two streams on its two connections."""
    return Q(
        source_id=job.source.pk,
        target_id=job.target.pk,
        source_stream=job.source_stream.name,
        target_stream=job.target_stream.name,
    )


def follow(job: Job, merged: Sequence[Record], log: Log) -> None:
    """Re-points the links of merged records. Where both had a customer of their own, the survivor keeps its own and
    the other link stays for a person to see: two customers are never merged for them."""
    if not merged:
        return
    steps = {record.key: record.merged_into for record in merged if record.merged_into}
    into = {key: _survivor(key, steps) for key in steps}
    links = {
        link.source_key: link for link in Link.objects.filter(links_of(job), source_key__in=[*into, *into.values()])
    }
    for gone_key, survivor in into.items():
        link = links.get(gone_key)
        if link is None:
            _answer_for(links.get(survivor), gone_key)
            log.add(gone_key, "skip", "skipped", code="record.merged")
        elif survivor in links:
            log.add(gone_key, "move", "held", target_key=link.target_key, code="record.merged_both_linked")
        else:
            _repoint(job, link, survivor)
            _send_on(link, survivor)
            links[survivor] = links.pop(gone_key)
            log.add(survivor, "move", "ok", target_key=link.target_key, code="record.merged")


def _survivor(key: str, steps: Mapping[str, str]) -> str:
    """Where a chain of merges ends. A circle, which no vendor should tell, ends before it closes."""
    seen = {key}
    while (onward := steps.get(key, "")) and onward not in seen:
        seen.add(key := onward)
    return key


def _repoint(job: Job, link: Link, survivor: str) -> None:
    """The survivor takes the link; its next reading is delivered, so that the marker at the target follows."""
    link.source_aliases = [*link.source_aliases, link.source_key]
    link.source_key = survivor
    link.save(update_fields=["source_key", "source_aliases"])
    LinkState.objects.filter(link=link).update(source_key=survivor, wish=b"", source_version="")


def _answer_for(link: Link | None, gone_key: str) -> None:
    """A record that never was at the target is by now the survivor, and what refers to it refers to the survivor."""
    if link is None or gone_key in link.source_aliases:
        return
    link.source_aliases = [*link.source_aliases, gone_key]
    link.save(update_fields=["source_aliases"])
    _send_on(link, gone_key)


def _send_on(link: Link, key: str) -> None:
    in_turn()
    wake([waits_for(link.source_stream, key)])
