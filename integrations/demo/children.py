"""The demo's worker and web server: started as children, ended with it, their output kept in files."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

FIRST_PORT = 8000
START_S = 60
STOP_S = 75  # the worker gives its tasks a minute


class ChildDied(Exception):
    """The message says which, how, and where its output is."""


@dataclass(slots=True)
class Children:
    """Children have sessions of their own, so that Ctrl-C reaches this process alone, which then ends them in order."""

    folder: Path
    environment: Mapping[str, str]
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str, *command: str) -> None:
        with self.log_of(name).open("wb") as log:
            self.running[name] = subprocess.Popen(  # noqa: S603 - our own commands
                [sys.executable, *command],
                cwd=settings.BASE_DIR,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log_of(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def look(self) -> None:
        """Raises ChildDied as soon as one of them is gone."""
        for name, child in self.running.items():
            if (status := child.poll()) is not None:
                raise ChildDied(
                    f"The {name} process ended with status {status}; its last words are in {self.log_of(name)}."
                )

    def wait_for(self, url: str) -> None:
        """Until the address answers. Raises ChildDied, also when it takes too long."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            self.look()
            try:
                with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own server
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise ChildDied(f"Nothing answered at {url} within {START_S} s.")

    def stop(self) -> None:
        """Ends all of them, politely first."""
        for child in self.running.values():
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        for child in self.running.values():
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.running.clear()


def free_port(first: int = FIRST_PORT) -> int:
    """The first port from ``first`` on that nobody listens on."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ChildDied(f"No port from {first} to {first + 99} is free.")
