"""A line of a quote or an invoice: a service, how many, at which price and why, less discounts, with its VAT.

A line copies everything the catalog says on the day it is priced, so no later change of the catalog reaches it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import marshmallow as ma
import orjson

from billing import totals
from billing.totals import Vat
from catalog import packages
from clinic import fields, money
from clinic.money import ZERO

MOST = 200
"""Lines a document may have."""


REASON = r"[a-z][a-z0-9_]{0,31}"
"""The form of a discount reason's code."""


class DiscountIn(fields.Shape):
    """A discount in percent or in rubles, with the reason the clinic's rules know."""

    discount_percent = fields.Percent(load_default=None, allow_none=True)
    discount_amount = fields.Money(load_default=None, allow_none=True)
    discount_reason = fields.Form(REASON, load_default=None, allow_none=True, metadata={"example": "staff"})

    @ma.validates_schema(skip_on_field_errors=True)
    def one_with_reason(self, given: dict[str, Any], **_: Any) -> None:
        percent, amount = given.get("discount_percent"), given.get("discount_amount")
        if percent is not None and amount is not None:
            raise ma.ValidationError("one_discount_only", "discount_amount")
        if (percent or amount) and not given.get("discount_reason"):
            raise ma.ValidationError("discount_needs_reason", "discount_reason")


class LineIn(DiscountIn):
    """One wanted service, or package of services."""

    article = fields.Form(r"[A-Z0-9][A-Z0-9._-]{0,31}", load_default=None, metadata={"example": "ONC-CONS-1"})
    package = fields.Form(
        packages.CODE, load_default=None,
        metadata={"description": "in place of article; beside it only a whole quantity and service_date"},
    )  # fmt: skip
    doctor_rank = fields.Form(
        r"[a-z][a-z0-9_]{0,31}", load_default=None, allow_none=True,
        metadata={"example": "candidate", "description": "needed where the service is priced by rank, and only there"},
    )  # fmt: skip
    doctor = fields.Uuid(
        load_default=None, allow_none=True,
        metadata={"description": "in place of doctor_rank: the rank is the one this doctor has on the day"},
    )  # fmt: skip
    quantity = fields.Quantity(load_default=Decimal(1))
    service_date = fields.Day(
        load_default=None, allow_none=True, metadata={"description": "price, rank and VAT rate follow this day"}
    )
    unit_price = fields.Money(
        load_default=None,
        allow_none=True,
        metadata={"description": "by hand, only where the kind of price leaves it open"},
    )
    price_reason = fields.Text(300, load_default=None, allow_none=True)

    @ma.validates_schema(skip_on_field_errors=False)
    def doctor_or_rank(self, given: dict[str, Any], **_: Any) -> None:
        if given.get("doctor") and given.get("doctor_rank"):
            raise ma.ValidationError("one_of_doctor_and_rank", "doctor")

    @ma.validates_schema(pass_original=True, skip_on_field_errors=False)
    def article_or_package(self, given: dict[str, Any], raw: Any, **_: Any) -> None:
        named = [name for name in ("article", "package") if isinstance(raw, Mapping) and raw.get(name) is not None]
        if isinstance(raw, Mapping) and not named and not {"article", "package"} & raw.keys():
            raise ma.ValidationError("required", "article")
        if len(named) > 1:
            raise ma.ValidationError("article_or_package", "package")

    @ma.validates_schema(skip_on_field_errors=False)
    def only_so_many_packages(self, given: dict[str, Any], **_: Any) -> None:
        if given.get("package") is None:
            return
        if given.get("quantity", Decimal(1)) % 1:
            raise ma.ValidationError("not_whole", "quantity")
        beyond = {name for name in _OF_SERVICES if given.get(name) is not None}
        if beyond:
            raise ma.ValidationError({name: ["not_with_package"] for name in sorted(beyond)})


class ExtraLineIn(LineIn):
    """One wanted service beyond a quote, at the list's price: no package, no discount."""

    class Meta(LineIn.Meta):
        exclude = ("package", "discount_percent", "discount_amount", "discount_reason")


_OF_SERVICES = ("doctor_rank", "doctor", "unit_price", "price_reason")


class VatOut(ma.Schema):
    """Exempt is not 0 %: rate and amount are null."""

    category = ma.fields.String(required=True)
    rate = ma.fields.String(required=True, allow_none=True, metadata={"example": "22"})
    amount = ma.fields.String(required=True, allow_none=True)
    text = ma.fields.String(required=True)


class SourceOut(ma.Schema):
    """Why this price: the price order it comes from."""

    price_id = ma.fields.UUID(required=True)
    price_list = ma.fields.String(required=True)
    order = ma.fields.String(required=True)
    order_id = ma.fields.UUID(required=True)
    order_date = ma.fields.Date(required=True)
    fallback = ma.fields.Boolean(required=True)


class NamesOut(ma.Schema):
    ru = ma.fields.String(required=True)
    en = ma.fields.String(required=True)


class LineDoctorOut(ma.Schema):
    """The doctor by his name on the day the document was made."""

    id = ma.fields.UUID(required=True)
    name = ma.fields.Nested(NamesOut, required=True)


class LinePackageOut(ma.Schema):
    """The package a line is a part of; `amount` of the line is the part's share of its price."""

    code = ma.fields.String(required=True)
    name = ma.fields.Nested(NamesOut, required=True)
    no = ma.fields.Integer(required=True, metadata={"description": "which package of the document"})
    quantity = ma.fields.Integer(required=True, metadata={"description": "how many of the package were priced"})
    list_amount = ma.fields.String(required=True, metadata={"description": "what the part costs alone"})


class LineOut(ma.Schema):
    """A priced line."""

    position = ma.fields.Integer(required=True)
    article = ma.fields.String(required=True)
    doctor_rank = ma.fields.String(required=True)
    rank_name = ma.fields.Nested(NamesOut, required=True, allow_none=True)
    doctor = ma.fields.Nested(LineDoctorOut, required=True, allow_none=True)
    name = ma.fields.Nested(NamesOut, required=True)
    nomenclature_codes = ma.fields.List(ma.fields.String(), required=True)
    quantity = ma.fields.String(required=True)
    unit = ma.fields.String(required=True)
    service_date = ma.fields.Date(required=True, allow_none=True)
    price_kind = ma.fields.String(required=True)
    unit_price = ma.fields.String(required=True)
    price_reason = ma.fields.String(required=True, allow_none=True)
    priced_by = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "who gave the price where it was given by hand"}
    )
    gross = ma.fields.String(required=True)
    discount_percent = ma.fields.String(required=True, allow_none=True)
    discount_amount = ma.fields.String(required=True, allow_none=True)
    discount_reason = ma.fields.String(required=True, allow_none=True)
    discount = ma.fields.String(required=True)
    document_discount = ma.fields.String(required=True)
    amount = ma.fields.String(required=True)
    vat = ma.fields.Nested(VatOut, required=True)
    tax_deduction_code = ma.fields.String(required=True)
    price_source = ma.fields.Nested(SourceOut, required=True)
    package = ma.fields.Nested(LinePackageOut, required=True, allow_none=True)


class VatGroupOut(ma.Schema):
    text = ma.fields.String(required=True)
    rate = ma.fields.String(required=True, allow_none=True)
    base = ma.fields.String(required=True, metadata={"description": "amounts of these lines, VAT included"})
    amount = ma.fields.String(required=True, allow_none=True)


class TotalsOut(ma.Schema):
    """The document in sums, in rubles."""

    subtotal = ma.fields.String(required=True)
    discount = ma.fields.String(required=True)
    total = ma.fields.String(required=True)
    vat = ma.fields.List(ma.fields.Nested(VatGroupOut), required=True)
    in_words = ma.fields.String(required=True)


@dataclass(frozen=True)
class Line:
    """A priced line as documents keep it; sums in rubles."""

    position: int
    article: str
    name_ru: str
    name_en: str
    nomenclature_codes: list[str]
    unit: str
    doctor_rank: str
    rank_name_ru: str | None
    rank_name_en: str | None
    doctor_id: UUID | None
    doctor_name_ru: str | None
    doctor_name_en: str | None
    quantity: Decimal
    service_date: date | None
    price_kind: str
    unit_price: Decimal
    price_reason: str | None
    priced_by: str | None
    gross: Decimal
    discount_percent: Decimal | None
    discount_amount: Decimal | None
    discount_reason: str | None
    discount: Decimal
    document_discount: Decimal
    amount: Decimal
    discountable: bool
    vat_category: str
    vat_rate: Decimal | None
    vat_amount: Decimal | None
    tax_deduction_code: str
    price_id: UUID
    price_list: str
    order_id: UUID
    order_number: str
    order_date: date
    fallback: bool
    package_id: UUID | None
    package_code: str | None
    package_name_ru: str | None
    package_name_en: str | None
    package_no: int | None
    package_quantity: int | None
    list_amount: Decimal | None

    @property
    def vat(self) -> Vat:
        return Vat(self.vat_rate, self.vat_amount)

    @property
    def effective_discount(self) -> Decimal:
        """All its discounts in percent of its gross."""
        return totals.effective_percent(self.gross, self.discount + self.document_discount)

    def is_discounted_above(self, ceiling: Decimal) -> bool:
        """Whether its discounts are more than `ceiling` % of its gross; less than a kopeck more is rounding."""
        return self.discount + self.document_discount - self.gross * ceiling / totals.HUNDRED >= money.KOPECK

    def as_json(self) -> dict[str, Any]:
        return {
            "position": self.position,
            "article": self.article,
            "doctor_rank": self.doctor_rank,
            "rank_name": {"ru": self.rank_name_ru, "en": self.rank_name_en} if self.rank_name_ru else None,
            "doctor": self._doctor_json(),
            "name": {"ru": self.name_ru, "en": self.name_en},
            "nomenclature_codes": self.nomenclature_codes,
            "quantity": shown_quantity(self.quantity),
            "unit": self.unit,
            "service_date": self.service_date,
            "price_kind": self.price_kind,
            "unit_price": money.text(self.unit_price),
            "price_reason": self.price_reason,
            "priced_by": self.priced_by,
            "gross": money.text(self.gross),
            "discount_percent": money.text_or_none(self.discount_percent),
            "discount_amount": money.text_or_none(self.discount_amount),
            "discount_reason": self.discount_reason,
            "discount": money.text(self.discount),
            "document_discount": money.text(self.document_discount),
            "amount": money.text(self.amount),
            "vat": {"category": self.vat_category, **vat_json(self.vat)},
            "tax_deduction_code": self.tax_deduction_code,
            "price_source": {
                "price_id": self.price_id,
                "price_list": self.price_list,
                "order": self.order_number,
                "order_id": self.order_id,
                "order_date": self.order_date,
                "fallback": self.fallback,
            },
            "package": self._package_json(),
        }

    def _package_json(self) -> dict[str, Any] | None:
        if self.list_amount is None:
            return None
        return {
            "code": self.package_code,
            "name": {"ru": self.package_name_ru, "en": self.package_name_en},
            "no": self.package_no,
            "quantity": self.package_quantity,
            "list_amount": money.text(self.list_amount),
        }

    def _doctor_json(self) -> dict[str, Any] | None:
        if self.doctor_id is None:
            return None
        return {"id": self.doctor_id, "name": {"ru": self.doctor_name_ru, "en": self.doctor_name_en}}


def vat_json(vat: Vat) -> dict[str, str | None]:
    return {
        "rate": None if vat.rate is None else totals.shown_rate(vat.rate),
        "amount": money.text_or_none(vat.amount),
        "text": vat.text,
    }


def shown_quantity(quantity: Decimal) -> str:
    """ "1", "1.5": without idle zeros."""
    return f"{quantity.normalize():f}"


@dataclass(frozen=True)
class Sums:
    """What a document's lines come to, in rubles."""

    subtotal: Decimal
    discount: Decimal
    total: Decimal

    @classmethod
    def of(cls, lines: Sequence[Line]) -> Sums:
        subtotal = sum((line.gross for line in lines), ZERO)
        total = sum((line.amount for line in lines), ZERO)
        return cls(subtotal, subtotal - total, total)


def totals_json(lines: Sequence[Line]) -> dict[str, Any]:
    """The block `totals` of a document."""
    sums = Sums.of(lines)
    groups = totals.vat_groups((line.amount, line.vat) for line in lines)
    return {
        "subtotal": money.text(sums.subtotal),
        "discount": money.text(sums.discount),
        "total": money.text(sums.total),
        "vat": [{"base": money.text(group.base), **vat_json(group.vat)} for group in groups],
        "in_words": money.in_words(sums.total),
    }


def taxed(line: Line, rate: Decimal | None) -> Line:
    """The line with the VAT of `rate` % inside its amount."""
    vat = Vat.inside(line.amount, rate)
    return replace(line, vat_rate=vat.rate, vat_amount=vat.amount)


_KEPT = tuple(Line.__dataclass_fields__)


def kept(line: Line) -> dict[str, Any]:
    """What every document keeps of a line, by column."""
    return {name: getattr(line, name) for name in _KEPT}


def packed(lines: Sequence[object]) -> str:
    """Lines of a document as one parameter of an INSERT; sums as text, since JSON's own numbers are floats to many."""
    return orjson.dumps([vars(line) for line in lines], default=str).decode()
