"""Bulk mutations of the sandboxed shop: staged files, runs that go row by row on the shop's clock, files of results."""

import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from integrations.connectors.sandbox_kit import Request, Response, json_response
from integrations.connectors.shopify import sandbox_search
from integrations.connectors.shopify.sandbox_call import Call, Info, call_of, gid
from integrations.connectors.shopify.sandbox_reads import connection
from integrations.connectors.shopify.sandbox_rows import Row
from integrations.connectors.shopify.sandbox_settings import Settings
from integrations.connectors.shopify.sandbox_shop import Shop
from integrations.connectors.shopify.sandbox_writes import guarded

MOST_BYTES = 100_000_000
RESULTS_LIVE_S = 7 * 86_400
LONGEST_RUN_S = 86_400
OPEN = ("CREATED", "RUNNING", "CANCELING")
BLOCK = 8  # rows that run side by side, so that results come out of order
UPLOADS = "staged-uploads"
RESULTS = "bulk-results"
_FILE = re.compile(rf"/(?P<shop>[a-z0-9-]+)/(?P<kind>{UPLOADS}|{RESULTS})(?:/(?P<name>[\w.-]+))?")
_SEARCHED = frozenset({"id", "status", "operation_type", "created_at"})

RunRow = Callable[[str, Mapping[str, object]], Row]  # (document, variables) -> a row's answer


# -- staged files


def _stage(info: Info, given: Row) -> Row:
    call = call_of(info)
    wishes = given["input"] if isinstance(given["input"], list) else []
    if any(wish["resource"] != "BULK_MUTATION_VARIABLES" or wish.get("httpMethod") != "POST" for wish in wishes):
        said = {"field": ["input"], "message": "The sandbox keeps variables of bulk mutations only, sent by POST"}
        return {"stagedTargets": None, "userErrors": [said]}
    return {"stagedTargets": [_target(call, str(wish["filename"])) for wish in wishes], "userErrors": []}


def _target(call: Call, filename: str) -> Row:
    shop = call.shop
    key = f"tmp/{shop.number}/bulk/{secrets.token_hex(16)}/{filename}"
    for old in [old for old, row in shop.uploads.items() if shop.now() > _number(row["expires"])]:
        del shop.uploads[old]
    expires = shop.now() + shop.settings.staged_life_s
    policy = base64.b64encode(json.dumps({"expiration": expires, "key": key}).encode()).decode()
    parameters = {
        "Content-Type": "text/jsonl", "success_action_status": "201", "acl": "private", "key": key,
        "x-goog-date": _stamp(shop.now()), "x-goog-credential": "sandbox/auto/storage/goog4_request",
        "x-goog-algorithm": "GOOG4-RSA-SHA256", "x-goog-signature": _signature(key), "policy": policy,
    }  # fmt: skip
    shop.uploads[key] = {"expires": expires, "parameters": [[name, value] for name, value in parameters.items()]}
    shop.turns += 1
    return {
        "url": f"{call.base}/{UPLOADS}",
        "resourceUrl": f"{call.base}/{UPLOADS}/{key}",
        "parameters": [{"name": name, "value": value} for name, value in parameters.items()],
    }


def _signature(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def answer_file(shops: Mapping[str, Shop], request: Request) -> Response | None:
    """What the shop's storage says, None for a request that is not for it. It knows no access token and wants none."""
    found = _FILE.fullmatch(request.path)
    shop = shops.get(found["shop"]) if found else None
    if found is None or shop is None:
        return None
    if "x-shopify-access-token" in request.headers or "authorization" in request.headers:
        return _xml(400, "InvalidArgument")
    match request.method, found["kind"], found["name"]:
        case "POST", "staged-uploads", None:
            return _take_upload(shop, request)
        case "GET", "bulk-results", str(name):
            return _give_results(shop, name, dict(request.params).get("signature", ""))
    return _xml(405, "MethodNotAllowed")


def _take_upload(shop: Shop, request: Request) -> Response:
    parts = list(_parts(request))
    names = [name for name, _ in parts]
    if not parts or names[-1] != "file" or "file" in names[:-1]:
        return _xml(400, "IncorrectNumberOfFilesInPostRequest")
    given = [[name, value.decode("utf-8", "replace")] for name, value in parts[:-1]]
    upload = next((shop.uploads[value] for name, value in given if name == "key" and value in shop.uploads), None)
    if upload is None or given != upload["parameters"]:
        return _xml(403, "InvalidPolicyDocument")
    if shop.now() > _number(upload["expires"]):
        return _xml(403, "ExpiredToken")
    if len(parts[-1][1]) > MOST_BYTES:
        return _xml(400, "EntityTooLarge")
    upload["text"] = parts[-1][1].decode("utf-8", "replace")
    shop.turns += 1
    return Response(201, b"<PostResponse/>", (), "application/xml")


def _parts(request: Request) -> Iterator[tuple[str, bytes]]:
    """Name and content of each part of a multipart form, in order."""
    boundary = re.search(r'multipart/form-data;.*boundary="?([^";]+)', request.headers.get("content-type", ""))
    if boundary is None:
        return
    for part in (b"\r\n" + request.body).split(b"\r\n--" + boundary[1].encode())[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'form-data;.*?\bname="([^"]*)"', head)
        yield (name[1].decode() if name else ""), content


def _give_results(shop: Shop, name: str, signature: str) -> Response:
    run = next((run for run in shop.bulks if f"{run['id']}.jsonl" == name), None)
    if run is None or signature != _signature(name):
        return _xml(404, "NoSuchKey")
    if _is_expired(shop, run):
        return _xml(403, "ExpiredToken")
    return Response(200, _results(run), (), "application/jsonl")


def _xml(status: int, code: str) -> Response:
    return Response(status, f"<Error><Code>{code}</Code></Error>".encode(), (), "application/xml")


# -- runs


def _start(info: Info, given: Row) -> Row:
    call = call_of(info)
    shop, document = call.shop, str(given["mutation"])
    upload = shop.uploads.get(str(given["stagedUploadPath"]), {})
    running = sum(run["status"] in OPEN for run in shop.bulks)
    lines = [line for line in str(upload.get("text", "")).split("\n") if line.strip()]
    full = "OPERATION_IN_PROGRESS" if shop.settings.bulk_at_once == 1 else "LIMIT_REACHED"
    complaint = call.bulk_complaint(document)
    checks = (
        (running >= shop.settings.bulk_at_once, full, "Bulk operations limit reached. Please try again later."),
        (bool(complaint), "INVALID_MUTATION", complaint),
        ("text" not in upload, "NO_SUCH_FILE", "The JSONL file could not be found."),
        (not all(map(_is_object, lines)), "INVALID_STAGED_UPLOAD_FILE", "The JSONL file is invalid."),
    )
    for is_wrong, code, message in checks:
        if is_wrong:
            return {"bulkOperation": None, "userErrors": [{"field": None, "message": message, "code": code}]}
    run: Row = {
        "id": shop.next_id(), "query": document, "status": "CREATED", "errorCode": None, "created": shop.now(),
        "ended": None, "lines": lines, "rows": len(lines), "done": 0, "writes": 0, "results": [],
        "failAfter": shop.settings.bulk_fail_after, "clientIdentifier": given.get("clientIdentifier"),
    }  # fmt: skip
    shop.settings.bulk_fail_after = -1
    shop.bulks.append(run)
    shop.turns += 1
    return {"bulkOperation": _shown(call, run), "userErrors": []}


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _cancel(info: Info, given: Row) -> Row:
    call = call_of(info)
    run = _by_id(call.shop, given["id"])
    if run is None or run["status"] not in OPEN:
        said = {"field": ["id"], "message": "A bulk operation cannot be canceled when it is not running"}
        return {"bulkOperation": None if run is None else _shown(call, run), "userErrors": [said]}
    run["status"] = "CANCELING"
    call.shop.turns += 1
    return {"bulkOperation": _shown(call, run), "userErrors": []}


def advance(shop: Shop, run_row: RunRow, *, most_s: float) -> Iterator[tuple[Row, int]]:
    """Brings every open run to where it is due by the shop's clock, within so many seconds of ours.

    Yields each run that moved, with its rows that were done now.
    """
    ends = time.monotonic() + most_s
    for run in shop.bulks:
        if run["status"] in OPEN:
            before = run["done"], run["status"]
            _advance(shop, run, run_row, ends)
            if (run["done"], run["status"]) != before:
                shop.turns += 1
                yield run, _count(run["done"]) - _count(before[0])


def _advance(shop: Shop, run: Row, run_row: RunRow, ends: float) -> None:
    if run["status"] == "CANCELING":
        return _end(shop, run, "CANCELED")
    age, fail_after = shop.now() - _number(run["created"]), _count(run["failAfter"])
    due = min(_count(run["rows"]), int(age * shop.settings.bulk_rows_per_s))
    due = due if fail_after < 0 else min(due, fail_after)
    if due or not run["rows"]:
        run["status"] = "RUNNING"
    while _count(run["done"]) < due and time.monotonic() < ends:
        _do_row(shop.settings, run, run_row)
    if run["done"] == fail_after:
        return _end(shop, run, "FAILED", "INTERNAL_SERVER_ERROR")
    if run["done"] == run["rows"] and run["status"] == "RUNNING":
        return _end(shop, run, "COMPLETED")
    return _end(shop, run, "FAILED", "TIMEOUT") if age > LONGEST_RUN_S else None


def _do_row(settings: Settings, run: Row, run_row: RunRow) -> None:
    lines, results, done = run["lines"], run["results"], _count(run["done"])
    assert isinstance(lines, list) and isinstance(results, list)  # noqa: S101 -- as _start made them
    block = done - done % BLOCK
    number = min(block + BLOCK, len(lines)) - 1 - done % BLOCK
    answer = run_row(str(run["query"]), json.loads(lines[number]))
    told = {**answer, "__lineNumber": number + settings.bulk_first_line}
    results.append(json.dumps(told, ensure_ascii=False, separators=(",", ":")))
    run["done"] = done + 1


def _end(shop: Shop, run: Row, status: str, code: str | None = None) -> None:
    run |= {"status": status, "errorCode": code, "ended": shop.now(), "lines": [], "size": len(_results(run))}


# -- what is shown of them


def _shown(call: Call, run: Row) -> Row:
    """A run as the API shows it; its results are at ``url`` if all is well, else at ``partialDataUrl``."""
    expired, size = _is_expired(call.shop, run), run.get("size")
    name = f"{run['id']}.jsonl"
    url = f"{call.base}/{RESULTS}/{name}?signature={_signature(name)}" if size and not expired else None
    is_whole = run["status"] == "COMPLETED"
    return {
        "id": gid("BulkOperation", run["id"]), "type": "MUTATION", "query": run["query"], "errorCode": run["errorCode"],
        "status": "EXPIRED" if expired else run["status"],
        "createdAt": _stamp(_number(run["created"])), "completedAt": _stamp(_number(run["ended"])) if is_whole else None,
        "objectCount": str(run["done"]), "rootObjectCount": str(run["done"]), "fileSize": str(size) if size else None,
        "url": url if is_whole else None, "partialDataUrl": None if is_whole else url,
    }  # fmt: skip


def bulk_admin(shop: Shop, method: str, rest: Sequence[str], _given: Row) -> Response | None:
    """The one look of ``sandbox.py`` at bulk runs."""
    if (method, *rest) != ("GET", "bulk"):
        return None
    return json_response(200, {"bulk": [summary(run) for run in shop.bulks]})


def summary(run: Row) -> Row:
    """A run without its rows, for the sandbox's own page."""
    return {name: value for name, value in run.items() if name not in ("lines", "results")}


def _results(run: Row) -> bytes:
    results = run["results"]
    return "".join(f"{line}\n" for line in results).encode() if isinstance(results, list) else b""


def _is_expired(shop: Shop, run: Row) -> bool:
    return run["ended"] is not None and shop.now() > _number(run["ended"]) + RESULTS_LIVE_S


def _by_id(shop: Shop, wanted: object) -> Row | None:
    return next((run for run in shop.bulks if gid("BulkOperation", run["id"]) == wanted), None)


def _operation(_: object, info: Info, *, id: str) -> object:
    run = _by_id(call_of(info).shop, id)
    return None if run is None else _shown(call_of(info), run)


def _operations(_: object, info: Info, **asked: object) -> object:
    """The newest first, unless the order is turned round."""
    call = call_of(info)
    shown = [_shown(call, run) for run in call.shop.bulks]
    if query := asked.get("query"):
        parsed = sandbox_search.parse(str(query), _SEARCHED)
        if parsed.warnings:
            call.warnings.append({"path": ["bulkOperations"], "query": query, "warnings": parsed.warnings})
        shown = [one for one in shown if parsed.test(_search_document(one))]
    return connection(shown if asked.get("reverse") else shown[::-1], asked)


def _search_document(shown: Row) -> Row:
    return {
        "id": int(str(shown["id"]).rpartition("/")[2]), "status": str(shown["status"]).lower(),
        "operation_type": str(shown["type"]).lower(), "created_at": shown["createdAt"],
    }  # fmt: skip


def _stamp(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _number(value: object) -> float:
    return float(str(value))


def _count(value: object) -> int:
    return int(str(value))


BULK_QUERIES: dict[str, Callable[..., object]] = {"bulkOperation": _operation, "bulkOperations": _operations}
BULK_MUTATIONS: dict[str, Callable[..., object]] = {
    "stagedUploadsCreate": guarded("stagedUploadsCreate", _stage),
    "bulkOperationRunMutation": guarded("bulkOperationRunMutation", _start),
    "bulkOperationCancel": guarded("bulkOperationCancel", _cancel),
}
