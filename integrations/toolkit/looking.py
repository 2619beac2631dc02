"""A client that reads and never writes: what a connector would refuse by itself shows without a call."""

from collections.abc import Mapping, Sequence

from integrations.core.errors import SyncError
from integrations.toolkit.http import Client, Gate, Outside, Reply


class NotSent(SyncError):
    """The call would have written."""


class OnlyLooking:
    """Another client without its writes: each raises NotSent, which says that nothing stood in its way until then."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.vendor: str = client.vendor
        self.account: str = client.account
        self.facts: Mapping[str, str] = client.facts
        self.gate: Gate = client.gate
        self.memo: dict[str, object] = client.memo
        self.outside: Outside = client.outside

    @property
    def calls(self) -> int:
        return self._client.calls

    @calls.setter
    def calls(self, count: int) -> None:
        self._client.calls = count

    def get(self, path: str, params: Sequence[tuple[str, str]] = ()) -> Reply:
        return self._client.get(path, params)

    def get_link(self, url: str) -> Reply:
        return self._client.get_link(url)

    def post(self, path: str, body: object, *, writes: bool, cost: int = 1) -> Reply:
        if writes:
            raise NotSent("looking")
        return self._client.post(path, body, writes=False, cost=cost)
