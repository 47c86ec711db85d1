"""What must hold after every step of a life, asked of the database itself; and what the database says of everything."""

from __future__ import annotations

STATE = """
SELECT jsonb_build_object(
  'quotes', (SELECT coalesce(jsonb_object_agg(quote_id || '/' || revision, jsonb_build_array(
      status, approval, invoiced, newest, valid_until, date, subtotal::numeric(15, 2)::text,
      total::numeric(15, 2)::text)), '{}') FROM quote_revision),
  'quote_lines', (SELECT coalesce(jsonb_object_agg(quote_id || '/' || revision, lines), '{}') FROM (
      SELECT quote_id, revision, jsonb_agg(jsonb_build_array(
               article, quantity::numeric(15, 3)::text, unit_price::numeric(15, 2)::text,
               gross::numeric(15, 2)::text, discount::numeric(15, 2)::text, document_discount::numeric(15, 2)::text,
               vat_amount::numeric(15, 2)::text, invoiced_quantity::numeric(15, 3)::text) ORDER BY position) AS lines
        FROM quote_line GROUP BY quote_id, revision) AS line),
  'invoices', (SELECT coalesce(jsonb_object_agg(id, jsonb_build_array(
      status, approval, number, quote_id || '/' || quote_revision, date, subtotal::numeric(15, 2)::text,
      total::numeric(15, 2)::text, paid::numeric(15, 2)::text, credited::numeric(15, 2)::text)), '{}') FROM invoice),
  'invoice_lines', (SELECT coalesce(jsonb_object_agg(invoice_id, lines), '{}') FROM (
      SELECT invoice_id, jsonb_agg(jsonb_build_array(
               article, quantity::numeric(15, 3)::text, unit_price::numeric(15, 2)::text,
               gross::numeric(15, 2)::text, discount::numeric(15, 2)::text, document_discount::numeric(15, 2)::text,
               vat_amount::numeric(15, 2)::text, quote_position, credited_quantity::numeric(15, 3)::text,
               credited_amount::numeric(15, 2)::text, credited_vat::numeric(15, 2)::text) ORDER BY position) AS lines
        FROM invoice_line GROUP BY invoice_id) AS line),
  'payments', (SELECT coalesce(jsonb_object_agg(id, jsonb_build_array(
      amount::numeric(15, 2)::text, allocated::numeric(15, 2)::text, refunded::numeric(15, 2)::text)), '{}')
      FROM payment),
  'notes', (SELECT coalesce(jsonb_object_agg(number, jsonb_build_array(
      invoice_id, cancels, amount::numeric(15, 2)::text, (
        SELECT jsonb_agg(jsonb_build_array(
                 invoice_position, quantity::numeric(15, 3)::text, gross::numeric(15, 2)::text,
                 discount::numeric(15, 2)::text, document_discount::numeric(15, 2)::text,
                 line.amount::numeric(15, 2)::text, vat_amount::numeric(15, 2)::text) ORDER BY position)
          FROM credit_note_line AS line WHERE credit_note_id = credit_note.id))), '{}') FROM credit_note),
  'acts', (SELECT coalesce(jsonb_object_agg(id, jsonb_build_array(
      status, number, total::numeric(15, 2)::text)), '{}') FROM act),
  'decisions', (SELECT coalesce(jsonb_object_agg(document, decisions), '{}') FROM (
      SELECT coalesce(quote_id || '/' || revision, invoice_id::text) AS document, jsonb_agg(jsonb_build_array(
               decision, highest::numeric(15, 2)::text, ceiling,
               (SELECT discount_ceiling FROM api_key WHERE 'key:' || id = author)) ORDER BY place) AS decisions
        FROM discount_approval GROUP BY quote_id, revision, invoice_id) AS decided),
  'series', (SELECT coalesce(jsonb_object_agg(kind || ' ' || year, next_no), '{}') FROM number_series))
"""
INVARIANTS = {
    "I1: numbers are 1…n and dates never go back": """
        SELECT series_id, sequence
          FROM (SELECT series_id, sequence, row_number() OVER series AS place,
                       date < lag(date, 1, date) OVER series AS back
                  FROM (SELECT series_id, sequence, date FROM invoice WHERE number IS NOT NULL
                         UNION ALL SELECT series_id, sequence, date FROM credit_note
                         UNION ALL SELECT series_id, sequence, date FROM act) AS numbered
                WINDOW series AS (PARTITION BY series_id ORDER BY sequence)) AS placed
         WHERE sequence <> place OR back
         UNION ALL
        SELECT id, next_no FROM number_series
         WHERE next_no - 1 <> (SELECT count(*) FROM invoice WHERE series_id = number_series.id)
                            + (SELECT count(*) FROM credit_note WHERE series_id = number_series.id)
                            + (SELECT count(*) FROM act WHERE series_id = number_series.id)""",
    "I2: a document is the sum of its lines, and its VAT is of each line": """
        SELECT id FROM invoice LEFT JOIN LATERAL (
          SELECT sum(gross) AS gross, sum(amount) AS amount,
                 bool_and(vat_amount IS NULL OR vat_amount = round(amount * vat_rate / (100 + vat_rate), 2)) AS taxed
            FROM invoice_line WHERE invoice_id = invoice.id) AS line ON true
         WHERE (subtotal, total) IS DISTINCT FROM (line.gross, line.amount) OR line.taxed IS NOT TRUE
         UNION ALL
        SELECT quote_id FROM quote_revision AS quote LEFT JOIN LATERAL (
          SELECT sum(gross) AS gross, sum(amount) AS amount,
                 bool_and(vat_amount IS NULL OR vat_amount = round(amount * vat_rate / (100 + vat_rate), 2)) AS taxed
            FROM quote_line AS line
           WHERE line.quote_id = quote.quote_id AND line.revision = quote.revision) AS line ON true
         WHERE (subtotal, total) IS DISTINCT FROM (line.gross, line.amount) OR line.taxed IS NOT TRUE""",
    "I3: no more is paid and credited than owed, and what is taken back whole is owed no more": """
        SELECT id FROM invoice WHERE paid < 0 OR credited < 0 OR paid + credited > total
         UNION ALL
        SELECT invoice_id FROM invoice_line
         WHERE credited_amount < 0 OR credited_amount > amount OR credited_vat < 0
            OR credited_quantity = quantity AND (credited_amount, credited_vat) <> (amount, coalesce(vat_amount, 0))
         UNION ALL
        SELECT id FROM invoice JOIN invoice_line ON invoice_id = id
         WHERE status = 'cancelled' AND (credited_quantity < quantity OR paid <> 0)""",
    "I4: running totals are the sums of their rows": """
        SELECT id FROM invoice
         WHERE paid <> (SELECT coalesce(sum(amount), 0) FROM payment_allocation WHERE invoice_id = invoice.id)
            OR credited <> (SELECT coalesce(sum(amount), 0) FROM credit_note WHERE invoice_id = invoice.id)
         UNION ALL
        SELECT id FROM payment
         WHERE allocated <> (SELECT coalesce(sum(amount), 0) FROM payment_allocation WHERE payment_id = payment.id)
            OR refunded <> (SELECT coalesce(sum(amount), 0) FROM refund WHERE payment_id = payment.id)
         UNION ALL
        SELECT quote_id FROM quote_line
         WHERE invoiced_quantity <> (
               SELECT coalesce(sum(line.quantity - line.credited_quantity), 0)
                 FROM invoice JOIN invoice_line AS line ON line.invoice_id = invoice.id
                WHERE invoice.quote_id = quote_line.quote_id AND quote_revision = revision
                  AND quote_position = quote_line.position AND status <> 'discarded')
         UNION ALL
        SELECT invoice_id FROM invoice_line AS line
         WHERE (credited_quantity, credited_amount, credited_vat) <> (
               SELECT coalesce(sum(quantity), 0), coalesce(sum(amount), 0), coalesce(sum(vat_amount), 0)
                 FROM credit_note_line AS note
                WHERE note.invoice_id = line.invoice_id AND invoice_position = line.position)""",
    "I5: a payment is allocated, refunded or an advance": """
        SELECT id FROM payment WHERE allocated < 0 OR refunded < 0 OR allocated + refunded > amount
         UNION ALL
        SELECT payment_id FROM payment_allocation GROUP BY payment_id, invoice_id HAVING sum(amount) < 0""",
    "I6: a quote has one live revision and is never invoiced above itself": """
        SELECT quote_id FROM quote_revision
         GROUP BY quote_id HAVING count(*) FILTER (WHERE status IN ('draft', 'sent', 'accepted')) > 1
                            OR count(*) FILTER (WHERE status IN ('draft', 'sent', 'accepted') AND NOT newest) > 0
                            OR count(*) FILTER (WHERE newest) <> 1
                            OR max(revision) FILTER (WHERE newest) <> count(*)
         UNION ALL
        SELECT quote_id FROM quote_line WHERE invoiced_quantity < 0 OR invoiced_quantity > quantity
         UNION ALL
        SELECT invoice.quote_id
          FROM invoice JOIN invoice_line AS line ON line.invoice_id = invoice.id
          JOIN quote_line AS quoted
            ON quoted.quote_id = invoice.quote_id AND revision = quote_revision AND quoted.position = quote_position
         CROSS JOIN LATERAL (
               SELECT coalesce(sum(quantity), 0) AS quantity,
                      coalesce(sum(gross - discount - document_discount), 0) AS amount
                 FROM credit_note_line AS note
                WHERE note.invoice_id = line.invoice_id AND invoice_position = line.position) AS back
         WHERE status IN ('draft', 'issued')
         GROUP BY invoice.quote_id, quote_revision, quoted.position, quoted.amount, quoted.quantity
        HAVING sum(line.amount - back.amount) > quoted.amount
            OR sum(line.quantity - back.quantity) = quoted.quantity AND sum(line.amount - back.amount) <> quoted.amount
            OR sum(line.quantity - back.quantity) = 0 AND sum(line.amount - back.amount) <> 0""",
    "I7: prices neither overlap nor leave a hole": """
        SELECT id FROM (
          SELECT id, lower(valid) AS since, lag(upper(valid)) OVER priced AS before, row_number() OVER priced AS place
            FROM price WHERE corrected_by IS NULL
          WINDOW priced AS (PARTITION BY service_id, doctor_rank, price_list ORDER BY valid)) AS placed
         WHERE place > 1 AND since IS DISTINCT FROM before""",
    "I8: each document has the events of its state, and no event lacks its document": """
        SELECT id FROM invoice
         WHERE (SELECT array_agg(type ORDER BY position) FROM journal
                 WHERE object_id = invoice.id AND type NOT LIKE 'invoice.discount%')
               IS DISTINCT FROM CASE status WHEN 'draft' THEN '{invoice.created}'
                 WHEN 'issued' THEN '{invoice.created,invoice.issued}'
                 WHEN 'discarded' THEN '{invoice.created,invoice.discarded}'
                 ELSE '{invoice.created,invoice.issued,invoice.cancelled}' END::text[]
         UNION ALL
        SELECT id FROM payment
         WHERE (SELECT count(*) FROM journal WHERE object_id = payment.id)
               <> 1 + (SELECT count(*) FROM payment_allocation WHERE payment_id = payment.id)
                    + (SELECT count(*) FROM refund WHERE payment_id = payment.id)
         UNION ALL
        SELECT id FROM discount_approval
         WHERE (SELECT count(*) FROM journal WHERE data ->> 'decision' = discount_approval.id::text) <> 1
         UNION ALL
        SELECT object_id FROM journal
         WHERE object_type IN ('quote', 'invoice', 'payment', 'act', 'credit_note')
           AND object_id NOT IN (SELECT id FROM quote UNION ALL SELECT id FROM invoice UNION ALL SELECT id FROM payment
                                  UNION ALL SELECT id FROM act UNION ALL SELECT id FROM credit_note)""",
    "a discount above its author's ceiling goes out once another one approved just this": """
        SELECT quote_id FROM quote_revision AS quote
         WHERE approval = 'required' AND status IN ('sent', 'accepted')
            OR approval = 'none' AND discount <> 0 AND quote_limit(quote) <> 'none'
            OR approval = 'granted' AND NOT EXISTS (
               SELECT FROM discount_approval AS decided
                WHERE decided.quote_id = quote.quote_id AND decided.revision = quote.revision AND decision = 'granted'
                  AND decided_by <> edited_by AND ceiling >= highest AND content_sha256 = quote_discount_digest(quote))
         UNION ALL
        SELECT id FROM invoice
         WHERE approval = 'required' AND status IN ('issued', 'cancelled')
            OR approval = 'none' AND discount <> 0 AND invoice_limit(invoice) <> 'none'
            OR approval = 'granted' AND quote_id IS NULL AND NOT EXISTS (
               SELECT FROM discount_approval AS decided
                WHERE decided.invoice_id = invoice.id AND decision = 'granted' AND decided_by <> edited_by
                  AND ceiling >= highest AND content_sha256 = invoice_discount_digest(invoice))""",
    "the journal is dense and chained": """
        SELECT position FROM (
          SELECT position, position = row_number() OVER chain AS dense,
                 sha256 = journal_digest(lag(sha256, 1, sha256('clinic billing journal')) OVER chain, journal) AS linked
            FROM journal WINDOW chain AS (ORDER BY position)) AS link
         WHERE NOT dense OR NOT linked""",
}
"""By name: a question that must have no answer."""
