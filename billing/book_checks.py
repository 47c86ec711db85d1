"""What is asked of the books: each question must have no answer.

A question is asked of one table's documents in pieces, `id > after AND id <= until`; its rows are (id, what is wrong).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString


@dataclass(frozen=True)
class Check:
    """A question to the documents of one table."""

    name: str
    table: LiteralString
    sql: LiteralString


CHECKS = (
    Check(
        "lines_add_up",
        "invoice",
        """
        SELECT invoice.id, format('subtotal %%s, discount %%s, total %%s, but its lines come to %%s, %%s, %%s',
                                  invoice.subtotal, invoice.discount, invoice.total, line.gross, line.discount,
                                  line.amount)
          FROM invoice
          LEFT JOIN LATERAL (
            SELECT sum(gross) AS gross, sum(discount + document_discount) AS discount, sum(amount) AS amount
              FROM invoice_line WHERE invoice_id = invoice.id) AS line ON true
         WHERE invoice.id > %(after)s::uuid AND invoice.id <= %(until)s::uuid
           AND (line.gross, line.discount, line.amount)
               IS DISTINCT FROM (invoice.subtotal, invoice.discount, invoice.total)
        """,
    ),
    Check(
        "vat_of_lines",
        "invoice",
        """
        SELECT invoice_id, format('line %%s has VAT %%s of %%s at %%s %%%%', position, vat_amount, amount, vat_rate)
          FROM invoice_line
         WHERE invoice_id > %(after)s::uuid AND invoice_id <= %(until)s::uuid
           AND vat_amount <> round(amount * vat_rate / (100 + vat_rate), 2)
        """,
    ),
    Check(
        "invoice_hash",
        "invoice",
        """
        SELECT id, 'what it says is not what was issued as ' || number
          FROM invoice
         WHERE id > %(after)s::uuid AND id <= %(until)s::uuid
           AND number IS NOT NULL AND content_sha256 <> invoice_digest(invoice)
        """,
    ),
    Check(
        "credited",
        "invoice",
        """
        SELECT invoice.id, format('credited %%s, but its credit notes come to %%s', credited, coalesce(note.amount, 0))
          FROM invoice
          LEFT JOIN LATERAL (
            SELECT sum(amount) AS amount FROM credit_note WHERE invoice_id = invoice.id) AS note ON true
         WHERE invoice.id > %(after)s::uuid AND invoice.id <= %(until)s::uuid
           AND credited <> coalesce(note.amount, 0)
        """,
    ),
    Check(
        "credited_lines",
        "invoice",
        """
        SELECT line.invoice_id, format('line %%s: credited %%s, %%s, VAT %%s, but its notes come to %%s, %%s, %%s',
                                       line.position, credited_quantity, credited_amount, credited_vat, note.quantity,
                                       note.amount, note.vat)
          FROM invoice_line AS line
         CROSS JOIN LATERAL (
           SELECT coalesce(sum(quantity), 0) AS quantity, coalesce(sum(amount), 0) AS amount,
                  coalesce(sum(vat_amount), 0) AS vat
             FROM credit_note_line AS note
            WHERE note.invoice_id = line.invoice_id AND note.invoice_position = line.position) AS note
         WHERE line.invoice_id > %(after)s::uuid AND line.invoice_id <= %(until)s::uuid
           AND (credited_quantity, credited_amount, credited_vat) <> (note.quantity, note.amount, note.vat)
        """,
    ),
    Check(
        "credit_note",
        "credit_note",
        """
        SELECT note.id, format('%%s of %%s: its lines come to %%s, its invoice is %%s, or its hash is another one',
                               note.number, note.amount, line.amount, invoice.status)
          FROM credit_note AS note
          LEFT JOIN invoice ON invoice.id = note.invoice_id
          LEFT JOIN LATERAL (
            SELECT sum(amount) AS amount FROM credit_note_line WHERE credit_note_id = note.id) AS line ON true
         WHERE note.id > %(after)s::uuid AND note.id <= %(until)s::uuid
           AND (line.amount IS DISTINCT FROM note.amount OR note.content_sha256 <> credit_note_digest(note)
                OR note.status <> 'issued' OR note.cancels AND invoice.status <> 'cancelled')
        """,
    ),
    Check(
        "guarantee_letter",
        "guarantee_letter",
        # Whoever sees one branch does not see all that is used.
        """
        SELECT letter.id, format('of %%s %%s is used, but its invoices come to %%s', letter.number, used,
                                 issued.amount)
          FROM guarantee_letter AS letter
         CROSS JOIN LATERAL (
           SELECT coalesce(sum(total - credited), 0) AS amount
             FROM invoice
            WHERE invoice.number IS NOT NULL AND payer #>> '{guarantee_letter,number}' IS NOT NULL
              AND payer ->> 'inn' = letter.insurer_inn
              AND payer #>> '{guarantee_letter,number}' = letter.number) AS issued
         WHERE letter.id > %(after)s::uuid AND letter.id <= %(until)s::uuid
           AND current_setting('clinic.branch', true) = '*' AND letter.used <> issued.amount
        """,
    ),
    Check(
        "paid_and_credited",
        "invoice",
        """
        SELECT id, format('paid %%s and credited %%s of %%s', paid, credited, total)
          FROM invoice
         WHERE id > %(after)s::uuid AND id <= %(until)s::uuid
           AND (paid + credited > total OR paid < 0 OR credited < 0 OR (status = 'cancelled' AND credited <> total)
                OR (number IS NULL AND paid + credited > 0))
        """,
    ),
    Check(
        "rendered",
        "invoice",
        """
        SELECT line.invoice_id, format('line %%s: %%s of %%s is rendered', invoiced.position, sum(line.quantity),
                                       invoiced.quantity)
          FROM act_line AS line
          JOIN act ON act.id = line.act_id AND act.status = 'issued'
          JOIN invoice_line AS invoiced
            ON invoiced.invoice_id = line.invoice_id AND invoiced.position = line.invoice_position
         WHERE line.invoice_id > %(after)s::uuid AND line.invoice_id <= %(until)s::uuid
         GROUP BY line.invoice_id, invoiced.position, invoiced.quantity, invoiced.credited_quantity, invoiced.amount
        HAVING sum(line.quantity) > invoiced.quantity - invoiced.credited_quantity
               OR sum(line.amount) > invoiced.amount
        """,
    ),
    Check(
        "invoice_in_journal",
        "invoice",
        """
        SELECT invoice.id, format('is %%s, number %%s, total %%s, but the journal has %%s%%s', invoice.status,
                                  coalesce(invoice.number, '—'), invoice.total,
                                  coalesce(said.types, '—'),
                                  ' ' || said.number || ', ' || said.total)
          FROM invoice
          LEFT JOIN LATERAL (
            SELECT string_agg(type, ', ' ORDER BY position) AS types,
                   min(data ->> 'number') FILTER (WHERE type = 'invoice.issued') AS number,
                   min(data ->> 'total') FILTER (WHERE type = 'invoice.issued') AS total,
                   min(data ->> 'date') FILTER (WHERE type = 'invoice.issued') AS date
              FROM journal
             WHERE object_id = invoice.id
               AND type IN ('invoice.created', 'invoice.issued', 'invoice.cancelled', 'invoice.discarded')) AS said
            ON true
         WHERE invoice.id > %(after)s::uuid AND invoice.id <= %(until)s::uuid
           AND (said.types IS DISTINCT FROM CASE invoice.status
                  WHEN 'draft' THEN 'invoice.created'
                  WHEN 'issued' THEN 'invoice.created, invoice.issued'
                  WHEN 'cancelled' THEN 'invoice.created, invoice.issued, invoice.cancelled'
                  WHEN 'discarded' THEN 'invoice.created, invoice.discarded' END
                OR invoice.number IS NOT NULL
                   AND (said.number, said.total::numeric, said.date::date)
                       IS DISTINCT FROM (invoice.number, invoice.total::numeric, invoice.date))
        """,
    ),
    Check(
        "journal_without_document",
        "journal",
        """
        SELECT said.object_id, format('position %%s is %%s, but there is no such document', said.position, said.type)
          FROM journal AS said
          LEFT JOIN invoice ON invoice.id = said.object_id AND said.type LIKE 'invoice.%%'
          LEFT JOIN credit_note ON credit_note.id = said.object_id AND said.type = 'credit_note.issued'
          LEFT JOIN act ON act.id = said.object_id AND said.type LIKE 'act.%%'
          LEFT JOIN quote ON quote.id = said.object_id AND said.type LIKE 'quote.%%'
          LEFT JOIN quote_tombstone AS purged ON purged.id = said.object_id AND said.type LIKE 'quote.%%'
          LEFT JOIN payment ON payment.id = said.object_id AND said.type LIKE 'payment.%%'
          LEFT JOIN shift ON shift.id = said.object_id AND said.type LIKE 'shift.%%'
         WHERE said.id > %(after)s::uuid AND said.id <= %(until)s::uuid
           AND said.object_type IN ('invoice', 'credit_note', 'act', 'quote', 'payment', 'shift')
           AND coalesce(invoice.id, credit_note.id, act.id, quote.id, purged.id, payment.id, shift.id) IS NULL
        """,
    ),
    Check(
        "credit_note_in_journal",
        "credit_note",
        """
        SELECT id, format('%%s of %%s: the journal does not have it so, once', credit_note.number, credit_note.amount)
          FROM credit_note
          LEFT JOIN LATERAL (
            SELECT count(*) AS times, min(data ->> 'number') AS number, min(data ->> 'amount') AS amount,
                   min(data ->> 'invoice') AS invoice
              FROM journal WHERE object_id = credit_note.id AND type = 'credit_note.issued') AS said ON true
         WHERE id > %(after)s::uuid AND id <= %(until)s::uuid
           AND (said.times, said.number, said.amount::numeric, said.invoice::uuid)
               IS DISTINCT FROM (1, credit_note.number, credit_note.amount::numeric, credit_note.invoice_id)
        """,
    ),
    Check(
        "act",
        "act",
        """
        SELECT act.id, format('total %%s, lines %%s; in the journal: %%s', act.total, line.amount, said.types)
          FROM act
          LEFT JOIN LATERAL (SELECT sum(amount) AS amount FROM act_line WHERE act_id = act.id) AS line ON true
          LEFT JOIN LATERAL (
            SELECT string_agg(type, ', ' ORDER BY position) AS types FROM journal WHERE object_id = act.id) AS said
            ON true
         WHERE act.id > %(after)s::uuid AND act.id <= %(until)s::uuid
           AND (line.amount IS DISTINCT FROM act.total OR act.content_sha256 <> act_digest(act)
                OR said.types IS DISTINCT FROM CASE act.status
                     WHEN 'issued' THEN 'act.issued' WHEN 'cancelled' THEN 'act.issued, act.cancelled' END)
        """,
    ),
    Check(
        "quote_adds_up",
        "quote",
        """
        SELECT revision.quote_id, format('revision %%s: total %%s, but its lines come to %%s', revision.revision,
                                         revision.total, line.amount)
          FROM quote_revision AS revision
          LEFT JOIN LATERAL (
            SELECT sum(gross) AS gross, sum(discount + document_discount) AS discount, sum(amount) AS amount
              FROM quote_line AS line
             WHERE line.quote_id = revision.quote_id AND line.revision = revision.revision) AS line ON true
         WHERE revision.quote_id > %(after)s::uuid AND revision.quote_id <= %(until)s::uuid
           AND (line.gross, line.discount, line.amount)
               IS DISTINCT FROM (revision.subtotal, revision.discount, revision.total)
        """,
    ),
    Check(
        "quote_invoiced",
        "quote",
        """
        SELECT line.quote_id, format('line %%s of revision %%s: %%s is marked as invoiced, invoices have %%s',
                                     line.position, line.revision, line.invoiced_quantity, coalesce(taken.quantity, 0))
          FROM quote_line AS line
          LEFT JOIN LATERAL (
            SELECT sum(invoiced.quantity - invoiced.credited_quantity) AS quantity
              FROM invoice
              JOIN invoice_line AS invoiced ON invoiced.invoice_id = invoice.id
             WHERE invoice.quote_id = line.quote_id AND invoice.quote_revision = line.revision
               AND invoice.status IN ('draft', 'issued') AND invoiced.quote_position = line.position) AS taken ON true
         WHERE line.quote_id > %(after)s::uuid AND line.quote_id <= %(until)s::uuid
           AND line.invoiced_quantity <> coalesce(taken.quantity, 0)
        """,
    ),
    Check(
        "quote_in_journal",
        "quote",
        """
        SELECT revision.quote_id, format('revision %%s is %%s, but the journal has %%s', revision.revision, status,
                                         coalesce(said.types, '—'))
          FROM quote_revision AS revision
          LEFT JOIN LATERAL (
            SELECT string_agg(split_part(type, '.', 2), ', ' ORDER BY position) AS types
              FROM journal
             WHERE object_id = revision.quote_id AND (data ->> 'revision')::int = revision.revision
               AND type IN ('quote.created', 'quote.revised', 'quote.repriced', 'quote.sent', 'quote.accepted',
                            'quote.declined', 'quote.expired', 'quote.cancelled')) AS said ON true
         WHERE revision.quote_id > %(after)s::uuid AND revision.quote_id <= %(until)s::uuid
           -- An expired one may come back by an extension, and a superseded one was any of those that are alive.
           AND (said.types ~ (CASE WHEN revision.revision = 1 THEN '^created' ELSE '^(revised|repriced)' END
                 || '(, expired)*' || CASE status
                      WHEN 'draft' THEN '$'
                      WHEN 'sent' THEN ', sent(, expired)*$'
                      WHEN 'superseded' THEN '(, sent(, expired)*)?(, accepted)?$'
                      ELSE '(, sent(, expired)*)?(, accepted)?(, ' || status || ')$' END)) IS NOT TRUE
        """,
    ),
    Check(
        "quote_revisions",
        "quote",
        """
        SELECT quote.id, format('revisions %%s: newest %%s, alive %%s; the journal has %%s', of_it.numbers,
                                of_it.newest, coalesce(of_it.alive, '—'), coalesce(said.numbers, '—'))
          FROM quote
          LEFT JOIN LATERAL (
            SELECT string_agg(revision::text, ', ' ORDER BY revision) AS numbers, max(revision) AS last,
                   count(*) AS count,
                   string_agg(revision::text, ', ' ORDER BY revision) FILTER (WHERE newest) AS newest,
                   string_agg(revision::text, ', ' ORDER BY revision)
                     FILTER (WHERE status IN ('draft', 'sent', 'accepted')) AS alive
              FROM quote_revision WHERE quote_id = quote.id) AS of_it ON true
          LEFT JOIN LATERAL (
            SELECT string_agg(data ->> 'revision', ', ' ORDER BY position) AS numbers
              FROM journal
             WHERE object_id = quote.id AND type IN ('quote.created', 'quote.revised', 'quote.repriced')) AS said
            ON true
         WHERE quote.id > %(after)s::uuid AND quote.id <= %(until)s::uuid
           AND (of_it.newest IS DISTINCT FROM of_it.last::text OR of_it.count IS DISTINCT FROM of_it.last
                OR of_it.alive <> of_it.newest OR said.numbers IS DISTINCT FROM of_it.numbers)
        """,
    ),
    Check(
        "quote_extended",
        "quote",
        """
        SELECT quote_id, format('revision %%s was extended to %%s, but the journal does not have it once', revision,
                                extended_to)
          FROM quote_extension AS extension
         WHERE quote_id > %(after)s::uuid AND quote_id <= %(until)s::uuid
           AND (SELECT count(*) FROM journal
                 WHERE object_id = quote_id AND type = 'quote.extended'
                   AND (data ->> 'revision')::int = extension.revision
                   AND (data ->> 'valid_until')::date = extended_to) <> 1
        """,
    ),
    Check(
        "quote_purged",
        "quote_tombstone",
        """
        SELECT id, 'it is not purged once in the journal, or a quote or an invoice of it is there'
          FROM quote_tombstone AS purged
         WHERE id > %(after)s::uuid AND id <= %(until)s::uuid
           AND ((SELECT count(*) FROM journal WHERE object_id = purged.id AND type = 'quote.purged') <> 1
                OR EXISTS (SELECT FROM quote WHERE quote.id = purged.id OR quote.code = purged.code)
                OR EXISTS (SELECT FROM invoice WHERE invoice.quote_id = purged.id))
        """,
    ),
)
"""Each must have no rows."""
