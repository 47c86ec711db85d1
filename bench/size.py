"""What a million invoices cost beside a thousand: checking the books, reading lists, issuing.

    .venv/bin/python -m bench.size                  all of it; --only books, lists or issuing
    .venv/bin/python -m bench.size --kept FOLDER    keeps what it filled in that folder, and takes what is there

The books check themselves by the command a clinic runs. Lists are asked for at their beginning, middle and end with
every filter, by the functions the routes call, and made JSON of. Issuing is timed over HTTP on both sizes in turn.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from bench import filled, load, machine
from bench.issuing import INVOICE, QUOTE, find_pgbench
from billing import invoices, payments, quotes
from clinic import db, migrate
from clinic.auth import COMMAND_LINE, Actor
from clinic.embedded import CHECKOUT, Cluster, Urls
from clinic.http import dumped

SMALL = 1000
GOAL_MS = 20.0
GOAL_RATIO = 1.2
CALLERS = 8
PARTS = ("books", "lists", "issuing")


def main() -> None:
    wanted = _arguments()
    with _folder(wanted) as folder:
        for count in (SMALL, wanted.invoices):
            _make_sure(folder, count)
        # Filled in haste, measured as a clinic runs it.
        with Cluster(folder, bindir=_bindir(), connections=60) as cluster:
            small, large = (_urls(cluster, _name(count)) for count in (SMALL, wanted.invoices))
            print(f"{wanted.invoices} invoices, quotes and payments each; {machine.load()}")
            for part in wanted.only or PARTS:
                match part:
                    case "books":
                        _books(large)
                    case "lists":
                        _lists(large)
                    case "issuing":
                        _issuing(small, large, wanted)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.size", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--invoices", type=int, default=1_000_000)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--rounds", type=int, default=9, help="of issuing, on each size")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the database lies")
    parser.add_argument("--kept", type=Path, help="a folder that is filled once and used again")
    return parser.parse_args()


# ---- Two databases ----


@contextmanager
def _folder(wanted: argparse.Namespace) -> Iterator[Path]:
    folder = wanted.kept or Path(tempfile.mkdtemp(prefix="clinic-bench-", dir=wanted.folder))
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)  # started by root, the server runs under an account that must pass through
    try:
        yield folder
    finally:
        if not wanted.kept:
            shutil.rmtree(folder, ignore_errors=True)


def _bindir() -> Path | None:
    return Path(given) if (given := os.environ.get("PG_BINDIR")) else None


def _name(count: int) -> str:
    return f"books_{count}"


def _urls(cluster: Cluster, name: str) -> Urls:
    return Urls(cluster.owner_url(name), cluster.app_url(name))


def _make_sure(folder: Path, count: int) -> None:
    """Fill a database of that many invoices; one that is there is brought up to date."""
    with Cluster(folder, bindir=_bindir(), fast=True, connections=60) as cluster:
        with psycopg.connect(cluster.owner_url("postgres"), autocommit=True) as conn:
            if conn.execute("SELECT true FROM pg_database WHERE datname = %s", (_name(count),)).fetchone():
                migrate.run(cluster.owner_url(_name(count)))
                return
            conn.execute("DROP DATABASE IF EXISTS filling WITH (FORCE)")
            conn.execute("CREATE DATABASE filling")
        urls = _urls(cluster, "filling")
        migrate.run(urls.owner)
        begun = time.monotonic()
        with machine.application(urls) as app:
            filled.fill(urls, app, machine.key(), count, lambda said: print(f"  {said}", flush=True))
        with psycopg.connect(cluster.owner_url("postgres"), autocommit=True) as conn:
            conn.execute(f"ALTER DATABASE filling RENAME TO {_name(count)}".encode())
        print(f"{count} invoices filled in {time.monotonic() - begun:.0f} s", flush=True)


# ---- The books ----


def _books(large: Urls) -> None:
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "wsgi.py", "check-books"], cwd=CHECKOUT, env=_environment(large), check=False
    )
    seconds = time.monotonic() - begun
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"check-books: {seconds:.0f} s, {peak:.0f} MB at most, status {done.returncode}")


def _environment(urls: Urls) -> dict[str, str]:
    ours = {name: text for name, text in os.environ.items() if not name.startswith(("CLINIC_", "DATABASE_"))}
    return ours | {"DATABASE_URL": urls.owner, "CLINIC_SECRET_KEY": "b" * 32, "CLINIC_REQUESTS_PER_MINUTE": "0"}


# ---- Lists ----

_RUNS = 15
_DAY = date(2026, 6, 1)  # of the year in which the books were filled; another one has no rows there
_FILTERS: dict[str, list[dict[str, Any]]] = {
    "invoices": [
        {}, {"status": "issued"}, {"status": "cancelled"}, {"status": "draft"}, {"payment_status": "unpaid"},
        {"payment_status": "partially_paid"}, {"payment_status": "paid"}, {"payment_status": "settled"},
        {"payer": "P-17"}, {"payer": "P-17", "payment_status": "unpaid"}, {"patient": "P-18"},
        *({who: "INS-1", **state} for who in ("payer", "patient") for state in (
            {}, {"status": "issued"}, {"status": "cancelled"}, {"payment_status": "unpaid"},
            {"payment_status": "partially_paid"}, {"payment_status": "paid"}, {"payment_status": "settled"},
        )),
        {"number": "2026-000777"},
        {"since": _DAY, "until": _DAY}, {"status": "cancelled", "since": _DAY, "until": _DAY},
    ],
    "quotes": [
        {}, {"status": "draft"}, {"status": "sent"}, {"status": "accepted"}, {"status": "invoiced"},
        {"status": "declined"}, {"status": "expired"}, {"patient": "P-17"}, {"patient": "INS-1"},
        *({"patient": "INS-1", "status": status} for status in ("draft", "sent", "accepted", "invoiced", "expired")),
        {"code": "0000000FF"}, {"since": _DAY, "until": _DAY}, {"status": "accepted", "since": _DAY, "until": _DAY},
    ],
    "payments": [
        {}, {"tender": "cash"}, {"tender": "card"}, {"payer": "P-17"}, {"payer": "INS-1"},
        *({"payer": "INS-1", "tender": tender} for tender in ("cash", "card", "transfer")), {"source": "terminal-4"},
        {"source": "terminal-4", "external_ref": "400004"}, {"since": _DAY, "until": _DAY},
    ],
}  # fmt: skip
_TABLES = {
    "invoices": ("invoice", "date", "id"),
    "quotes": ("quote_revision", "date", "quote_id"),
    "payments": ("payment", "received_on", "id"),
}


def _lists(large: Urls) -> None:
    """Milliseconds of a page of 50 as JSON, in times of its rows alone, by their index, in pgbench."""
    pgbench, slow = find_pgbench(), 0
    nowhere = replace(COMMAND_LINE, branch_id=uuid4())
    print(f"{'a page of 50':<60}{'ms':>7}{'pgbench':>9}{'ratio':>7}")
    db.open_pool(large.app, size=1)
    try:
        for name, filters in _FILTERS.items():
            for depth, behind in _depths(large, name).items():
                ceiling = _ceiling_ms(pgbench, large, name, behind)
                for actor, given in [*((COMMAND_LINE, each) for each in filters), (nowhere, {})]:
                    ms = _median_ms(name, actor, given, behind)
                    told = " ".join(f"{filter_}={value}" for filter_, value in given.items())
                    told = told or ("all" if actor is COMMAND_LINE else "of a branch without any")
                    print(f"{name + ', ' + depth + ': ' + told:<60}{ms:>7.1f}{ceiling:>9.2f}{ms / ceiling:>7.1f}")
                    slow += ms > GOAL_MS
    finally:
        db.close_pool()
    print(f"goal: under {GOAL_MS:.0f} ms; {slow} were above")


def _depths(urls: Urls, name: str) -> dict[str, list[str] | None]:
    """Places in the list: behind which a page begins."""
    table, day, id_ = _TABLES[name]
    sql = f"SELECT {day}::text, {id_}::text FROM {table} ORDER BY {day} {{0}}, {id_} {{0}} OFFSET {{1}} LIMIT 1"
    with psycopg.connect(urls.owner) as conn:
        (count,) = conn.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()[0]
        middle, end = (
            list(conn.execute(sql.format(*each).encode()).fetchall()[0]) for each in (("DESC", count // 2), ("ASC", 60))
        )
    return {"beginning": None, "middle": middle, "end": end}


def _median_ms(name: str, actor: Actor, given: dict[str, Any], behind: list[str] | None) -> float:
    times = []
    for _ in range(_RUNS):
        begun = time.perf_counter()
        with db.seeing(actor.branch_id), db.transaction() as conn:
            dumped(_page(conn, name, actor, given | {"limit": 50}, behind))
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


def _page(conn: db.Connection, name: str, actor: Actor, given: dict[str, Any], behind: list[str] | None) -> Any:
    if name == "payments":
        return {"items": [payments.as_json(each) for each in payments.page(conn, actor, given, behind)]}
    if name == "quotes":
        found = quotes.page(conn, actor, given, behind)
        of_quotes = quotes.lines_of(conn, found)
        return {"items": [quotes.as_json(each, of_quotes[each.id]) for each in found]}
    rows = invoices.page(conn, actor, given, behind)
    lines = invoices.lines_of(conn, [each.id for each in rows])
    return {"items": [invoices.as_json(each, lines[each.id]) for each in rows]}


def _ceiling_ms(pgbench: Path, urls: Urls, name: str, behind: list[str] | None) -> float:
    table, day, id_ = _TABLES[name]
    newest = " AND newest" if name == "quotes" else ""
    where = f"({day}, {id_}) < ('{behind[0]}', '{behind[1]}')" if behind else "true"
    sql = f"SELECT * FROM {table} WHERE {where}{newest} ORDER BY {day} DESC, {id_} DESC LIMIT 51;"
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(sql)
        script.flush()
        command: list[str | Path] = [
            pgbench,
            "-n",
            "-M",
            "prepared",
            "-c",
            "1",
            "-t",
            "200",
            "-f",
            script.name,
            urls.app,
        ]
        env = os.environ | {"PGOPTIONS": "-c clinic.branch=*"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    latency = re.search(r"^latency average = ([0-9.]+) ms", done.stdout, re.MULTILINE)
    if latency is None:
        raise SystemExit(f"pgbench failed:\n{done.stdout}{done.stderr}")
    return float(latency[1])


# ---- Issuing ----


def _issuing(small: Urls, large: Urls, wanted: argparse.Namespace) -> None:
    """Rounds on both sizes in turn; each makes its quotes first, which is not timed."""
    rates: dict[str, list[float]] = {"small": [], "large": []}
    with (
        machine.serving("wsgi:app", small, "/health/ready") as of_small,
        machine.serving("wsgi:app", large, "/health/ready") as of_large,
    ):
        callers = {"small": (of_small, _key(small)), "large": (of_large, _key(large))}
        for round_ in range(wanted.rounds + 1):
            for name, (address, secret) in callers.items():
                rate = _issued_per_second(address, secret)
                if round_:  # the first one warms up
                    rates[name].append(rate)
    less, more = (statistics.median(rates[name]) for name in ("small", "large"))
    print(
        f"issued per second: {less:.0f} at {SMALL} invoices, {more:.0f} at {wanted.invoices}, ratio {less / more:.2f}"
    )
    spread = ", ".join(f"{a:.0f}/{b:.0f}" for a, b in zip(*rates.values(), strict=True))
    print(f"rounds: {spread}; goal: ratio of at most {GOAL_RATIO}")


def _key(urls: Urls) -> str:
    db.open_pool(urls.app, size=1)
    try:
        return machine.key()
    finally:
        db.close_pool()


def _issued_per_second(address: load.Address, secret: str) -> float:
    made = [uuid4() for _ in range(_ROUND)]
    _ask(address, secret, (("/v1/quotes", {**QUOTE, "id": str(each)}) for each in made))
    return _ask(address, secret, ((f"/v1/quotes/{each}/invoice", INVOICE) for each in made))


_ROUND = 300
"""Invoices of a round."""


def _ask(address: load.Address, secret: str, wanted: Iterable[tuple[str, Any]]) -> float:
    """All answered 201; how many per second."""
    requests = [
        load.request("POST", path, dumped(body), Authorization=f"Bearer {secret}", Idempotency_Key=uuid4().hex)
        for path, body in wanted
    ]
    return load.run(address, 201, requests, CALLERS).rate


if __name__ == "__main__":
    main()
