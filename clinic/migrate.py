"""Plain-SQL migrations: numbered, forward only, checksummed, one process at a time; and the database's roles."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import psycopg
from psycopg import errors as pg
from psycopg import sql

FOLDER = Path(__file__).parents[1] / "migrations"
LOCK = 0x636C696E6963
"""The advisory lock of everything that may happen once: migrations, the sample, the first administrator."""
OLDEST = 150000


class MigrationError(Exception):
    """The schema cannot be brought up to date; the message says why in one line."""


def files() -> list[Path]:
    """The migrations in their order."""
    return sorted(path for path in FOLDER.glob("*.sql") if re.fullmatch(r"[0-9]{4}_[a-z0-9_]+\.sql", path.name))


def run(owner_url: str, say: Callable[[str], None] = lambda _: None) -> int:
    """Apply what has not been applied yet, as the database's owner; returns how many that were.

    Raises:
        MigrationError: an applied file was edited, the server is too old, or a role cannot be made.
    """
    with psycopg.connect(owner_url, autocommit=True, connect_timeout=3) as conn:
        if conn.info.server_version < OLDEST:
            raise MigrationError("PostgreSQL 15 or newer is needed")
        conn.execute("SELECT pg_advisory_lock(%s::bigint)", (LOCK,))
        # An owner who is no superuser is behind the walls of branches too, and would change nothing without a word.
        conn.execute("SET clinic.branch = '*'")
        ensure_roles(conn)
        conn.execute(
            """
            CREATE TABLE IF NOT EXISTS schema_migration (
              name text PRIMARY KEY,
              sha256 text NOT NULL,
              applied_at timestamptz NOT NULL DEFAULT now()
            )
            """
        )
        return _apply(conn, say)


def ensure_roles(conn: psycopg.Connection) -> None:
    """Make the application's role and the command line's, and let this owner step into them.

    Roles belong to the cluster, not to the database, so they are not in the numbered migrations.
    """
    for role in ("clinic_app", "clinic_command"):
        _ensure_role(conn, role)
    if not _member(conn, "clinic_command", "clinic_app"):
        conn.execute("GRANT clinic_app TO clinic_command")


def _ensure_role(conn: psycopg.Connection, role: str) -> None:
    name = sql.Identifier(role)
    try:
        if not conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
            conn.execute(sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE").format(name))
        if not _member(conn, conn.info.user, role):
            conn.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(name))
    except (pg.DuplicateObject, pg.UniqueViolation):
        pass  # another process made it meanwhile
    except pg.InsufficientPrivilege as exc:
        raise MigrationError(
            f'the role "{conn.info.user}" may not make roles: once as an administrator, run '
            "CREATE ROLE clinic_app LOGIN; CREATE ROLE clinic_command LOGIN IN ROLE clinic_app; "
            f'GRANT clinic_app, clinic_command TO "{conn.info.user}";'
        ) from exc


def _member(conn: psycopg.Connection, member: str, role: str) -> bool:
    # From 16 on, membership and the right to step into the role are two things.
    right = "SET" if conn.info.server_version >= 160000 else "MEMBER"
    row = conn.execute(
        "SELECT rolsuper OR pg_has_role(rolname, %s, %s) FROM pg_roles WHERE rolname = %s", (role, right, member)
    ).fetchone()
    return bool(row and row[0])


def _apply(conn: psycopg.Connection, say: Callable[[str], None]) -> int:
    done: dict[str, str] = dict(conn.execute("SELECT name, sha256 FROM schema_migration").fetchall())
    if unknown := sorted(done.keys() - {path.name for path in files()}):
        raise MigrationError(f"the database is newer than this program: it has {unknown[-1]}")
    applied = 0
    for path in files():
        script = path.read_bytes().replace(b"\r\n", b"\n")
        digest = hashlib.sha256(script).hexdigest()
        if path.name in done:
            if done[path.name] != digest:
                raise MigrationError(f"{path.name} was changed after it was applied")
            continue
        with conn.transaction():
            conn.execute(script)
            conn.execute("INSERT INTO schema_migration (name, sha256) VALUES (%s, %s)", (path.name, digest))
        say(f"applied {path.name}")
        applied += 1
    return applied
