"""A server of raw bytes on loopback: each connection is handed to a script that does what no honest server does."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Script = Callable[[socket.socket, bytes], None]


@dataclass
class Wires:
    """``requests`` are the raw requests met so far, heads and bodies."""

    port: int
    requests: list[bytes] = field(default_factory=list)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def read_request(peer: socket.socket) -> bytes:
    """One whole request, or what came of it."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = peer.recv(65536)
        if not part:
            return data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    while len(body) < length:
        part = peer.recv(65536)
        if not part:
            break
        body += part
    return head + b"\r\n\r\n" + body


@contextlib.contextmanager
def wires(script: Script, wrap: Callable[[socket.socket], socket.socket] = lambda peer: peer) -> Iterator[Wires]:
    """Serves every request on a connection by ``script`` until the script closes it."""
    listener = socket.create_server(("127.0.0.1", 0))
    found = Wires(listener.getsockname()[1])
    peers: list[socket.socket] = []

    def serve(peer: socket.socket) -> None:
        with contextlib.suppress(OSError):
            peer = wrap(peer)
            peers.append(peer)
            while request := read_request(peer):
                found.requests.append(request)
                script(peer, request)
                if peer.fileno() < 0:
                    return

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listener.accept()
                peers.append(peer)
                threading.Thread(target=serve, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield found
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        for sock in (listener, *peers):
            with contextlib.suppress(OSError):
                sock.close()


def answer(body: bytes, *, status: str = "200 OK", headers: str = "Content-Type: application/json") -> bytes:
    """An honest answer."""
    return f"HTTP/1.1 {status}\r\n{headers}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
