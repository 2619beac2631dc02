"""Walking pages without being led astray: links that go nowhere new, cursors that come round again."""

import hashlib
from urllib.parse import parse_qs

from integrations.core.errors import VendorChanged
from integrations.toolkit import payload

MOST_PAGES = 1_000_000


def next_link(links: payload.Json, name: str, *, current: str | None, param: str = "page", at: str = "") -> str | None:
    """The link to the next page, None on the last. ``current`` is the link this page came from, None for the first.

    The page number in the link must grow with every step, so that no answer can keep a pass going round, even across
    restarts. Raises VendorChanged: ``paging.loop``, ``paging.endless``, ``payload.shape``. That the link stays on the
    connection's host is seen to by ``Client.get_link``.
    """
    link = payload.optional_text(links, name, at)
    if link is None:
        return None
    number = _number(link, param)
    if number <= (_number(current, param) if current else 1):
        raise VendorChanged("paging.loop", param=param, number=number)
    if number > MOST_PAGES:
        raise VendorChanged("paging.endless", param=param, number=number)
    return link


def _number(link: str, param: str) -> int:
    """The page number in a link; 1 where it has none."""
    found = parse_qs(link.partition("?")[2]).get(param, ["1"])[-1]
    if found.isdecimal() and found.isascii() and len(found) <= 12:
        return int(found)
    raise VendorChanged("paging.loop", param=param)


class Seen:
    """Refuses a cursor that was met before in this pass."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()

    def step(self, cursor: str | None) -> str | None:
        """The cursor itself, None at the end. Raises VendorChanged: ``paging.loop``, ``paging.endless``."""
        if cursor is None:
            return None
        digest = hashlib.blake2b(cursor.encode("utf-8", "replace"), digest_size=12).digest()
        if digest in self._digests:
            raise VendorChanged("paging.loop", number=len(self._digests))
        if len(self._digests) >= MOST_PAGES:
            raise VendorChanged("paging.endless", number=len(self._digests))
        self._digests.add(digest)
        return cursor
