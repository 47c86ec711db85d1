"""Parts of a quote: how much of each line goes on an invoice, and what is left of it.

A quote may be invoiced in pieces, never above what was quoted: each line keeps `invoiced_quantity` under a CHECK,
moved under the quote's lock. The last piece of a line takes the exact remainder, so pieces add up to the kopeck.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from billing import quotes, totals
from billing.invoices import InvoiceLine
from billing.lines import MOST, kept, shown_quantity
from billing.quotes import Quote, QuoteLine
from clinic import db, errors, fields
from clinic.errors import Fault, InvalidInput
from clinic.money import ZERO

errors.describe(
    {
        "unknown_position": ("В документе нет такой строки.", "The document has no such line."),
        "repeated_position": ("Строка указана дважды.", "The line is given twice."),
        "quantity_exceeds_quote": (
            "Осталось выставить {left}; больше сметы нельзя.",
            "{left} is left to invoice; more than the quote cannot be.",
        ),
    }
)


class PartIn(fields.Shape):
    """How much of a line of the quote; all that is left of it, unless a quantity is given."""

    position = fields.Whole(1, MOST, required=True)
    quantity = fields.Quantity(load_default=None, allow_none=True)


def taken(conn: db.Connection, quote: Quote, wanted: list[dict[str, Any]] | None) -> list[InvoiceLine]:
    """The lines of an invoice for the wanted parts, or for all that is left; the quote is locked.

    Raises:
        InvalidInput: a part does not exist, is given twice, or exceeds what is left.
    """
    quoted = quotes.lines_of(conn, [quote])[quote.id]
    asked = {line.position: _left(line) for line in quoted} if wanted is None else _asked(quoted, wanted)
    before = _taken_before(conn, quote) if any(line.invoiced_quantity for line in quoted) else {}
    chosen = [line for line in quoted if asked.get(line.position)]
    return [
        _part(place, line, asked[line.position], before.get(line.position, (ZERO,) * 4))
        for place, line in enumerate(chosen, 1)
    ]


def give_back(conn: db.Connection, invoice_id: UUID) -> None:
    """Let what this invoice took of its quote be invoiced once more; the quote is locked."""
    conn.execute(
        """
        UPDATE quote_line SET invoiced_quantity = invoiced_quantity - line.quantity
          FROM invoice_line AS line JOIN invoice ON invoice.id = line.invoice_id
         WHERE invoice.id = %(id)s
           AND quote_line.quote_id = invoice.quote_id AND quote_line.revision = invoice.quote_revision
           AND quote_line.position = line.quote_position
        """,
        {"id": invoice_id},
    )


def give_back_credited(conn: db.Connection, credit_note_id: UUID) -> None:
    """Let the services that a credit note takes back be invoiced once more; the quote is locked."""
    conn.execute(
        """
        UPDATE quote_line SET invoiced_quantity = invoiced_quantity - note.quantity
          FROM credit_note_line AS note
          JOIN invoice ON invoice.id = note.invoice_id
          JOIN invoice_line AS line ON line.invoice_id = note.invoice_id AND line.position = note.invoice_position
         WHERE note.credit_note_id = %(id)s::uuid AND note.quantity IS NOT NULL
           AND quote_line.quote_id = invoice.quote_id AND quote_line.revision = invoice.quote_revision
           AND quote_line.position = line.quote_position
        """,
        {"id": credit_note_id},
    )


def _left(line: QuoteLine) -> Decimal:
    return line.quantity - line.invoiced_quantity


def _asked(quoted: Sequence[QuoteLine], wanted: list[dict[str, Any]]) -> dict[int, Decimal]:
    by_position = {line.position: line for line in quoted}
    asked: dict[int, Decimal] = {}
    faults = []
    for place, each in enumerate(wanted):
        line = by_position.get(each["position"])
        if line is None:
            faults.append(Fault(f"/lines/{place}/position", "unknown_position"))
            continue
        left = _left(line)
        quantity = left if each["quantity"] is None else each["quantity"]
        if line.position in asked:
            faults.append(Fault(f"/lines/{place}/position", "repeated_position"))
        if quantity > left or not left:
            faults.append(
                Fault(f"/lines/{place}/quantity", "quantity_exceeds_quote", (("left", shown_quantity(left)),))
            )
        asked[line.position] = quantity
    if faults:
        raise InvalidInput(faults)
    return asked


def _taken_before(conn: db.Connection, quote: Quote) -> dict[int, tuple[Decimal, ...]]:
    """What the quote's live invoices have taken of each line, less what credit notes took back of its services: gross,
    discount, document discount, list amount."""
    rows = conn.execute(
        """
        SELECT quote_position, sum(line.gross - back.gross), sum(line.discount - back.discount),
               sum(line.document_discount - back.document_discount),
               coalesce(sum(line.list_amount - back.list_amount), 0)
          FROM invoice
          JOIN invoice_line AS line ON line.invoice_id = invoice.id
         CROSS JOIN LATERAL (
           SELECT coalesce(sum(gross), 0) AS gross, coalesce(sum(discount), 0) AS discount,
                  coalesce(sum(document_discount), 0) AS document_discount, coalesce(sum(list_amount), 0) AS list_amount
             FROM credit_note_line AS note
            WHERE note.invoice_id = line.invoice_id AND note.invoice_position = line.position) AS back
         WHERE quote_id = %(id)s AND quote_revision = %(revision)s AND status IN ('draft', 'issued')
         GROUP BY quote_position
        """,
        {"id": quote.id, "revision": quote.revision},
    )
    return {row[0]: row[1:] for row in rows}


def _part(position: int, line: QuoteLine, quantity: Decimal, before: tuple[Decimal, ...]) -> InvoiceLine:
    copied = InvoiceLine(**kept(line) | {"position": position}, quote_position=line.position)
    if quantity == line.quantity:
        return copied
    last = quantity == _left(line)
    wholes = (line.gross, line.discount, line.document_discount, line.list_amount or ZERO)
    gross, discount, document_discount, list_amount = (
        totals.part(whole, taken_, quantity, line.quantity, last=last)
        for whole, taken_ in zip(wholes, before, strict=True)
    )
    amount = gross - discount - document_discount
    return replace(
        copied,
        quantity=quantity,
        gross=gross,
        discount=discount,
        document_discount=document_discount,
        amount=amount,
        vat_amount=totals.Vat.inside(amount, line.vat_rate).amount,
        list_amount=None if line.list_amount is None else list_amount,
    )
