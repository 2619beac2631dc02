"""An HTTP server that costs next to nothing, so that it is never what a measurement measures.

One process, keep-alive, answers made of ready bytes. It understands what our own client and ``requests`` send, no more.
"""

import argparse
import asyncio
import json
import resource
import sys
from collections.abc import Callable
from email.utils import formatdate
from time import time
from typing import cast

Answer = Callable[[bytes, str, bytes, str], "tuple[int, bytes]"]
"""Method, target, body and our own address to status and JSON body."""

STATS = "/_bench/stats"


class _Connection(asyncio.Protocol):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._buffer = b""
        self._here = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        host, port = transport.get_extra_info("sockname")[:2]
        self._here = f"http://{host}:{port}"

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = _length(head)
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            method, target, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
            self._reply(method, target.decode(), body)

    def _reply(self, method: bytes, target: str, body: bytes) -> None:
        status, answer = (200, _stats()) if target == STATS else self._answer(method, target, body, self._here)
        head = (
            f"HTTP/1.1 {status} -\r\nDate: {formatdate(time(), usegmt=True)}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(answer)}\r\n\r\n"
        )
        self._transport.writelines((head.encode(), answer))


def _length(head: bytes) -> int:
    at = head.lower().find(b"\r\ncontent-length:")
    return int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


def _stats() -> bytes:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return json.dumps({"cpu_s": used.ru_utime + used.ru_stime}).encode()


async def _serve(answer: Answer) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(answer), "127.0.0.1", 0, backlog=64)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    # Whoever started us holds the other end of our standard input; when it goes, so do we.
    await loop.run_in_executor(None, sys.stdin.buffer.read)


def serve(answer: Answer) -> None:
    """Serves on a free port of the loopback address, told on standard output, until standard input ends."""
    asyncio.run(_serve(answer))


def arguments(**numbers: int) -> argparse.Namespace:
    """Options that are whole numbers, with these defaults."""
    parser = argparse.ArgumentParser()
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()
