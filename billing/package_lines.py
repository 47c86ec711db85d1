"""Packages on documents: one line per part, each with its share of what the package costs.

The shares are the catalog's split, copied like everything else a line says. A package is a price already: discounts
pass it by, and so does the ceiling of whoever sells it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import Any

import marshmallow as ma

from billing.lines import Line, NamesOut, taxed
from catalog import packages, price_lists
from catalog.package_split import Package, Share, Split
from catalog.prices import Unpriced
from clinic import db, money
from clinic.errors import Fault
from clinic.money import ZERO


class PackageSumsOut(ma.Schema):
    """A package of the document, what of it stands there: `amount` is the sum of its lines."""

    no = ma.fields.Integer(required=True)
    code = ma.fields.String(required=True)
    name = ma.fields.Nested(NamesOut, required=True)
    quantity = ma.fields.Integer(required=True)
    list_amount = ma.fields.String(required=True, metadata={"description": "its parts one by one"})
    amount = ma.fields.String(required=True)
    saving = ma.fields.String(required=True, metadata={"description": "never negative"})


class DocumentWarningOut(ma.Schema):
    """Something worth a look that stops nothing; `no` is which package of the document, where it is one."""

    code = ma.fields.String(required=True, metadata={"enum": ["package_above_parts", "legal_reference_missing"]})
    no = ma.fields.Integer(required=True, allow_none=True)
    message = ma.fields.Nested(NamesOut, required=True)


# ---- Wanted ----


def day_of(line: dict[str, Any], today: date) -> date:
    """The day whose prices a wanted line follows."""
    day: date = line.get("service_date") or today
    return day


def sold(
    conn: db.Connection, price_list: str, wanted: Sequence[dict[str, Any]], today: date
) -> list[Package | Unpriced | None]:
    """For each wanted line the package it asks for, or why there is none that day; None where it asks for a service.

    Raises:
        InvalidInput: there is no such price list.
    """
    codes = [line["package"] for line in wanted if line.get("package") is not None]
    if not codes:
        return [None] * len(wanted)
    versions = packages.versions(conn, price_list, codes)
    if not versions:
        price_lists.get(conn, price_list)
    return [
        None
        if (code := line.get("package")) is None
        else packages.sold_on(versions.get(code), code, day_of(line, today))
        for line in wanted
    ]


def as_part(line: Line, sold: Split, share: Share, no: int) -> Line:
    """The line of a part: at its list price, with its share of package number `no` of the document."""
    return taxed(
        replace(
            line,
            gross=share.amount,
            amount=share.amount,
            discountable=False,
            package_id=sold.package.id,
            package_code=sold.package.code,
            package_name_ru=sold.package.name_ru,
            package_name_en=sold.package.name_en,
            package_no=no,
            package_quantity=sold.times,
            list_amount=share.list_amount,
        ),
        line.vat_rate,
    )


# ---- On a document ----


@dataclass(frozen=True)
class Group:
    """The lines of one package of a document."""

    lines: Sequence[Line]

    @property
    def line(self) -> Line:
        """Any of the lines: they say the same of the package."""
        return self.lines[0]

    @property
    def amount(self) -> Decimal:
        return sum((line.amount for line in self.lines), ZERO)

    @property
    def list_amount(self) -> Decimal:
        return sum((line.list_amount or ZERO for line in self.lines), ZERO)

    @property
    def saving(self) -> Decimal:
        """In rubles; none where the package costs more than its parts."""
        return max(self.list_amount - self.amount, ZERO)

    def wanted(self) -> dict[str, Any]:
        """The line that asked for this package."""
        line = self.line
        return {
            "package": line.package_code,
            "quantity": Decimal(line.package_quantity or 1),
            "service_date": line.service_date,
        }

    def as_json(self) -> dict[str, Any]:
        line = self.line
        return {
            "no": line.package_no,
            "code": line.package_code,
            "name": {"ru": line.package_name_ru, "en": line.package_name_en},
            "quantity": line.package_quantity,
            "list_amount": money.text(self.list_amount),
            "amount": money.text(self.amount),
            "saving": money.text(self.saving),
        }


def asked(lines: Sequence[Line]) -> list[Line | Group]:
    """What the document was asked for: its single lines, and its packages with the lines of their parts."""
    found: list[Line | Group] = []
    for no, together in groupby(lines, key=lambda line: line.package_no):
        same = list(together)
        found += same if no is None else [Group(same)]
    return found


def groups(lines: Sequence[Line]) -> list[Group]:
    """The packages of a document."""
    return [each for each in asked(lines) if isinstance(each, Group)]


def packages_json(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The block `packages` of a document."""
    return [group.as_json() for group in groups(lines)]


def warnings_json(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The block `warnings`: packages that cost more than their parts alone."""
    return [_above_parts(group) for group in groups(lines) if group.amount > group.list_amount]


def _above_parts(group: Group) -> dict[str, Any]:
    line = group.line
    said = Fault(
        "",
        "package_above_parts",
        (
            ("package", line.package_code or ""),
            ("total", money.text(group.amount)),
            ("list_amount", money.text(group.list_amount)),
        ),
    )
    return {"code": said.code, "no": line.package_no, "message": {lang: said.message(lang) for lang in ("ru", "en")}}
