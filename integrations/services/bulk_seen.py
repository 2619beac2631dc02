"""What a target answered in one pass, kept sealed for the next."""

import json

from integrations.core.records import Record
from integrations.services.claims import Item
from integrations.services.jobs import Job


def seal(job: Job, item: Item) -> bytes:
    """The target as it is now and the names of fields written, encrypted, bound to clinic, flow and source key."""
    record = item.current
    if record is None:
        raise ValueError("Only what was answered can be kept.")
    values = {name: job.kinds[name].dump(value) for name, value in record.values.items() if name in job.kinds}
    body = {
        "key": record.key,
        "version": record.version,
        "handles": dict(record.handles),
        "values": values,
        "wrote": item.wrote,
        "request_id": item.request_id,
    }
    return job.vault.seal(json.dumps(body, separators=(",", ":")).encode(), bound_to=_bound(job, item))


def unseal(job: Job, item: Item, sealed: bytes) -> None:
    """Puts back what ``seal`` kept. Raises Unsealable."""
    body = json.loads(job.vault.unseal(sealed, bound_to=_bound(job, item)))
    values = {name: job.kinds[name].load(raw) for name, raw in body["values"].items() if name in job.kinds}
    item.current = Record(body["key"], body["version"], values, handles=body["handles"])
    item.wrote, item.request_id = list(body["wrote"]), body["request_id"]


def _bound(job: Job, item: Item) -> str:
    return f"seen:{job.flow_id}:{item.source_key}"
