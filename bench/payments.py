"""How long lists of payments and balances of payers take among 300,000 payments; no question may need 20 ms.

    .venv/bin/python -m bench.payments

Half of the payments are of ordinary payers with a handful each; an insurer has 5,000. The times are those of the
functions the routes call, with their rows read: medians of the runs of each question.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from bench import machine
from billing import balances, invoices, payments, shifts
from clinic import db
from clinic.auth import COMMAND_LINE

GOAL_MS = 20.0
RUNS = 15
_FILL = """
SET session_replication_role = replica;
CREATE FUNCTION pg_temp.at(kind text, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
  $$ SELECT ('0197' || kind || '-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$;
INSERT INTO party (id, ref, name, salt, digest)
SELECT pg_temp.at('aaaa', n), payer, 'X', 'x', 'x'
  FROM generate_series(1, {payments}) AS n
 CROSS JOIN LATERAL (SELECT CASE WHEN n % 60 = 0 THEN 'INS-1' ELSE 'P-' || n % 40000 END AS payer) AS named;
INSERT INTO number_series (id, branch_id, kind, year, prefix)
SELECT pg_temp.at('bbbb', 1), id, 'invoice', 2026, '' FROM branch;
INSERT INTO invoice (id, branch_id, status, series_id, sequence, number, date, issued_at, supplier, payer_party,
                     payer_ref, payer, price_list, subtotal, discount, total, paid, content_sha256, created_at,
                     created_by, updated_at)
SELECT pg_temp.at('cccc', n), branch.id, 'issued', pg_temp.at('bbbb', 1), n, '2026-' || n,
       date '2024-01-01' + (n / 300)::int, now(), '{{}}', party.id, party.ref, '{{"kind": "person"}}', 'base', 100, 0,
       100, CASE WHEN n % 50 = 0 THEN 40 ELSE 100 END, 'x', now(), 'x', now()
  FROM generate_series(1, {payments}) AS n, branch, party WHERE party.id = pg_temp.at('aaaa', n);
INSERT INTO shift (id, branch_id, desk, opening_cash, opened_at, opened_by, closed_at, closed_by, counted_cash)
SELECT pg_temp.at('dddd', n), branch.id, 'Касса ' || n % 3, 0, timestamptz '2024-01-01' + n * interval '8 hours', 'x',
       now(), 'x', 0
  FROM generate_series(0, {payments} / 100) AS n, branch;
INSERT INTO payment (id, branch_id, payer_party, payer_ref, payer, tender, amount, source, external_ref, asked_sha256,
                     received_on, shift_id, allocated, created_at, created_by)
SELECT pg_temp.at('eeee', n), branch.id, party.id, party.ref, '{{"kind": "person"}}',
       CASE WHEN n % 500 = 0 THEN 'online' WHEN n % 3 = 0 THEN 'cash' ELSE 'card' END, 110,
       CASE WHEN n % 2 = 0 THEN 'terminal-' || n % 8 END, CASE WHEN n % 2 = 0 THEN n::text END,
       CASE WHEN n % 2 = 0 THEN 'x'::bytea END, date '2024-01-01' + (n / 300)::int, pg_temp.at('dddd', n / 100),
       CASE WHEN n % 50 = 0 THEN 40 ELSE 100 END, now(), 'x'
  FROM generate_series(1, {payments}) AS n, branch, party WHERE party.id = pg_temp.at('aaaa', n);
INSERT INTO payment_allocation (id, payment_id, invoice_id, kind, amount, on_behalf, created_at, created_by)
SELECT pg_temp.at('ffff', n), pg_temp.at('eeee', n), pg_temp.at('cccc', n), 'payment',
       CASE WHEN n % 50 = 0 THEN 40 ELSE 100 END, false, now(), 'x'
  FROM generate_series(1, {payments}) AS n;
"""


def main() -> None:
    wanted = _arguments()
    with machine.database(wanted.folder, fast=True) as urls, machine.application(urls):
        with psycopg.connect(urls.owner, autocommit=True) as conn:
            conn.execute(_FILL.format(payments=wanted.payments).encode())
            conn.execute("VACUUM ANALYZE")
        slow = [name for name, ask in _questions().items() if _median_ms(name, ask) > GOAL_MS]
    if slow:
        sys.exit(f"slower than {GOAL_MS} ms: {', '.join(slow)}")


def _questions() -> dict[str, Callable[[db.Connection], Any]]:
    def listed(behind: list[str] | None = None, **filters: Any) -> Callable[[db.Connection], Any]:
        return lambda conn: payments.page(conn, COMMAND_LINE, filters | {"limit": 50}, behind)

    deep = ["2025-01-01", "0197eeee-0000-7000-8000-000000000001"]
    return {
        "list, all": listed(),
        "list, far behind": listed(deep),
        "list, payer": listed(payer="P-17"),
        "list, insurer": listed(payer="INS-1"),
        "list, rare tender": listed(tender="online"),
        "list, tender and days": listed(tender="cash", since="2024-06-01", until="2024-06-30"),
        "list, slip": listed(source="terminal-4", external_ref="29604"),
        "list, source": listed(source="terminal-4"),
        "list, shift": listed(shift="0197dddd-0000-7000-8000-0000000000aa"),
        "list, nobody": listed(payer="P-99999"),
        "payment": lambda conn: payments.of_ids(conn, [_id("eeee", 4711)]),
        "payments of an invoice": lambda conn: payments.of_invoice(conn, _id("cccc", 4711)),
        "shift": lambda conn: shifts.get(conn, COMMAND_LINE, _id("dddd", 170)),
        "list of shifts": lambda conn: shifts.page(conn, COMMAND_LINE, {"limit": 50}, None),
        "balance, payer": lambda conn: balances.of_payer(conn, COMMAND_LINE, "P-17"),
        "balance, insurer": lambda conn: balances.of_payer(conn, COMMAND_LINE, "INS-1"),
        "invoices, owed by payer": lambda conn: invoices.page(
            conn, COMMAND_LINE, {"payer": "INS-1", "payment_status": "partially_paid", "limit": 50}, None
        ),
    }


def _id(kind: str, number: int) -> Any:
    return f"0197{kind}-0000-7000-8000-{number:012x}"


def _median_ms(name: str, ask: Callable[[db.Connection], Any]) -> float:
    times = []
    with db.seeing(None), db.reading() as conn:
        for _ in range(RUNS):
            begun = time.perf_counter()
            ask(conn)
            times.append((time.perf_counter() - begun) * 1000)
    median = statistics.median(times)
    print(f"{name:28} {median:8.2f} ms")
    return median


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--payments", type=int, default=300_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    return parser.parse_args()


if __name__ == "__main__":
    main()
