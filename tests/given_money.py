"""Invoices of round sums, and the money for them."""

from __future__ import annotations

from typing import Any

from clinic import db
from tests.given import PAYER, Caller, line, made

ANY_SUM = "ONC-BOARD"
"""The price of this service is on request: a document of it has whatever sum a test needs."""


def costing(amount: str) -> dict[str, Any]:
    return line(ANY_SUM, unit_price=amount, price_reason="решение врача")


def invoice(clinic: Caller, amount: str = "100.00", **more: Any) -> Any:
    """An issued invoice of this sum, as JSON; of P-1 unless told otherwise."""
    return clinic.invoice(clinic.quote(costing(amount), branch=more.pop("branch", None)), **more)


def payment(clinic: Caller, amount: str, *for_: Any, **more: Any) -> Any:
    """A transfer of this sum, for these invoices or pairs of invoice and amount, as JSON."""
    return made(paid(clinic, amount, *for_, **more))


def paid(clinic: Caller, amount: str, /, *for_: Any, **more: Any) -> Any:
    """The answer to a payment."""
    body = {"tender": "transfer", "amount": amount, "allocations": allocations(*for_), "payer": PAYER} | more
    return clinic.post("/v1/payments", {name: value for name, value in body.items() if value is not None})


def allocations(*for_: Any) -> list[dict[str, Any]]:
    return [
        {"invoice": each[0]["id"], "amount": each[1]} if isinstance(each, tuple) else {"invoice": each["id"]}
        for each in for_
    ]


def refunded(clinic: Caller, of: Any, amount: str, **more: Any) -> Any:
    """The answer to a refund."""
    body = {"amount": amount, "reason_code": "patient_request", "reason": "Передумал", **more}
    return clinic.post(f"/v1/payments/{of['id']}/refunds", body)


def must_tie() -> None:
    """Every running total is the sum of its rows, and nothing exceeds what it is a part of (I3, I4, I5)."""
    with db.reading() as conn:
        for broken, query in MUST_BE_EMPTY.items():
            assert conn.execute(query.encode()).fetchall() == [], broken


MUST_BE_EMPTY = {
    "an invoice is paid otherwise than its allocations say": """
        SELECT id, paid FROM invoice
         WHERE paid <> (SELECT coalesce(sum(amount), 0) FROM payment_allocation WHERE invoice_id = invoice.id)
            OR paid < 0 OR paid + credited > total""",
    "a payment is not allocated, refunded and advance": """
        SELECT id, amount FROM payment
         WHERE allocated <> (SELECT coalesce(sum(amount), 0) FROM payment_allocation WHERE payment_id = payment.id)
            OR refunded <> (SELECT coalesce(sum(amount), 0) FROM refund WHERE payment_id = payment.id)
            OR allocated < 0 OR refunded < 0 OR allocated + refunded > amount""",
    "more was taken off an invoice than a payment put on it": """
        SELECT payment_id, invoice_id FROM payment_allocation
         GROUP BY payment_id, invoice_id HAVING sum(amount) < 0""",
    "a reference is two payments": """
        SELECT source, external_ref FROM payment WHERE source IS NOT NULL
         GROUP BY source, external_ref HAVING count(*) > 1""",
    "a shift was closed with other sums than it has": """
        SELECT event.object_id, told.*
          FROM journal AS event
         CROSS JOIN LATERAL jsonb_to_recordset(data -> 'totals') AS told (tender text, "in" numeric, out numeric)
         WHERE type = 'shift.closed'
           AND (told."in" <> (SELECT coalesce(sum(amount), 0) FROM payment
                               WHERE shift_id = event.object_id AND payment.tender = told.tender)
             OR told.out <> (SELECT coalesce(sum(amount), 0) FROM refund
                              WHERE shift_id = event.object_id AND refund.tender = told.tender))""",
    "money and its events are not there together": """
        SELECT coalesce(payment.id, event.object_id)
          FROM payment FULL JOIN (SELECT object_id FROM journal WHERE type = 'payment.received') AS event
            ON event.object_id = payment.id
         WHERE payment.id IS NULL OR event.object_id IS NULL""",
}
