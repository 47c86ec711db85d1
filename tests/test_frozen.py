"""Issued documents and the journal against raw SQL: what the application's role tries, and what even the owner does."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors as pg

from clinic.embedded import Cluster
from tests import given_books
from tests.given_books import Books


@pytest.fixture(scope="module")
def books(cluster: Cluster) -> Iterator[Books]:
    with given_books.kept(cluster) as books:
        yield books


NOT_ALLOWED = pg.InsufficientPrivilege
REFUSED = pg.RestrictViolation
# Money of the payment for an invoice, in so many rubles; and a payment, with what is told of it besides.
ALLOCATED = """
INSERT INTO payment_allocation (id, payment_id, invoice_id, kind, amount, on_behalf, created_at, created_by)
VALUES (gen_random_uuid(), %(payment)s, {invoice}, {kind}, {amount}, false, now(), 'x')
"""
RECEIVED = """
INSERT INTO payment (id, branch_id, payer_party, payer_ref, payer, tender, amount, received_on, created_at, created_by
                     {columns})
SELECT gen_random_uuid(), branch_id, payer_party, payer_ref, payer, 'cash', 10, received_on, now(), 'x' {values}
  FROM payment WHERE id = %(payment)s
"""
GIVEN_BACK = """
INSERT INTO refund (id, payment_id, branch_id, tender, amount, reason_code, reason, refunded_on, shift_id, created_at,
                    created_by)
SELECT gen_random_uuid(), id, branch_id, 'cash', {amount}, 'mistake', 'x', received_on, {shift}, now(), 'x'
  FROM payment WHERE id = %(payment)s
"""


def allocated(invoice: str, amount: str, kind: str = "'offset'") -> str:
    return ALLOCATED.format(invoice=invoice, amount=amount, kind=kind)


ATTACKS = {
    # The frozen columns of an issued invoice.
    "another total": (REFUSED, "UPDATE invoice SET total = 1, subtotal = 1 WHERE id = %(issued)s"),
    "another number": (REFUSED, "UPDATE invoice SET number = '2026-999999' WHERE id = %(issued)s"),
    "another date": (REFUSED, "UPDATE invoice SET date = date - 1 WHERE id = %(issued)s"),
    "another payer": (REFUSED, "UPDATE invoice SET payer_ref = 'P-2' WHERE id = %(issued)s"),
    "another supplier": (REFUSED, "UPDATE invoice SET supplier = '{}' WHERE id = %(issued)s"),
    "another comment": (REFUSED, "UPDATE invoice SET comment = 'x' WHERE id = %(issued)s"),
    "another hash": (NOT_ALLOWED, "UPDATE invoice SET content_sha256 = 'x' WHERE id = %(issued)s"),
    "another quote": (NOT_ALLOWED, "UPDATE invoice SET quote_id = NULL WHERE id = %(issued)s"),
    "another branch": (NOT_ALLOWED, "UPDATE invoice SET branch_id = gen_random_uuid() WHERE id = %(issued)s"),
    "a payment out of the air": (NOT_ALLOWED, "UPDATE invoice SET paid = total WHERE id = %(issued)s"),
    "a total while it is cancelled": (
        REFUSED,
        "UPDATE invoice SET status = 'cancelled', total = 1, subtotal = 1 WHERE id = %(issued)s",
    ),
    "a hash while it is issued": (
        NOT_ALLOWED,
        "UPDATE invoice SET status = 'issued', content_sha256 = 'x' WHERE id = %(draft)s",
    ),
    # Its status.
    "back to draft": (REFUSED, "UPDATE invoice SET status = 'draft' WHERE id = %(issued)s"),
    "discarded after issue": (REFUSED, "UPDATE invoice SET status = 'discarded' WHERE id = %(issued)s"),
    "issued once more": (REFUSED, "UPDATE invoice SET status = 'issued' WHERE id = %(cancelled)s"),
    "cancelled before issue": (REFUSED, "UPDATE invoice SET status = 'cancelled' WHERE id = %(draft)s"),
    "issued without a number": (pg.CheckViolation, "UPDATE invoice SET status = 'issued' WHERE id = %(draft)s"),
    "born issued": (
        REFUSED,
        """
        INSERT INTO invoice (id, branch_id, status, series_id, sequence, number, date, issued_at, supplier, payer_party,
                             payer_ref, payer, price_list, subtotal, discount, total, content_sha256, created_at,
                             created_by, updated_at)
        SELECT gen_random_uuid(), branch_id, 'issued', series_id, 99, '2026-000099', date, now(), supplier, payer_party,
               payer_ref, payer, price_list, 0, 0, 0, 'x', now(), 'x', now() FROM invoice WHERE id = %(issued)s
        """,
    ),
    "born paid": (
        REFUSED,
        """
        INSERT INTO invoice (id, branch_id, status, date, payer_party, payer_ref, payer, price_list, subtotal, discount,
                             total, paid, created_at, created_by, updated_at)
        SELECT gen_random_uuid(), branch_id, 'draft', date, payer_party, payer_ref, payer, price_list, 5, 0, 5, 5,
               now(), 'x', now() FROM invoice WHERE id = %(issued)s
        """,
    ),
    "upsert": (
        REFUSED,
        """
        INSERT INTO invoice (id, branch_id, status, date, payer_party, payer_ref, payer, price_list, subtotal, discount,
                             total, created_at, created_by, updated_at)
        SELECT id, branch_id, 'draft', date, payer_party, payer_ref, payer, price_list, 0, 0, 0, now(), 'x', now()
          FROM invoice WHERE id = %(issued)s
            ON CONFLICT (id) DO UPDATE SET status = 'draft', total = 0, subtotal = 0
        """,
    ),
    # Its lines.
    "a line changed": (REFUSED, "UPDATE invoice_line SET vat_rate = 22, vat_amount = 1 WHERE invoice_id = %(issued)s"),
    "a line's amount": (NOT_ALLOWED, "UPDATE invoice_line SET amount = 1 WHERE invoice_id = %(issued)s"),
    "a line removed": (REFUSED, "DELETE FROM invoice_line WHERE invoice_id = %(issued)s"),
    "a line added": (
        REFUSED,
        """
        INSERT INTO invoice_line
        SELECT line.* FROM invoice_line AS old,
               jsonb_populate_record(NULL::invoice_line, to_jsonb(old) || '{"position": 2}') AS line
         WHERE old.invoice_id = %(issued)s
        """,
    ),
    "a line moved to it": (
        NOT_ALLOWED,
        "UPDATE invoice_line SET invoice_id = %(issued)s, position = 2 WHERE invoice_id = %(draft)s",
    ),
    # Accepted quotes.
    "an accepted quote's total": (REFUSED, "UPDATE quote_revision SET total = 1 WHERE quote_id = %(quote)s"),
    "an accepted quote reopened": (
        REFUSED,
        "UPDATE quote_revision SET status = 'draft' WHERE quote_id = %(quote)s",
    ),
    "an accepted quote for longer": (
        REFUSED,
        "UPDATE quote_revision SET valid_until = valid_until + 1 WHERE quote_id = %(quote)s",
    ),
    "a quote superseded under its invoice": (
        REFUSED,
        "UPDATE quote_revision SET status = 'superseded' WHERE quote_id = %(quote)s",
    ),
    "a quote cancelled under its invoice": (
        REFUSED,
        "UPDATE quote_revision SET status = 'cancelled', cancel_reason = 'x' WHERE quote_id = %(quote)s",
    ),
    "an accepted quote's line less": (REFUSED, "DELETE FROM quote_line WHERE quote_id = %(quote)s"),
    "a sent quote for longer without a reason": (
        REFUSED,
        "UPDATE quote_revision SET valid_until = valid_until + 1 WHERE quote_id = %(sent)s",
    ),
    "a sent quote for less long": (
        REFUSED,
        "UPDATE quote_revision SET valid_until = valid_until - 1 WHERE quote_id = %(sent)s",
    ),
    "an extension to an earlier day": (
        pg.CheckViolation,
        """
        INSERT INTO quote_extension SELECT quote_id, revision, valid_until, valid_until - 1, 'x', 'x', now()
          FROM quote_revision WHERE quote_id = %(sent)s
        """,
    ),
    "what an expired quote was": (
        NOT_ALLOWED,
        "UPDATE quote_revision SET expired_from = 'draft' WHERE quote_id = %(sent)s",
    ),
    "a sent quote invoiced": (REFUSED, "UPDATE quote_line SET invoiced_quantity = 1 WHERE quote_id = %(sent)s"),
    "a quote cancelled for no reason": (
        pg.CheckViolation,
        "UPDATE quote_revision SET status = 'cancelled' WHERE quote_id = %(sent)s",
    ),
    "a reason without a cancellation": (
        REFUSED,
        "UPDATE quote_revision SET cancel_reason = 'x' WHERE quote_id = %(sent)s",
    ),
    "a revision born sent": (
        REFUSED,
        """
        INSERT INTO quote_revision SELECT revision.*
          FROM quote_revision AS old,
               jsonb_populate_record(NULL::quote_revision, to_jsonb(old) || '{"revision": 2}') AS revision
         WHERE old.quote_id = %(sent)s
        """,
    ),
    "another quote code": (REFUSED, "UPDATE quote SET code = '0123456789' WHERE id = %(quote)s"),
    "an accepted quote's price": (NOT_ALLOWED, "UPDATE quote_line SET unit_price = 1 WHERE quote_id = %(quote)s"),
    "an accepted quote's line more": (
        REFUSED,
        """
        INSERT INTO quote_line
        SELECT line.* FROM quote_line AS old,
               jsonb_populate_record(NULL::quote_line, to_jsonb(old) || '{"position": 2}') AS line
         WHERE old.quote_id = %(quote)s
        """,
    ),
    "more invoiced than quoted": (
        pg.CheckViolation,
        "UPDATE quote_line SET invoiced_quantity = 2 WHERE quote_id = %(quote)s",
    ),
    # Numbers and credit notes.
    "a number skipped": (REFUSED, "UPDATE number_series SET next_no = next_no + 2"),
    "a number given again": (REFUSED, "UPDATE number_series SET next_no = next_no - 1"),
    "a date put back": (REFUSED, "UPDATE number_series SET last_on = last_on - 1"),
    "another prefix": (NOT_ALLOWED, "UPDATE number_series SET prefix = 'X'"),
    "another credit": (NOT_ALLOWED, "UPDATE credit_note SET amount = 1"),
    # Money.
    "a payment paid out of the air": (NOT_ALLOWED, "UPDATE payment SET allocated = amount WHERE id = %(payment)s"),
    "a refund out of the air": (NOT_ALLOWED, "UPDATE payment SET refunded = 0 WHERE id = %(payment)s"),
    "another amount": (NOT_ALLOWED, "UPDATE payment SET amount = 900 WHERE id = %(payment)s"),
    "another tender": (NOT_ALLOWED, "UPDATE payment SET tender = 'cash' WHERE id = %(payment)s"),
    "another reference": (NOT_ALLOWED, "UPDATE payment SET source = 's', external_ref = 'r' WHERE id = %(payment)s"),
    "another comment on a payment": (REFUSED, "UPDATE payment SET comment = 'x' WHERE id = %(payment)s"),
    "a payment born allocated": (NOT_ALLOWED, RECEIVED.format(columns=", allocated", values=", 10")),
    "a payment born refunded": (NOT_ALLOWED, RECEIVED.format(columns=", refunded", values=", 10")),
    "a payment in a closed shift": (REFUSED, RECEIVED.format(columns=", shift_id", values=", %(closed)s::uuid")),
    "a reference without a source": (pg.CheckViolation, RECEIVED.format(columns=", external_ref", values=", 'r'")),
    "upsert of a payment": (
        NOT_ALLOWED,
        RECEIVED.format(columns="", values="") + " ON CONFLICT (id) DO UPDATE SET amount = 900",
    ),
    "more allocated than was paid": (pg.CheckViolation, allocated("%(issued)s", "130.01")),
    "money for a draft": (REFUSED, allocated("%(draft)s", "1")),
    "money for a cancelled invoice": (REFUSED, allocated("%(cancelled)s", "1")),
    "money for another payer's invoice": (REFUSED, allocated("%(foreign)s", "1")),
    "more taken off than was put on": (pg.CheckViolation, allocated("%(issued)s", "-100.01", "'release'")),
    "taken off where nothing was put": (pg.CheckViolation, allocated("%(foreign)s", "-1", "'release'")),
    "a release that adds": (pg.CheckViolation, allocated("%(issued)s", "1", "'release'")),
    "an allocation of nothing": (pg.CheckViolation, allocated("%(issued)s", "0")),
    "another allocation": (NOT_ALLOWED, "UPDATE payment_allocation SET amount = 1"),
    "upsert of an allocation": (
        NOT_ALLOWED,
        allocated("%(issued)s", "1") + " ON CONFLICT (id) DO UPDATE SET amount = 100",
    ),
    "more given back than is left": (pg.CheckViolation, GIVEN_BACK.format(amount="130.01", shift="NULL")),
    "less than nothing given back": (pg.CheckViolation, GIVEN_BACK.format(amount="-1", shift="NULL")),
    "given back from a closed shift": (REFUSED, GIVEN_BACK.format(amount="1", shift="%(closed)s::uuid")),
    "another refund": (NOT_ALLOWED, "UPDATE refund SET amount = 1"),
    "a shift opened again": (
        REFUSED,
        "UPDATE shift SET closed_at = NULL, closed_by = NULL, counted_cash = NULL WHERE id = %(closed)s",
    ),
    "a shift counted again": (REFUSED, "UPDATE shift SET counted_cash = 1 WHERE id = %(closed)s"),
    "another opening": (NOT_ALLOWED, "UPDATE shift SET opening_cash = 1 WHERE id = %(opened)s"),
    "a second shift at a desk": (
        pg.UniqueViolation,
        """
        INSERT INTO shift (id, branch_id, desk, opening_cash, opened_at, opened_by)
        SELECT gen_random_uuid(), branch_id, desk, 0, now(), 'x' FROM shift WHERE id = %(opened)s
        """,
    ),
    "another reason": (NOT_ALLOWED, "UPDATE refund_reason SET name_en = 'x'"),
    # The journal.
    "a row in the journal": (
        NOT_ALLOWED,
        """
        INSERT INTO journal (position, id, type, version, at, actor, object_type, object_id, data, sha256)
        VALUES (999, gen_random_uuid(), 'x', 1, now(), 'x', 'x', gen_random_uuid(), '{}', 'x')
        """,
    ),
    "another actor": (NOT_ALLOWED, "UPDATE journal SET actor = 'somebody else'"),
    "another head": (NOT_ALLOWED, "UPDATE journal_head SET position = 0"),
    "no head": (NOT_ALLOWED, "DELETE FROM journal_head"),
    # Persons and those who read about them.
    "another name": (NOT_ALLOWED, "UPDATE party SET name = 'Петров Пётр'"),
    "nobody read it": (NOT_ALLOWED, "DELETE FROM access_log"),
    # The guards themselves.
    "a trigger switched off": (NOT_ALLOWED, "ALTER TABLE invoice DISABLE TRIGGER invoice_frozen"),
    "all triggers switched off": (NOT_ALLOWED, "SET session_replication_role = replica"),
    "a trigger of payments switched off": (
        NOT_ALLOWED,
        "ALTER TABLE payment_allocation DISABLE TRIGGER allocation_moves_money",
    ),
    "the mover of money replaced": (
        NOT_ALLOWED,
        "CREATE OR REPLACE FUNCTION refund_moves_money() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    ),
    "a trigger dropped": (NOT_ALLOWED, "DROP TRIGGER invoice_frozen ON invoice"),
    "a guard replaced": (
        NOT_ALLOWED,
        "CREATE OR REPLACE FUNCTION keep_frozen() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    ),
    "a table of the same name": (NOT_ALLOWED, "CREATE TABLE public.invoice_ (id int)"),
    "the owner's role": (NOT_ALLOWED, "SET ROLE clinic_owner"),
}
KEPT = (
    "quote", "quote_revision", "invoice", "number_series", "credit_note", "journal", "payment", "payment_allocation",
    "refund", "shift",
)  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_s36_the_application_cannot(books, name):
    refusal, attack = ATTACKS[name]
    with given_books.undone(books.urls.app) as conn, pytest.raises(refusal):
        conn.execute(attack.encode(), books.ids)


@pytest.mark.parametrize("table", [*KEPT, "invoice_line", "quote_line", "party"])
def test_the_application_deletes_and_empties_nothing(books, table):
    for attack in (f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
        with given_books.undone(books.urls.app) as conn, pytest.raises((NOT_ALLOWED, REFUSED, pg.ForeignKeyViolation)):
            conn.execute(attack.encode())


@pytest.mark.parametrize("name", [name for name, (refusal, _) in ATTACKS.items() if refusal is not NOT_ALLOWED])
def test_triggers_and_constraints_stop_the_owner_too(books, name):
    refusal, attack = ATTACKS[name]
    with given_books.undone(books.urls.owner) as conn, pytest.raises(refusal):
        conn.execute(attack.encode(), books.ids)


@pytest.mark.parametrize(
    "attack",
    [
        *(f"DELETE FROM {table}" for table in KEPT),
        *(f"TRUNCATE {table} CASCADE" for table in (*KEPT, "invoice_line", "quote_line", "party")),
        "DELETE FROM invoice_line WHERE invoice_id = %(issued)s",
        "DELETE FROM quote_line WHERE quote_id = %(quote)s",
        "UPDATE invoice_line SET amount = 1, gross = 1 WHERE invoice_id = %(issued)s",
        "UPDATE invoice SET content_sha256 = 'x' WHERE id = %(issued)s",
        "UPDATE invoice SET quote_id = NULL, quote_revision = NULL WHERE id = %(issued)s",
        "UPDATE quote_revision SET total = 1, subtotal = 1 WHERE quote_id = %(quote)s",
        "UPDATE quote_line SET unit_price = 1 WHERE quote_id = %(quote)s",
        "UPDATE credit_note SET amount = 1",
        "UPDATE payment SET amount = 900 WHERE id = %(payment)s",
        "UPDATE payment SET received_on = received_on - 1 WHERE id = %(payment)s",
        "UPDATE payment_allocation SET amount = 1",
        "UPDATE refund SET amount = 1",
        "UPDATE shift SET opening_cash = 1 WHERE id = %(opened)s",
        "UPDATE journal SET actor = 'somebody else'",
        "UPDATE invoice_line SET invoice_id = %(issued)s, position = 2 WHERE invoice_id = %(draft)s",
        "UPDATE invoice_line SET invoice_id = %(draft)s, position = 2 WHERE invoice_id = %(issued)s",
    ],
)
def test_the_owner_cannot_either(books, attack):
    with given_books.undone(books.urls.owner) as conn, pytest.raises(REFUSED):
        conn.execute(attack.encode(), books.ids)


def test_a_draft_whose_lines_were_moved_cannot_be_committed_as_issued(books):
    """The sums are compared at COMMIT, so nothing in between can cheat them."""
    with psycopg.connect(books.urls.owner) as conn, pytest.raises(pg.CheckViolation, match="do not add up"):
        conn.execute("UPDATE invoice SET subtotal = 1, total = 1 WHERE id = %s", (books.ids["draft"],))
        conn.commit()


TOTALS_WITHOUT_ROWS = {
    "an invoice": "UPDATE invoice SET paid = paid + 1 WHERE id = %(issued)s",
    "what a payment is for": "UPDATE payment SET allocated = allocated + 1 WHERE id = %(payment)s",
    "what was given back": "UPDATE payment SET refunded = refunded + 1 WHERE id = %(payment)s",
}


@pytest.mark.parametrize("name", TOTALS_WITHOUT_ROWS)
def test_not_even_the_owner_commits_totals_that_no_rows_add_up_to(books, name):
    with (
        psycopg.connect(books.urls.owner) as conn,
        pytest.raises(pg.CheckViolation, match=r"add up to|allocations say"),
    ):
        conn.execute(TOTALS_WITHOUT_ROWS[name].encode(), books.ids)
        conn.commit()


def test_not_even_the_owner_commits_rows_that_moved_no_totals(books):
    for table, trigger, attack in (
        ("payment_allocation", "allocation_moves_money", allocated("%(issued)s", "1")),
        ("refund", "refund_moves_money", GIVEN_BACK.format(amount="1", shift="NULL")),
    ):
        with (
            psycopg.connect(books.urls.owner) as conn,
            pytest.raises(pg.CheckViolation, match=r"add up to|allocations say"),
        ):
            conn.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}".encode())
            conn.execute(attack.encode(), books.ids)
            conn.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_an_invoice_is_not_paid_twice_by_raw_rows(books):
    with given_books.undone(books.urls.app) as conn, pytest.raises(pg.CheckViolation, match="invoice_check"):
        conn.execute(RECEIVED.format(columns="", values="").replace("'cash', 10,", "'cash', 9000,").encode(), books.ids)
        conn.execute(
            """
            INSERT INTO payment_allocation (id, payment_id, invoice_id, kind, amount, on_behalf, created_at, created_by)
            SELECT gen_random_uuid(), id, %(issued)s, 'payment', 5100.01, false, now(), 'x'
              FROM payment WHERE amount = 9000
            """,
            books.ids,
        )
