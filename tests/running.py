"""The real server under real callers: gunicorn with two workers, programs that repeat, and what the books must show."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import select
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from billing import books
from clinic import branches, child, db
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.embedded import CHECKOUT, Cluster, Urls
from clinic.errors import DatabaseAway
from tests import given, given_money

Result = TypeVar("Result")
TEMPLATE = "template_clinic"
"""The database every test's own is copied from."""
AGAIN = pytest.mark.parametrize("_", range(5))
"""A race is run more than once: one run may be lucky."""
UNKNOWN = (502, 503, 504)
"""Answers after which nobody knows what became of a write (promise R3)."""


# ---- The server ----


class Server:
    """The web server on a database and a free port, as `serve` runs it."""

    def __init__(self, urls: Urls, **env: str) -> None:
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 — closed with the server
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
            self.port: int = listener.getsockname()[1]
            self.process = child.start(
                [sys.executable, "-m", "gunicorn", "-c", "python:clinic.gunicorn_conf",
                 "-b", f"fd://{listener.fileno()}", "wsgi:app"],
                at_our_death=signal.SIGTERM,
                cwd=CHECKOUT,
                env=_environment(DATABASE_URL=urls.app, CLINIC_WORKERS="2", CLINIC_THREADS="4", **env),
                pass_fds=(listener.fileno(),),
                stderr=self._words,
            )  # fmt: skip

    def __enter__(self) -> Self:
        try:
            assert soon(self._is_ready, 30), f"the server does not come up: {self.words()}"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._words.close()

    def words(self) -> str:
        """What it wrote to standard error."""
        self._words.seek(0)
        return self._words.read().decode(errors="replace")

    def workers(self) -> list[int]:
        """The process numbers of its workers (Linux)."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(each) for each in children.read_text().split()]

    def with_each_worker(self, call: Callable[[], Result]) -> list[Result]:
        """What comes of `call` when each worker in turn is the only one: the others stand still meanwhile."""
        workers = self.workers()
        return [self._with_one(each, workers, call) for each in workers]

    def _with_one(self, worker: int, workers: list[int], call: Callable[[], Result]) -> Result:
        others = [each for each in workers if each != worker]
        try:
            for each in others:
                os.kill(each, signal.SIGSTOP)
            return call()
        finally:
            for each in others:
                os.kill(each, signal.SIGCONT)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.words()
        with suppress(OSError, http.client.HTTPException):
            return Caller(self.port).get("/health/ready").status == 200
        return False


class Beside:
    """A process beside the server on a database, as `serve` runs it."""

    words_of_command: tuple[str, ...]

    def __init__(self, urls: Urls, **env: str) -> None:
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 — closed with the process
        self.process = child.start(
            [sys.executable, "wsgi.py", *self.words_of_command],
            at_our_death=signal.SIGTERM,
            cwd=CHECKOUT,
            env=_environment(DATABASE_URL=urls.app, **env),
            stderr=self._words,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.end(signal.SIGKILL)
        self._words.close()

    def end(self, sig: signal.Signals) -> int:
        """Its status."""
        self.process.send_signal(sig)
        return self.process.wait(30)

    def words(self) -> str:
        """What it wrote to standard error."""
        self._words.seek(0)
        return self._words.read().decode(errors="replace")


class Worker(Beside):
    """A worker on a database."""

    words_of_command = ("work",)


class Deliverer(Beside):
    """A deliverer on a database, which may call this machine."""

    words_of_command = ("webhooks", "deliver")

    def __init__(self, urls: Urls) -> None:
        super().__init__(urls, CLINIC_WEBHOOKS_ALLOW="127.0.0.0/8")


def is_listening(urls: Urls) -> bool:
    """Whether a worker waits to be called."""
    with psycopg.connect(urls.owner) as conn:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        return conn.execute(sql).fetchall() == [(1,)]


def _environment(**more: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("CLINIC_", "DATABASE_"))}
    return ours | {"CLINIC_SECRET_KEY": "k" * 32, "CLINIC_REQUESTS_PER_MINUTE": "0"} | more


@dataclass
class Service:
    """A running clinic with its price list."""

    urls: Urls
    server: Server
    secret: str

    def caller(self) -> Caller:
        """A program that may do everything in every branch."""
        return Caller(self.server.port, self.secret)

    def branch(self) -> Desk:
        """A program of a new branch, which has issued nothing yet."""
        code, prefix = f"b{uuid.uuid4().hex[:8]}", _letters()
        with opened(self.urls):
            with change(COMMAND_LINE) as made:
                branches.create(made, code, code, prefix)
            secret = given.key("*", branch=code, discount_ceiling=100)
        return Desk(self.server.port, secret, self.urls, code, prefix)

    def another(self, desk: Desk, *, discount_ceiling: int) -> Desk:
        """Another program of the same branch, which may take so many percent off alone."""
        with opened(self.urls):
            secret = given.key("*", branch=desk.branch, discount_ceiling=discount_ceiling)
        return replace(desk, secret=secret)


@contextmanager
def service(urls: Urls, **env: str) -> Iterator[Service]:
    """The server on this new database."""
    with opened(urls):
        given.main_branch()
        given.sample()
        secret = given.key("*")
    with Server(urls, **env) as server:
        yield Service(urls, server, secret)


@contextmanager
def new_database(cluster: Cluster, of: str = TEMPLATE) -> Iterator[Urls]:
    """A database fresh from a template, for more than one test."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(cluster.owner_url("postgres"), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {of} STRATEGY file_copy")
        yield Urls(cluster.owner_url(name), cluster.app_url(name))
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _answers() -> bool:
    with suppress(DatabaseAway), db.reading() as conn:
        return bool(db.value(conn, "SELECT true"))
    return False


@contextmanager
def opened(urls: Urls) -> Iterator[None]:
    db.open_pool(urls.owner, size=2)  # it becomes the application by itself, and passes by any proxy
    try:
        # On a busy machine the first connection takes longer than a request may wait for it.
        assert soon(_answers, 20), "the database does not answer"
        with db.seeing(None):
            yield
    finally:
        db.close_pool()


_prefixes = itertools.count()


def _letters() -> str:
    """A prefix of four capitals that was never given out before."""
    return "".join("АБВГДЕЖЗИКЛМНОПР"[int(digit, 16)] for digit in f"{next(_prefixes):04x}")


# ---- Its callers ----


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    raw: bytes

    @cached_property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def code(self) -> str | None:
        """The code of a refusal."""
        code: str | None = self.json.get("code") if self.status >= 400 else None
        return code

    @property
    def replayed(self) -> bool:
        return self.headers["Idempotency-Replayed"] == "true"

    def __str__(self) -> str:
        return f"{self.status} {self.code}" if self.code else str(self.status)


@dataclass(frozen=True)
class Caller:
    """A program that calls the server, on a connection of its own each time."""

    port: int
    secret: str | None = None

    def at(self, port: int) -> Self:
        """The same program, calling another port."""
        return replace(self, port=port)

    def get(self, path: str) -> Answer:
        return self.call("GET", path)

    def post(self, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> Answer:
        """Under a fresh Idempotency-Key unless one is given."""
        return self.call("POST", path, body, {"Idempotency-Key": key or uuid.uuid4().hex, **headers})

    def patch(self, path: str, body: Any, match: str) -> Answer:
        return self.call("PATCH", path, body, {"If-Match": match})

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """One try.

        Raises:
            OSError, HTTPException: no answer came.
        """
        sent = {"Connection": "close", **(headers or {})}
        if self.secret:
            sent["Authorization"] = f"Bearer {self.secret}"
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body)
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, raw, sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def upload(self, path: str, file: bytes, *, key: str | None = None, **texts: str) -> Answer:
        """Post a multipart body with this file."""
        parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in texts.items()]
        head = [*parts, 'Content-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n']
        body = "".join(f"--part\r\n{each}" for each in head).encode() + file + b"\r\n--part--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=part", **({"Idempotency-Key": key} if key else {})}
        return self.call("POST", path, body, headers)

    def quote(self, *lines: dict[str, Any], **more: Any) -> Any:
        """A new quote, as JSON; of a consultation unless lines are given."""
        return made(self.post("/v1/quotes", {"lines": lines or [CONSULTATION], **more}))

    def draft(self) -> Answer:
        """A direct draft of a consultation."""
        return self.post("/v1/invoices", {"lines": [CONSULTATION], "payer": given.PAYER})

    def invoice(self, quote: Any, *, key: str | None = None, **more: Any) -> Answer:
        """Ask for the invoice of this quote, issued."""
        return self.post(f"/v1/quotes/{quote['id']}/invoice", {**ISSUED, **more}, key=key)


CONSULTATION = given.line("ONC-CONS-1", "candidate")
ISSUED = {"payer": given.PAYER, "issue": True}


def made(answer: Answer) -> Any:
    assert answer.status in (200, 201), answer.json
    return answer.json


@dataclass(frozen=True)
class Desk(Caller):
    """A program of one branch, and the books of that branch."""

    urls: Urls = Urls("", "")
    branch: str = ""
    prefix: str = ""

    def invoices(self) -> dict[str, str]:
        """id -> number of every invoice that has one, in the order of numbers."""
        rows = self._rows(
            """
            SELECT invoice.id::text, number FROM invoice JOIN branch ON branch.id = branch_id
             WHERE branch.code = %s AND number IS NOT NULL ORDER BY sequence
            """
        )
        return dict(rows)

    def numbers(self, count: int) -> list[str]:
        """The first `count` numbers of this branch's invoices this year, as they must be."""
        return [f"{self.prefix}{self._year()}-{each:06}" for each in range(1, count + 1)]

    def dates(self) -> list[Any]:
        """The dates of its invoices in the order of numbers."""
        rows = self._rows(
            """
            SELECT date FROM invoice JOIN branch ON branch.id = branch_id
             WHERE branch.code = %s AND number IS NOT NULL ORDER BY sequence
            """
        )
        return [row[0] for row in rows]

    def count(self, table: str) -> int:
        """The rows of a table that are this branch's."""
        (count,) = self._rows(
            f"SELECT count(*) FROM {table} JOIN branch ON branch.id = branch_id WHERE branch.code = %s"
        )[0]
        return int(count)

    def _year(self) -> int:
        (year,) = self._rows(
            "SELECT min(year) FROM number_series JOIN branch ON branch.id = branch_id WHERE branch.code = %s"
        )[0]
        return int(year)

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.urls.owner) as conn:
            return conn.execute(sql.encode(), (self.branch,)).fetchall()

    def check_books(self) -> None:
        """What must hold at every moment, whatever was killed before."""
        with db.Connection.connect(self.urls.owner) as conn:
            assert books.check(conn).offenders == []
            unanswered = conn.execute("SELECT key FROM idempotency WHERE status IS NULL").fetchall()
            assert unanswered == [], "a key was taken and has no answer"
            for broken, sql in given_money.MUST_BE_EMPTY.items():
                assert conn.execute(sql.encode()).fetchall() == [], broken


def at_once(callers: int, call: Callable[[int], Result]) -> list[Result]:
    """`call(0)`, `call(1)`, … begun at the same moment by as many callers; their results in this order."""
    gate = threading.Barrier(callers)

    def one(number: int) -> Result:
        gate.wait()
        return call(number)

    with ThreadPoolExecutor(callers) as pool:
        return list(pool.map(one, range(callers)))


def seen(answers: Sequence[Answer]) -> dict[str, int]:
    """How often each status, with the code of a refusal, was answered."""
    return dict(Counter(map(str, answers)))


class Load:
    """Callers that make one document after another and repeat each request under its key until its fate is known.

    That is promise R3, from the caller's side. `acknowledged` is their ledger; leaving the `with` block waits until
    no document is in doubt.
    """

    def __init__(self, desk: Desk, *, callers: int = 8) -> None:
        self.acknowledged: dict[str, str] = {}
        self.seen: Counter[str] = Counter()
        self._desk = desk
        self._callers = callers
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._running: list[Future[None]] = []

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(self._callers)
        self._running = [self._pool.submit(self._work) for _ in range(self._callers)]
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._over.set()
        with self._pool:
            for each in wait(self._running, timeout=60).done:
                each.result()

    def let_pass(self, documents: int) -> None:
        """Wait until so many more documents are acknowledged."""
        enough = len(self.acknowledged) + documents
        assert soon(lambda: len(self.acknowledged) >= enough, 20), f"the work stands still: {self.seen}"

    def _work(self) -> None:
        while not self._over.is_set():
            quote = self._surely("/v1/quotes", {"lines": [CONSULTATION]})
            invoice = self._surely(f"/v1/quotes/{quote['id']}/invoice", ISSUED)
            with self._lock:
                assert invoice["id"] not in self.acknowledged, "two keys were answered with one document"
                self.acknowledged[invoice["id"]] = invoice["number"]

    def _surely(self, path: str, body: Any) -> Any:
        return surely(self._desk, path, body, self._note)

    def _note(self, what: str) -> None:
        with self._lock:
            self.seen[what] += 1


def surely(desk: Desk, path: str, body: Any, note: Callable[[str], None]) -> Any:
    """Post under one key until the fate of the request is known; the JSON of its success. `note` hears each answer."""
    key = uuid.uuid4().hex
    while True:
        try:
            answer = desk.post(path, body, key=key)
        except (OSError, http.client.HTTPException):
            note("cut")
            time.sleep(0.05)
            continue
        note(str(answer))
        if answer.status not in UNKNOWN and answer.code != "in_progress":
            return made(answer)
        assert answer.headers["Content-Type"] == "application/problem+json"
        time.sleep(float(answer.headers["Retry-After"]))


def soon(happened: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


# ---- What stands between them ----


class Proxy:
    """Passes bytes on between callers and a server, and resets the connection where it is told to."""

    def __init__(self, target: tuple[str, int] | str) -> None:
        self._target = target
        self._mark, self._afterwards, self._left = b"", False, 0
        self._lock = threading.Lock()
        self._over, self._stop = socket.socketpair()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.close()
        for each in self._threads:
            each.join()
        self._listener.close()
        self._over.close()

    def keep_back(self, mark: bytes, *, times: int = 1) -> None:
        """The next words of the server with `mark` in them never reach the caller."""
        self._mark, self._afterwards, self._left = mark, False, times

    def swallow_after(self, mark: bytes, *, times: int = 1) -> None:
        """What the caller says next, after words of the server with `mark` in them, never reaches the server."""
        self._mark, self._afterwards, self._left = mark, True, times

    @property
    def has_cut(self) -> bool:
        """Whether it has cut as often as it was told to."""
        return self._left == 0

    def _accept(self) -> None:
        while self._over not in select.select([self._listener, self._over], [], [])[0]:
            caller = self._listener.accept()[0]
            self._threads.append(threading.Thread(target=self._pass_on, args=(caller,)))
            self._threads[-1].start()

    def _pass_on(self, caller: socket.socket) -> None:
        family = socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET
        with caller, socket.socket(family) as server, suppress(OSError):
            server.connect(self._target)
            doomed = False
            while self._over not in (ready := select.select([caller, server, self._over], [], [])[0]):
                for source in ready:
                    words = source.recv(65536)
                    if not words:
                        return
                    cut = source is server and self._is_marked(words)
                    if cut if not self._afterwards else doomed and source is caller:
                        # A reset, not an end: neither side learns what became of its words.
                        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return
                    doomed = doomed or cut
                    (server if source is caller else caller).sendall(words)

    def _is_marked(self, words: bytes) -> bool:
        with self._lock:
            if not self._left or self._mark not in words:
                return False
            self._left -= 1
            return True


def before_the_database(urls: Urls) -> Proxy:
    """A proxy the application can use in place of this database's socket."""
    return Proxy(f"{conninfo_to_dict(urls.app)['host']}/.s.PGSQL.5432")


def behind(proxy: Proxy, urls: Urls) -> Urls:
    """The same database, reached by the application through the proxy."""
    to = conninfo_to_dict(urls.app)
    return replace(urls, app=f"postgresql://{to['user']}@127.0.0.1:{proxy.port}/{to['dbname']}")
