"""Reading both sides, page by page, and keeping of each record its key and a digest a field."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from django.db import connection as database

from integrations.connectors.base import Ask, Page
from integrations.core.errors import SyncError, VendorChanged
from integrations.core.records import Record, State
from integrations.core.values import Value
from integrations.flows.kind import Wish
from integrations.models import Flow, Link
from integrations.services import gate, parents
from integrations.services.children import MISSING
from integrations.services.gate import Known, know
from integrations.services.jobs import Job
from integrations.services.merges import links_of
from integrations.services.reading import read_each
from integrations.toolkit.http import Client
from reconciliation.compare import Standing
from reconciliation.layout import Layout, Prints
from reconciliation.models import Side, Staged
from tenants.walls import insert_rows, text_array

COLUMNS = ("report_number", "side", "key", "marker", "standing", "fingerprint", "digests")
AGAIN = (
    "(tenant_id, report_number, side, key) DO UPDATE SET marker = excluded.marker, standing = excluded.standing,"
    " fingerprint = excluded.fingerprint, digests = excluded.digests"
)
FORM = "3"
"""Of what is staged: a report that another release began in another form begins anew."""
NOT_COMPARED = Prints(None, b"")
BY_KEY = 100  # target records to a page where the target has no list


def layout_of(job: Job) -> Layout:
    return Layout.of(job.plan.target_fields, job.kind_of, job.vault.digest_key, job.plan.fixed)


def name_of(job: Job, layout: Layout) -> str:
    """Equal for jobs that stage alike: the same fields, by the same rules and code."""
    told = job.reading_key + "\x1f".join((FORM, *layout.names)).encode()
    return hashlib.sha256(told).hexdigest()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a flow brings at all: records made since its start, and those of its pilot."""

    starts_at: datetime | None
    pilot: frozenset[str] | None

    @classmethod
    def of(cls, flow: Flow) -> "Limits":
        return cls(gate.start_instant(flow), gate.pilot_of(flow))

    def asks_who_is_known(self, record: Record) -> bool:
        """Whether it matters what was wished for the record before."""
        return record.state is State.ARCHIVED or gate.is_older(record, self.starts_at)

    def leaves_out(self, record: Record, known: Known) -> bool:
        return bool(gate.left_out(record, known, pilot=self.pilot, starts_at=self.starts_at))


@dataclass(frozen=True, slots=True)
class Left:
    """A source record and what its flow wishes for it. ``fields`` have the keys of targets in place of parents."""

    key: str
    standing: Standing
    fields: Mapping[str, Value] = field(default_factory=dict)
    code: str = ""
    record: Record | None = None


def lefts(
    job: Job, limits: Limits, records: Iterable[Record], broken: Iterable[tuple[str, SyncError]] = ()
) -> dict[str, Left]:
    """What these records are to the comparison, judged as intake judges them. Call inside the clinic's transaction."""
    records = list({record.key: record for record in records}.values())
    known = know(job.flow_id, sorted(one.key for one in records if limits.asks_who_is_known(one)))
    made = {record.key: _left(job, limits, record, known) for record in records}
    wished = {left.key: left.fields for left in made.values() if left.fields} if job.kind.parents else {}
    for key, (fields, missing) in parents.placed_all(job, wished).items():
        standing = made[key].standing
        if missing:
            standing = Standing.LEFT_OUT if parents.is_left_out(job, missing) else Standing.HELD
        made[key] = Left(key, standing, fields, MISSING if missing else "", made[key].record)
    for key, error in broken:
        made.setdefault(key, Left(key, Standing.HELD, code=error.code))
    return made


def _left(job: Job, limits: Limits, record: Record, known: Known) -> Left:
    if record.state is State.MERGED:
        return Left(record.key, Standing.MERGED, record=record)
    was_delivered = record.key in known.linked or record.key in known.flying
    if limits.leaves_out(record, known) or (record.state is State.ARCHIVED and not was_delivered):
        return Left(record.key, Standing.LEFT_OUT, record=record)
    wish: Wish = job.wish(record)
    if wish.skip:
        return Left(record.key, Standing.LEFT_OUT, code=wish.skip, record=record)
    if wish.draft is None:
        return Left(record.key, Standing.HELD, code=wish.problems[0][0], record=record)
    standing = Standing.GONE if wish.draft.gone else Standing.LIVE
    return Left(record.key, standing, wish.draft.fields, record=record)


def read_left(job: Job, client: Client, place: str | None) -> Page:
    """One page of the source, of everything."""
    read_page = job.source_stream.read_page
    if read_page is None:
        raise VendorChanged("flow.source_unreadable", stream=job.source_stream.name)
    return read_page(client, Ask(None, job.plan.source_fields), place)


def lists_target(job: Job) -> bool:
    """Whether the target can be read from end to end, and not only by key."""
    return (job.target_stream.read_all or job.target_stream.read_page) is not None


def keys_after(job: Job, place: str | None) -> list[str]:
    """The next target keys that links name: what is read of a target that has no list. Call inside the transaction."""
    links = Link.objects.filter(links_of(job), target_key__gt=place or "").order_by("target_key")
    return list(links.values_list("target_key", flat=True)[:BY_KEY])


def read_right(job: Job, client: Client, place: str | None, keys: Sequence[str]) -> Page:
    """One page of the target: of its list, or where it has none, the records of these keys."""
    read_page = job.target_stream.read_all or job.target_stream.read_page
    if read_page is not None:
        return read_page(client, Ask(None, job.plan.target_fields), place)
    found, unread = read_each(job.target_stream, client, keys, job.plan.target_fields)
    onward = keys[-1] if len(keys) == BY_KEY else None
    return Page(list(found.values()), onward, broken=tuple(unread.items()))


Row: TypeAlias = tuple[str, str, Standing, Prints]
"""Key, marker, standing, prints."""


def stage_left(report_id: int, layout: Layout, made: Mapping[str, Left]) -> int:
    """How many records were staged, some perhaps again. Call inside the clinic's transaction."""
    rows: list[Row] = []
    for left in made.values():
        prints = layout.wished(left.fields) if left.standing in (Standing.LIVE, Standing.GONE) else NOT_COMPARED
        rows.append((left.key, "", left.standing, prints))
    return stage(report_id, Side.LEFT, rows)


def stage_right(report_id: int, layout: Layout, job: Job, pages: Iterable[Page]) -> tuple[int, int]:
    """How many records were read, and how many of them agree with the source."""
    rows: dict[str, Row] = {}
    for page in pages:
        rows |= {key: (key, "", Standing.HELD, NOT_COMPARED) for key, _ in page.broken}
        for record in page.records:
            rows[record.key] = (record.key, marker_of(job, record), Standing.LIVE, layout.there(record.values))
    return len(rows), match(report_id, job, rows)


def match(report_id: int, job: Job, rows: Mapping[str, Row]) -> int:
    """Compares target records with what was staged of the source; how many agree. Those, and their equals, need no second
    look: both leave the stage, and only their keys are kept. A record that is told twice, and agreed the first time, is
    looked at again. Call inside the clinic's transaction."""
    agreed = _agreed(job, report_id, rows)
    if agreed:
        with database.cursor() as cursor:
            cursor.execute(_LEAVE, {"tenant": job.tenant_id, "report": report_id, "keys": text_array(agreed.values())})
        kept = BETWEEN.join(agreed.values()).encode()
        insert_rows(
            Staged, COLUMNS, [(report_id, Side.AGREED.value, min(agreed.values()), str(len(agreed)), "", None, kept)]
        )
    stage(report_id, Side.RIGHT, [row for key, row in rows.items() if key not in agreed])
    return len(agreed)


BETWEEN = "\x1f"  # in no vendor's key
_LEAVE = f"""
DELETE FROM reconciliation_staged
WHERE tenant_id = %(tenant)s AND report_number = %(report)s AND side = {Side.LEFT.value} AND key = ANY(%(keys)s::text[])
"""  # noqa: S608 - constants only
# Key by key: without statistics, all of a clinic's links, and a whole side, look as few as those of a page.
_AGREED = f"""
SELECT told.key, k.source_key
FROM unnest(%(keys)s::text[], %(markers)s::text[], %(prints)s::bytea[]) AS told(key, marker, fingerprint)
CROSS JOIN LATERAL (SELECT source_key FROM integrations_link
    WHERE tenant_id = %(tenant)s AND target_key = told.key AND source_id = %(source)s AND target_id = %(target)s
        AND source_stream = %(source_stream)s AND target_stream = %(target_stream)s OFFSET 0) AS k
CROSS JOIN LATERAL (SELECT fingerprint FROM reconciliation_staged
    WHERE tenant_id = %(tenant)s AND report_number = %(report)s AND side = {Side.LEFT.value} AND key = k.source_key
    OFFSET 0) AS l
WHERE l.fingerprint = told.fingerprint AND told.marker IN ('', k.source_key) AND strpos(k.source_key, %(between)s) = 0
"""  # noqa: S608


def _agreed(job: Job, report_id: int, rows: Mapping[str, Row]) -> dict[str, str]:
    """By target key, the source key of a record that is linked to it and equal."""
    given: dict[str, Any] = {
        "keys": text_array(rows),
        "markers": text_array(marker for _, marker, *_ in rows.values()),
        "prints": [prints.fingerprint for *_, prints in rows.values()],
        "between": BETWEEN,
        "tenant": job.tenant_id,
        "report": report_id,
        "source": job.source.pk,
        "target": job.target.pk,
        "source_stream": job.source_stream.name,
        "target_stream": job.target_stream.name,
    }
    with database.cursor() as cursor:
        cursor.execute(_AGREED, given)
        return dict(cursor.fetchall())


def agreed_so_far(report_id: int) -> int:
    """How many agreed while the target was read. Call inside the clinic's transaction."""
    sheets = Staged.objects.filter(report_number=report_id, side=Side.AGREED)
    return sum(map(int, sheets.values_list("marker", flat=True)))


def marker_of(job: Job, record: Record) -> str:
    """The source key that a target record carries, ``""`` if none."""
    marker = job.kind.marker
    return job.kind_of(marker).canon(record.values.get(marker)) if marker else ""


def mark(report_id: int) -> None:
    """Begins a stage: as long as this row is there, so is all that was staged."""
    forget(report_id)
    stage(report_id, Side.MARK, [("mark", "", Standing.ABSENT, NOT_COMPARED)])


def is_marked(report_id: int) -> bool:
    return bool(Staged.objects.filter(report_number=report_id, side=Side.MARK).exists())


def forget(report_id: int) -> None:
    Staged.objects.filter(report_number=report_id)._raw_delete(Staged.objects.db)


def stage(report_id: int, side: Side, rows: Sequence[Row]) -> int:
    told = (
        (report_id, side.value, key, marker, standing.value, prints.fingerprint, prints.digests)
        for key, marker, standing, prints in rows
    )
    return insert_rows(Staged, COLUMNS, told, on_conflict=AGAIN).written
