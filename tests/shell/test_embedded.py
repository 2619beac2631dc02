"""The embedded server through everything that happens to servers on laptops. Needs no Django database."""

import grp
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from config import embedded, embedded_home
from tenants.roles import LOGIN, OWNER

ROOT = Path(embedded.__file__).resolve().parents[1]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has this problem")


@pytest.fixture(scope="module")
def var() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="suture-test-"))
    folder.chmod(0o755)
    yield folder / "var"
    put_away(folder)


def put_away(folder: Path) -> None:
    """End the server of a test and remove its data, wherever it had to go."""
    home = embedded_home.locate(folder / "var").home
    embedded.stop(folder / "var")
    shutil.rmtree(home, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def asked(server: embedded_home.Server, question: str, role: str = LOGIN) -> object:
    with psycopg.connect(embedded.address(server, role)) as connection:
        row = connection.execute(question).fetchone()
    assert row is not None
    return row[0]


def pid_of(server: embedded_home.Server) -> int:
    return int(server.pid_file.read_text().splitlines()[0])


def kill_hard(server: embedded_home.Server) -> None:
    os.kill(pid_of(server), signal.SIGKILL)


def test_it_starts_gives_roles_and_is_found_again(var):
    server = embedded.start(var)
    assert asked(server, "SELECT current_user::text || ' ' || session_user::text") == f"{LOGIN} {LOGIN}"
    assert pid_of(embedded.start(var)) == pid_of(server)


def test_the_login_owns_nothing_and_may_not_bypass(var):
    server = embedded.start(var)
    told = asked(
        server,
        "SELECT rolsuper::text || rolbypassrls::text || rolcreatedb::text || rolinherit::text FROM pg_roles "
        "WHERE rolname = current_user",
    )
    assert told == "false" * 4
    with psycopg.connect(embedded.address(server, LOGIN)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE mine (a int)")
        connection.rollback()
        connection.execute("SET LOCAL ROLE suture_app_tenant")


def test_the_owner_makes_tables_and_databases(var):
    server = embedded.start(var)
    with psycopg.connect(embedded.address(server, OWNER), autocommit=True) as connection:
        connection.execute("CREATE TABLE of_the_owner (a int)")
        connection.execute("DROP TABLE of_the_owner")
        connection.execute("CREATE DATABASE test_of_the_owner")
        connection.execute("DROP DATABASE test_of_the_owner")


def test_nobody_enters_without_the_password_and_the_socket_is_private(var):
    server = embedded.start(var)
    folder = Path(server.socket_note.read_text())
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(host=str(folder), user="postgres", dbname="postgres", password="guess")
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / embedded_home.SOCKET_NAME).stat().st_mode & 0o077 == 0
    assert (var / "secrets.json").stat().st_mode & 0o077 == 0
    assert asked(server, "SELECT current_setting('listen_addresses')") == ""


def test_a_killed_server_is_started_again_at_once_and_keeps_its_data(var):
    server = embedded.start(var)
    with psycopg.connect(embedded.address(server, OWNER)) as connection:
        connection.execute("CREATE TABLE kept (a int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    kill_hard(server)
    again = embedded.start(var)
    with psycopg.connect(embedded.address(again, OWNER)) as connection:
        assert connection.execute("SELECT a FROM kept").fetchone() == (7,)
        connection.execute("DROP TABLE kept")


def test_addresses_stay_good_across_a_crash(var):
    address = embedded.address(embedded.start(var), LOGIN)
    kill_hard(embedded.start(var))
    embedded.start(var)
    psycopg.connect(address).close()


@pytest.mark.parametrize("left", ["a stranger's", "cut short", "empty"])
def test_a_pid_file_proves_nothing(var, left):
    server = embedded.start(var)
    text = server.pid_file.read_text()
    kill_hard(server)
    for _ in range(200):
        if not embedded.working_in(server.data):
            break
        time.sleep(0.05)
    stranger = str(os.getpid())
    written = {"a stranger's": text.replace(text.split("\n")[0], stranger, 1), "cut short": "12", "empty": ""}[left]
    server.pid_file.write_text(written)
    assert asked(embedded.start(var), "SELECT 1") == 1


def test_a_zombie_is_not_a_server(var):
    server = embedded.start(var)
    zombie = subprocess.Popen([sys.executable, "-c", ""], cwd=ROOT)
    try:
        while Path(f"/proc/{zombie.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
            time.sleep(0.01)
        assert zombie.pid not in embedded.working_in(ROOT)
        assert pid_of(server) in embedded.working_in(server.data)
    finally:
        zombie.wait()


def test_a_server_that_lost_its_socket_is_replaced(var):
    server = embedded.start(var)
    shutil.rmtree(server.socket_note.read_text())
    assert asked(embedded.start(var), "SELECT 1") == 1


def test_a_first_start_that_was_cut_off_starts_over(var):
    server = embedded.start(var)
    embedded.stop(var)
    server.ready.unlink()
    (server.data / "PG_VERSION").unlink()
    assert asked(embedded.start(var), "SELECT 1") == 1


def test_stop_ends_it_and_says_whether_there_was_anything(var):
    server = embedded.start(var)
    folder = Path(server.socket_note.read_text())
    assert embedded.stop(var)
    assert not embedded.stop(var)
    assert not folder.exists()
    assert embedded.working_in(server.data) == set()


def test_two_commands_at_once_start_one_server(var):
    embedded.stop(var)
    code = "from config import embedded as e; s = e.start(e.var_folder()); print(s.pid_file.read_text().split()[0])"
    env = {"PATH": os.environ["PATH"], "SUTURE_VAR": str(var)}
    both = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    first, second = (process.communicate()[0].strip() for process in both)
    assert first == second != ""


def test_lost_secrets_are_said_and_data_is_left_alone(var):
    embedded.start(var)
    kept = (var / "secrets.json").read_text()
    (var / "secrets.json").unlink()
    try:
        with pytest.raises(embedded_home.EmbeddedError, match="is gone"):
            embedded.start(var)
    finally:
        embedded_home.write_private(var / "secrets.json", kept)
    assert asked(embedded.start(var), "SELECT 1") == 1


def test_preparing_leaves_an_environment_with_a_database_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/suture")
    monkeypatch.setenv("SUTURE_VAR", str(tmp_path / "var"))
    assert embedded.prepare() is False
    assert not (tmp_path / "var").exists()


def test_a_long_path_closed_to_others_works():
    """120 characters: longer than a socket's path may be. Closed: root's server user cannot walk down to it."""
    folder = Path(tempfile.mkdtemp(prefix="suture-test-"))
    deep = folder / ("a" * 60) / ("b" * 60)
    deep.mkdir(parents=True)
    try:
        assert asked(embedded.start(deep / "var"), "SELECT 1") == 1
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        put_away(deep)
        shutil.rmtree(folder)


def interpreter_for_everybody() -> str | None:
    """This interpreter, or the system's of the same version."""
    candidates = map(Path, (os.path.realpath(sys.executable), f"/usr/bin/python3.{sys.version_info.minor}"))
    return next((str(path) for path in candidates if path.exists() and embedded_home.is_open_to_all(path)), None)


@as_root
def test_a_user_is_refused_what_root_made_and_works_in_a_folder_of_its_own(var):
    embedded.start(var)
    user = pwd.getpwnam("nobody")
    packages = str(Path(psycopg.__file__).resolve().parents[1])
    interpreter = interpreter_for_everybody()
    if interpreter is None or not embedded_home.is_open_to_all(Path(packages) / "psycopg"):
        pytest.skip("other users cannot walk down to the project or to its interpreter")
    folder = Path(tempfile.mkdtemp(prefix="suture-test-"))
    os.chown(folder, user.pw_uid, user.pw_gid)

    def as_user(action: str, where: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [interpreter, "-m", "config.embedded", action],
            cwd=ROOT, env={"PATH": os.environ["PATH"], "SUTURE_VAR": str(where), "PYTHONPATH": packages},
            user=user.pw_uid, group=grp.getgrgid(user.pw_gid).gr_gid, extra_groups=[],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    refused = as_user("start", var)
    assert refused.returncode == 1
    assert "belongs to user id 0" in refused.stderr
    try:
        started = as_user("start", folder / "var")
        assert started.returncode == 0, started.stderr
        assert (folder / "var" / "postgres" / "data").stat().st_uid == user.pw_uid
    finally:
        assert as_user("stop", folder / "var").returncode == 0
        shutil.rmtree(folder)
