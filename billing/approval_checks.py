"""What is asked of approvals of discounts, as `book_checks` asks of documents."""

from __future__ import annotations

from billing.book_checks import Check

CHECKS = (
    Check(
        "quote_approved",
        "quote",
        """
        SELECT quote_id, format('revision %%s is granted, but nobody approved what it says', revision)
          FROM quote_revision
         WHERE quote_id > %(after)s::uuid AND quote_id <= %(until)s::uuid
           AND approval = 'granted' AND NOT quote_is_approved(quote_revision)
        """,
    ),
    Check(
        "invoice_approved",
        "invoice",
        """
        SELECT id, 'it is granted, but nobody approved what it says'
          FROM invoice
         WHERE id > %(after)s::uuid AND id <= %(until)s::uuid
           AND approval = 'granted' AND quote_id IS NULL AND NOT invoice_is_approved(invoice)
        """,
    ),
    Check(
        "decision_in_journal",
        "discount_approval",
        """
        SELECT id, format('%%s by %%s is not in the journal once', decision, decided_by)
          FROM discount_approval AS made
         WHERE id > %(after)s::uuid AND id <= %(until)s::uuid
           AND (SELECT count(*) FROM journal
                 WHERE object_id = coalesce(made.quote_id, made.invoice_id) AND data ->> 'decision' = made.id::text
                   AND actor = made.decided_by AND split_part(type, '.', 2) = CASE made.decision
                         WHEN 'granted' THEN 'discount_approved' ELSE 'discount_refused' END) <> 1
        """,
    ),
)
"""Each must have no rows."""
