"""What is asked of payments, refunds, shifts and the persons documents name; as `book_checks`."""

from __future__ import annotations

from billing.book_checks import Check

CHECKS = (
    Check(
        "paid",
        "invoice",
        """
        SELECT invoice.id, format('paid %%s, but its allocations come to %%s', paid, coalesce(part.amount, 0))
          FROM invoice
          LEFT JOIN LATERAL (
            SELECT sum(amount) AS amount FROM payment_allocation WHERE invoice_id = invoice.id) AS part ON true
         WHERE invoice.id > %(after)s::uuid AND invoice.id <= %(until)s::uuid
           AND paid <> coalesce(part.amount, 0)
        """,
    ),
    Check(
        "payment_adds_up",
        "payment",
        """
        SELECT payment.id, format('of %%s allocated %%s and refunded %%s, but its rows come to %%s and %%s',
                                  payment.amount, allocated, refunded, coalesce(part.amount, 0),
                                  coalesce(given.amount, 0))
          FROM payment
          LEFT JOIN LATERAL (
            SELECT sum(amount) AS amount FROM payment_allocation WHERE payment_id = payment.id) AS part ON true
          LEFT JOIN LATERAL (
            SELECT sum(amount) AS amount FROM refund WHERE payment_id = payment.id) AS given ON true
         WHERE payment.id > %(after)s::uuid AND payment.id <= %(until)s::uuid
           AND (allocated <> coalesce(part.amount, 0) OR refunded <> coalesce(given.amount, 0)
                OR allocated < 0 OR refunded < 0 OR allocated + refunded > payment.amount)
        """,
    ),
    Check(
        "allocations",
        "payment",
        """
        SELECT payment_id, format('%%s stands on invoice %%s of branch %%s', sum(part.amount), invoice_id,
                                  invoice.branch_id)
          FROM payment_allocation AS part
          JOIN payment ON payment.id = payment_id
          JOIN invoice ON invoice.id = invoice_id
         WHERE payment_id > %(after)s::uuid AND payment_id <= %(until)s::uuid
         GROUP BY payment_id, payment.branch_id, invoice_id, invoice.branch_id, number
        HAVING sum(part.amount) < 0 OR invoice.branch_id <> payment.branch_id OR number IS NULL
        """,
    ),
    Check(
        "payment_in_journal",
        "payment",
        """
        SELECT payment.id, format('its rows say %%s; the journal says %%s', kept.rows, said.rows)
          FROM payment
         CROSS JOIN LATERAL (
            SELECT array_agg(row ORDER BY row) AS rows
              FROM (SELECT format('received %%s %%s', tender, payment.amount::numeric(15, 2)) AS row
                     UNION ALL
                    SELECT format('%%s %%s %%s', CASE WHEN amount > 0 THEN 'allocated' ELSE 'released' END, invoice_id,
                                  abs(amount)::numeric(15, 2))
                      FROM payment_allocation WHERE payment_id = payment.id
                     UNION ALL
                    SELECT format('refunded %%s %%s', id, amount::numeric(15, 2))
                      FROM refund WHERE payment_id = payment.id) AS moved) AS kept
         CROSS JOIN LATERAL (
            SELECT array_agg(row ORDER BY row) AS rows
              FROM (SELECT format('%%s %%s %%s', split_part(type, '.', 2),
                                  data ->> CASE type WHEN 'payment.received' THEN 'tender'
                                                     WHEN 'payment.refunded' THEN 'refund' ELSE 'invoice' END,
                                  (data ->> 'amount')::numeric(15, 2)) AS row
                      FROM journal
                     WHERE object_id = payment.id
                       AND type IN ('payment.received', 'payment.allocated', 'payment.released',
                                    'payment.refunded')) AS told) AS said
         WHERE payment.id > %(after)s::uuid AND payment.id <= %(until)s::uuid
           AND kept.rows IS DISTINCT FROM said.rows
        """,
    ),
    Check(
        "shift",
        "shift",
        """
        SELECT shift.id, format('closed at %%s; the journal says %%s with other sums than its payments and refunds',
                                coalesce(closed_at::text, '—'), coalesce(said.types, 'nothing'))
          FROM shift
          LEFT JOIN LATERAL (
            SELECT string_agg(type, ', ' ORDER BY position) AS types FROM journal WHERE object_id = shift.id) AS said
            ON true
         WHERE shift.id > %(after)s::uuid AND shift.id <= %(until)s::uuid
           AND (said.types IS DISTINCT FROM
                  CASE WHEN closed_at IS NULL THEN 'shift.opened' ELSE 'shift.opened, shift.closed' END
                OR EXISTS (
                  SELECT FROM journal
                   CROSS JOIN LATERAL
                         jsonb_to_recordset(data -> 'totals') AS told (tender text, "in" numeric, out numeric)
                   WHERE object_id = shift.id AND type = 'shift.closed'
                     AND (told."in" <> (SELECT coalesce(sum(amount), 0) FROM payment
                                         WHERE shift_id = shift.id AND payment.tender = told.tender)
                       OR told.out <> (SELECT coalesce(sum(amount), 0) FROM refund
                                        WHERE shift_id = shift.id AND refund.tender = told.tender))))
        """,
    ),
    # The digest is part of the hash of each document that names the person; what was erased keeps its digest alone.
    Check(
        "party_digest",
        "party",
        """
        SELECT id, 'the name or a contact is another one than the documents were made with'
          FROM party
         WHERE id > %(after)s::uuid AND id <= %(until)s::uuid
           AND salt IS NOT NULL
           AND digest <> sha256(salt || convert_to(concat('[', coalesce(to_json(name)::text, 'null'), ',',
                                                          coalesce(to_json(phone)::text, 'null'), ',',
                                                          coalesce(to_json(email)::text, 'null'), ']'), 'UTF8'))
        """,
    ),
)
"""Each must have no rows."""
