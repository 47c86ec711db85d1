"""Chores: what must happen by itself now and then, in one process of however many there are.

A chore opens transactions of its own and must be safe to repeat. While it runs, an advisory lock keeps others off it;
when it was run last is in the table `chore`, for all processes alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from clinic import db, idempotency, jobs, limits, sessions

HOUR = 3600
DAY = 24 * HOUR
_LOCK = 0x63686F72
"""First half of the advisory locks; the chore's name makes the second."""


@dataclass(frozen=True)
class Chore:
    name: str
    every: int
    """Seconds from one run to the next."""
    work: Callable[[], object]


registry: dict[str, Chore] = {}


def every(seconds: int, name: str, work: Callable[[], object]) -> None:
    """Have `work` done every so many seconds. Packages above call this when they are loaded."""
    if name in registry:
        raise ValueError(f"two chores are called {name}")
    registry[name] = Chore(name, seconds, work)


def run_if_due(chore: Chore) -> bool:
    """Do the chore unless it was done lately, or is being done; whether it was done now."""
    with db.transaction() as conn:
        if not _mine(conn, chore.name) or not _is_due(conn, chore):
            return False
        chore.work()
        conn.execute(
            """
            INSERT INTO chore (name, ran_at) VALUES (%(name)s::text, now())
                ON CONFLICT (name) DO UPDATE SET ran_at = excluded.ran_at
            """,
            {"name": chore.name},
        )
    return True


def _mine(conn: db.Connection, name: str) -> bool:
    # Of the transaction, not of the session: a pooler may give the session to somebody else.
    sql = "SELECT pg_try_advisory_xact_lock(%(lock)s::integer, hashtext(%(name)s::text))"
    return bool(db.value(conn, sql, {"lock": _LOCK, "name": name}))


def _is_due(conn: db.Connection, chore: Chore) -> bool:
    return not db.value(
        conn,
        """
        SELECT true FROM chore
         WHERE name = %(name)s::text AND ran_at > now() - make_interval(secs => %(every)s::integer)
        """,
        {"name": chore.name, "every": chore.every},
    )


def _purge_keys() -> None:
    with db.transaction() as conn:
        idempotency.purge(conn)


def _purge_sign_ins() -> None:
    with db.transaction() as conn:
        sessions.purge(conn)


def _purge_limits() -> None:
    with db.transaction() as conn:
        limits.purge(conn)


every(HOUR, "idempotency_purge", _purge_keys)
every(HOUR, "limit_purge", _purge_limits)
every(HOUR, "sign_in_purge", _purge_sign_ins)
every(DAY, "job_purge", jobs.purge)
