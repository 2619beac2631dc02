"""Reads through the real client, for the tests beside this file."""

from datetime import datetime

from integrations.connectors import CONNECTORS
from integrations.connectors.base import Ask, Page, Stream
from integrations.connectors.cliniko.sandbox import ClinikoVendor
from integrations.connectors.sandbox_kit import Server
from integrations.core.records import Record
from integrations.toolkit.http import HttpClient
from tests.contract.desk import client_of, read_all
from tests.contract.rigs.cliniko import RIG

CLINIKO = CONNECTORS["cliniko"]
KEY = RIG.credentials["api_key"]


def client_on(server: Server[ClinikoVendor]) -> HttpClient:
    return client_of(CLINIKO, RIG, server)


def pages_of(client: HttpClient, stream: Stream, since: datetime | None = None, *fields: str) -> list[Page]:
    return read_all(client, stream, Ask(since, frozenset(fields)))


def records_of(client: HttpClient, stream: Stream, since: datetime | None = None, *fields: str) -> dict[str, Record]:
    """What a pass gives, by key, the newest reading last."""
    return {record.key: record for page in pages_of(client, stream, since, *fields) for record in page.records}


def one(client: HttpClient, stream: Stream, key: str, *fields: str) -> Record:
    assert stream.read_many
    return stream.read_many(client, [key], frozenset(fields))[key]
