"""The roles and the database that both walls stand on: one piece of code for the embedded server and for your own.

    suture_owner        signs in, owns the tables, migrates; never used to answer a request
    suture_app_login    signs in, reaches the sign-in tables only; owns nothing, inherits nothing
    suture_app_tenant   entered by ``SET ROLE`` for one clinic
    suture_app_agency   entered for the clinics an agency user may see
    suture_app_system   entered by the pulse and by housekeeping; no sealed columns

Both sign-in roles are NOINHERIT and get plain grants, because ``WITH INHERIT FALSE`` came with PostgreSQL 16 and 15 is supported.
Roles belong to the whole cluster, hence the prefix.
"""

from dataclasses import dataclass

import psycopg
from psycopg import sql

OWNER = "suture_owner"
LOGIN = "suture_app_login"
TENANT = "suture_app_tenant"
AGENCY = "suture_app_agency"
SYSTEM = "suture_app_system"
ENTERED = (TENANT, AGENCY, SYSTEM)
BY_WORD = {"login": LOGIN, "tenant": TENANT, "agency": AGENCY, "system": SYSTEM}


@dataclass(frozen=True, slots=True)
class Passwords:
    owner: str
    login: str


def create_roles_and_database(
    connection: psycopg.Connection, *, database: str, passwords: Passwords, owner_may_create_databases: bool = False
) -> bool:
    """Bring roles and database to the wanted state; safe to repeat. True if the database was made now.

    ``connection`` must be in autocommit and belong to a superuser, or to a role with CREATEROLE and CREATEDB.
    """
    for name in ENTERED:
        _ensure_role(connection, name, sql.SQL("NOLOGIN NOINHERIT"))
    createdb = sql.SQL("CREATEDB" if owner_may_create_databases else "NOCREATEDB")
    _ensure_role(connection, OWNER, _sign_in(connection, OWNER, passwords.owner) + createdb)
    _ensure_role(connection, LOGIN, _sign_in(connection, LOGIN, passwords.login) + sql.SQL("NOCREATEDB"))
    connection.execute(
        sql.SQL("GRANT {} TO {}").format(_names(ENTERED), _names((LOGIN, OWNER))),
    )
    return _ensure_database(connection, database)


def hand_over_schema(connection: psycopg.Connection) -> None:
    """Make the owner the owner of ``public`` in the connected database and shut it for everybody else.

    On PostgreSQL 15 a NOINHERIT owner of a database does not get the rights of pg_database_owner, so say it outright.
    """
    connection.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(OWNER)))
    connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(_names((LOGIN, *ENTERED))))


def _sign_in(connection: psycopg.Connection, role: str, password: str) -> sql.Composed:
    """The password is sent as its verifier, so that a server that logs statements does not log it."""
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    return sql.SQL("LOGIN NOINHERIT PASSWORD {} ").format(sql.Literal(verifier.decode()))


def _names(names: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _ensure_role(connection: psycopg.Connection, name: str, wanted: sql.Composable) -> None:
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
    verb = sql.SQL("ALTER" if known else "CREATE")
    connection.execute(sql.SQL("{} ROLE {} {}").format(verb, sql.Identifier(name), wanted))


def _ensure_database(connection: psycopg.Connection, name: str) -> bool:
    made = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None
    if made:
        # A creator that is no superuser must be a member of the new owner.
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(OWNER)))
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8' TEMPLATE template0").format(
                sql.Identifier(name), sql.Identifier(OWNER)
            )
        )
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
    connection.execute(
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(name), sql.Identifier(LOGIN))
    )
    return made
