"""A credit note (корректировочный документ, кредит-нота): how much of an issued invoice is taken back, line by line.

It has a number of its own series and is frozen at once; a note that cancels takes all that is left of its invoice. This
module is the noun and its reading; `crediting` makes notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import marshmallow as ma

from billing import based
from billing.based import Based, BasedOut
from billing.lines import NamesOut, VatOut, shown_quantity, vat_json
from billing.totals import Vat
from clinic import db, money
from clinic.auth import Actor
from clinic.errors import NotFound


class CreditNoteLineOut(ma.Schema):
    """What is taken back of a line of the invoice; a price put right takes no quantity back."""

    position = ma.fields.Integer(required=True)
    invoice_position = ma.fields.Integer(required=True)
    article = ma.fields.String(required=True)
    name = ma.fields.Nested(NamesOut, required=True)
    quantity = ma.fields.String(required=True, allow_none=True)
    unit = ma.fields.String(required=True)
    amount = ma.fields.String(required=True)
    vat = ma.fields.Nested(VatOut, required=True)


class CreditNoteOut(BasedOut):
    """A credit note. Sums are rubles, VAT included, and are taken off the invoice."""

    number = ma.fields.String(required=True, metadata={"example": "К-2026-000001"})
    cancels = ma.fields.Boolean(required=True, metadata={"description": "it took all that was left of the invoice"})
    reason = ma.fields.String(required=True)
    lines = ma.fields.List(ma.fields.Nested(CreditNoteLineOut), required=True)


@dataclass(frozen=True, kw_only=True)
class CreditNote(Based):
    """A credit note without its lines."""

    cancels: bool
    amount: Decimal
    reason: str
    created_at: datetime


@dataclass(frozen=True)
class CreditNoteLine:
    """What is taken back of a line; what the service is comes from the invoice's frozen line."""

    credit_note_id: UUID
    position: int
    invoice_position: int
    article: str
    name_ru: str
    name_en: str
    unit: str
    quantity: Decimal | None
    amount: Decimal
    vat_category: str
    vat_rate: Decimal | None
    vat_amount: Decimal | None

    @property
    def vat(self) -> Vat:
        return Vat(self.vat_rate, self.vat_amount)

    def as_json(self) -> dict[str, Any]:
        return {
            "position": self.position,
            "invoice_position": self.invoice_position,
            "article": self.article,
            "name": {"ru": self.name_ru, "en": self.name_en},
            "quantity": None if self.quantity is None else shown_quantity(self.quantity),
            "unit": self.unit,
            "amount": money.text(self.amount),
            "vat": {"category": self.vat_category, **vat_json(self.vat)},
        }


_SELECT = """
SELECT note.id, note.invoice_id, invoice.number AS invoice_number, invoice.date AS invoice_date, note.branch_id,
       branch.code AS branch, note.cancels, note.sequence, note.number, note.date, note.supplier, note.amount,
       note.reason, note.created_at, note.content_sha256, patient_party, patient_ref, patient.name AS patient_name,
       payer_party, payer_ref, payer_party.name AS payer_name, payer
  FROM credit_note AS note
  JOIN invoice ON invoice.id = note.invoice_id
  JOIN branch ON branch.id = note.branch_id
  JOIN party AS payer_party ON payer_party.id = invoice.payer_party
  LEFT JOIN party AS patient ON patient.id = invoice.patient_party
"""


def get(conn: db.Connection, actor: Actor, credit_note_id: UUID) -> CreditNote:
    """The credit note.

    Raises:
        NotFound: there is none, or it belongs to a branch `actor` does not see.
    """
    found = db.find(conn, CreditNote, _SELECT + "WHERE note.id = %(id)s::uuid", {"id": credit_note_id})
    if found is None or actor.branch_id not in (None, found.branch_id):
        raise NotFound()
    return found


def page(conn: db.Connection, actor: Actor, wanted: dict[str, Any], behind: list[str] | None) -> list[CreditNote]:
    """Credit notes, newest first: one more than `limit`, so that the caller sees whether there is a next page."""
    return db.filtered(
        conn,
        CreditNote,
        _SELECT
        + """
         WHERE (%(branch)s::uuid IS NULL OR note.branch_id = %(branch)s::uuid)
           AND (%(invoice)s::uuid IS NULL OR note.invoice_id = %(invoice)s::uuid)
           AND (%(payer)s::text IS NULL OR invoice.payer_ref = %(payer)s::text)
           AND (%(number)s::text IS NULL OR note.number = %(number)s::text)
           AND (%(cancels)s::boolean IS NULL OR note.cancels = %(cancels)s::boolean)
           AND (%(since)s::date IS NULL OR note.date >= %(since)s::date)
           AND (%(until)s::date IS NULL OR note.date <= %(until)s::date)
           AND (%(day)s::date IS NULL OR (note.date, note.id) < (%(day)s::date, %(id)s::uuid))
         ORDER BY note.date DESC, note.id DESC
         LIMIT %(limit)s::int
        """,
        {
            "branch": actor.branch_id,
            **{name: wanted.get(name) for name in ("invoice", "payer", "number", "cancels", "since", "until")},
            "day": behind and behind[0],
            "id": behind and behind[1],
            "limit": wanted["limit"] + 1,
        },
    )


def lines_of(conn: db.Connection, credit_note_ids: Sequence[UUID]) -> dict[UUID, list[CreditNoteLine]]:
    """The lines of these credit notes, in their order."""
    found = db.many(
        conn,
        CreditNoteLine,
        """
        SELECT line.credit_note_id, line.position, line.invoice_position, invoiced.article, invoiced.name_ru,
               invoiced.name_en, invoiced.unit, line.quantity, line.amount, invoiced.vat_category, line.vat_rate,
               line.vat_amount
          FROM credit_note_line AS line
          JOIN invoice_line AS invoiced
            ON invoiced.invoice_id = line.invoice_id AND invoiced.position = line.invoice_position
         WHERE line.credit_note_id = ANY (%(ids)s::uuid[])
         ORDER BY line.credit_note_id, line.position
        """,
        {"ids": list(credit_note_ids)},
    )
    lines: dict[UUID, list[CreditNoteLine]] = {credit_note_id: [] for credit_note_id in credit_note_ids}
    for line in found:
        lines[line.credit_note_id].append(line)
    return lines


def as_json(note: CreditNote, lines: Sequence[CreditNoteLine]) -> dict[str, Any]:
    return {
        **note.head("credit_note"),
        "issued_at": note.created_at,
        "cancels": note.cancels,
        "reason": note.reason,
        "lines": [line.as_json() for line in lines],
        "totals": based.totals_json(note.amount, ((line.amount, line.vat) for line in lines)),
    }
