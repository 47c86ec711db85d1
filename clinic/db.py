"""The database as this process sees it: transactions that end in time, behind the walls of branches, and typed rows."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from typing import Any, LiteralString, TypeVar
from uuid import UUID

import psycopg
from psycopg import errors as pg
from psycopg.rows import class_row

from clinic import logs, tracing
from clinic.errors import AlreadyExists, DatabaseAway
from clinic.pool import COMMAND_LINE, EVERY_BRANCH, NO_BRANCH, SERVER, WORKER, Pool
from clinic.pool import Connection as Connection

_RETRY_NEEDS = 1.5
_TRIES = 3
_log = logging.getLogger("clinic.db")

Params = Mapping[str, Any] | Sequence[Any] | None
Row = TypeVar("Row")
Result = TypeVar("Result")

_seen: ContextVar[str | None] = ContextVar("seen", default=None)
"""Which branch's rows are there for this caller; None leaves it to the pool."""


class InDoubt(Exception):
    """COMMIT was sent and its outcome is not known: the work is done or it is not."""


class OnceMore(Exception):
    """The command met a moment that has passed, such as midnight; run it again with a fresh clock."""


_database: Pool | None = None


def open_pool(url: str, *, size: int, command_line: bool = False, worker: bool = False) -> None:
    """Open this process's pool. Call it after fork: a pool does not survive one.

    With `command_line` statements may run as long as they need, under a database role of their own; with `worker`
    they have the server's role and half an hour. Both see every branch unless told otherwise; the server sees none
    until it knows its caller.
    """
    global _database
    close_pool()
    _database = Pool(url, size, COMMAND_LINE if command_line else WORKER if worker else SERVER)
    _database.open()


def close_pool() -> None:
    """Give the connections back; a second call does nothing."""
    global _database
    if _database is not None:
        _database.close()
        _database = None


def see(branch_id: UUID | None) -> None:
    """From now on this request sees this branch alone, or every one: what its caller sees."""
    _seen.set(EVERY_BRANCH if branch_id is None else str(branch_id))


def see_nothing() -> Token[str | None]:
    """From now on no branch is seen, until the caller is known; give the answer to `see_as_before`."""
    return _seen.set(NO_BRANCH)


def see_as_before(token: Token[str | None]) -> None:
    _seen.reset(token)


@contextmanager
def seeing(branch_id: UUID | None) -> Iterator[None]:
    """Inside, this branch alone is seen, or every one."""
    token = _seen.set(EVERY_BRANCH if branch_id is None else str(branch_id))
    try:
        yield
    finally:
        _seen.reset(token)


@contextmanager
def reading(*, walled: bool = True) -> Iterator[Connection]:
    """A connection for a single statement that changes nothing; each statement is a transaction of its own.

    Not `walled`: for what is asked before anybody knows who is asking, and is of no branch.
    """
    with _opened().lend(_seen.get(), walled=walled) as conn:
        yield conn


@contextmanager
def deciding() -> Iterator[None]:
    """Around what decides whether somebody may go on: where that cannot be read at all, nobody may.

    Raises:
        DatabaseAway: a table or a right to it is missing.
    """
    try:
        yield
    except psycopg.ProgrammingError as exc:
        _log.error("what decides about requests cannot be read", extra={"told": logs.failure(exc)})
        raise DatabaseAway() from exc


@contextmanager
def transaction() -> Iterator[Connection]:
    """One transaction: committed at the end, rolled back when anything is raised.

    Raises:
        DatabaseAway: no connection could be had.
        InDoubt: the outcome of COMMIT is not known.
    """
    with tracing.step("transaction"), _opened().lend(_seen.get()) as conn:
        conn.execute("BEGIN")
        try:
            yield conn
        except BaseException:
            with suppress(psycopg.Error):
                conn.execute("ROLLBACK")
            raise
        _commit(conn)


@contextmanager
def moment() -> Iterator[Connection]:
    """For several statements that change nothing and see the same moment, whatever is committed meanwhile."""
    with transaction() as conn:
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield conn


def _commit(conn: Connection) -> None:
    conn.warned = False
    try:
        done = conn.execute("COMMIT").statusmessage
    except psycopg.OperationalError as exc:
        if conn.closed:
            raise InDoubt() from exc
        raise
    if conn.warned:
        raise InDoubt()
    if done != "COMMIT":
        raise RuntimeError("a failed statement was passed over: nothing was committed")


def _opened() -> Pool:
    if _database is None:
        raise RuntimeError("no pool is open")
    return _database


def value(conn: Connection, sql: LiteralString, params: Params = None) -> Any:
    """The first column of the first row, or None when there is no row."""
    row = conn.execute(sql, params).fetchone()
    return row[0] if row else None


def find(conn: Connection, shape: type[Row], sql: LiteralString, params: Params = None) -> Row | None:
    """The first row, or None."""
    with conn.cursor(row_factory=class_row(shape)) as cursor:
        return cursor.execute(sql, params).fetchone()


def many(conn: Connection, shape: type[Row], sql: LiteralString, params: Params = None) -> list[Row]:
    """All rows."""
    with conn.cursor(row_factory=class_row(shape)) as cursor:
        return cursor.execute(sql, params).fetchall()


def filtered(conn: Connection, shape: type[Row], sql: LiteralString, params: Params = None) -> list[Row]:
    """All rows of a statement with optional filters, planned anew for the filters that are given.

    One plan for all of them would read a million rows to find the few of one payer.
    """
    with conn.cursor(row_factory=class_row(shape)) as cursor:
        return cursor.execute(sql, params, prepare=False).fetchall()


def retrying(work: Callable[[], Result], *, repeatable: bool) -> Result:
    """Run `work`, whole, and run it again where the database allows it and time is left.

    A serialization failure or a deadlock: at most three times. A connection that died: once, and after COMMIT
    was sent only when the request is `repeatable`, that is, reads only or carries an Idempotency-Key.

    Raises:
        Problem: the database's refusal by its name; anything unknown passes through.
    """
    end = time.monotonic() + SERVER.deadline
    for tries_left in reversed(range(_TRIES)):
        try:
            return work()
        except (psycopg.Error, InDoubt, OnceMore) as exc:
            enough = tries_left and end - time.monotonic() >= _RETRY_NEEDS
            if not (enough and _worth_retrying(exc, repeatable, last=tries_left < _TRIES - 1)):
                raise _named(exc) from exc
            time.sleep(random.uniform(0.005, 0.03))  # spreads callers, guards nothing  # nosec B311
    raise AssertionError("unreachable")


def _worth_retrying(exc: Exception, repeatable: bool, *, last: bool) -> bool:
    match exc:
        case OnceMore() | pg.SerializationFailure() | pg.DeadlockDetected():
            return True
        case InDoubt():
            return repeatable and not last
        case _:
            return _connection_lost(exc) and not last


def _connection_lost(exc: Exception) -> bool:
    return isinstance(exc, pg.AdminShutdown | pg.CrashShutdown | pg.CannotConnectNow) or (
        isinstance(exc, psycopg.OperationalError) and exc.sqlstate is None
    )


def _named(exc: Exception) -> Exception:
    """The database's refusal as a problem the caller can act on; what has no name is a defect and stays as it is."""
    match exc:
        case InDoubt() | OnceMore():
            return DatabaseAway()
        case pg.UniqueViolation() | pg.ExclusionViolation():
            return AlreadyExists()
        case psycopg.DataError() if exc.sqlstate is None:
            return exc  # a value that the driver cannot send: the database was not even asked
        case psycopg.Error() if _passing(exc.sqlstate):
            return DatabaseAway()
        case psycopg.InterfaceError():
            return DatabaseAway()
        case _:
            return exc


def _passing(sqlstate: str | None) -> bool:
    return sqlstate is None or sqlstate[:2] in {"08", "40", "53", "57", "58"} or sqlstate in {
        "25006", "25P03", "55P03", "XX000",
    }  # fmt: skip
