"""The books check themselves: what a wrong hand changes on the disk is named, and nothing else is."""

from __future__ import annotations

import psycopg
import pytest

from billing import books
from billing.book_checks import CHECKS
from clinic import db
from tests.given import line, made

REASON = {"reason": "Ошибка"}


@pytest.fixture
def kept(clinic):
    """A clinic with every kind of document, in every state."""
    quote = clinic.quote(("ONC-CONS-1", "candidate"), {"article": "CT-ABD-RP", "quantity": "3"})
    clinic.invoice(quote, lines=[{"position": 2, "quantity": "1"}])
    rendered = clinic.invoice(clinic.quote(("MRI-ABD-RP", None)))
    made(clinic.post(f"/v1/invoices/{rendered['id']}/acts", {}))
    cancelled = clinic.invoice(clinic.quote(("CT-ABD-RP", None)))
    made(clinic.post(f"/v1/invoices/{cancelled['id']}/cancel", REASON))
    discarded = clinic.draft(("CT-ABD-RP", None))
    made(clinic.post(f"/v1/invoices/{discarded['id']}/discard"))
    clinic.draft(("CT-ABD-RP", None))
    made(clinic.post("/v1/quotes", {"lines": [line("MRI-ABD-RP")]}))
    return clinic


def verdict(opened):
    db.open_pool(opened.owner, size=1, command_line=True)
    with db.moment() as conn:
        return books.check(conn)


def test_books_that_are_right_are_whole(kept, opened):
    found = verdict(opened)
    assert (found.whole, found.offenders) == (True, [])
    assert found.events == len(kept.events())


def test_progress_comes_to_its_end(kept, opened):
    told = []
    db.open_pool(opened.owner, size=1, command_line=True)
    with db.moment() as conn:
        books.check(conn, lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] == len(told)


OFFENCES = {
    "lines_add_up": "UPDATE invoice SET subtotal = subtotal + 1, total = total + 1 WHERE status = 'draft'",
    "vat_of_lines": "UPDATE invoice_line SET vat_rate = 22, vat_amount = 1",
    "invoice_hash": "UPDATE invoice_line SET name_ru = 'Другая услуга'",
    "credited": "DELETE FROM credit_note",
    "paid_and_credited": "UPDATE invoice SET credited = 0 WHERE status = 'cancelled'",
    "rendered": "UPDATE act_line SET quantity = quantity + 1",
    "invoice_in_journal": "DELETE FROM journal WHERE type = 'invoice.issued'",
    "journal_without_document": """
        DELETE FROM invoice_line USING invoice WHERE invoice.id = invoice_id AND status = 'draft';
        DELETE FROM invoice WHERE status = 'draft'""",
    "credit_note_in_journal": "DELETE FROM journal WHERE type = 'credit_note.issued'",
    "act": "UPDATE act SET total = total + 1",
    "quote_adds_up": "UPDATE quote_line SET amount = amount - 1, discount = discount + 1",
    "quote_invoiced": "UPDATE quote_line SET invoiced_quantity = quantity",
    "journal_chain": "UPDATE journal SET data = '{}' WHERE type = 'quote.created'",
    "numbers": "UPDATE number_series SET next_no = next_no + 1",
}


def test_every_question_has_an_offence_that_answers_it():
    assert {each.name for each in CHECKS} <= OFFENCES.keys()


@pytest.mark.parametrize("check", OFFENCES)
def test_what_a_wrong_hand_changed_is_named(kept, opened, check):
    with psycopg.connect(opened.owner, autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")  # a superuser past every trigger
        owner.execute(OFFENCES[check])
    assert check in {each.check for each in verdict(opened).offenders}


@pytest.mark.parametrize("lost", ["position = 2", "position = (SELECT position FROM journal_head)"])
def test_a_row_missing_from_the_journal_is_named(kept, opened, lost, monkeypatch):
    monkeypatch.setattr("clinic.journal.SPAN", 2)
    with psycopg.connect(opened.owner, autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute(f"DELETE FROM journal WHERE {lost}")
    assert "journal_chain" in {each.check for each in verdict(opened).offenders}
