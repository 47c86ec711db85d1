"""Issued invoices per second over HTTP, in parts of what pgbench reaches with the same statements.

    .venv/bin/python -m bench.issuing

Eight callers turn quotes of two lines, prepared beforehand, into issued invoices; eight clients of pgbench run the
statements the service sends for that, recorded in the same run, in the same transactions on the same database.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg

from bench import load, machine, recording
from bench.machine import Compared
from catalog import sample
from clinic import db, journal, pool
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.embedded import Urls
from clinic.http import App, dumped

GOAL = 0.45
CALLERS = 8
QUOTE = {
    "lines": [
        {"article": "ONC-CONS-1", "doctor_rank": "candidate", "quantity": "1"},
        {"article": "CT-ABD-RP-BOLUS"},
    ],
    "patient": {"id": "P-000017", "name": "Иванова Анна Петровна"},
}
INVOICE = {"payer": {"kind": "person", "is_patient": True}, "issue": True}
# The ids of a prepared quote and of its patient by their number, in SQL.
_QUOTE_ID = "('0197c000' || lpad(to_hex({number}), 24, '0'))::uuid"
_PATIENT_ID = "('0197b000' || lpad(to_hex({number}), 24, '0'))::uuid"


def quote_id(number: int) -> UUID:
    return UUID(f"0197c000{number:024x}")


def _patient_id(number: int) -> UUID:
    return UUID(f"0197b000{number:024x}")


def main() -> None:
    wanted = _arguments()
    pgbench = find_pgbench()
    with machine.database(wanted.folder, fast=wanted.fast) as urls:
        with machine.application(urls) as app:
            secret = machine.key()
            _prepare(app, secret, urls, 2 * (wanted.rounds + 1) * (wanted.invoices + wanted.transactions))
            script = _recorded(app, secret)
        race = _Race(urls, secret, pgbench, script, wanted)
        rows = [race.run("2 workers × 4 threads", pinned=False), race.run("each on its core", pinned=True)]
        _check(urls, race.issued)
    print(f"{CALLERS} callers, {wanted.rounds} rounds of {wanted.invoices} invoices over HTTP and of", end=" ")
    print(f"{wanted.transactions} transactions in pgbench; {machine.load()}")
    print(f"the generator itself took {race.own * 1e6:.0f} µs of processor time for a request")
    print(machine.table("pgbench", rows))
    print(f"goal: ratio of at least {GOAL:.2f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.issuing", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--invoices", type=int, default=1600, help="of a round over HTTP")
    parser.add_argument("--transactions", type=int, default=4000, help="of a round of pgbench")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the database lies")
    parser.add_argument("--fast", action="store_true", help="without fsync, for both sides")
    return parser.parse_args()


def find_pgbench() -> Path:
    """pgbench from PG_BINDIR, from PATH, or from the folders of Debian's packages."""
    places = [Path(given) / "pgbench"] if (given := os.environ.get("PG_BINDIR")) else []
    # Debian's own command is a wrapper that asks for its clusters: the program itself comes first.
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"), reverse=True)
    places += [Path(found)] if (found := shutil.which("pgbench")) else []
    for place in places:
        if place.is_file():
            return place
    raise SystemExit(
        "pgbench is missing, and without it there is no ceiling to compare with: install it (Debian: "
        "postgresql-15, others: postgresql-contrib) or name its folder in PG_BINDIR"
    )


# ---- What both sides work on ----


def _prepare(app: App, secret: str, urls: Urls, quotes: int) -> None:
    """One quote, and copies of it as the service would have made them: another id, code and patient, all else alike."""
    with change(COMMAND_LINE) as made:
        sample.load(made)
    _call(app, secret, "/v1/quotes", {**QUOTE, "id": str(quote_id(0))})
    # One transaction: until the lines are there, a quote does not add up.
    with psycopg.connect(urls.owner) as conn:
        for table, members in _COPIED:
            conn.execute(_COPY.format(table=table, members=members), {"count": quotes + _FIRST})
    _settle(urls)


def _settle(urls: Urls) -> None:
    """Let the database look after itself now, not in the middle of a round."""
    with psycopg.connect(urls.owner, autocommit=True) as conn:
        conn.execute("VACUUM ANALYZE")
        conn.execute("CHECKPOINT")


_FIRST = 8
"""Quotes below this number serve the recording, the rest the race."""
_BY_NUMBER = _QUOTE_ID.format(number="number"), _PATIENT_ID.format(number="number")
_COPIED = (
    ("party", f"'id', {_BY_NUMBER[1]}"),
    ("quote", f"'id', {_BY_NUMBER[0]}, 'code', lpad(upper(to_hex(number)), 9, '0')"),
    ("quote_revision", f"'quote_id', {_BY_NUMBER[0]}, 'patient_party', {_BY_NUMBER[1]}"),
    ("quote_line", f"'quote_id', {_BY_NUMBER[0]}"),
)
_COPY = """
INSERT INTO {table}
SELECT copy.*
  FROM {table} AS original,
       generate_series(1::bigint, %(count)s::bigint) AS number,
       jsonb_populate_record(original, jsonb_build_object({members})) AS copy
"""


# ---- What pgbench runs ----


def _recorded(app: App, secret: str) -> recording.Script:
    """Two calls of the service, as one script."""
    # The first call opens the series of the year and notes the use of the key: no other one does.
    _issue(app, secret, 1)
    with recording.recording() as first:
        _issue(app, secret, 2)
    with recording.recording() as second:
        _issue(app, secret, 3)
    counted = [each for each in first if each.sql not in {"BEGIN", "COMMIT"}]
    print(f"{len(counted)} statements in a command, beside BEGIN and COMMIT:")
    for each in counted:
        print(f"  {each.sql[:100]}")
    call = f":{recording.CALL}::bigint"
    known = {
        str(quote_id(2)): _QUOTE_ID.format(number=call),
        str(_patient_id(2)): _PATIENT_ID.format(number=call),
    }
    made_of = recording.script_of(first, second, known)
    # Calls are numbered over all clients and rounds: client 3's second call of a round that began at 100 is 111.
    begin = f"\\set number :number + 1\n\\set {recording.CALL} :first + :number * {CALLERS} + :client_id\n"
    return recording.Script(begin + made_of.text, made_of.constants)


def _issue(app: App, secret: str, number: int) -> None:
    _call(app, secret, f"/v1/quotes/{quote_id(number)}/invoice", INVOICE, Idempotency_Key=uuid4().hex)


def _call(app: App, secret: str, path: str, body: Any, **headers: str) -> None:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    answer = app.test_client().post(path, json=body, headers={"Authorization": f"Bearer {secret}", **named})
    if answer.status_code != 201:
        raise SystemExit(f"{path} answered {answer.status_code}: {answer.text}")


# ---- The race ----


@dataclass
class _Race:
    """Rounds of the service and of pgbench in turn; each uses up its own quotes."""

    urls: Urls
    secret: str
    pgbench: Path
    script: recording.Script
    wanted: argparse.Namespace
    used: int = _FIRST
    issued: int = 3
    own: float = 0.0

    def run(self, name: str, *, pinned: bool) -> Compared:
        with (
            machine.serving("wsgi:app", self.urls, "/health/ready", pinned=pinned) as address,
            tempfile.TemporaryDirectory() as folder,
        ):
            script = Path(folder) / "script"
            script.write_text(self.script.text)
            self._service(address, self.wanted.invoices // 2)  # warms up, and does not count
            # Plans made for tables that were empty a moment ago would stay until the server looks for itself.
            _settle(self.urls)
            pairs = [
                (self._service(address, self.wanted.invoices), self._pgbench(script)) for _ in range(self.wanted.rounds)
            ]
        return Compared(name, pairs)

    def _take(self, count: int) -> int:
        first, self.used = self.used, self.used + count
        self.issued += count
        return first

    def _service(self, address: load.Address, count: int) -> float:
        first, body = self._take(count), dumped(INVOICE)
        requests = [
            load.request(
                "POST",
                f"/v1/quotes/{quote_id(number)}/invoice",
                body,
                Authorization=f"Bearer {self.secret}",
                Idempotency_Key=uuid4().hex,
            )
            for number in range(first, first + count)
        ]
        outcome = load.run(address, 201, requests, CALLERS)
        self.own = outcome.own / outcome.answers
        return outcome.rate

    def _pgbench(self, script: Path) -> float:
        each = self.wanted.transactions // CALLERS
        first = self._take(each * CALLERS)
        done = subprocess.run(
            [
                self.pgbench, "-n", "-M", "prepared", "-c", str(CALLERS), "-j", "2", "-t", str(each), "-f", script,
                "-D", "number=-1", "-D", f"first={first}", *self.script.arguments, self.urls.app,
            ],
            env={**os.environ, "PGOPTIONS": _session()},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        rate = re.search(r"^tps = ([0-9.]+)", done.stdout, re.MULTILINE)
        if done.returncode or rate is None:
            raise SystemExit(f"pgbench failed:\n{done.stdout}{done.stderr}")
        return float(rate[1])


def _session() -> str:
    """What the service sets on each of its connections, as options of libpq."""
    settings = re.findall(r"SET (\w+) = '?([^';]+)'?;", pool.SERVER.setup)
    seen = ("clinic.branch", pool.EVERY_BRANCH)
    return " ".join(f"-c {name}={text.replace(' ', '')}" for name, text in (*settings, seen))


def _check(urls: Urls, issued: int) -> None:
    """Both sides really issued: every number is there, and the journal is whole."""
    db.open_pool(urls.owner, size=1, command_line=True)
    try:
        with db.reading() as conn:
            found = db.value(conn, "SELECT count(*) FROM invoice WHERE status = 'issued'")
            numbers: Sequence[Any] = conn.execute("SELECT next_no - 1 FROM number_series").fetchall()
            if found != issued or numbers != [(issued,)] or journal.first_break(conn) is not None:
                raise SystemExit(f"of {issued} invoices {found} were issued, numbered {numbers}: nothing here counts")
    finally:
        db.close_pool()


if __name__ == "__main__":
    main()
