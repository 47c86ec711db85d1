"""What an act and a credit note share: documents on the basis of an issued invoice (на основании счёта).

Their parties are the invoice's, frozen there; each has a number of its own series and the requisites of its issue.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date as Date
from decimal import Decimal
from typing import Any
from uuid import UUID

import marshmallow as ma

from billing import totals
from billing.invoices import SeriesOut, SupplierOut
from billing.lines import VatGroupOut, vat_json
from billing.payers import PayerOut
from billing.quotes import PersonOut
from billing.totals import Vat
from clinic import money


class BasisOut(ma.Schema):
    """The invoice the document is based on."""

    id = ma.fields.UUID(required=True)
    number = ma.fields.String(required=True)
    date = ma.fields.Date(required=True)


class BasedTotalsOut(ma.Schema):
    total = ma.fields.String(required=True)
    vat = ma.fields.List(ma.fields.Nested(VatGroupOut), required=True)
    in_words = ma.fields.String(required=True)


class BasedOut(ma.Schema):
    """A document based on an invoice. Sums are rubles, VAT included."""

    id = ma.fields.UUID(required=True)
    sequence = ma.fields.Integer(required=True)
    series = ma.fields.Nested(SeriesOut, required=True)
    branch = ma.fields.String(required=True)
    date = ma.fields.Date(required=True)
    currency = ma.fields.String(required=True)
    issued_at = ma.fields.DateTime(required=True)
    invoice = ma.fields.Nested(BasisOut, required=True)
    supplier = ma.fields.Nested(SupplierOut, required=True)
    patient = ma.fields.Nested(PersonOut, required=True, allow_none=True)
    payer = ma.fields.Nested(PayerOut, required=True)
    totals = ma.fields.Nested(BasedTotalsOut, required=True)
    content_sha256 = ma.fields.String(required=True)


@dataclass(frozen=True, kw_only=True)
class Based:
    """A document based on an invoice, without its lines."""

    id: UUID
    invoice_id: UUID
    invoice_number: str
    invoice_date: Date
    branch_id: UUID
    branch: str
    sequence: int
    number: str
    date: Date
    supplier: dict[str, Any]
    content_sha256: bytes
    patient_party: UUID | None
    patient_ref: str | None
    patient_name: str | None
    payer_party: UUID
    payer_ref: str
    payer_name: str | None
    payer: dict[str, Any]

    def head(self, kind: str) -> dict[str, Any]:
        """The members of its JSON that documents of every kind have; `kind` is that of its series."""
        return {
            "id": self.id,
            "number": self.number,
            "sequence": self.sequence,
            "series": {"branch": self.branch, "kind": kind, "year": self.date.year},
            "branch": self.branch,
            "date": self.date,
            "currency": "RUB",
            "invoice": {"id": self.invoice_id, "number": self.invoice_number, "date": self.invoice_date},
            "supplier": self.supplier,
            "patient": {"id": self.patient_ref, "name": self.patient_name} if self.patient_ref else None,
            "payer": {**self.payer, "ref": self.payer_ref, "name": self.payer_name},
            "content_sha256": self.content_sha256.hex(),
        }

    def names(self) -> dict[str, UUID]:
        """Which member of the document's JSON holds whose name."""
        patient = {"patient": self.patient_party} if self.patient_party else {}
        return {"payer": self.payer_party, **patient}


def totals_json(total: Decimal, amounts: Iterable[tuple[Decimal, Vat]]) -> dict[str, Any]:
    """The sum, the VAT in it by rate, and the sum in words."""
    return {
        "total": money.text(total),
        "vat": [{"base": money.text(group.base), **vat_json(group.vat)} for group in totals.vat_groups(amounts)],
        "in_words": money.in_words(total),
    }
