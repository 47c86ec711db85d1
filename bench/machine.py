"""What a measurement stands on: a database of its own, servers set up as in production, and words for the outcome."""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psycopg

from bench.load import Address
from clinic import api_keys, branches, db, migrate
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.embedded import Cluster, Urls
from clinic.http import App
from clinic.settings import Settings
from wsgi import create_app

CHECKOUT = Path(__file__).parents[1]
WORKERS, THREADS = 2, 4
_SETTINGS = Settings(secret_key="b" * 32)
_TELLING = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_connections")


@contextmanager
def database(base: Path, *, fast: bool) -> Iterator[Urls]:
    """A migrated database in a new folder below `base`; `fast` takes its safety away, for both sides alike."""
    folder = Path(tempfile.mkdtemp(prefix="clinic-bench-", dir=base))
    folder.chmod(0o711)  # started by root, the server runs under an account that must pass through
    bindir = os.environ.get("PG_BINDIR")
    try:
        with Cluster(folder, bindir=Path(bindir) if bindir else None, fast=fast, connections=60) as cluster:
            migrate.run(cluster.owner_url())
            _tell_database(cluster.owner_url(), base)
            yield Urls(cluster.owner_url(), cluster.app_url())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tell_database(url: str, base: Path) -> None:
    with psycopg.connect(url) as conn:
        found: dict[str, str] = dict(conn.execute("SELECT name, current_setting(name) FROM pg_settings").fetchall())
        version = conn.info.server_version // 10_000
    shown = ", ".join(f"{name} {found[name]}" for name in _TELLING)
    print(f"PostgreSQL {version} in {base} ({_kind_of_disk(base)}): {shown}")


def _kind_of_disk(folder: Path) -> str:
    """The kind of file system `folder` lies on, where the system tells."""
    best, kind = "", "unknown"
    with suppress(OSError):
        for line in Path("/proc/mounts").read_text().splitlines():
            place, found = line.split()[1:3]
            if folder.resolve().is_relative_to(place) and len(place) >= len(best):
                best, kind = place, found
    return kind


@contextmanager
def application(urls: Urls) -> Iterator[App]:
    """The service in this process, on a clinic with its branch."""
    db.open_pool(urls.app, size=THREADS)
    try:
        with change(COMMAND_LINE) as made:
            branches.create(made, branches.MAIN, "Клиника", "")
        with db.seeing(None):
            yield create_app(_SETTINGS)
    finally:
        db.close_pool()


def key() -> str:
    """A new key that may do everything."""
    with change(COMMAND_LINE) as made:
        return api_keys.create(made, "bench", ["*"]).secret


@contextmanager
def serving(
    target: str, urls: Urls, ready: str, *, pinned: bool = False, env: Mapping[str, str] | None = None
) -> Iterator[Address]:
    """gunicorn with the service's own settings on `target`, from the first 200 of the path `ready` on.

    Its log, a line for each request as in a clinic, goes into a file that is shown where the server does not start.
    """
    address = "127.0.0.1", _free_port()
    given = {name: text for name, text in os.environ.items() if not name.startswith("CLINIC_")}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "python:clinic.gunicorn_conf", target],
            cwd=CHECKOUT,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=given
            | dict(env or {})
            | {
                "CLINIC_PORT": str(address[1]),
                "CLINIC_WORKERS": str(WORKERS),
                "CLINIC_THREADS": str(THREADS),
                "CLINIC_PIN_WORKERS": str(int(pinned)),
                "CLINIC_REQUESTS_PER_MINUTE": "0",
                "CLINIC_SECRET_KEY": _SETTINGS.secret_key or "",
                "DATABASE_URL": urls.app,
            },
        )
        try:
            _wait_until_ready(process, address, ready, log)
            yield address
        finally:
            process.terminate()
            process.wait(25)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], address: Address, path: str, log: IO[bytes]) -> None:
    end = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < end:
        with suppress(OSError):
            if fetch(address, path)[0] == 200:
                return
        time.sleep(0.05)
    log.seek(0)
    raise SystemExit(f"the web server did not start:\n{log.read().decode(errors='replace')}")


def fetch(address: Address, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """One answer, as it went over the wire: status, headers in lower case, body."""
    from http.client import HTTPConnection

    connection = HTTPConnection(*address, timeout=10)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@dataclass(frozen=True)
class Compared:
    """Rates of the service and of its ceiling, a pair for each round, taken one right after the other."""

    name: str
    pairs: Sequence[tuple[float, float]]

    @property
    def ratio(self) -> float:
        return statistics.median(ours / ceiling for ours, ceiling in self.pairs)

    def line(self) -> str:
        ratios = [ours / ceiling for ours, ceiling in self.pairs]
        ours, ceiling = (statistics.median(each) for each in zip(*self.pairs, strict=True))
        return f"{self.name:<24}{ours:>10.0f}{ceiling:>12.0f}{self.ratio:>9.2f}   {min(ratios):.2f}–{max(ratios):.2f}"


def table(ceiling: str, rows: Sequence[Compared]) -> str:
    """The rows under their heading; rates are medians per second."""
    heading = f"{'per second':<24}{'service':>10}{ceiling:>12}{'ratio':>9}   least–most"
    return "\n".join([heading, *(row.line() for row in rows)])


def load() -> str:
    """How busy this machine was, over one and five minutes."""
    one, five, _ = os.getloadavg()
    return f"{os.cpu_count()} cores, load {one:.1f} over one minute, {five:.1f} over five"
