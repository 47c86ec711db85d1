from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from werkzeug.test import Client

from catalog import feed
from clinic import db, migrate
from clinic.embedded import Cluster, ClusterError, Urls
from clinic.http import App
from clinic.settings import Settings
from tests import given, running
from tests.running import TEMPLATE, Desk, Service
from wsgi import create_app


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--life", type=int, metavar="STEPS", help="steps of the random lives of money; another life each time"
    )


# ---- The database: a cluster for each pytest process, and a database of its own for each test ----

_ENOUGH = 512 * 2**20
_BINDIR = Path(os.environ["PG_BINDIR"]) if os.environ.get("PG_BINDIR") else None


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running cluster with a migrated template, in memory where there is room."""
    with _cluster_in_some_folder() as cluster:
        with psycopg.connect(cluster.owner_url("postgres"), autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {TEMPLATE}")
        migrate.run(cluster.owner_url(TEMPLATE))
        yield cluster


@pytest.fixture
def database_url(cluster: Cluster) -> Iterator[Urls]:
    """A database fresh from the template: everything in it really commits, and is gone after the test."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(cluster.owner_url("postgres"), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")
        yield Urls(cluster.owner_url(name), cluster.app_url(name))
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def new_folder() -> Iterator[Callable[[], Path]]:
    """Makes empty folders that the server's account can reach when we are root; it cannot reach pytest's own."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(_folder(Path(tempfile.gettempdir())))


@pytest.fixture
def folder(new_folder: Callable[[], Path]) -> Path:
    return new_folder()


@contextmanager
def _cluster_in_some_folder() -> Iterator[Cluster]:
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ENOUGH:
        _sweep(memory)
        with ExitStack() as stack:
            try:
                cluster = stack.enter_context(Cluster(stack.enter_context(_folder(memory)), bindir=_BINDIR, fast=True))
            except ClusterError:
                pass  # for instance: mounted noexec, and the programs had to be copied there
            else:
                yield cluster
                return
    with _folder(Path(tempfile.gettempdir())) as folder, Cluster(folder, bindir=_BINDIR, fast=True) as cluster:
        yield cluster


@contextmanager
def _folder(base: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="clinic-test-", dir=base))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(base: Path) -> None:
    """Remove what killed runs left in memory."""
    for old in base.glob("clinic-test-*"):
        if old.stat().st_mtime < time.time() - 3600 * 12:
            shutil.rmtree(old, ignore_errors=True)


# ---- End of the database ----

SETTINGS = Settings(secret_key="k" * 32, requests_per_minute=0)


@pytest.fixture
def opened(database_url: Urls) -> Iterator[Urls]:
    """This process's pool, open on a database of the test's own."""
    db.open_pool(database_url.app, size=4)
    # The test looks at every branch; a request sees what its caller sees, whatever was seen before it.
    with db.seeing(None):
        yield database_url
    db.close_pool()


@pytest.fixture
def app(opened: Urls) -> App:
    """The whole application on an empty clinic with its branch `main`."""
    app = create_app(SETTINGS)
    app.testing = True
    # As in production, a defect is a 500 that the test sees, not an exception in its own stack.
    app.config["PROPAGATE_EXCEPTIONS"] = False
    given.main_branch()
    return app


@pytest.fixture
def clinic(app: App) -> given.Caller:
    """A program with every right, in a clinic with the real price list."""
    given.sample()
    return given.caller(app, "*")


@pytest.fixture
def front(app: App) -> Client:
    """A visitor of a clinic with the real price list."""
    given.sample()
    return app.test_client()


@pytest.fixture
def asks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits a second for the next question for the version."""
    monkeypatch.setattr(feed, "ASK_EVERY", 0.0)


# ---- The server: real processes, for tests of what happens at once ----


@pytest.fixture(scope="module")
def service(cluster: Cluster) -> Iterator[Service]:
    with running.new_database(cluster) as urls, running.service(urls) as service:
        yield service


@pytest.fixture
def desk(service: Service) -> Iterator[Desk]:
    """A program of a branch that has issued nothing yet; afterwards the books are whole."""
    desk = service.branch()
    yield desk
    desk.check_books()
