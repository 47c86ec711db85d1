"""The database as this process sees it: a pool, transactions that end in time, and rows with types.

Every transaction has a deadline kept on our side, because a frozen server keeps none; three lost
connections in a row open a breaker, so that nobody waits for a database that is known to be away.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from typing import Any, LiteralString, TypeVar
from uuid import UUID

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import class_row
from psycopg_pool import ConnectionPool, PoolTimeout

from clinic import tracing
from clinic.errors import AlreadyExists, DatabaseAway

DEADLINE = 4.0
"""Seconds a transaction of the server may live; command-line work has no end of its own."""
_WORKER_DEADLINE = 1800.0
_CHECK_DEADLINE = 1.0
_CONNECTED_WITHIN = 1.0
_RETRY_NEEDS = 1.5
_TRIES = 3

_CONNECT = {
    "connect_timeout": "2",
    "tcp_user_timeout": "3000",
    "keepalives_idle": "5",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "target_session_attrs": "read-write",
    "application_name": "clinic",
}
# Set by hand on each connection: settings of a role do not follow SET ROLE.
_AS_APPLICATION = """
SET ROLE clinic_app;
SET TimeZone = 'UTC';
SET search_path = public, pg_temp;
SET idle_in_transaction_session_timeout = '5s';
SET lock_timeout = '2s';
SET statement_timeout = '3s';
SET client_connection_check_interval = '1s';
"""
_AS_COMMAND_LINE = """
SET ROLE clinic_command;
SET TimeZone = 'UTC';
SET search_path = public, pg_temp;
SET lock_timeout = '10s';
"""
# The same rights as the server's, and time for long work; whoever waits here holds up no caller.
_AS_WORKER = """
SET ROLE clinic_app;
SET TimeZone = 'UTC';
SET search_path = public, pg_temp;
SET idle_in_transaction_session_timeout = '5min';
SET lock_timeout = '5min';
SET statement_timeout = '15min';
SET client_connection_check_interval = '1s';
"""

Params = Mapping[str, Any] | Sequence[Any] | None
Row = TypeVar("Row")
Result = TypeVar("Result")


EVERY_BRANCH = "*"
NO_BRANCH = ""
_seen: ContextVar[str | None] = ContextVar("seen", default=None)
"""Which branch's rows are there for this caller; None leaves it to the pool."""


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A pooled connection that knows when it last answered, whether the server warned since, and what it sees."""

    answered_at: float = 0.0
    warned: bool = False
    seen: str | None = None


class InDoubt(Exception):
    """COMMIT was sent and its outcome is not known: the work is done or it is not."""


class OnceMore(Exception):
    """The command met a moment that has passed, such as midnight; run it again with a fresh clock."""


class _Watchdog:
    """Breaks the socket of any guarded connection that outlives its deadline.

    It never sends a cancel: a cancelled COMMIT that waits for a replica succeeds with nothing but a warning.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._guarded: dict[int, tuple[float, int]] = {}
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def guard(self, conn: Connection, seconds: float) -> Iterator[None]:
        # A duplicate stays ours even when the driver closes its own and the number is given to another file.
        descriptor = os.dup(conn.fileno())
        with self._lock:
            self._guarded[descriptor] = (time.monotonic() + seconds, descriptor)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="deadline", daemon=True)
                self._thread.start()
        self._wake.set()
        try:
            yield
        finally:
            with self._lock:
                del self._guarded[descriptor]
            os.close(descriptor)

    def _watch(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(0.05)
            with self._lock:
                if not self._guarded:
                    self._wake.clear()
                now = time.monotonic()
                for deadline, descriptor in self._guarded.values():
                    if now > deadline:
                        _shut_down(descriptor)


def _shut_down(descriptor: int) -> None:
    broken = socket.socket(fileno=os.dup(descriptor))
    with broken, suppress(OSError):
        broken.shutdown(socket.SHUT_RDWR)


class _Breaker:
    """Says at once that the database is away, once three connections in a row were lost; probes once a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lost = 0
        self._probed_at = 0.0
        self.lost_at = 0.0

    def admit(self) -> None:
        if self._lost < 3:
            return
        with self._lock:
            now = time.monotonic()
            if self._lost >= 3 and now - self._probed_at < 1.0:
                raise DatabaseAway()
            self._probed_at = now

    def lost(self) -> None:
        with self._lock:
            self._lost += 1
            self.lost_at = self._probed_at = time.monotonic()

    def answered(self) -> None:
        if self._lost:
            with self._lock:
                self._lost = 0


class _Database:
    def __init__(self, url: str, size: int, setup: LiteralString, deadline: float, seen: str) -> None:
        self.breaker = _Breaker()
        self.watchdog = _Watchdog()
        self.deadline = deadline
        self.seen = seen
        self.size = size
        self.lent = 0
        self.setup: LiteralString = setup
        self.pool: ConnectionPool[Connection] = ConnectionPool(
            conninfo(url),
            connection_class=Connection,
            kwargs={"autocommit": True},
            min_size=min(2, size),
            max_size=size,
            max_lifetime=1800,
            max_idle=300,
            reconnect_timeout=5,
            configure=self._configure,
            open=False,
        )

    def _configure(self, conn: Connection) -> None:
        conn.execute(self.setup)
        conn.add_notice_handler(lambda notice: _remember_warning(conn, notice))
        conn.answered_at = time.monotonic()

    def _living(self) -> Connection:
        """A connection that answers. The pool's own check would sleep for a second after the second dead one."""
        end = time.monotonic() + _CONNECTED_WITHIN
        while True:
            conn = self.pool.getconn(max(0.0, end - time.monotonic()))
            if self._lives(conn):
                return conn
            conn.close()
            self.pool.putconn(conn)  # which makes another one

    def _lives(self, conn: Connection) -> bool:
        # Asking costs a round trip: one that answered a moment ago, with none lost since, is trusted.
        if conn.answered_at > max(self.breaker.lost_at, time.monotonic() - 1.0):
            return True
        try:
            with self.watchdog.guard(conn, _CHECK_DEADLINE):
                ConnectionPool.check_connection(conn)
        except psycopg.Error:
            return False
        conn.answered_at = time.monotonic()
        return True

    def _taken(self) -> Connection:
        began = time.monotonic()
        try:
            self.breaker.admit()
            conn = self._living()
        except PoolTimeout as exc:
            _watcher.refused()
            # With every connection lent the database is busy, not away.
            if self.lent < self.size:
                self.breaker.lost()
            raise DatabaseAway() from exc
        except DatabaseAway:
            _watcher.refused()
            raise
        _watcher.waited(time.monotonic() - began)
        return conn

    def _put_walls(self, conn: Connection) -> None:
        """Let it see what this caller sees. Each lending asks, so nothing is left over from the caller before."""
        seen = _seen.get()
        if seen is None:
            seen = self.seen
        if conn.seen != seen:
            conn.seen = None
            conn.execute("SELECT set_config('clinic.branch', %(seen)s::text, false)", {"seen": seen})
            conn.seen = seen

    @contextmanager
    def lend(self, *, walled: bool = True) -> Iterator[Connection]:
        conn = self._taken()
        self.lent += 1
        _watcher.lent(1)
        try:
            with self.watchdog.guard(conn, self.deadline):
                if walled:
                    self._put_walls(conn)
                yield conn
        finally:
            self.lent -= 1
            _watcher.lent(-1)
            if conn.closed:
                self.breaker.lost()
            else:
                self.breaker.answered()
                conn.answered_at = time.monotonic()
            self.pool.putconn(conn)


def _remember_warning(conn: Connection, notice: psycopg.errors.Diagnostic) -> None:
    if notice.severity_nonlocalized == "WARNING":
        conn.warned = True


class Watcher:
    """Is told what the pool does; this one takes no notice."""

    def waited(self, seconds: float) -> None:
        """A connection was lent after so long."""

    def refused(self) -> None:
        """None could be had."""

    def lent(self, change: int) -> None:
        """One more is in use, or one less."""


_watcher = Watcher()


def watch(watcher: Watcher) -> None:
    """Have this watcher told from now on."""
    global _watcher
    _watcher = watcher


_database: _Database | None = None


def open_pool(url: str, *, size: int, command_line: bool = False, worker: bool = False) -> None:
    """Open this process's pool. Call it after fork: a pool does not survive one.

    With `command_line` statements may run as long as they need, under a database role of their own; with `worker`
    they have the server's role and half an hour. Both see every branch unless told otherwise; the server sees none
    until it knows its caller.
    """
    global _database
    close_pool()
    if command_line:
        _database = _Database(url, size, _AS_COMMAND_LINE, 86_400.0, EVERY_BRANCH)
    elif worker:
        _database = _Database(url, size, _AS_WORKER, _WORKER_DEADLINE, EVERY_BRANCH)
    else:
        _database = _Database(url, size, _AS_APPLICATION, DEADLINE, NO_BRANCH)
    _database.pool.open(wait=False)


def conninfo(url: str) -> str:
    """How to reach this database: with our time-outs, unless the URL has its own."""
    given = conninfo_to_dict(url)
    return make_conninfo(url, **{name: value for name, value in _CONNECT.items() if name not in given})


def close_pool() -> None:
    """Give the connections back; a second call does nothing."""
    global _database
    if _database is not None:
        _database.pool.close()
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
    with _opened().lend(walled=walled) as conn:
        yield conn


@contextmanager
def transaction() -> Iterator[Connection]:
    """One transaction: committed at the end, rolled back when anything is raised.

    Raises:
        DatabaseAway: no connection could be had.
        InDoubt: the outcome of COMMIT is not known.
    """
    with tracing.step("transaction"), _opened().lend() as conn:
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


def _opened() -> _Database:
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
    end = time.monotonic() + DEADLINE
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
