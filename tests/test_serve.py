"""`serve` as people meet it: a process with standard output, signals and an exit status."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from clinic import embedded
from tests.given import LATER, price_file
from tests.running import Caller

ROOT = Path(__file__).parents[1]
KEY = re.compile(r"\bcb_[A-Za-z0-9_-]{20,}")

# One after another: the starts are timed, and they share a data folder.
pytestmark = pytest.mark.xdist_group("serve")


class Service:
    """A `serve` of our own on a free port."""

    def __init__(self, data: Path, *options: str, **env: str) -> None:
        self.data = data
        self.port = free_port()
        self.complaints = data.with_suffix(".stderr")
        started = time.monotonic()
        with self.complaints.open("wb") as err:
            self.process = subprocess.Popen(
                command("serve", "--data", str(data), "--port", str(self.port), *options),
                stdout=subprocess.PIPE, stderr=err, env=environment(**env), text=True,
            )  # fmt: skip
        assert self.process.stdout
        self.first_line = self.process.stdout.readline().rstrip("\n")
        self.seconds = time.monotonic() - started

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health/live", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def postgres(self) -> int:
        """The process number of its database server."""
        return int((self.data / "data" / "postmaster.pid").read_text().split()[0])

    def worker(self, words: str = "work") -> int | None:
        """The process number of its worker, or of what else it runs beside itself by these words (Linux)."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ending = f"wsgi.py {words} ".replace(" ", "\0").encode()
        named = {int(each): Path(f"/proc/{each}/cmdline").read_bytes() for each in children}
        return next((number for number, line in named.items() if line.endswith(ending)), None)

    def migrated_at(self) -> object:
        """When the schema was made; another answer would mean another database."""
        service = embedded.attach(self.data)
        assert service
        with psycopg.connect(service.owner_url()) as conn:
            return conn.execute("SELECT min(applied_at) FROM schema_migration").fetchone()

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Status, and the rest of standard output."""
        self.process.send_signal(sig)
        return self.end()

    def end(self) -> tuple[int, str]:
        assert self.process.stdout
        with self.process.stdout as out:
            return self.process.wait(timeout=30), out.read()


@dataclass
class FirstStart:
    service: Service
    answered: bool
    migrated_at: object
    postgres: int
    status: int
    lines: str


@pytest.fixture(scope="module")
def first(new_folder: Callable[[], Path]) -> FirstStart:
    """A first start, with its sample, that has come and gone."""
    service = Service(new_folder() / "var")
    answered, migrated_at, postgres = service.answers(), service.migrated_at(), service.postgres()
    status, out = service.stop()
    return FirstStart(service, answered, migrated_at, postgres, status, out)


def test_the_first_line_says_ready_and_it_is(first):
    assert first.service.first_line == f"Clinic Billing is ready: {first.service.url}"
    assert first.answered


def test_the_first_start_prints_the_administrators_key_once(first):
    assert len(KEY.findall(first.lines)) == 1


def test_sigterm_ends_it_well_and_the_database_with_it(first):
    assert first.status == 0
    assert not alive(first.postgres)
    assert not (first.service.data / "data" / "postmaster.pid").exists()


def test_the_secret_is_for_our_eyes_only(first):
    assert (first.service.data / "secret.key").stat().st_mode & 0o077 == 0


@pytest.fixture(scope="class")
def second(first: FirstStart) -> Iterator[Service]:
    service = Service(first.service.data)
    yield service
    status, out = service.stop(signal.SIGINT)
    assert status == 0
    assert not KEY.search(out), "the key is printed once"


class TestASecondStart:
    def test_is_ready_within_seconds_and_finds_its_data(self, first, second):
        assert second.first_line == f"Clinic Billing is ready: {second.url}"
        # Two seconds on a quiet machine; whatever else runs takes its share.
        assert second.seconds < 10
        assert second.migrated_at() == first.migrated_at

    def test_a_port_that_is_taken_is_refused_in_one_line(self, second, folder):
        refused = run("serve", "--data", str(folder / "var"), "--port", str(second.port))
        assert refused == (1, "", f"clinic: port {second.port} on 127.0.0.1 is taken\n")
        assert not (folder / "var").exists()

    def test_another_instance_on_the_same_data_is_refused_in_one_line(self, second):
        status, out, err = run("serve", "--data", str(second.data), "--port", str(free_port()))
        assert (status, out) == (1, "")
        assert err.splitlines()[-1] == (
            f"clinic: another instance runs on the data folder {second.data} (process {second.process.pid})"
        )
        assert "Traceback" not in err
        assert second.answers()

    def test_a_command_beside_it_uses_its_database(self, second):
        status, out, err = run("keys", "create", "his", "--scope", "*", CLINIC_DATA=str(second.data))
        assert (status, err.count("Traceback")) == (0, 0)
        assert KEY.fullmatch(out.strip())
        assert second.answers()


def test_the_end_of_the_database_ends_the_service(first):
    service = Service(first.service.data)
    os.kill(service.postgres(), signal.SIGKILL)
    assert service.end() == (3, "")
    assert "\nclinic: PostgreSQL ended by itself; see " in service.complaints.read_text()
    assert not service.answers()


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells of a process's children")


BESIDE = pytest.mark.parametrize(("words", "name"), [("work", "worker"), ("webhooks deliver", "deliverer")])


@linux
@BESIDE
def test_what_runs_beside_the_server_and_dies_is_started_again_and_the_service_goes_on(first, words, name):
    service = Service(first.service.data)
    assert soon(lambda: service.worker(words) is not None)
    killed = service.worker(words)
    assert killed
    os.kill(killed, signal.SIGKILL)
    assert soon(lambda: service.worker(words) not in (None, killed)), f"no {name} came after it"
    assert service.answers()
    again = service.worker(words)
    assert again
    assert service.stop()[0] == 0
    assert not alive(again)
    assert f"the {name} ended by itself with status -9; it is started again in 1 s" in service.complaints.read_text()


@linux
def test_without_jobs_there_is_no_worker_and_without_webhooks_no_deliverer(first):
    service = Service(first.service.data, CLINIC_JOBS="off", CLINIC_WEBHOOKS="off")
    time.sleep(0.5)
    assert service.worker() is service.worker("webhooks deliver") is None
    assert service.stop()[0] == 0


def test_a_service_stopped_in_the_middle_of_a_job_does_it_once(first):
    service = Service(first.service.data)
    status, secret, _ = run("keys", "create", "files", "--scope", "*", CLINIC_DATA=str(service.data))
    assert status == 0
    caller = Caller(service.port, secret.strip())
    answer = caller.upload(
        "/v1/price-orders/imports", price_file(20_000, prefix="STOP"), effective_from=LATER, number="STOP"
    )
    assert answer.status == 202
    where = answer.headers["Location"]
    assert soon(lambda: caller.get(where).json["status"] == "running")
    assert service.stop()[0] == 0
    again = Service(first.service.data)
    caller = caller.at(again.port)
    assert soon(lambda: caller.get(where).json["status"] == "done", 20), caller.get(where).json
    report = caller.get(where).json["result"]
    assert (report["accepted"], order_numbers(again).count("STOP")) == (20_000, 1)
    assert again.stop()[0] == 0


def order_numbers(service: Service) -> list[str]:
    database = embedded.attach(service.data)
    assert database
    with psycopg.connect(database.owner_url()) as conn:
        return [number for (number,) in conn.execute("SELECT number FROM price_order").fetchall()]


@linux
def test_a_killed_service_leaves_no_child_behind_and_starts_again(first):
    service = Service(first.service.data)
    postgres = service.postgres()
    assert soon(lambda: service.worker() is not None)
    worker = service.worker()
    assert worker
    service.stop(signal.SIGKILL)
    assert soon(lambda: not alive(postgres)), "PostgreSQL outlived the service"
    assert soon(lambda: not service.answers()), "the web server outlived the service"
    assert soon(lambda: not alive(worker)), "the worker outlived the service"
    again = Service(first.service.data)
    assert again.first_line.startswith("Clinic Billing is ready")
    assert again.stop()[0] == 0


def test_a_database_that_is_away_is_told_in_one_line():
    url = f"postgresql://clinic@127.0.0.1:{free_port()}/clinic"
    started = time.monotonic()
    status, out, err = run("serve", "--port", str(free_port()), DATABASE_URL=url)
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith("clinic: the database cannot be used: ")
    assert "Traceback" not in err
    assert time.monotonic() - started < 5


def test_wrong_settings_are_told_in_one_line():
    status, out, err = run("serve", CLINIC_PORT="ten", CLINIC_WORKERS="many")
    assert (status, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith("clinic: CLINIC_PORT: ")
    assert "CLINIC_WORKERS: " in err


def command(*words: str) -> list[str]:
    return [sys.executable, str(ROOT / "wsgi.py"), *words]


def environment(**more: str) -> dict[str, str]:
    """Ours without any setting of the service; the programs of PostgreSQL may be chosen for a whole test run."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("CLINIC_", "DATABASE_"))}
    return ours | more


def run(*words: str, **env: str) -> tuple[int, str, str]:
    done = subprocess.run(command(*words), env=environment(**env), capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def alive(process: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


def soon(happened: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
