"""Between hosts there is TLS, the certificate is the host's own, and nothing goes on without it (S35)."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from clinic import db, migrate, postgres
from clinic.embedded import CHECKOUT, Urls
from clinic.settings import WrongSettings, from_environment
from tests import running
from tests.tls import Authority, Door, Issued

KEY = "0123456789abcdef0123456789abcdef"
PRODUCTION = {"CLINIC_ENV": "production", "CLINIC_SECRET_KEY": KEY}
HOST = "localhost"


# ---- What production may be started with ----


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///clinic",
        "postgresql://clinic@/clinic?host=/run/postgresql",
        "postgresql://clinic@%2Frun%2Fpostgresql/clinic",
        "postgresql://clinic:word@localhost:5433/clinic",
        "postgresql://127.0.0.1,[::1]:5433/clinic",
        "postgresql://db/clinic?sslmode=verify-full",
        "postgres://db.example,10.1.0.5:5433/clinic?target_session_attrs=read-write&sslmode=verify-full",
        "postgresql://db/clinic?sslmode=disable&sslmode=verify-full",
        "postgresql://db/clinic?service=main&sslmode=verify-full",
    ],
)
def test_s35_production_goes_to_this_machine_or_over_certain_tls(url):
    assert from_environment(PRODUCTION | {"DATABASE_URL": url}).database_url == url


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("postgresql://db.example/clinic", "db.example"),
        ("postgresql://clinic:p%40ss@10.1.0.5:5433/clinic", "10.1.0.5"),
        ("postgresql://clinic@[2001:db8::5]:5433/clinic", "2001:db8::5"),
        ("postgresql://localhost,db.example/clinic", "db.example"),
        ("postgresql:///clinic?host=db.example", "db.example"),
        ("postgresql://localhost/clinic?host=db.example", "db.example"),
        ("postgresql://localhost/clinic?hostaddr=10.1.0.5", "10.1.0.5"),
        ("postgresql://localhost.example/clinic", "localhost.example"),
        ("postgresql:///clinic?service=main", "main"),
        ("postgresql://db/clinic?sslmode=require", "db"),
        ("postgresql://db/clinic?sslmode=verify-ca&sslrootcert=/etc/clinic/root.crt", "db"),
        ("postgresql://db/clinic?sslmode=prefer", "db"),
        ("postgresql://db/clinic?sslmode=verify-full&sslmode=prefer", "db"),
        ("postgresql://db/clinic?sslmode=verify-full&ssl=true", "db"),
    ],
)
@pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_OWNER_URL"])
def test_s35_production_goes_to_no_other_host_without_it(name, url, host):
    env = PRODUCTION | {"DATABASE_URL": "postgresql:///clinic", name: url}
    with pytest.raises(WrongSettings) as refused:
        from_environment(env)
    said = str(refused.value)
    assert said.startswith(f"{name}: production goes to {host} over TLS alone: add sslmode=verify-full")
    assert "\n" not in said
    assert "p%40ss" not in said
    assert from_environment(env | {"CLINIC_ENV": "development"})
    assert from_environment(env | {"CLINIC_DATABASE_WITHOUT_TLS": f"elsewhere, {host}"})
    with pytest.raises(WrongSettings):
        from_environment(env | {"CLINIC_DATABASE_WITHOUT_TLS": "elsewhere"})


@pytest.mark.parametrize(
    ("url", "said", "goes"),
    [
        ("postgresql:///clinic", {"PGHOST": "db.example"}, False),
        ("postgresql:///clinic", {"PGHOSTADDR": "10.1.0.5"}, False),
        ("postgresql:///clinic", {"PGSERVICE": "main", "PGSSLMODE": "verify-full"}, False),
        ("postgresql:///clinic", {"PGHOST": "db.example", "PGSSLMODE": "verify-full"}, True),
        ("postgresql://db/clinic?sslmode=require", {"PGSSLMODE": "verify-full"}, False),
        ("postgresql://localhost/clinic", {"PGHOST": "db.example"}, True),
    ],
)
def test_s35_what_the_url_leaves_out_is_looked_up_where_the_library_does(url, said, goes):
    env = PRODUCTION | {"DATABASE_URL": url} | said
    if goes:
        assert from_environment(env)
    else:
        with pytest.raises(WrongSettings, match="over TLS alone"):
            from_environment(env)


def test_s35_the_embedded_database_needs_no_word_of_it():
    assert from_environment(PRODUCTION).database_url is None


# ---- What happens on the way ----


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> Authority:
    """An authority nobody here trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"))


def socket_of(urls: Urls) -> str:
    return f"{conninfo_to_dict(urls.owner)['host']}/.s.PGSQL.5432"


def through(door_port: int, url: str, authority: Authority, host: str = HOST) -> str:
    """The same database by TCP, with certain TLS."""
    to = conninfo_to_dict(url)
    root = quote(str(authority.root), safe="/")
    return f"postgresql://{to['user']}@{host}:{door_port}/{to['dbname']}?sslmode=verify-full&sslrootcert={root}"


def command(url: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    ours = {name: text for name, text in os.environ.items() if not name.startswith(("CLINIC_", "DATABASE_", "PG"))}
    return subprocess.run(
        [sys.executable, "wsgi.py", *words], cwd=CHECKOUT, env=ours | PRODUCTION | {"DATABASE_URL": url} | env,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("host", [HOST, "127.0.0.1"])
def test_s35_the_service_works_over_certain_tls(cluster, authority, host):
    with (
        running.new_database(cluster) as urls,
        Door(socket_of(urls), authority.issue(host)) as door,
        running.service(
            replace(urls, app=through(door.port, urls.app, authority, host)),
            CLINIC_ENV="production",
            CLINIC_SECRET_KEY=KEY,
        ) as service,
    ):
        caller = service.caller()
        quote_ = running.made(caller.post("/v1/quotes", {"lines": [running.CONSULTATION]}))
        assert running.made(caller.get(f"/v1/quotes/{quote_['id']}"))["id"] == quote_["id"]
        assert door.safe > 0
        assert door.heard == []


Given = Callable[[Authority, Authority], Issued | None]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda _ours, theirs: theirs.issue(HOST), "certificate verify failed"),
        (lambda ours, _theirs: ours.issue("db.example"), "does not match host name"),
        (
            lambda ours, _theirs: ours.issue(HOST, began=datetime.now(UTC) - timedelta(days=30)),
            "certificate verify failed",
        ),
        (lambda _ours, _theirs: None, "server does not support SSL, but SSL was required"),
    ],
    ids=["unknown authority", "other name", "run out", "no TLS"],
)
@pytest.mark.parametrize("words", [["keys", "list"], ["serve", "--port", "1"]], ids=["command", "serve"])
def test_s35_whoever_cannot_prove_the_host_is_told_nothing(cluster, authority, stranger, given, said, words):
    with running.new_database(cluster) as urls, Door(socket_of(urls), given(authority, stranger)) as door:
        if words[0] == "serve":
            with socket.create_server(("127.0.0.1", 0)) as free:
                words = ["serve", "--port", str(free.getsockname()[1])]
        done = command(through(door.port, urls.owner, authority), *words, CLINIC_JOBS="0", CLINIC_WEBHOOKS="0")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1, done.stderr
    assert last.startswith("clinic: the database cannot be used: ")
    assert said in last
    assert "Traceback" not in done.stderr
    assert (door.heard, door.safe) == ([], 0), "it went on, by another way or in spite of it"


def test_s35_without_the_authoritys_file_it_is_said_what_is_missing(cluster, authority, tmp_path):
    with running.new_database(cluster) as urls, Door(socket_of(urls), authority.issue(HOST)) as door:
        url = through(door.port, urls.owner, authority).replace(str(authority.root), str(tmp_path / "none.crt"))
        done = command(url, "keys", "list")
    assert done.returncode == 1
    assert f'root certificate file "{tmp_path}/none.crt" does not exist' in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert (door.heard, door.safe) == ([], 0)


# ---- PostgreSQL's own TLS, where its programs have it; the packaged ones are built without ----


@contextmanager
def server_with_tls(folder: Path, issued: Issued) -> Iterator[int]:
    """A new cluster that takes callers by TLS alone; its port."""
    programs = postgres.find(Path(os.environ.get("PG_BINDIR") or "/usr/lib/postgresql/15/bin"), folder)
    data = folder / "data"
    data.mkdir(mode=0o700)
    copies = [folder / "server.crt", folder / "server.key"]
    for source, copy in zip((issued.certificate, issued.key), copies, strict=True):
        shutil.copyfile(source, copy)
        copy.chmod(0o600)
    if programs.account:
        for each in (data, *copies):
            os.chown(each, programs.account.pw_uid, programs.account.pw_gid)
    programs.initdb(data, fast=True)
    (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "ssl": "on", "ssl_cert_file": str(copies[0]), "ssl_key_file": str(copies[1]), "listen_addresses": "127.0.0.1",
        "port": str(port), "unix_socket_directories": "", "fsync": "off",
    }  # fmt: skip
    with (folder / "log").open("ab") as log, ExitStack() as ended:
        process = programs.start_server(data, settings, log)
        ended.callback(process.wait, 30)
        ended.callback(process.send_signal, signal.SIGINT)
        assert running.soon(lambda: "ready to accept" in (folder / "log").read_text(errors="replace"), 60)
        yield port


def speaks_tls() -> bool:
    folder = Path(os.environ.get("PG_BINDIR") or "/usr/lib/postgresql/15/bin")
    return (folder / "postgres").is_file() and b"libssl.so" in (folder / "postgres").read_bytes()


@pytest.mark.skipif(not speaks_tls(), reason="no PostgreSQL here that was built with TLS: set PG_BINDIR to one")
def test_s35_postgresql_itself_is_believed_under_its_own_name_alone(folder, authority, stranger):
    with server_with_tls(folder, authority.issue(HOST)) as port:
        owner = f"postgresql://{postgres.OWNER}@x/postgres"
        with psycopg.connect(through(port, owner, authority), autocommit=True) as conn:
            assert conn.pgconn.ssl_in_use
            conn.execute("CREATE DATABASE clinic")
        url = through(port, f"postgresql://{postgres.OWNER}@x/clinic", authority)
        assert migrate.run(url) > 0
        db.open_pool(url, size=1)
        with db.seeing(None), db.reading() as conn:
            assert conn.pgconn.ssl_in_use
            assert db.value(conn, "SELECT current_user::text") == "clinic_app"
        db.close_pool()
        assert command(url, "keys", "list").returncode == 0
        # The certificate names localhost, and its address is another name.
        for wrong in (url.replace(HOST, "127.0.0.1"), url.replace(str(authority.root), str(stranger.root))):
            done = command(wrong, "keys", "list")
            assert done.returncode == 1
            assert len(done.stderr.strip().splitlines()) == 1
            assert "certificate" in done.stderr
