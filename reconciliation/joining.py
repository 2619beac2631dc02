"""What is left of both sides, joined: who must be looked at again.

What agrees left the stage while the target was read; the rest is little as a rule. One statement joins it by links and
markers and sets it aside. That is then walked in the order of its keys, a page at a time, so that it can be cut anywhere and
asked on from there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection as database

from integrations.services.jobs import Job
from reconciliation.compare import AGREE, LEFT_OUT, OTHERS, Standing
from reconciliation.layout import Layout, Memory
from reconciliation.models import Side
from reconciliation.staging import BETWEEN, agreed_so_far
from tenants.walls import current_tenant_id, text_array

PAGE = 2000
LINKED = "linked"
COMPARED = (Standing.LIVE, Standing.GONE)


@dataclass(frozen=True, slots=True)
class Row:
    """One key in its order, and what it counts as, None for a suspect. ``is_surplus`` suspects have the marker of a record
    that has its counterpart."""

    key: str
    parts: tuple[str, ...] | None
    source_key: str = ""
    target_key: str = ""
    is_surplus: bool = False


_STAGED = "reconciliation_staged WHERE tenant_id = %(tenant)s AND report_number = %(report)s"
_LINK = """integrations_link WHERE tenant_id = %(tenant)s AND source_id = %(source)s AND target_id = %(target)s
    AND source_stream = %(source_stream)s AND target_stream = %(target_stream)s"""
_LEFT, _RIGHT, _PAIR, _ALONE = (
    f"{_STAGED} AND side = {side.value}" for side in (Side.LEFT, Side.RIGHT, Side.PAIR, Side.ALONE)
)
_AGREED_KEYS = f"{_STAGED} AND side = {Side.AGREED.value}"

# Tables that were filled a moment ago have no statistics, and a plan made without would read a whole side for every key.
# The links of the few that are left are looked up one by one.
_BY_HASH = "SELECT set_config('enable_nestloop', 'off', true)"
# ``claims``: of the target records without a link that carry a source's key the first is its counterpart, unless the
# source has a link.
_JOIN = f"""
WITH l AS MATERIALIZED (
    SELECT own.*, k.target_key FROM (SELECT key, standing, fingerprint FROM {_LEFT}) AS own
    LEFT JOIN LATERAL (SELECT target_key FROM {_LINK} AND source_key = own.key OFFSET 0) AS k ON true
), r AS MATERIALIZED (
    SELECT own.*, k.source_key FROM (SELECT key, marker, fingerprint FROM {_RIGHT}) AS own
    LEFT JOIN LATERAL (SELECT source_key FROM {_LINK} AND target_key = own.key OFFSET 0) AS k ON true
), odd AS MATERIALIZED (
    SELECT l.key AS left_key, coalesce(r.source_key, CASE WHEN l.target_key IS NOT NULL THEN l.key END) AS source_key,
        coalesce(l.target_key, CASE WHEN r.source_key IS NOT NULL THEN r.key END) AS target_key,
        r.key AS right_key, r.marker,
        l.standing = '{Standing.LEFT_OUT}' OR (l.standing = '{Standing.MERGED}' AND l.target_key IS NULL) AS is_left_out
    FROM l FULL JOIN r ON r.key = l.target_key
    WHERE (l.fingerprint = r.fingerprint AND r.marker IN ('', l.key)) IS NOT TRUE
), claims AS (
    SELECT marker, min(right_key) AS right_key FROM odd WHERE source_key IS NULL AND marker <> '' GROUP BY marker
), rows AS MATERIALIZED (
    SELECT odd.*, claims.right_key AS claimed FROM odd
    LEFT JOIN claims ON claims.marker = odd.left_key AND odd.source_key IS NULL
), pairs AS (
    INSERT INTO reconciliation_staged (tenant_id, report_number, side, key, marker, standing, digests)
    SELECT %(tenant)s, %(report)s, {Side.PAIR.value}, coalesce(left_key, source_key), coalesce(target_key, claimed, ''),
        CASE WHEN source_key IS NULL THEN '' ELSE '{LINKED}' END, ''
    FROM rows WHERE coalesce(left_key, source_key) IS NOT NULL AND is_left_out IS NOT TRUE
), alone AS (
    INSERT INTO reconciliation_staged (tenant_id, report_number, side, key, marker, standing, digests)
    SELECT %(tenant)s, %(report)s, {Side.ALONE.value}, right_key, marker, '', ''
    FROM odd LEFT JOIN (SELECT claimed FROM rows) AS taken ON taken.claimed = odd.right_key
    WHERE left_key IS NULL AND source_key IS NULL AND marker <> '' AND taken.claimed IS NULL
), counted AS (
    SELECT (SELECT count(*) FROM l) - count(left_key) AS agree, count(*) FILTER (WHERE is_left_out) AS left_out,
        count(*) FILTER (WHERE is_left_out AND coalesce(right_key, claimed) IS NOT NULL)
            + count(*) FILTER (WHERE left_key IS NULL AND source_key IS NULL AND marker = '') AS others,
        count(source_key) AS links
    FROM rows
)
SELECT agree, left_out, others, agree + links FROM counted"""  # noqa: S608 - constants only
_LINKS_COUNT = f"SELECT count(*) FROM {_LINK}"  # noqa: S608
# Links of which neither end was read.
_DEAD = f"""
INSERT INTO reconciliation_staged (tenant_id, report_number, side, key, marker, standing, digests)
SELECT %(tenant)s, %(report)s, {Side.PAIR.value}, k.source_key, k.target_key, '{LINKED}', ''
FROM (SELECT source_key, target_key FROM {_LINK}) AS k
LEFT JOIN (SELECT unnest(string_to_array(convert_from(digests, 'UTF8'), %(between)s)) AS key FROM {_AGREED_KEYS}) AS agreed
    ON agreed.key = k.source_key
LEFT JOIN (SELECT key FROM {_LEFT}) AS l ON l.key = k.source_key
LEFT JOIN (SELECT key FROM {_RIGHT}) AS r ON r.key = k.target_key
WHERE agreed.key IS NULL AND l.key IS NULL AND r.key IS NULL"""  # noqa: S608

# Key by key, for the same want of statistics. A record that is named by two, and left the stage since it agrees with one, is
# linked and in no pair.
_PAIR_PAGE = f"""
WITH page AS MATERIALIZED (
    SELECT key, marker, standing FROM {_PAIR} AND key > %(place)s ORDER BY key LIMIT %(limit)s)
SELECT page.key, page.marker, page.standing = '{LINKED}', l.standing, l.digests, r.standing, r.digests, r.marker FROM page
LEFT JOIN LATERAL (SELECT standing, digests FROM {_LEFT} AND key = page.key OFFSET 0) AS l ON true
LEFT JOIN LATERAL (SELECT standing, digests, marker FROM {_RIGHT} AND key = page.marker OFFSET 0) AS r ON true
ORDER BY page.key"""  # noqa: S608
_ALONE_PAGE = f"""
WITH page AS MATERIALIZED (SELECT key, marker FROM {_ALONE} AND key > %(place)s ORDER BY key LIMIT %(limit)s)
SELECT page.key, page.marker, l.key IS NOT NULL OR (k.source_key IS NOT NULL AND p.key IS NULL) FROM page
LEFT JOIN LATERAL (SELECT key FROM {_LEFT} AND key = page.marker OFFSET 0) AS l ON true
LEFT JOIN LATERAL (SELECT source_key FROM {_LINK} AND source_key = page.marker OFFSET 0) AS k ON true
LEFT JOIN LATERAL (SELECT key FROM {_PAIR} AND key = page.marker OFFSET 0) AS p ON true
ORDER BY page.key"""  # noqa: S608
_STATES = """
SELECT source_key, digests, dropped, gone FROM integrations_linkstate
WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND source_key = ANY(%(keys)s::text[])"""


def join(job: Job, report_id: int) -> Mapping[str, int]:
    """Sets aside what does not simply agree, and counts the rest of what is staged. Call inside the clinic's
    transaction."""
    given = {**_given(job, report_id), "between": BETWEEN}
    with database.cursor() as cursor:
        cursor.execute(_BY_HASH)
        cursor.execute(_JOIN, given)
        agree, left_out, others, links = cursor.fetchone()
        cursor.execute(_LINKS_COUNT, given)
        if cursor.fetchone() != (agreed_so_far(report_id) + links,):
            cursor.execute(_DEAD, given)
    return {AGREE: agree, LEFT_OUT: left_out, OTHERS: others}


def pair_rows(job: Job, report_id: int, layout: Layout, place: str | None) -> list[Row]:
    """The next pairs that were set aside. Call inside the clinic's transaction."""
    pairs = [_Pair(*row) for row in _ask(_PAIR_PAGE, job, report_id, place=place or "", limit=PAGE)]
    unlike = {pair.key: layout.unlike(pair.wanted, pair.there) for pair in pairs if pair.is_comparable}
    doubtful = text_array(key for key, fields in unlike.items() if fields)
    states = _ask(_STATES, job, report_id, keys=doubtful)
    memories = {key: Memory(_object(written), _object(dropped), bool(gone)) for key, written, dropped, gone in states}
    rows = []
    for pair in pairs:
        memory = memories.get(pair.key, Memory())
        policies = job.plan.policies_for(is_new=False, is_gone=pair.left == Standing.GONE, was_gone=memory.gone)
        agrees = pair.is_comparable and not layout.suspects(unlike[pair.key], memory, policies)
        rows.append(Row(pair.key, (AGREE,) if agrees else None, pair.key, pair.target_key))
    return rows


@dataclass(frozen=True, slots=True)
class _Pair:
    """What was staged of a source key and of the target key that belongs to it; ``left`` and ``right`` are standings,
    None where nothing was."""

    key: str
    target_key: str
    is_linked: bool
    left: str | None
    wanted: bytes
    right: str | None
    there: bytes
    marker: str | None

    @property
    def is_comparable(self) -> bool:
        is_ours = not self.is_linked or self.marker in ("", self.key)
        return self.left in COMPARED and self.right == Standing.LIVE and is_ours


def alone_rows(job: Job, report_id: int, place: str | None) -> list[Row]:
    """The next target records that say whose they are, and are nobody's. Call inside the clinic's transaction."""
    rows = _ask(_ALONE_PAGE, job, report_id, place=place or "", limit=PAGE)
    return [Row(key, None, marker, key, is_surplus=has_left) for key, marker, has_left in rows]


def _ask(statement: str, job: Job, report_id: int, **more: int | str) -> list[tuple[Any, ...]]:
    with database.cursor() as cursor:
        cursor.execute(statement, {**_given(job, report_id), **more})
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _given(job: Job, report_id: int) -> dict[str, int | str]:
    return {
        "tenant": current_tenant_id(),
        "report": report_id,
        "flow": job.flow_id,
        "source": job.source.pk,
        "target": job.target.pk,
        "source_stream": job.source_stream.name,
        "target_stream": job.target_stream.name,
    }


def _object(stored: object) -> Mapping[str, str]:
    made = json.loads(stored) if isinstance(stored, str) else stored
    return made if isinstance(made, dict) else {}
