"""Bodies without their packing, within limits, and the one error of an exchange that failed."""

import zlib
from collections.abc import Iterator

READ = 256 * 1024


class Broken(Exception):
    """The exchange failed. ``sent`` says whether any byte of the request had left us. ``size`` marks a body beyond
    our limits rather than a line that broke."""

    def __init__(self, code: str, *, sent: bool, size: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.sent = sent
        self.size = size


def too_big() -> Broken:
    return Broken("http.too_big", sent=True, size=True)


def unpack(body: bytes, encoding: str, *, decoded_bytes: int, ratio: int) -> bytes:
    """The body without its gzip. Raises Broken for another coding, a cut or a bomb."""
    if encoding.lower() in ("", "identity") or not body:
        return body
    if encoding.lower() not in ("gzip", "x-gzip"):
        raise Broken("http.encoding", sent=True, size=True)
    most = min(decoded_bytes, max(1_000_000, len(body) * ratio))
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(body, most + 1)
    except zlib.error:
        raise Broken("http.broken", sent=True) from None
    if len(text) > most:
        raise too_big()
    if not unpacker.eof:
        raise Broken("http.broken", sent=True)
    return text


def unpacked(parts: Iterator[bytes], encoding: str, *, decoded_bytes: int) -> Iterator[bytes]:
    """Pieces without their gzip. Raises Broken for another coding, a cut, or more than ``decoded_bytes``."""
    if encoding.lower() in ("", "identity"):
        yield from parts
        return
    if encoding.lower() not in ("gzip", "x-gzip"):
        raise Broken("http.encoding", sent=True, size=True)
    unpacker, size = zlib.decompressobj(wbits=31), 0
    for part in parts:
        packed = part
        while packed:
            text = _inflate(unpacker, packed)
            packed = unpacker.unconsumed_tail
            size += len(text)
            if size > decoded_bytes:
                raise too_big()
            yield text
    yield unpacker.flush()
    if not unpacker.eof:
        raise Broken("http.broken", sent=True)


def _inflate(unpacker: "zlib._Decompress", packed: bytes) -> bytes:
    """A bounded piece of what is packed; the rest waits in ``unconsumed_tail``. Raises Broken."""
    try:
        return unpacker.decompress(packed, READ)
    except zlib.error:
        pass
    raise Broken("http.broken", sent=True)
