"""The embedded cluster: starts, stops, refuses clearly, and reads Cyrillic."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from clinic import embedded, postgres
from clinic.embedded import Cluster, ClusterError, FolderInUse, Urls
from clinic.settings import Settings

HOLDER = """
import sys, time
from pathlib import Path
from clinic.embedded import Cluster
cluster = Cluster(Path(sys.argv[1]), fast=True)
cluster.start()
cluster.announce()
print("started", flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def made(new_folder: Callable[[], Path]) -> Cluster:
    """A cluster that has been made, and is stopped between the tests of this file."""
    with Cluster(new_folder(), fast=True) as cluster, connect(cluster.owner_url()) as conn:
        conn.execute("CREATE TABLE kept (name text)")
        conn.execute("INSERT INTO kept VALUES ('Первичный приём')")
    return cluster


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url, autocommit=True)


def value(url: str, sql: str) -> Any:
    with connect(url) as conn:
        row = conn.execute(sql).fetchone()
    assert row
    return row[0]


def test_a_restart_keeps_the_data(made):
    with Cluster(made.root, fast=True) as again:
        assert value(again.owner_url(), "SELECT name FROM kept") == "Первичный приём"
        server = again.process
        assert server and server.poll() is None
    assert server.poll() == 0


def test_stopping_leaves_nothing_but_the_folder(made):
    with Cluster(made.root, fast=True) as again:
        assert again.socket_folder.stat().st_mode & 0o077 == 0
    assert not again.socket_folder.exists()
    assert not (made.data / "postmaster.pid").exists()
    again.stop()


def test_the_application_is_a_role_that_owns_nothing(made):
    with Cluster(made.root, fast=True) as cluster:
        assert value(cluster.app_url(), "SELECT current_user::text") == "clinic_app"
        assert value(cluster.app_url(), "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False


def test_cyrillic_is_text_whatever_the_environment_says(folder, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("LC_", "LANG"))]:
        monkeypatch.delenv(name)
    with Cluster(folder, fast=True) as cluster, connect(cluster.owner_url()) as conn:
        conn.execute("CREATE EXTENSION pg_trgm")
        conn.execute("CREATE EXTENSION btree_gist")
        assert value(cluster.owner_url(), "SELECT lower('ПРИЁМ ВРАЧА')") == "приём врача"
        assert value(cluster.owner_url(), "SELECT 'Приём' ILIKE '%ПРИЁМ%'") is True
        assert value(cluster.owner_url(), "SELECT similarity('приём терапевта', 'прием терапевта')") > 0.5
        assert (
            value(cluster.owner_url(), "SELECT to_tsvector('simple', 'Приём №5 «УЗИ»')::text")
            == "'5':2 'приём':1 'узи':3"
        )


def test_a_second_owner_is_refused_in_one_line(made):
    with Cluster(made.root, fast=True):
        with pytest.raises(FolderInUse, match=rf"^another instance runs on .* \(process {os.getpid()}\)$"):
            Cluster(made.root, fast=True).start()
        assert value(made.owner_url(), "SELECT count(*) FROM kept") == 1


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(folder):
    (folder / "file").touch()
    with pytest.raises(ClusterError, match=r"^the data folder .*/file/data cannot be written: Not a directory$"):
        Cluster(folder / "file" / "data").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the database to another account")
def test_a_folder_the_server_cannot_reach_is_refused_in_one_line(folder):
    (folder / "private").mkdir(mode=0o700)
    with pytest.raises(ClusterError, match=r"which cannot reach the data folder .*/private/var: choose another .*$"):
        Cluster(folder / "private" / "var").start()


def test_data_of_another_major_version_is_refused_in_one_line(made):
    version = made.data / "PG_VERSION"
    ours = version.read_text()
    version.write_text("14\n")
    try:
        with pytest.raises(
            ClusterError, match=r"was made by PostgreSQL 14, the programs are [0-9]+: set PG_BINDIR .*$"
        ):
            Cluster(made.root, fast=True).start()
    finally:
        version.write_text(ours)


def test_a_folder_without_programs_is_refused_in_one_line(folder):
    with pytest.raises(ClusterError, match=r"has no PostgreSQL programs initdb and postgres$"):
        Cluster(folder, bindir=folder).start()


def test_what_an_interrupted_initdb_left_is_replaced(folder):
    (folder / "data.new" / "global").mkdir(parents=True)
    (folder / "data.new" / "PG_VERSION").write_text("18\n")
    with Cluster(folder, fast=True) as cluster:
        assert value(cluster.owner_url(), "SELECT 1") == 1
    assert not (folder / "data.new").exists()


def test_files_of_somebody_else_are_never_removed(folder):
    (folder / "data").mkdir()
    (folder / "data" / "thesis.txt").touch()
    with pytest.raises(ClusterError, match=r"is not empty and holds no PostgreSQL cluster: move it away$"):
        Cluster(folder, fast=True).start()
    assert (folder / "data" / "thesis.txt").exists()


def test_a_socket_folder_of_somebody_else_is_refused(made):
    made.socket_folder.mkdir(mode=0o755)
    try:
        with pytest.raises(ClusterError, match="is not a private folder of ours: remove it"):
            Cluster(made.root, fast=True).start()
    finally:
        made.socket_folder.rmdir()


def test_a_command_uses_the_database_of_a_running_service(made):
    holder = start_holder(made.root)
    try:
        with embedded.database(Settings(data=made.root)) as urls:
            assert urls == Urls(made.owner_url(), made.app_url(), served=True)
            assert value(urls.owner, "SELECT count(*) FROM kept") == 1
        assert value(urls.owner, "SELECT 1") == 1, "leaving it does not stop the service's database"
    finally:
        holder.terminate()
        holder.wait()


def test_a_command_beside_no_service_starts_the_database_for_its_own_time(made):
    with embedded.database(Settings(data=made.root)) as urls:
        assert not urls.served
        assert value(urls.owner, "SELECT count(*) FROM kept") == 1
    with pytest.raises(psycopg.OperationalError):
        connect(urls.owner)


def test_a_command_waits_for_another_to_end_and_says_so_if_it_does_not(made, monkeypatch):
    monkeypatch.setattr(embedded, "PATIENCE", 0.2)
    with Cluster(made.root, fast=True), pytest.raises(FolderInUse, match=r"does not share its database$"):
        embedded.attach(made.root)
    assert embedded.attach(made.root) is None


def test_external_urls_are_taken_as_they_are():
    given = Settings(database_url="postgresql://app@db/clinic", database_owner_url="postgresql://owner@db/clinic")
    with embedded.database(given) as urls:
        assert urls == Urls(owner="postgresql://owner@db/clinic", app="postgresql://app@db/clinic")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child of its parent's death")
def test_the_server_dies_with_its_owner_and_the_next_one_starts_at_once(made):
    holder = start_holder(made.root)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with Cluster(made.root, fast=True) as again:
        assert value(again.owner_url(), "SELECT count(*) FROM kept") == 1


def test_programs_out_of_the_servers_reach_are_copied_with_their_libraries(folder):
    bindir = folder / "package" / "pginstall" / "bin"
    bindir.mkdir(parents=True)
    (bindir / "postgres").write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 18.6'\n")
    (bindir / "postgres").chmod(0o700)
    (folder / "package.libs").mkdir()
    (folder / "package.libs" / "libpq.so").touch(mode=0o600)
    copies = folder / "copies"
    copies.mkdir()
    copied = postgres._copied(bindir, copies)
    assert copied == postgres._copied(bindir, copies)
    assert (copied / "postgres").stat().st_mode & 0o055 == 0o055
    assert copied.parents[2] / "package.libs" / "libpq.so" in copied.parents[2].rglob("*")


def start_holder(root: Path) -> subprocess.Popen[str]:
    """Another process that runs the database as a service does."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, root], stdout=subprocess.PIPE, text=True)
    with closing(holder.stdout):  # type: ignore[type-var]
        assert holder.stdout and holder.stdout.readline() == "started\n"
    return holder
