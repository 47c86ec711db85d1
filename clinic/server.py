"""`serve`: the database, the web server, the worker and the deliverer as children, watched until one of us ends.

The web server is started first of all and imports the application while the database comes up, but its workers
wait at a gate, a pipe whose end we hold, until the schema is up to date. The worker and the deliverer come last, when
requests are answered already; they are started again when they end, and their end is not ours.
"""

from __future__ import annotations

import errno
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields, replace
from types import FrameType
from typing import Protocol

import click

from clinic import child, secret_key
from clinic.embedded import CHECKOUT, Cluster, Urls, data_folder, heads_file
from clinic.settings import PASSING, Settings, known_names, written

DATABASE_DIED = 3
"""Exit status when PostgreSQL ended by itself."""
GATE = "SERVE_GATE_DESCRIPTOR"
"""Environment variable that tells the web server which descriptor is its gate."""
_READY_WITHIN = 60.0
_STOPPED_WITHIN = 25.0
"""Seconds the web server and those beside it get to stop: above `graceful_timeout`."""
_SPARE_CONNECTIONS = 20

Say = Callable[[str], None]


class CannotListen(Exception):
    """The address cannot be listened on; the message says why in one line."""


class Prepare(Protocol):
    """A step of starting: makes what the service needs, unless it is there; answers lines to show once it is ready."""

    def __call__(self, settings: Settings, owner_url: str, say: Say, *, sample: bool) -> list[str]: ...


class _Stopped(Exception):
    """A signal asked us to stop while we were starting."""


def serve(settings: Settings, prepare: Sequence[Prepare], *, sample: bool = True) -> int:
    """Run the service until a signal or a fault ends it; answers the exit status.

    Raises:
        CannotListen: the port is taken, or the address is not ours.
        ClusterError: the embedded database cannot be used.
    """
    with _listening(settings.host, settings.port) as listener, _signals() as signals, ExitStack() as children:
        try:
            cluster, urls = _launch_database(settings, children)
            beside = _beside(settings, urls.app)
            for each in beside:
                children.callback(each.end, _STOPPED_WITHIN)
            web = children.enter_context(_WebServer(settings, urls.app, listener))
            signals.check()
            lines = _prepare(settings, cluster, urls, signals, prepare, sample)
            web.open_gate()
            web.wait_until_ready(signals)
        except _Stopped:
            return 0
        if cluster:
            cluster.announce()
        for line in (f"Clinic Billing is ready: {web.url}", *lines):
            click.echo(line)
        try:
            return _watch(web, beside, cluster, signals)
        finally:
            for each in beside:
                each.ask_to_end()  # so that all end at once


def _launch_database(settings: Settings, children: ExitStack) -> tuple[Cluster | None, Urls]:
    if settings.database_url:
        return None, Urls(settings.database_owner_url or settings.database_url, settings.database_url)
    root = data_folder(settings)
    _say(f"Preparing the database in {root} …")
    connections = settings.workers * settings.threads + _SPARE_CONNECTIONS
    cluster = Cluster(root, bindir=settings.pg_bindir, connections=max(50, connections))
    cluster.launch()
    children.callback(cluster.stop)
    return cluster, Urls(cluster.owner_url(), cluster.app_url())


def _prepare(
    settings: Settings,
    cluster: Cluster | None,
    urls: Urls,
    signals: _Signals,
    prepare: Sequence[Prepare],
    sample: bool,
) -> list[str]:
    if cluster:
        cluster.wait()
    # Imported only here: it takes as long as the database needs to come up.
    from clinic import migrate

    signals.check()
    _say("Applying migrations …")
    migrate.run(urls.owner, _say)
    lines: list[str] = []
    for step in prepare:
        signals.check()
        lines += step(settings, urls.owner, _say, sample=sample)
    return lines


def _watch(web: _WebServer, beside: list[child.Restarted], cluster: Cluster | None, signals: _Signals) -> int:
    while not signals.asked:
        for each in beside:
            each.tend()
        if (status := web.process.poll()) is not None:
            _say(f"clinic: the web server ended by itself with status {status}")
            return status if status > 0 else 1
        if cluster and cluster.process and cluster.process.poll() is not None:
            _say(f"clinic: PostgreSQL ended by itself; see {cluster.root / 'postgres.log'}")
            return DATABASE_DIED
        time.sleep(0.1)
    return 0


def _beside(settings: Settings, database_url: str) -> list[child.Restarted]:
    """The worker and the deliverer, not started yet."""
    wanted = [
        ("worker", settings.jobs, ["work"]),
        ("deliverer", settings.webhooks, ["webhooks", "deliver"]),
    ]
    return [_companion(settings, database_url, name, words) for name, runs, words in wanted if runs]


def _companion(settings: Settings, database_url: str, name: str, words: list[str]) -> child.Restarted:
    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, str(CHECKOUT / "wsgi.py"), *words]
        env = _environment(settings, database_url)
        return child.start(command, at_our_death=signal.SIGTERM, cwd=CHECKOUT, env=env)

    def say(status: int, pause: float) -> None:
        _say(f"clinic: the {name} ended by itself with status {status}; it is started again in {pause:.0f} s")

    return child.Restarted(start, say)


def _say(line: str) -> None:
    """Progress goes to standard error: the first line of standard output is the one that says ready."""
    click.echo(line, err=True)


class _Signals:
    asked = False

    def remember(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt  # asked twice: somebody is in a hurry
        self.asked = True

    def check(self) -> None:
        if self.asked:
            raise _Stopped


@contextmanager
def _signals() -> Iterator[_Signals]:
    """Take note of the signals that ask us to stop."""
    signals = _Signals()
    before = {each: signal.signal(each, signals.remember) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield signals
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """The bound socket, which the web server inherits: nobody can take the port while the database comes up."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as exc:
        raise CannotListen(f"the address {host} is not known: {exc.strerror}") from exc
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            # Two sockets may be bound with SO_REUSEADDR, only one of them may listen.
            listener.listen(512)
        except OSError as exc:
            taken = exc.errno == errno.EADDRINUSE
            raise CannotListen(f"port {port} on {host} is taken" if taken else _no_port(host, port, exc)) from exc
        yield listener


def _no_port(host: str, port: int, exc: OSError) -> str:
    return f"port {port} on {host} cannot be used: {exc.strerror}"


class _WebServer:
    """gunicorn, in a session of its own."""

    def __init__(self, settings: Settings, database_url: str, listener: socket.socket) -> None:
        self._address = _local_address(listener)
        gate, self._our_end = os.pipe()
        self._gate_is_open = False
        self.process: subprocess.Popen[bytes] = child.start(
            [sys.executable, "-m", "gunicorn", "-c", "python:clinic.gunicorn_conf",
             "-b", f"fd://{listener.fileno()}", "wsgi:app"],
            at_our_death=signal.SIGTERM,
            cwd=CHECKOUT,
            env=_environment(settings, database_url) | {GATE: str(gate)},
            pass_fds=(listener.fileno(), gate),
        )  # fmt: skip
        os.close(gate)
        listener.close()

    @property
    def url(self) -> str:
        host, port = self._address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def __enter__(self) -> _WebServer:
        return self

    def __exit__(self, *_: object) -> None:
        # Behind a closed gate there are no requests to finish.
        sig = signal.SIGTERM if self._gate_is_open else signal.SIGKILL
        try:
            if self.process.poll() is None:
                self.process.send_signal(sig)
                self.process.wait(_STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)  # whatever is left of its session
            self.process.wait()
            self.open_gate()

    def open_gate(self) -> None:
        """Let the workers take requests."""
        if not self._gate_is_open:
            os.close(self._our_end)
            self._gate_is_open = True

    def wait_until_ready(self, signals: _Signals) -> None:
        """Return once a request is answered.

        Raises:
            CannotListen: no request is answered.
        """
        end = time.monotonic() + _READY_WITHIN
        while not self._answers():
            signals.check()
            if self.process.poll() is not None:
                raise CannotListen("the web server cannot start; its own words stand above")
            if time.monotonic() > end:
                raise CannotListen("the web server does not answer")
            time.sleep(0.02)

    def _answers(self) -> bool:
        host, port = self._address
        request = f"GET /health/live HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
        try:
            with socket.create_connection(self._address, timeout=1) as asked:
                asked.sendall(request.encode())
                return asked.recv(64).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False


def _local_address(listener: socket.socket) -> tuple[str, int]:
    """Where this machine reaches the listener, which may listen everywhere."""
    host, port = listener.getsockname()[:2]
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # it asks, and binds nothing  # nosec B104


def _environment(settings: Settings, database_url: str) -> dict[str, str]:
    """Our environment with these settings. The workers get the application's database only, never the owner's."""
    settings = replace(
        settings,
        database_url=database_url,
        database_owner_url=None,
        # Beside an external database, where none is set, one for this start only.
        secret_key=secret_key.lasting(settings) or PASSING + secrets.token_hex(32),
        audit_file=heads_file(settings),
    )
    names = {each.name: each.metadata["name"] for each in fields(Settings)}
    env = {name: value for name, value in os.environ.items() if name not in known_names()}
    given = {names[name]: value for name, value in vars(settings).items() if value is not None}
    return env | {name: written(value) for name, value in given.items()}
