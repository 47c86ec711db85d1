"""An act of rendered services (акт об оказании услуг): what of an invoice was done, on which day, by whom.

It is issued at once, with a number of its own series, and frozen; a wrong one is cancelled and made anew. This module
is the noun and its reading; `rendering` makes acts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date as Date
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


class ActDoctorOut(ma.Schema):
    id = ma.fields.UUID(required=True)
    name = ma.fields.Nested(NamesOut, required=True)


class ActLineOut(ma.Schema):
    """A rendered service: which line of the invoice, how much of it, when and by whom."""

    position = ma.fields.Integer(required=True)
    invoice_position = ma.fields.Integer(required=True)
    article = ma.fields.String(required=True)
    name = ma.fields.Nested(NamesOut, required=True)
    quantity = ma.fields.String(required=True)
    unit = ma.fields.String(required=True)
    service_date = ma.fields.Date(required=True)
    doctor = ma.fields.Nested(ActDoctorOut, required=True, allow_none=True)
    amount = ma.fields.String(required=True)
    vat = ma.fields.Nested(VatOut, required=True)
    tax_deduction_code = ma.fields.String(required=True)


class CancelledOut(ma.Schema):
    at = ma.fields.DateTime(required=True)
    reason = ma.fields.String(required=True)


class ActOut(BasedOut):
    """An act. Sums are rubles, VAT included."""

    number = ma.fields.String(required=True, metadata={"example": "А-2026-000001"})
    status = ma.fields.String(required=True, metadata={"enum": ["issued", "cancelled"]})
    lines = ma.fields.List(ma.fields.Nested(ActLineOut), required=True)
    cancelled = ma.fields.Nested(CancelledOut, required=True, allow_none=True)


@dataclass(frozen=True, kw_only=True)
class Act(Based):
    """An act without its lines."""

    status: str
    total: Decimal
    issued_at: datetime
    cancelled_at: datetime | None
    cancel_reason: str | None


@dataclass(frozen=True)
class ActLine:
    """A rendered service; what it is comes from the invoice's frozen line."""

    act_id: UUID
    position: int
    invoice_position: int
    article: str
    name_ru: str
    name_en: str
    unit: str
    quantity: Decimal
    service_date: Date
    doctor_id: UUID | None
    doctor_name_ru: str | None
    doctor_name_en: str | None
    amount: Decimal
    vat_category: str
    vat_rate: Decimal | None
    vat_amount: Decimal | None
    tax_deduction_code: str

    @property
    def vat(self) -> Vat:
        return Vat(self.vat_rate, self.vat_amount)

    def as_json(self) -> dict[str, Any]:
        doctor = {"id": self.doctor_id, "name": {"ru": self.doctor_name_ru, "en": self.doctor_name_en}}
        return {
            "position": self.position,
            "invoice_position": self.invoice_position,
            "article": self.article,
            "name": {"ru": self.name_ru, "en": self.name_en},
            "quantity": shown_quantity(self.quantity),
            "unit": self.unit,
            "service_date": self.service_date,
            "doctor": doctor if self.doctor_id else None,
            "amount": money.text(self.amount),
            "vat": {"category": self.vat_category, **vat_json(self.vat)},
            "tax_deduction_code": self.tax_deduction_code,
        }


_SELECT = """
SELECT act.id, act.invoice_id, invoice.number AS invoice_number, invoice.date AS invoice_date, act.branch_id,
       branch.code AS branch, act.status, act.sequence, act.number, act.date, act.supplier, act.total, act.issued_at,
       act.cancelled_at, act.cancel_reason, act.content_sha256, patient_party, patient_ref,
       patient.name AS patient_name, payer_party, payer_ref, payer_party.name AS payer_name, payer
  FROM act
  JOIN invoice ON invoice.id = act.invoice_id
  JOIN branch ON branch.id = act.branch_id
  JOIN party AS payer_party ON payer_party.id = invoice.payer_party
  LEFT JOIN party AS patient ON patient.id = invoice.patient_party
"""


def get(conn: db.Connection, actor: Actor, act_id: UUID) -> Act:
    """The act.

    Raises:
        NotFound: there is none, or it belongs to a branch `actor` does not see.
    """
    found = db.find(conn, Act, _SELECT + "WHERE act.id = %(id)s::uuid", {"id": act_id})
    if found is None or actor.branch_id not in (None, found.branch_id):
        raise NotFound()
    return found


def page(conn: db.Connection, actor: Actor, wanted: dict[str, Any], behind: list[str] | None) -> list[Act]:
    """Acts, newest first: one more than `limit`, so that the caller sees whether there is a next page."""
    return db.filtered(
        conn,
        Act,
        _SELECT
        + """
         WHERE (%(branch)s::uuid IS NULL OR act.branch_id = %(branch)s::uuid)
           AND (%(invoice)s::uuid IS NULL OR act.invoice_id = %(invoice)s::uuid)
           AND (%(status)s::text IS NULL OR act.status = %(status)s::text)
           AND (%(since)s::date IS NULL OR act.date >= %(since)s::date)
           AND (%(until)s::date IS NULL OR act.date <= %(until)s::date)
           AND (%(day)s::date IS NULL OR (act.date, act.id) < (%(day)s::date, %(id)s::uuid))
         ORDER BY act.date DESC, act.id DESC
         LIMIT %(limit)s::int
        """,
        {
            "branch": actor.branch_id,
            "invoice": wanted.get("invoice"),
            "status": wanted.get("status"),
            "since": wanted.get("since"),
            "until": wanted.get("until"),
            "day": behind and behind[0],
            "id": behind and behind[1],
            "limit": wanted["limit"] + 1,
        },
    )


def numbers_of(conn: db.Connection, invoice_id: UUID) -> list[str]:
    """The numbers of the acts of this invoice that are not cancelled."""
    found: list[str] | None = db.value(
        conn,
        """
        SELECT array_agg(number ORDER BY sequence) FROM act
         WHERE invoice_id = %(invoice)s::uuid AND status = 'issued'
        """,
        {"invoice": invoice_id},
    )
    return found or []


def lines_of(conn: db.Connection, act_ids: Sequence[UUID]) -> dict[UUID, list[ActLine]]:
    """The lines of these acts, in their order."""
    found = db.many(
        conn,
        ActLine,
        """
        SELECT line.act_id, line.position, line.invoice_position, invoiced.article, invoiced.name_ru, invoiced.name_en,
               invoiced.unit, line.quantity, line.service_date, line.doctor_id, line.doctor_name_ru,
               line.doctor_name_en, line.amount, invoiced.vat_category, line.vat_rate, line.vat_amount,
               invoiced.tax_deduction_code
          FROM act_line AS line
          JOIN invoice_line AS invoiced
            ON invoiced.invoice_id = line.invoice_id AND invoiced.position = line.invoice_position
         WHERE line.act_id = ANY (%(ids)s::uuid[])
         ORDER BY line.act_id, line.position
        """,
        {"ids": list(act_ids)},
    )
    lines: dict[UUID, list[ActLine]] = {act_id: [] for act_id in act_ids}
    for line in found:
        lines[line.act_id].append(line)
    return lines


def as_json(act: Act, lines: Sequence[ActLine]) -> dict[str, Any]:
    return {
        **act.head("act"),
        "status": act.status,
        "issued_at": act.issued_at,
        "lines": [line.as_json() for line in lines],
        "totals": based.totals_json(act.total, ((line.amount, line.vat) for line in lines)),
        "cancelled": {"at": act.cancelled_at, "reason": act.cancel_reason} if act.cancelled_at else None,
    }
