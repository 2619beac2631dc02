"""Bulk mutations: stage a file, start a run, look how it stands, read its results. Sources: README.md, "Bulk".

What rows say and what their results mean is each stream's own: ``bulk_customers.py``, ``bulk_products.py``.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from integrations.connectors.base import Bulk, BulkPass, BulkResult, BulkRun, BulkState, Staged, WriteItem
from integrations.connectors.shopify.call import CODES, call, explain, read
from integrations.core.errors import Rejected, SyncError, Throttled, Unavailable, Uncertain, VendorChanged
from integrations.toolkit import graphql, payload
from integrations.toolkit.graphql import Outcome, UserError
from integrations.toolkit.http import Client
from integrations.toolkit.payload import Json

HOSTS = ("storage.googleapis.com", "shopify.com", "shopifycloud.com", "myshopify.com")
FULL_WAIT_S = 60
NO_FILE = frozenset({"NO_SUCH_FILE", "INVALID_STAGED_UPLOAD_FILE", "INTERNAL_FILE_SERVER_ERROR"})

_RUN = "id type status errorCode createdAt completedAt objectCount rootObjectCount fileSize url partialDataUrl"
STAGE = """\
mutation StagedUploadsCreate($input: [StagedUploadInput!]!) {
  stagedUploadsCreate(input: $input) {
    stagedTargets { url resourceUrl parameters { name value } }
    userErrors { field message }
  }
}"""
START = f"""\
mutation BulkRunMutation($mutation: String!, $stagedUploadPath: String!, $clientIdentifier: String) {{
  bulkOperationRunMutation(
    mutation: $mutation
    stagedUploadPath: $stagedUploadPath
    clientIdentifier: $clientIdentifier
  ) {{
    bulkOperation {{ {_RUN} }}
    userErrors {{ code field message }}
  }}
}}"""
LOOK = f"""\
query BulkOperationById($id: ID!) {{
  bulkOperation(id: $id) {{ {_RUN} }}
}}"""
FIND = f"""\
query BulkOperationsPage($first: Int!, $after: String, $query: String) {{
  bulkOperations(first: $first, after: $after, query: $query, sortKey: CREATED_AT) {{
    nodes {{ {_RUN} query }}
    pageInfo {{ hasNextPage endCursor }}
  }}
}}"""
CANCEL = """\
mutation BulkOperationCancel($id: ID!) {
  bulkOperationCancel(id: $id) {
    bulkOperation { id status }
    userErrors { field message }
  }
}"""

_STATES: Mapping[str, BulkState] = {
    "COMPLETED": BulkState.COMPLETED,
    "FAILED": BulkState.FAILED,
    "CANCELED": BulkState.CANCELLED,
    "EXPIRED": BulkState.EXPIRED,
}
_IDENTIFIER = re.compile(r"[A-Za-z0-9_]{4,64}")
_BUSY = re.compile(r"already (?:in progress|running)|limit", re.IGNORECASE)
_NUMBER = re.compile(rb'"__lineNumber"\s*:\s*"?(\d{1,9})"?\s*[,}]')
_CODE = re.compile(r"[A-Z_]{1,60}")
_MOST_PAGES = 40


def stage(client: Client, filename: str) -> Staged:
    """A place for one file of rows. Asking again costs a call and leaves an unused place behind, no more."""
    wish = {
        "resource": "BULK_MUTATION_VARIABLES",
        "filename": filename,
        "mimeType": "text/jsonl",
        "httpMethod": "POST",
    }
    result, refused = _result(call(client, STAGE, {"input": [wish]}, cost=11), "stagedUploadsCreate")
    if refused:
        raise VendorChanged("shopify.bulk_refused", vendor_code=_code(refused))
    targets = payload.items(result, "stagedTargets")
    if not targets:
        raise VendorChanged("shopify.shape")
    told = payload.items(targets[0], "parameters", "stagedTargets")
    parameters = tuple((payload.text(one, "name"), payload.text(one, "value")) for one in told)
    key = dict(reversed(parameters)).get("key")
    if not key:
        raise VendorChanged("shopify.shape")
    return Staged(payload.text(targets[0], "url", "stagedTargets"), parameters, key)


def start(client: Client, document: str, key: str, identifier: str) -> str:
    """Starts a run over the file that was uploaded under ``key``; its global id.

    The identifier goes along twice: as Shopify's own ``clientIdentifier``, which no list can be asked for, and in the
    mutation's name, which every list shows. Raises Throttled while as many run as may, Unavailable where the file must
    be staged anew, Uncertain for a lost answer: then ``find_started`` tells.
    """
    variables = {"mutation": _named(document, identifier), "stagedUploadPath": key, "clientIdentifier": identifier}
    outcome = call(client, START, variables, cost=11, writes=True)
    result, refused = _result(outcome, "bulkOperationRunMutation", starts=True)
    if refused:
        raise _not_started(refused)
    operation = payload.optional_obj(result, "bulkOperation")
    if operation is None:
        raise Uncertain("shopify.shape", request_id=outcome.reply.request_id or None)
    return payload.text(operation, "id", "bulkOperation")


def _named(document: str, identifier: str) -> str:
    """The document with the identifier at the end of its mutation's name."""
    if not _IDENTIFIER.fullmatch(identifier):
        raise ValueError("An identifier is letters, digits and underscores.")
    return re.sub(r"^mutation (\w+)", rf"mutation \g<1>_{identifier}", document, count=1)


def _not_started(refused: tuple[UserError, ...]) -> SyncError:
    code = _code(refused)
    if code in ("LIMIT_REACHED", "OPERATION_IN_PROGRESS") or (not code and _BUSY.search(refused[0].message)):
        return Throttled("shopify.bulk_full", datetime.now(UTC) + timedelta(seconds=FULL_WAIT_S), vendor_code=code)
    if code in NO_FILE:
        return Unavailable("shopify.bulk_file_refused", vendor_code=code)
    return VendorChanged("shopify.bulk_refused", vendor_code=code)


def look(client: Client, key: str) -> BulkRun | None:
    """How a run stands, None if Shopify does not know it (any more)."""
    found = payload.optional_obj(read(client, LOOK, {"id": key}, cost=1).data, "bulkOperation", "data")
    return None if found is None else _run(found)


def find_started(client: Client, identifier: str, since: datetime) -> BulkRun | None:
    """The run that was started with this identifier since then, in whatever state, None if there is none.

    ``since`` is taken a few minutes earlier, because the two clocks may differ.
    """
    stamp = (since.astimezone(UTC) - timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ")
    query, after = f"operation_type:mutation created_at:>='{stamp}'", None
    ours = re.compile(rf"\bmutation\s+\w+_{re.escape(identifier)}\b")
    for _ in range(_MOST_PAGES):
        answered = read(client, FIND, {"first": 50, "after": after, "query": query}, cost=6)
        connection = payload.obj(answered.data, "bulkOperations", "data")
        for node in payload.items(connection, "nodes", "bulkOperations"):
            if ours.search(payload.optional_text(node, "query", "bulkOperations") or ""):
                return _run(node)
        info = payload.obj(connection, "pageInfo", "bulkOperations")
        onward = payload.optional_text(info, "endCursor", "pageInfo")
        if not payload.flag(info, "hasNextPage", "pageInfo"):
            return None
        if onward is None or onward == after:
            break
        after = onward
    raise VendorChanged("shopify.paging_stuck")


def cancel(client: Client, key: str) -> None:
    """Asks Shopify to stop a run. One that has ended already is no error; ``look`` tells how it ended."""
    _result(call(client, CANCEL, {"id": key}, cost=11), "bulkOperationCancel")


def _result(outcome: Outcome, name: str, *, starts: bool = False) -> tuple[Json, tuple[UserError, ...]]:
    """What a mutation answered and refused. Raises the error that stands in its place."""
    result = outcome.data.get(name)
    if not isinstance(result, dict):
        unclear = Uncertain if starts else VendorChanged
        raise outcome.error_for(name) or unclear("shopify.shape", request_id=outcome.reply.request_id or None)
    return result, graphql.user_errors(result)


def _run(told: Json) -> BulkRun:
    """Statuses we do not know belong to a run that has not ended."""
    state = _STATES.get(payload.text(told, "status", "bulkOperation"), BulkState.RUNNING)
    url = payload.optional_text(told, "url") or payload.optional_text(told, "partialDataUrl")
    rows = payload.optional_whole(told, "rootObjectCount") or payload.optional_whole(told, "objectCount")
    error_code = payload.optional_text(told, "errorCode") or ""
    return BulkRun(
        key=payload.text(told, "id", "bulkOperation"),
        state=state,
        url=url if url and state is not BulkState.RUNNING else "",
        error_code=error_code if _CODE.fullmatch(error_code) else "",
        size=payload.optional_whole(told, "fileSize"),
        rows=rows,
    )


def _code(refused: tuple[UserError, ...]) -> str | None:
    return next((error.code for error in refused if _CODE.fullmatch(error.code)), None)


# -- results


def results(lines: Callable[[], Iterable[bytes]], rows: int) -> Iterator[BulkResult]:
    """One result a row, joined by ``__lineNumber``. The lines are read twice, and never kept.

    Lines that cannot be read (the cut end of a partial file), repeat a number or lie beyond the rows sent count as if
    they were not there.
    """
    first = _first_number(lines(), rows)
    left = bytearray(b"\1") * rows
    for line in lines():
        number = _number(line)
        answer = _parsed(line) if number is not None and 0 <= number - first < rows else None
        if number is not None and answer is not None and left[number - first]:
            left[number - first] = 0
            yield BulkResult(number - first, answer)
    yield from (BulkResult(number, None) for number in range(rows) if left[number])


def _first_number(lines: Iterable[bytes], rows: int) -> int:
    """0, as Shopify counts by all we know; 1 where the numbers themselves say so."""
    lowest, highest = rows, 0
    for line in lines:
        number = _number(line)
        if number is not None:
            lowest, highest = min(lowest, number), max(highest, number)
    return 1 if lowest >= 1 and highest == rows else 0


def _number(line: bytes) -> int | None:
    """The last one in the line: it stands outside of the data."""
    found = _NUMBER.findall(line)
    return int(found[-1]) if found else None


def _parsed(line: bytes) -> Json | None:
    try:
        answer = payload.decode(line)
    except VendorChanged:
        return None
    return answer if isinstance(answer, dict) else None


def judged(answer: Json) -> Outcome:
    """A row's answer as that of a call. Raises what concerns the whole row, which nobody else's row shares."""
    return graphql.judge(answer, vendor="shopify", writes=True, codes=CODES, prefix="shopify", explain=_explain_row)


def _explain_row(entry: Json) -> SyncError | None:
    """An error without a path and with no code of the house says that the row's variables do not fit."""
    error = explain(entry)
    if error is not None:
        return error
    extensions = entry.get("extensions")
    code = extensions.get("code") if isinstance(extensions, dict) else None
    if entry.get("path") or code in CODES:
        return None
    if str(entry.get("message", "")).lower().startswith("throttled"):
        return Throttled("shopify.throttled", datetime.now(UTC) + timedelta(seconds=1))
    return Rejected(
        "shopify.values_refused", vendor_code=code if isinstance(code, str) and _CODE.fullmatch(code) else None
    )


def way(passes: tuple[BulkPass, ...], takes: Callable[[WriteItem, str], bool]) -> Bulk:
    """These passes as Shopify runs them."""
    return Bulk(
        passes=passes,
        takes=takes,
        stage=stage,
        start=start,
        look=look,
        find_started=find_started,
        cancel=cancel,
        results=results,
        hosts=HOSTS,
    )


def as_line(row: Mapping[str, object]) -> str:
    """A row as it stands in the file."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
