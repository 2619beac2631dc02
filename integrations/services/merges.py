"""Follows merges on the source side: the link of a merged record moves to the record that survives."""

from collections.abc import Container, Mapping, Sequence

from django.db import connection as database
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


def follow(job: Job, merged: Sequence[Record], log: Log) -> dict[str, str]:
    """Re-points the links of merged records. Where both had a customer of their own, the survivor keeps its own and
    the other link stays for a person to see: two customers are never merged for them.

    Returns those that never had a link, with their survivors, for ``remember``.
    """
    if not merged:
        return {}
    steps = {record.key: record.merged_into for record in merged if record.merged_into}
    into = {key: _survivor(key, steps) for key in steps}
    links = {
        link.source_key: link for link in Link.objects.filter(links_of(job), source_key__in=[*into, *into.values()])
    }
    unlinked: dict[str, str] = {}
    for gone_key, survivor in into.items():
        if (fate := fate_of(links, gone_key, survivor)) == "unlinked":
            unlinked[gone_key] = survivor
            log.add(gone_key, "skip", "skipped", code="record.merged")
            continue
        link = links[gone_key]
        if fate == "kept":
            log.add(gone_key, "move", "held", target_key=link.target_key, code="record.merged_both_linked")
        else:
            _repoint(job, link, survivor)
            _send_on(link, survivor)
            links[survivor] = links.pop(gone_key)
            log.add(survivor, "move", "ok", target_key=link.target_key, code="record.merged")
    return unlinked


def fate_of(links: Container[str], gone_key: str, survivor: str) -> str:
    """What becomes of the link of a record that was merged, ``links`` being the keys that have one: ``unlinked`` where
    it has none, ``kept`` where the survivor has its own, else ``moved`` to the survivor."""
    if gone_key not in links:
        return "unlinked"
    return "kept" if survivor in links else "moved"


def remember(job: Job, unlinked: Mapping[str, str]) -> None:
    """Merged records that never were at the target are by now their survivors (gone key -> survivor's key), and what
    refers to them refers to these: the survivor's link answers for them, or will once its delivery makes it.

    Call when the survivors' deliveries are in the outbox, and again when one of these is done. They first, the links
    then: whoever settles one meanwhile either finds the keys there or has made the link that is found here.
    """
    if not unlinked:
        return
    unlinked = {gone_key: _survivor(gone_key, unlinked) for gone_key in unlinked}
    with database.cursor() as cursor:
        cursor.execute(_REMEMBER, {"flow": job.flow_id, "gone": list(unlinked), "survivors": list(unlinked.values())})
    in_turn()
    changed, told = [], set()
    for link in Link.objects.filter(links_of(job), source_key__in=unlinked.values()):
        gone = {gone_key for gone_key, survivor in unlinked.items() if survivor == link.source_key}
        if new := gone - set(link.source_aliases):
            link.source_aliases = [*link.source_aliases, *sorted(new)]
            changed.append(link)
            told |= new
    Link.objects.bulk_update(changed, ["source_aliases"])
    wake(waits_for(job.source_stream.name, gone_key) for gone_key in told)


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


def _send_on(link: Link, key: str) -> None:
    in_turn()
    wake([waits_for(link.source_stream, key)])


_REMEMBER = """
UPDATE integrations_delivery d SET answers_for = ARRAY(SELECT DISTINCT unnest(d.answers_for || told.gone))
FROM (
    SELECT survivor, array_agg(gone) AS gone
    FROM unnest(%(gone)s::varchar[], %(survivors)s::varchar[]) AS pair(gone, survivor) GROUP BY survivor
) told
WHERE d.flow_id = %(flow)s AND d.source_key = told.survivor AND d.state <> 'done'
"""
