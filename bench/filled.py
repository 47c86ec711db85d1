"""A clinic of as many invoices as wanted, whose books are right: sums, hashes, numbers and the chain of the journal.

A few documents are made through the service; the owner copies them, with every event the service wrote of them. Hashes
are taken by the functions the service's own triggers call, and each event is linked to the one before. Of N quotes half
are invoiced, the others sent, declined or drafts; of N invoices half are direct; N payments pay them, or a part of
them, are advances, or were given back; every fiftieth invoice is cancelled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import psycopg

from catalog import sample
from clinic import clock
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.embedded import Urls
from clinic.http import App

TOTAL = "19300.00"
"""What each invoice comes to, in rubles."""
_LINES = [{"article": "ONC-CONS-1", "doctor_rank": "candidate"}, {"article": "CT-ABD-RP-BOLUS"}]
_PATIENT = {"id": "P-0", "name": "Иванова Анна Петровна"}
_PAYER = {"kind": "person", "ref": "P-0", "name": "Иванова Анна Петровна"}
_BATCH = 20_000
# Which number is cancelled, unpaid and so on; a cancelled invoice is a direct one.
_CANCELLED, _UNPAID, _PART_PAID = "n % 50 = 7", "n % 10 = 3", "n % 10 = 4"
_FUNCTIONS = """
SET session_replication_role = replica;
CREATE FUNCTION bench_id(kind text, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
  $$ SELECT ('019b' || kind || '-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$;
CREATE FUNCTION bench_ref(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
  $$ SELECT CASE WHEN n % 60 = 0 THEN 'INS-1' ELSE 'P-' || n % 40000 END $$;
CREATE FUNCTION bench_day(n bigint) RETURNS date LANGUAGE sql IMMUTABLE AS
  $$ SELECT date '{first_day}' + (n * {days} / {count})::int $$;
CREATE FUNCTION bench_number(before text, n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
  $$ SELECT before || lpad(n::text, greatest(6, length(n::text)), '0') $$;
CREATE FUNCTION bench_link(linked bytea, before bytea, entry journal) RETURNS bytea LANGUAGE sql STABLE AS
  $$ SELECT journal_digest(coalesce(linked, before), entry) $$;
CREATE AGGREGATE bench_chain(bytea, journal) (SFUNC = bench_link, STYPE = bytea);
"""
_SERIES = "(SELECT prefix || year || '-' FROM number_series WHERE kind = '{kind}')"


@dataclass(frozen=True)
class Originals:
    """Ids of the documents that are copied."""

    invoiced: str
    sent: str
    declined: str
    draft: str
    of_quote: str
    direct: str
    cancelled: str
    credit_note: str
    paid: str
    part_paid: str
    advance: str
    given_back: str


def fill(urls: Urls, app: App, secret: str, count: int, tell: Callable[[str], None] = lambda _: None) -> None:
    """Make the books of this empty clinic `count` invoices thick, dated from New Year to today.

    Args:
        app: the service on this database, in this process; `secret` is a key that may do everything.
        tell: hears what is done, as it is done.
    """
    today = clock.today()
    new_year = date(today.year, 1, 1)
    with clock.frozen(datetime(today.year, 1, 1, 9, tzinfo=UTC)):
        with change(COMMAND_LINE) as made:
            sample.load(made)
        of = _originals(urls, app, secret)
    with psycopg.connect(urls.owner, autocommit=True) as conn:
        functions = _FUNCTIONS.format(first_day=new_year, days=(today - new_year).days, count=count)
        conn.execute(functions.encode())
        before = {table: _count(conn, table) for table in ("invoice", "credit_note")}
        for table, members, source in _copies(of, before):
            begun = time.monotonic()
            _copy(conn, table, members, source, count)
            tell(f"{table}: {time.monotonic() - begun:.0f} s")
        begun = time.monotonic()
        _tell_the_journal(conn, of, before, count)
        tell(f"journal: {time.monotonic() - begun:.0f} s")
        conn.execute(_MOVE_SERIES.encode())
        conn.execute("DROP AGGREGATE bench_chain(bytea, journal)")
        conn.execute("DROP FUNCTION bench_link, bench_id, bench_ref, bench_day, bench_number")
        conn.execute("VACUUM ANALYZE")
        conn.execute("CHECKPOINT")


def _count(conn: psycopg.Connection[Any], table: str) -> int:
    return int(conn.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()[0][0])


# ---- What is copied ----


def _originals(urls: Urls, app: App, secret: str) -> Originals:
    def ask(path: str, body: Any) -> Any:
        headers = {"Authorization": f"Bearer {secret}", "Idempotency-Key": uuid4().hex}
        answer = app.test_client().post(path, json=body, headers=headers)
        if answer.status_code not in (200, 201):
            raise SystemExit(f"{path} answered {answer.status_code}: {answer.text}")
        return answer.get_json()

    def quote(then: str | None = None) -> str:
        made = ask("/v1/quotes", {"lines": _LINES, "patient": _PATIENT})
        if then:
            ask(f"/v1/quotes/{made['id']}/{then}", {})
        return str(made["id"])

    def direct() -> str:
        made = ask("/v1/invoices", {"lines": _LINES, "payer": _PAYER})
        return str(ask(f"/v1/invoices/{made['id']}/issue", {})["id"])

    def payment(amount: str, *for_: str) -> str:
        allocations = [{"invoice": each} for each in for_]
        body = {"payer": _PAYER, "tender": "transfer", "amount": amount, "allocations": allocations}
        return str(ask("/v1/payments", body | {"source": "bank", "external_ref": uuid4().hex})["id"])

    invoiced, of_direct, cancelled = quote(), direct(), direct()
    of_quote = ask(f"/v1/quotes/{invoiced}/invoice", {"payer": _PAYER, "issue": True})
    given_back = payment("100.00")
    ask(f"/v1/payments/{given_back}/refunds", {"amount": "100.00", "reason_code": "mistake", "reason": "Ошибка"})
    part_paid, paid = payment("100.00", of_direct), payment(TOTAL, of_quote["id"])
    ask(f"/v1/invoices/{cancelled}/cancel", {"reason": "Ошибка"})
    with psycopg.connect(urls.owner) as conn:
        (note,) = conn.execute("SELECT id::text FROM credit_note").fetchall()[0]
    if of_quote["totals"]["total"] != TOTAL:
        raise SystemExit(f"the prices of the sample are others now: {of_quote['totals']}")
    return Originals(
        invoiced, quote("send"), quote("decline"), quote(), of_quote["id"], of_direct, cancelled, note, paid, part_paid,
        payment("100.00"), given_back,
    )  # fmt: skip


def _chosen(cases: Mapping[str, str], otherwise: str) -> str:
    """The id of the original of the n-th copy."""
    whens = " ".join(f"WHEN {condition} THEN '{id_}'" for condition, id_ in cases.items())
    return f"(CASE {whens} ELSE '{otherwise}' END)::uuid"


def _quote(of: Originals) -> str:
    return _chosen({"n % 2 = 0": of.invoiced, "n % 20 = 1": of.sent, "n % 20 = 3": of.declined}, of.draft)


def _invoice(of: Originals) -> str:
    return _chosen({"n % 2 = 0": of.of_quote, _CANCELLED: of.cancelled}, of.direct)


def _payment(of: Originals) -> str:
    return _chosen({_CANCELLED: of.given_back, _UNPAID: of.advance, _PART_PAID: of.part_paid}, of.paid)


def _invoice_number(before: Mapping[str, int]) -> str:
    return f"bench_number({_SERIES.format(kind='invoice')}, n + {before['invoice']})"


def _note_number(before: Mapping[str, int]) -> str:
    return f"bench_number({_SERIES.format(kind='credit_note')}, n / 50 + 1 + {before['credit_note']})"


_TENDER = "(ARRAY['transfer', 'card', 'online'])[1 + n % 3]"


def _copies(of: Originals, before: Mapping[str, int]) -> list[tuple[str, dict[str, str], str]]:
    """Table by table: which columns of the n-th copy are its own, and where its original is found."""
    quote, invoice, payment = _quote(of), _invoice(of), _payment(of)
    day = "bench_day(n)"
    patient = "CASE WHEN o.patient_party IS NULL THEN NULL ELSE bench_id('aab0', n) END"
    money = f"CASE WHEN {_CANCELLED} OR {_UNPAID} THEN 0 WHEN {_PART_PAID} THEN 100 ELSE {TOTAL} END"
    parties = {"id": "bench_id('aaa0', n)", "ref": "bench_ref(n)"}
    return [
        ("party", parties, "o.id = (SELECT payer_party FROM invoice ORDER BY id LIMIT 1)"),
        (
            "party",
            parties | {"id": "bench_id('aab0', n)"},
            f"o.id = (SELECT patient_party FROM quote_revision WHERE quote_id = '{of.invoiced}')",
        ),
        ("quote", {"id": "bench_id('bbb0', n)", "code": "lpad(upper(to_hex(n)), 9, '0')"}, f"o.id = {quote}"),
        (
            "quote_revision",
            {
                "quote_id": "bench_id('bbb0', n)",
                "date": day,
                "valid_until": f"{day} + 30",
                "patient_party": "bench_id('aab0', n)",
                "patient_ref": "bench_ref(n)",
            },
            f"o.quote_id = {quote}",
        ),
        ("quote_line", {"quote_id": "bench_id('bbb0', n)"}, f"o.quote_id = {quote}"),
        ("invoice_line", {"invoice_id": "bench_id('ccc0', n)"}, f"o.invoice_id = {invoice}"),
        (
            "invoice",
            {
                "id": "bench_id('ccc0', n)",
                "quote_id": "CASE WHEN o.quote_id IS NULL THEN NULL ELSE bench_id('bbb0', n) END",
                "sequence": f"n + {before['invoice']}",
                "number": _invoice_number(before),
                "date": day,
                "patient_party": patient,
                "patient_ref": "CASE WHEN o.patient_party IS NULL THEN NULL ELSE bench_ref(n) END",
                "payer_party": "bench_id('aaa0', n)",
                "payer_ref": "bench_ref(n)",
                "paid": money,
            },
            f"o.id = {invoice}",
        ),
        (
            "credit_note_line",
            {"credit_note_id": "bench_id('ddd0', n)", "invoice_id": "bench_id('ccc0', n)"},
            f"{_CANCELLED} AND o.credit_note_id = '{of.credit_note}'",
        ),
        (
            "credit_note",
            {
                "id": "bench_id('ddd0', n)",
                "invoice_id": "bench_id('ccc0', n)",
                "sequence": f"n / 50 + 1 + {before['credit_note']}",
                "number": _note_number(before),
                "date": day,
            },
            f"{_CANCELLED} AND o.id = '{of.credit_note}'",
        ),
        (
            "payment",
            {
                "id": "bench_id('eee0', n)",
                "payer_party": "bench_id('aaa0', n)",
                "payer_ref": "bench_ref(n)",
                "tender": _TENDER,
                "source": "'terminal-' || n % 8",
                "external_ref": "n::text",
                "received_on": day,
            },
            f"o.id = {payment}",
        ),
        (
            "payment_allocation",
            {
                "id": "bench_id('fff0', n)",
                "payment_id": "bench_id('eee0', n)",
                "invoice_id": "bench_id('ccc0', n)",
            },
            f"o.payment_id = {payment}",
        ),
        (
            "refund",
            {"id": "bench_id('fff1', n)", "payment_id": "bench_id('eee0', n)", "refunded_on": day},
            f"o.payment_id = {payment}",
        ),
    ]


# ---- How ----

_COLUMNS = """
SELECT attname FROM pg_attribute
 WHERE attrelid = %(table)s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_MOVE_SERIES = """
UPDATE number_series AS series SET next_no = borne.last + 1, last_on = borne.day
  FROM (SELECT series_id, max(sequence) AS last, max(date) AS day FROM invoice GROUP BY series_id
         UNION ALL
        SELECT series_id, max(sequence), max(date) FROM credit_note GROUP BY series_id) AS borne
 WHERE series.id = borne.series_id
"""


_HASHED = ("invoice", "credit_note")


def _columns(conn: psycopg.Connection[Any], table: str) -> list[str]:
    return [name for (name,) in conn.execute(_COLUMNS, {"table": table})]


def _copy(conn: psycopg.Connection[Any], table: str, members: Mapping[str, str], source: str, count: int) -> None:
    known = _columns(conn, table)
    values = ", ".join(members.get(name, f"o.{name}") for name in known)
    rows = f"FROM generate_series(1, {count}::bigint) AS n JOIN original AS o ON {source}"
    if table in _HASHED:
        # The hash comes last, over the row as it will stand; its lines stand already.
        hashed = (f"{table}_digest(copy)" if name == "content_sha256" else f"(copy).{name}" for name in known)
        values, rows = ", ".join(hashed), f"FROM (SELECT ROW({values})::{table} AS copy {rows} OFFSET 0) AS made"
    conn.execute(f"CREATE TEMP TABLE original AS SELECT * FROM {table}".encode())
    conn.execute(f"INSERT INTO {table} ({', '.join(known)}) SELECT {values} {rows}".encode())
    conn.execute("DROP TABLE original")


def _tell_the_journal(conn: psycopg.Connection[Any], of: Originals, before: Mapping[str, int], count: int) -> None:
    """Every event of the originals once more for each copy, each linked to the one before."""
    conn.execute("CREATE TEMP TABLE event AS SELECT * FROM journal")
    known = _columns(conn, "journal")
    members = {
        "position": "place",
        "id": "bench_id('0000', place)",
        "at": "o.at + n * interval '1 second'",
        "object_id": "doc.copy",
        "data": f"""o.data || CASE o.type
            WHEN 'invoice.created' THEN CASE WHEN o.data ? 'quote' THEN jsonb_build_object('quote', bench_id('bbb0', n))
                                             ELSE '{{}}' END
            WHEN 'invoice.issued' THEN jsonb_build_object('number', {_invoice_number(before)}, 'date', bench_day(n))
            WHEN 'invoice.cancelled' THEN jsonb_build_object('credit_note', bench_id('ddd0', n))
            WHEN 'credit_note.issued' THEN jsonb_build_object('number', {_note_number(before)},
                                                              'invoice', bench_id('ccc0', n))
            WHEN 'payment.received' THEN jsonb_build_object('tender', {_TENDER}, 'received_on', bench_day(n))
            WHEN 'payment.allocated' THEN jsonb_build_object('invoice', bench_id('ccc0', n))
            WHEN 'payment.refunded' THEN jsonb_build_object('refund', bench_id('fff1', n))
            ELSE '{{}}' END""",
        "sha256": "NULL",
    }
    entry = ", ".join(members.get(name, f"o.{name}") for name in known)
    linked = ", ".join(
        "bench_chain(head.sha256, entry) OVER (ORDER BY place ROWS UNBOUNDED PRECEDING)"
        if name == "sha256"
        else f"(entry).{name}"
        for name in known
    )
    sql = f"""
        INSERT INTO journal ({", ".join(known)})
        SELECT {linked}
          FROM journal_head AS head,
               (SELECT place, ROW({entry})::journal AS entry
                  FROM (SELECT n, doc.copy, o.position AS original,
                               (SELECT position FROM journal_head) + row_number() OVER (ORDER BY n, o.position) AS place
                          FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
                         CROSS JOIN LATERAL (VALUES
                           ({_quote(of)}, bench_id('bbb0', n)), ({_invoice(of)}, bench_id('ccc0', n)),
                           (CASE WHEN {_CANCELLED} THEN '{of.credit_note}'::uuid END, bench_id('ddd0', n)),
                           ({_payment(of)}, bench_id('eee0', n))) AS doc (original, copy)
                          JOIN event AS o ON o.object_id = doc.original) AS doc
                  JOIN event AS o ON o.position = doc.original OFFSET 0) AS told
        """
    for first in range(1, count + 1, _BATCH):
        with conn.transaction():
            placed = {"first": first, "last": min(first + _BATCH - 1, count)}
            conn.execute(sql.replace("%", "%%").replace("%%(", "%(").encode(), placed)
            conn.execute(
                """
                UPDATE journal_head SET position = journal.position, sha256 = journal.sha256
                  FROM journal WHERE journal.position = (SELECT max(position) FROM journal)
                """
            )
    conn.execute("DROP TABLE event")
