"""How a request says who asks: header mappings for a connector's ``headers``."""

import base64
from collections.abc import Mapping


def basic(user: str, password: str = "") -> Mapping[str, str]:
    """HTTP Basic."""
    pair = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
    return {"Authorization": f"Basic {pair}"}


def bearer(token: str) -> Mapping[str, str]:
    """A bearer token."""
    return header("Authorization", f"Bearer {token}")


def header(name: str, secret: str) -> Mapping[str, str]:
    """A vendor's own header. Raises ValueError, without the secret, where a header cannot hold it."""
    if not secret or not (secret.isascii() and secret.isprintable()) or " " in secret.replace("Bearer ", "", 1):
        raise ValueError(f"The credential for {name} has characters that a header cannot hold.")
    return {name: secret}
