"""Both sides joined in SQL, a page of keys at a time: who agrees, and who must be looked at again.

Every question walks one side in the order of its keys, so that it can be cut anywhere and asked on from there.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection as database

from integrations.services.jobs import Job
from reconciliation.compare import AGREE, LEFT_OUT, OTHERS, Layout, Memory, Standing
from reconciliation.models import Side
from tenants.walls import current_tenant_id

PAGE = 2000


@dataclass(frozen=True, slots=True)
class Row:
    """One key in its order, and what it counts as: nothing where another walk counts it, None for a suspect.
    ``is_surplus`` suspects have the marker of a record that has its counterpart."""

    key: str
    parts: tuple[str, ...] | None
    source_key: str = ""
    target_key: str = ""
    is_surplus: bool = False


# Key by key: tables that were filled a moment ago have no statistics to plan by. Behind row-level security a key is only
# looked up in an index if it is a plain column, hence what is reckoned is materialized first.
_STAGED = "reconciliation_staged WHERE tenant_id = %(tenant)s AND report_number = %(report)s"
_LINK = """integrations_link WHERE tenant_id = %(tenant)s AND source_id = %(source)s AND target_id = %(target)s
    AND source_stream = %(source_stream)s AND target_stream = %(target_stream)s"""

_PARTNER = f"""
    SELECT s.key FROM (
        SELECT key FROM {_STAGED} AND side = {Side.RIGHT.value} AND marker <> '' AND marker = {{marker}} OFFSET 0) s
    WHERE NOT EXISTS (SELECT FROM {_LINK} AND target_key = s.key) ORDER BY s.key LIMIT 1
"""  # noqa: S608 - constants only
"""Of the target records that carry a marker and have no link of their own, the first is the marker's counterpart."""

_LEFT = f"""
WITH page AS MATERIALIZED (
    SELECT key, standing, digests FROM {_STAGED} AND side = {Side.LEFT.value} AND key > %(place)s ORDER BY key LIMIT %(limit)s
), linked AS MATERIALIZED (
    SELECT page.key, page.standing, page.digests, k.target_key
    FROM page LEFT JOIN LATERAL (SELECT target_key FROM {_LINK} AND source_key = page.key OFFSET 0) k ON true
), paired AS MATERIALIZED (
    SELECT key, standing, digests, target_key IS NOT NULL AS is_linked,
           CASE WHEN target_key IS NULL THEN ({_PARTNER.format(marker="linked.key")}) ELSE target_key END AS target_key
    FROM linked
), joined AS MATERIALIZED (
    SELECT paired.key, paired.standing, paired.target_key, paired.is_linked, r.standing AS there_standing, r.marker,
           paired.digests = r.digests AS is_same, paired.digests AS wanted, r.digests AS there
    FROM paired LEFT JOIN LATERAL (
        SELECT standing, digests, marker FROM {_STAGED} AND side = {Side.RIGHT.value} AND key = paired.target_key OFFSET 0
    ) r ON true
)
SELECT j.key, j.standing, j.target_key, j.is_linked, j.there_standing, j.marker, j.is_same,
       CASE WHEN j.is_same THEN NULL ELSE j.wanted END, CASE WHEN j.is_same THEN NULL ELSE j.there END,
       s.digests, s.dropped, s.gone
FROM joined j
LEFT JOIN LATERAL (
    SELECT digests, dropped, gone FROM integrations_linkstate
    WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND source_key = j.key AND NOT j.is_same OFFSET 0) s ON true
ORDER BY j.key
"""  # noqa: S608

_RIGHT = f"""
WITH page AS MATERIALIZED (
    SELECT key, marker FROM {_STAGED} AND side = {Side.RIGHT.value} AND key > %(place)s ORDER BY key LIMIT %(limit)s
), linked AS MATERIALIZED (
    SELECT page.key, page.marker, k.source_key, coalesce(k.source_key, page.marker) AS source
    FROM page LEFT JOIN LATERAL (SELECT source_key FROM {_LINK} AND target_key = page.key OFFSET 0) k ON true
)
SELECT l.key, l.marker, l.source_key,
       EXISTS (SELECT FROM {_STAGED} AND side = {Side.LEFT.value} AND key = l.source),
       CASE WHEN l.source_key IS NULL AND l.marker <> '' THEN
           NOT EXISTS (SELECT FROM {_LINK} AND source_key = l.marker)
           AND l.key = ({_PARTNER.format(marker="l.marker")}) END
FROM linked l ORDER BY l.key
"""  # noqa: S608

_LINKS = f"""
SELECT l.source_key, l.target_key,
       NOT EXISTS (SELECT FROM {_STAGED} AND side = {Side.LEFT.value} AND key = l.source_key)
       AND NOT EXISTS (SELECT FROM {_STAGED} AND side = {Side.RIGHT.value} AND key = l.target_key)
FROM (SELECT source_key, target_key FROM {_LINK} AND source_key > %(place)s ORDER BY source_key LIMIT %(limit)s) l
ORDER BY l.source_key
"""  # noqa: S608


def left_rows(job: Job, report_id: int, layout: Layout, place: str | None) -> list[Row]:
    """The next source records, each with its counterpart. Call inside the clinic's transaction."""
    return [_left_row(job, layout, row) for row in _ask(_LEFT, job, report_id, place)]


def _left_row(job: Job, layout: Layout, row: tuple[Any, ...]) -> Row:
    key, standing, target, is_linked, there_standing, marker, is_same, wanted, there, written, dropped, gone = row
    suspect = Row(key, None, key, target or "")
    is_there = there_standing is not None
    if standing in (Standing.LEFT_OUT, Standing.MERGED) and not (is_linked and standing == Standing.MERGED):
        return Row(key, (LEFT_OUT, OTHERS) if is_there else (LEFT_OUT,))
    if not is_there or there_standing != Standing.LIVE or standing not in (Standing.LIVE, Standing.GONE):
        return suspect
    if is_linked and marker not in ("", key):
        return suspect
    if is_same:
        return Row(key, (AGREE,))
    memory = Memory(_object(written), _object(dropped), bool(gone))
    policies = job.plan.policies_for(is_new=False, is_gone=standing == Standing.GONE, was_gone=memory.gone)
    return suspect if layout.suspects(bytes(wanted), bytes(there), memory, policies) else Row(key, (AGREE,))


def right_rows(job: Job, report_id: int, place: str | None) -> list[Row]:
    """The next target records: those that are too much, those without a source, and how many are none of ours."""
    return [_right_row(*row) for row in _ask(_RIGHT, job, report_id, place)]


def _right_row(key: str, marker: str, linked: str | None, has_left: bool, is_partner: bool | None) -> Row:
    if not linked and not marker:
        return Row(key, (OTHERS,))
    source = linked or marker
    if not has_left:
        return Row(key, None, source, key)
    if linked or is_partner:
        return Row(key, ())
    return Row(key, None, source, key, is_surplus=True)


def link_rows(job: Job, report_id: int, place: str | None) -> list[Row]:
    """The next links: those that neither side knows."""
    return [
        Row(source, None if is_void else (), source, target)
        for source, target, is_void in _ask(_LINKS, job, report_id, place)
    ]


def _ask(statement: str, job: Job, report_id: int, place: str | None) -> Iterator[tuple[Any, ...]]:
    with database.cursor() as cursor:
        cursor.execute(
            statement,
            {
                "tenant": current_tenant_id(),
                "report": report_id,
                "flow": job.flow_id,
                "source": job.source.pk,
                "target": job.target.pk,
                "source_stream": job.source_stream.name,
                "target_stream": job.target_stream.name,
                "place": place or "",
                "limit": PAGE,
            },
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return iter(rows)


def _object(stored: object) -> Mapping[str, str]:
    made = json.loads(stored) if isinstance(stored, str) else stored
    return made if isinstance(made, dict) else {}
