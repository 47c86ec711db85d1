"""The books check themselves: what a wrong hand changes on the disk is named, and nothing else is."""

from __future__ import annotations

import psycopg
import pytest

from billing import books, quote_purge, quote_validity
from clinic import db
from tests import given, given_payers, given_quotes
from tests.given import line, made
from tests.given_money import invoice, paid, payment, refunded

REASON = {"reason": "Ошибка"}


@pytest.fixture
def kept(clinic, opened):
    """A clinic with every kind of document, in every state."""
    quote = clinic.quote(("ONC-CONS-1", "candidate"), {"article": "CT-ABD-RP", "quantity": "3"})
    clinic.invoice(quote, lines=[{"position": 2, "quantity": "1"}])
    rendered = clinic.invoice(clinic.quote(("MRI-ABD-RP", None)))
    made(clinic.post(f"/v1/invoices/{rendered['id']}/acts", {}))
    cancelled = clinic.invoice(clinic.quote(("CT-ABD-RP", None)))
    made(clinic.post(f"/v1/invoices/{cancelled['id']}/cancel", REASON))
    credited = clinic.invoice(clinic.quote({"article": "CT-ABD-RP", "quantity": "3"}, ("MRI-ABD-RP", None)))
    lines = [{"position": 1, "quantity": "1"}, {"position": 2, "amount": "100.00"}]
    made(clinic.post(f"/v1/invoices/{credited['id']}/credit-notes", {"lines": lines, **REASON}))
    discarded = clinic.draft(("CT-ABD-RP", None))
    made(clinic.post(f"/v1/invoices/{discarded['id']}/discard"))
    clinic.draft(("CT-ABD-RP", None))
    sent = made(clinic.post("/v1/quotes", {"lines": [line("MRI-ABD-RP")]}))
    made(clinic.post(f"/v1/quotes/{sent['id']}/send", {}))
    made(clinic.post(f"/v1/quotes/{clinic.quote(('CT-ABD-RP', None))['id']}/decline", {}))
    given_quotes.aged(opened, clinic.quote(("CT-ABD-RP", None), patient={"id": "P-1"}), 100)
    assert quote_purge.purge(90) == 1
    keep_quotes(clinic)
    keep_money(clinic)
    keep_approvals(clinic)
    clinic.invoice(clinic.quote(("CT-ABD-RP", None)), payer=given_payers.INSURER)
    return clinic


def keep_quotes(clinic):
    """Quotes of several revisions, extended, expired, brought back and cancelled."""

    def post(quote, move, **body):
        return made(clinic.post(f"/v1/quotes/{quote['id']}/{move}", body))

    with given.day("2026-11-24"):
        caller = given.caller(clinic.app, "*")
        over, back = (caller.quote(("CT-ABD-RP", None), valid_until="2026-11-24") for _ in range(2))
        made(caller.post(f"/v1/quotes/{back['id']}/send", {}))
    quote_validity.expire()
    post(over, "reprice")
    post(back, "extend", valid_until="2199-01-01", reason="Отпуск")
    post(back, "accept")
    post(back, "revise")
    post(back, "cancel", reason="Ошибка")
    post(back, "revise")


def keep_approvals(clinic):
    """A quote and a direct invoice whose discounts somebody else approved, one of them after a refusal."""
    half = line("CT-ABD-RP", discount_percent="50", discount_reason="goodwill")
    head = given.caller(clinic.app, "*", discount_ceiling=100)
    quote = made(clinic.post("/v1/quotes", {"lines": [half]}))
    made(head.post(f"/v1/quotes/{quote['id']}/refuse-discount", REASON))
    made(head.post(f"/v1/quotes/{quote['id']}/approve", {}))
    clinic.invoice(quote)
    direct = made(clinic.post("/v1/invoices", {"lines": [half], "payer": given.PAYER}))
    made(head.post(f"/v1/invoices/{direct['id']}/approve", {}))
    made(clinic.post(f"/v1/invoices/{direct['id']}/issue", {}))


def keep_money(clinic):
    """Money of every kind and of every way it goes, in a shift that is closed and in one that is open."""
    shift = made(clinic.post("/v1/shifts", {"desk": "Касса 1"}))
    owed, freed = invoice(clinic), invoice(clinic)
    made(paid(clinic, "50.00", (owed, "50.00"), tender="cash"))
    came = payment(clinic, "100.00", (owed, "50.00"), (freed, "20.00"))
    release = [{"invoice": freed["id"], "amount": "20.00"}]
    made(refunded(clinic, came, "30.00", tender="cash", release=release))
    made(clinic.post(f"/v1/shifts/{shift['id']}/close", {"counted": {"cash": "20.00"}}))
    made(clinic.post("/v1/shifts", {"desk": "Касса 1"}))
    made(clinic.post(f"/v1/invoices/{freed['id']}/cancel", REASON))


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


OFFENCES = [
    ("lines_add_up", "UPDATE invoice SET subtotal = subtotal + 1, total = total + 1 WHERE status = 'draft'"),
    ("vat_of_lines", "UPDATE invoice_line SET vat_rate = 22, vat_amount = 1 WHERE credited_amount = 0"),
    ("invoice_hash", "UPDATE invoice_line SET name_ru = 'Другая услуга'"),
    ("credited", "DELETE FROM credit_note"),
    ("credited_lines", "UPDATE invoice_line SET credited_amount = 99 WHERE credited_amount = 100 AND amount > 100"),
    ("credited_lines", "UPDATE credit_note_line SET quantity = quantity + 1 WHERE quantity IS NOT NULL"),
    ("credit_note", "DELETE FROM credit_note_line WHERE position = 2"),
    ("credit_note", "UPDATE credit_note SET reason = 'Другая причина'"),
    ("paid_and_credited", "UPDATE invoice SET credited = 0 WHERE status = 'cancelled'"),
    ("rendered", "UPDATE act_line SET quantity = quantity + 1"),
    ("invoice_in_journal", "DELETE FROM journal WHERE type = 'invoice.issued'"),
    (
        "journal_without_document",
        """
        DELETE FROM invoice_line USING invoice WHERE invoice.id = invoice_id AND status = 'draft';
        DELETE FROM invoice WHERE status = 'draft'""",
    ),
    ("credit_note_in_journal", "DELETE FROM journal WHERE type = 'credit_note.issued'"),
    ("act", "UPDATE act SET total = total + 1"),
    ("quote_adds_up", "UPDATE quote_line SET amount = amount - 1, discount = discount + 1"),
    ("quote_invoiced", "UPDATE quote_line SET invoiced_quantity = quantity"),
    ("quote_in_journal", "DELETE FROM journal WHERE type = 'quote.declined'"),
    ("quote_purged", "DELETE FROM journal WHERE type = 'quote.purged'"),
    ("quote_purged", "UPDATE quote_tombstone SET id = (SELECT id FROM quote LIMIT 1)"),
    ("journal_without_document", "DELETE FROM quote_tombstone"),
    ("quote_in_journal", "DELETE FROM journal WHERE type = 'quote.expired'"),
    ("quote_in_journal", "DELETE FROM journal WHERE type = 'quote.cancelled'"),
    ("quote_revisions", "UPDATE quote_revision SET newest = false WHERE revision = 2"),
    ("quote_revisions", "DELETE FROM journal WHERE type = 'quote.repriced'"),
    (
        "quote_revisions",
        """
        DROP INDEX quote_one_live_revision;
        UPDATE quote_revision SET status = 'sent' WHERE status = 'superseded'""",
    ),
    ("quote_extended", "DELETE FROM journal WHERE type = 'quote.extended'"),
    ("quote_approved", "UPDATE quote_revision SET approval = 'granted' WHERE approval = 'none'"),
    ("quote_approved", "UPDATE quote_line SET discount_reason = 'staff' WHERE discount > 0"),
    ("invoice_approved", "UPDATE discount_approval SET content_sha256 = 'x' WHERE invoice_id IS NOT NULL"),
    ("decision_in_journal", "DELETE FROM journal WHERE type = 'quote.discount_refused'"),
    ("decision_in_journal", "UPDATE discount_approval SET decided_by = 'staff:x' WHERE decision = 'refused'"),
    ("paid", "UPDATE invoice SET paid = paid - 1 WHERE paid > 0"),
    ("payment_adds_up", "UPDATE payment SET allocated = allocated - 1 WHERE allocated > 0"),
    ("allocations", "UPDATE payment_allocation SET amount = amount - 20 WHERE kind = 'release'"),
    ("payment_in_journal", "UPDATE journal SET data = data || '{\"amount\": \"9.00\"}' WHERE type LIKE 'payment.%'"),
    ("shift", "UPDATE payment SET amount = amount + 1 WHERE tender = 'cash'"),
    ("party_digest", "UPDATE party SET name = 'Петрова Анна'"),
    ("journal_chain", "UPDATE journal SET data = '{}' WHERE type = 'quote.created'"),
    ("numbers", "UPDATE number_series SET next_no = next_no + 1"),
    # Somebody who could take the hash anew: what the journal says of the document stays.
    (
        "invoice_in_journal",
        """
        UPDATE invoice_line SET unit_price = 1, gross = 1, discount = 0, document_discount = 0, amount = 1
          FROM invoice WHERE invoice.id = invoice_id AND number IS NOT NULL AND credited = 0;
        UPDATE invoice SET discount = 0, subtotal = lines.amount, total = lines.amount
          FROM (SELECT invoice_id, sum(amount) AS amount FROM invoice_line GROUP BY 1) AS lines
         WHERE invoice_id = id AND number IS NOT NULL AND paid + credited = 0;
        UPDATE invoice SET content_sha256 = invoice_digest(invoice) WHERE number IS NOT NULL""",
    ),
    (
        "paid_and_credited",
        """
        ALTER TABLE invoice DROP CONSTRAINT invoice_check1;
        UPDATE invoice SET paid = total + 1 WHERE paid > 0""",
    ),
    ("credit_note_in_journal", "UPDATE credit_note SET amount = amount - 1"),
    (
        "payment_adds_up",
        "ALTER TABLE payment DROP CONSTRAINT payment_not_overspent; UPDATE payment SET amount = 1 WHERE allocated > 1",
    ),
    ("payment_adds_up", "DELETE FROM refund"),
    ("payment_adds_up", "DELETE FROM payment_allocation WHERE kind = 'release'"),
    ("allocations", "UPDATE payment SET branch_id = gen_random_uuid()"),
    ("payment_in_journal", "DELETE FROM journal WHERE type = 'payment.received'"),
    ("payment_in_journal", "DELETE FROM journal WHERE type = 'payment.released'"),
    ("payment_in_journal", "UPDATE payment SET tender = 'online'"),
    ("shift", "DELETE FROM journal WHERE type = 'shift.closed'"),
    ("shift", "DELETE FROM refund WHERE tender = 'cash'"),
    ("journal_without_document", "DELETE FROM payment"),
    ("journal_without_document", "DELETE FROM quote_line; DELETE FROM quote_revision; DELETE FROM quote"),
    ("quote_in_journal", "UPDATE quote_revision SET status = 'accepted' WHERE status = 'sent'"),
    ("invoice_hash", "UPDATE party SET digest = 'x'"),
    ("numbers", "UPDATE invoice SET date = date - 1 WHERE sequence = 2"),
    ("guarantee_letter", "UPDATE guarantee_letter SET used = used - 1"),
    ("numbers", "UPDATE invoice SET sequence = 100 WHERE sequence = 2"),
]


def test_every_question_has_an_offence_that_answers_it():
    assert {each.name for each in books.CHECKS} <= {check for check, _ in OFFENCES}


@pytest.mark.parametrize(("check", "offence"), OFFENCES)
def test_what_a_wrong_hand_changed_is_named(kept, opened, check, offence):
    with psycopg.connect(opened.owner, autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")  # a superuser past every trigger
        owner.execute(offence.encode())
    assert check in {each.check for each in verdict(opened).offenders}


@pytest.mark.parametrize("lost", ["position = 2", "position = (SELECT position FROM journal_head)"])
def test_a_row_missing_from_the_journal_is_named(kept, opened, lost, monkeypatch):
    monkeypatch.setattr("clinic.journal.SPAN", 2)
    with psycopg.connect(opened.owner, autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute(f"DELETE FROM journal WHERE {lost}")
    assert "journal_chain" in {each.check for each in verdict(opened).offenders}
