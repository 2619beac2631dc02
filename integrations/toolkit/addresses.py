"""Which hosts and addresses we are willing to talk to."""

import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Sequence

Resolve = Callable[[str, int], Sequence[str]]

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_TOP_LEVEL = re.compile(r"[a-z]{2,63}")
_INWARD = frozenset(
    {
        "local",
        "localhost",
        "localdomain",
        "internal",
        "intranet",
        "lan",
        "home",
        "corp",
        "test",
        "invalid",
        "onion",
        "arpa",
    }
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def https_origin(host: str, *, under: str = "") -> str:
    """The https origin of a public host name: ``https://api.au1.example``.

    ``under`` is the vendor's own domain: the host must lie below it. Raises ValueError with a sentence for anything
    that is not a plain lower-case ASCII name: addresses in any notation, ports, user info, paths, blanks, trailing
    dots, look-alike letters. Never repeats what was given, which may hold a key.
    """
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise ValueError("This is not a host name.")
    labels = host.split(".")
    if len(labels) < 2 or not _TOP_LEVEL.fullmatch(labels[-1]) or labels[-1] in _INWARD:
        raise ValueError("This is not a public host name.")
    if any(label[2:4] == "--" for label in labels):
        raise ValueError("Host names with letters outside a-z are not accepted.")
    if under and not host.endswith(f".{under}"):
        raise ValueError(f"The host must lie under {under}.")
    return f"https://{host}"


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, looking through the ways to wrap a private one."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(str(inner))
        if found.teredo is not None or found.is_site_local:
            return False
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)


def resolve_by_system(host: str, port: int) -> list[str]:
    """The addresses of a host as the system's resolver tells them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def resolve_within(resolve: Resolve, host: str, port: int, seconds: float) -> list[str]:
    """``resolve(host, port)``, but TimeoutError after ``seconds``: the system's resolver knows no limit of ours."""
    found: list[str] = []
    failed: list[OSError] = []

    def work() -> None:
        try:
            found.extend(resolve(host, port))
        except OSError as error:
            failed.append(error)
        except UnicodeError:
            failed.append(OSError("not a host name"))

    thread = threading.Thread(target=work, name="resolver", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError
    if failed or not found:
        raise OSError("no address")
    return found
