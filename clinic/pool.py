"""The pool of this process's connections: each answers, ends in time, and sees no more than its borrower may.

Every loan has a deadline kept on our side, because a frozen server keeps none; three lost connections in a row open a
breaker, so that nobody waits for a database that is known to be away.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool, PoolTimeout

from clinic.errors import DatabaseAway

EVERY_BRANCH = "*"
NO_BRANCH = ""
_CHECK_DEADLINE = 1.0
_CONNECTED_WITHIN = 1.0
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
_AS_APPLICATION: LiteralString = """
SET ROLE clinic_app;
SET TimeZone = 'UTC';
SET search_path = public, pg_temp;
SET idle_in_transaction_session_timeout = '5s';
SET lock_timeout = '2s';
SET statement_timeout = '3s';
SET client_connection_check_interval = '1s';
"""
_AS_COMMAND_LINE: LiteralString = """
SET ROLE clinic_command;
SET TimeZone = 'UTC';
SET search_path = public, pg_temp;
SET lock_timeout = '10s';
"""
# The same rights as the server's, and time for long work; whoever waits here holds up no caller.
_AS_WORKER: LiteralString = """
SET ROLE clinic_app;
SET TimeZone = 'UTC';
SET search_path = public, pg_temp;
SET idle_in_transaction_session_timeout = '5min';
SET lock_timeout = '5min';
SET statement_timeout = '15min';
SET client_connection_check_interval = '1s';
"""


@dataclass(frozen=True)
class Kind:
    """What a pool is for: how its connections are set up, seconds a loan may last, and what is seen by default."""

    setup: LiteralString
    deadline: float
    seen: str


SERVER = Kind(_AS_APPLICATION, 4.0, NO_BRANCH)
"""For requests: nothing is seen until the caller is known."""
WORKER = Kind(_AS_WORKER, 1800.0, EVERY_BRANCH)
COMMAND_LINE = Kind(_AS_COMMAND_LINE, 86_400.0, EVERY_BRANCH)


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A pooled connection that knows when it last answered, whether the server warned since, and what it sees."""

    answered_at: float = 0.0
    warned: bool = False
    seen: str | None = None


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


class Pool:
    """Connections to one database, at most `size` of them."""

    def __init__(self, url: str, size: int, kind: Kind) -> None:
        self.breaker = _Breaker()
        self.watchdog = _Watchdog()
        self.deadline = kind.deadline
        self.seen = kind.seen
        self.size = size
        self.lent = 0
        self._setup: LiteralString = kind.setup
        self._pool: ConnectionPool[Connection] = ConnectionPool(
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

    def open(self) -> None:
        """Begin to connect; who borrows meanwhile waits a moment."""
        self._pool.open(wait=False)

    def close(self) -> None:
        """Give the connections back."""
        self._pool.close()

    def _configure(self, conn: Connection) -> None:
        conn.execute(self._setup)
        conn.add_notice_handler(lambda notice: _remember_warning(conn, notice))
        conn.answered_at = time.monotonic()

    def _living(self) -> Connection:
        """A connection that answers. The pool's own check would sleep for a second after the second dead one."""
        end = time.monotonic() + _CONNECTED_WITHIN
        while True:
            conn = self._pool.getconn(max(0.0, end - time.monotonic()))
            if self._lives(conn):
                return conn
            conn.close()
            self._pool.putconn(conn)  # which makes another one

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

    def _put_walls(self, conn: Connection, seen: str) -> None:
        """Let it see what the borrower may see. Each loan asks, so nothing is left over from the one before."""
        if conn.seen != seen:
            conn.seen = None
            conn.execute("SELECT set_config('clinic.branch', %(seen)s::text, false)", {"seen": seen})
            conn.seen = seen

    @contextmanager
    def lend(self, seen: str | None, *, walled: bool = True) -> Iterator[Connection]:
        """Lend a connection that sees this branch, every or none; what this kind of pool sees where nothing is said.

        Raises:
            DatabaseAway: none that answers could be had.
        """
        conn = self._taken()
        self.lent += 1
        _watcher.lent(1)
        try:
            with self.watchdog.guard(conn, self.deadline):
                if walled:
                    self._put_walls(conn, self.seen if seen is None else seen)
                yield conn
        finally:
            self.lent -= 1
            _watcher.lent(-1)
            if conn.closed:
                self.breaker.lost()
            else:
                self.breaker.answered()
                conn.answered_at = time.monotonic()
            self._pool.putconn(conn)


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


def conninfo(url: str) -> str:
    """How to reach this database: with our time-outs, unless the URL has its own."""
    given = conninfo_to_dict(url)
    return make_conninfo(url, **{name: value for name, value in _CONNECT.items() if name not in given})
