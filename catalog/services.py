"""Services: what the clinic sells, each under an article of its own that never changes and is never reused.

A service is known by its article; codes of the state nomenclature (Order 804n) are an attribute, none or several.
It has no price until a price order gives one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import marshmallow as ma
from psycopg import errors as pg

from catalog import categories, vat
from catalog.price_lists import NameOut
from catalog.search import Search
from clinic import db, errors, fields, ids
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput, NotFound

ARTICLE = r"[A-Z0-9][A-Z0-9._-]{0,31}"
NOMENCLATURE = r"(?:A(?:0[1-9]|1[0-9]|2[0-9]|30)\.[0-9]{2}\.[0-9]{3}|B0[1-9]\.[0-9]{3}\.[0-9]{3})(?:\.[0-9]{3})?"
"""Domain rule 1: classes A and B, Latin letters, ASCII digits; must match in full."""
UNIT = "услуга"

errors.describe(
    {
        "wrong_nomenclature_code": (
            "Код не по номенклатуре 804н: нужен вид A06.30.005.002 или B01.027.001, буквы латинские.",
            "This is no code of Order 804n: A06.30.005.002 or B01.027.001 is the form, with Latin letters.",
        ),
        "repeated_code": ("Код указан дважды.", "The code is given twice."),
        "code_missing": ("У услуги нет кода номенклатуры 804н.", "The service has no code of Order 804n."),
    }
)


class ArticleTaken(Conflict):
    """A service of this article exists.

    Articles are never given to another service, not even after the first one is sold no longer."""

    ru = (
        "Услуга с таким артикулом уже есть\n\n"
        "Артикул не отдаётся другой услуге, даже когда прежнюю больше не оказывают."
    )


class ServiceHasPrices(Conflict):
    """The service has prices, so whether they depend on the doctor's rank cannot be changed.

    Withdraw it, and make a service with another article."""

    ru = (
        "У услуги есть цены, поэтому зависимость от звания врача менять нельзя\n\n"
        "Снимите её с прейскуранта и заведите услугу с другим артикулом."
    )


def nomenclature_code() -> fields.Form:
    """A code of Order 804n by its form; whether it exists only the official list knows."""
    return fields.Form(
        NOMENCLATURE, error_messages={"invalid": "wrong_nomenclature_code"}, metadata={"example": "B01.027.001"}
    )


class ServicePatch(fields.Shape):
    """What may change of a service. Documents already made keep what they copied."""

    name = fields.Nested(fields.Words)
    category = fields.Form(categories.FORM, metadata={"example": "ultrasound"})
    nomenclature_codes = fields.Many(nomenclature_code(), most=20, metadata={"uniqueItems": True})
    unit = fields.Text(32)
    vat_category = fields.Choice(*vat.CATEGORIES)
    tax_deduction_code = fields.Choice(
        *vat.TAX_DEDUCTION_CODES, metadata={"description": "1 usual, 2 expensive treatment"}
    )
    priced_by_rank = fields.Flag(metadata={"description": "fixed once the service has a price"})
    discountable = fields.Flag()
    active = fields.Flag(metadata={"description": "false: sold no longer, from today on"})
    note = fields.Text(2000, allow_none=True, metadata={"description": "for patients: what is and is not included"})

    @ma.validates("nomenclature_codes")
    def each_once(self, codes: list[str], **_: Any) -> None:
        if len(set(codes)) < len(codes):
            raise ma.ValidationError("repeated_code")

    def beyond(self, raw: Any) -> list[Fault]:
        category = raw.get("category") if isinstance(raw, dict) else None
        if not isinstance(category, str) or not re.fullmatch(categories.FORM, category, re.ASCII):
            return []
        with db.reading() as conn:
            known = db.value(conn, "SELECT true FROM category WHERE code = %(code)s::text", {"code": category})
        return [] if known else [Fault("/category", "unknown_category")]


class ServiceIn(ServicePatch):
    """A new service."""

    article = fields.Form(ARTICLE, required=True, metadata={"example": "US-ABD"})
    name = fields.Nested(fields.Words, required=True)
    category = fields.Form(categories.FORM, required=True, metadata={"example": "ultrasound"})
    nomenclature_codes = fields.Many(nomenclature_code(), most=20, load_default=list, metadata={"uniqueItems": True})
    unit = fields.Text(32, load_default=UNIT)
    vat_category = fields.Choice(*vat.CATEGORIES, load_default="exempt_medical")
    tax_deduction_code = fields.Choice(*vat.TAX_DEDUCTION_CODES, load_default="1")
    priced_by_rank = fields.Flag(load_default=False)
    discountable = fields.Flag(load_default=True)
    active = fields.Flag(load_default=True)
    note = fields.Text(2000, load_default=None, allow_none=True)


class WarningOut(ma.Schema):
    """Something worth a look that stops nothing."""

    code = ma.fields.String(required=True)
    message = ma.fields.String(required=True)


class ServiceOut(ma.Schema):
    """A service as it is now."""

    id = ma.fields.UUID(required=True)
    article = ma.fields.String(required=True)
    name = ma.fields.Nested(NameOut, required=True)
    category = ma.fields.String(required=True)
    nomenclature_codes = ma.fields.List(ma.fields.String(), required=True)
    unit = ma.fields.String(required=True)
    vat_category = ma.fields.String(required=True)
    tax_deduction_code = ma.fields.String(required=True)
    priced_by_rank = ma.fields.Boolean(required=True)
    discountable = ma.fields.Boolean(required=True)
    active = ma.fields.Boolean(required=True)
    note = ma.fields.String(required=True, allow_none=True)
    warnings = ma.fields.List(ma.fields.Nested(WarningOut), required=True)
    created_at = ma.fields.DateTime(required=True)
    updated_at = ma.fields.DateTime(required=True)


@dataclass(frozen=True)
class Service:
    id: UUID
    article: str
    name_ru: str
    name_en: str
    category: str
    nomenclature_codes: list[str]
    unit: str
    vat_category: str
    tax_deduction_code: str
    priced_by_rank: bool
    discountable: bool
    active: bool
    note: str | None
    row_version: int
    created_at: datetime
    updated_at: datetime

    def as_json(self, lang: str, warnings: Sequence[Fault]) -> dict[str, Any]:
        """`warnings` are what `nomenclature.warnings` has to say of the service."""
        return {
            "id": self.id,
            "article": self.article,
            "name": {"ru": self.name_ru, "en": self.name_en},
            "category": self.category,
            "nomenclature_codes": self.nomenclature_codes,
            "unit": self.unit,
            "vat_category": self.vat_category,
            "tax_deduction_code": self.tax_deduction_code,
            "priced_by_rank": self.priced_by_rank,
            "discountable": self.discountable,
            "active": self.active,
            "note": self.note,
            "warnings": [{"code": each.code, "message": each.message(lang)} for each in warnings],
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }


def new(change: Change, wanted: dict[str, Any]) -> Service:
    """A service from what `ServiceIn` has read; not stored yet."""
    name = wanted["name"]
    rest = {member: value for member, value in wanted.items() if member != "name"}
    return Service(
        ids.new(), name_ru=name["ru"], name_en=name["en"], row_version=1, created_at=change.at, updated_at=change.at,
        **rest,
    )  # fmt: skip


def create(change: Change, wanted: dict[str, Any]) -> Service:
    """Add a service. It has no price until an order gives one.

    Raises:
        ArticleTaken: there is or was one of this article.
        InvalidInput: there is no such category.
    """
    service = new(change, wanted)
    try:
        add(change, [service])
    except pg.UniqueViolation as exc:
        raise ArticleTaken(article=service.article) from exc
    except pg.ForeignKeyViolation as exc:
        raise InvalidInput([Fault("/category", "unknown_category")]) from exc
    return service


def add(change: Change, services: Sequence[Service]) -> None:
    """Store services by one statement and record each.

    Raises:
        UniqueViolation, ForeignKeyViolation: an article is taken, a category is unknown.
    """
    change.conn.execute(
        """
        INSERT INTO medical_service
               (id, article, name_ru, name_en, category, nomenclature_codes, unit, vat_category, tax_deduction_code,
                priced_by_rank, discountable, active, inactive_since, note, created_at, updated_at)
        SELECT id, article, name_ru, name_en, category, string_to_array(codes, ','), unit, vat_category,
               tax_deduction_code, priced_by_rank, discountable, active,
               CASE WHEN NOT active THEN %(today)s::date END, note, %(now)s, %(now)s
          FROM unnest(%(ids)s::uuid[], %(articles)s::text[], %(ru)s::text[], %(en)s::text[], %(categories)s::text[],
                      %(codes)s::text[], %(units)s::text[], %(vat)s::text[], %(tax)s::text[], %(by_rank)s::boolean[],
                      %(discountable)s::boolean[], %(active)s::boolean[], %(notes)s::text[])
            AS wanted (id, article, name_ru, name_en, category, codes, unit, vat_category, tax_deduction_code,
                       priced_by_rank, discountable, active, note)
        """,
        {
            "now": change.at,
            "today": change.today,
            "ids": [each.id for each in services],
            "articles": [each.article for each in services],
            "ru": [each.name_ru for each in services],
            "en": [each.name_en for each in services],
            "categories": [each.category for each in services],
            # Lists of different lengths are no array in SQL.
            "codes": [",".join(each.nomenclature_codes) for each in services],
            "units": [each.unit for each in services],
            "vat": [each.vat_category for each in services],
            "tax": [each.tax_deduction_code for each in services],
            "by_rank": [each.priced_by_rank for each in services],
            "discountable": [each.discountable for each in services],
            "active": [each.active for each in services],
            "notes": [each.note for each in services],
        },
    )
    for each in services:
        change.record("service.created", each.id, article=each.article, category=each.category)


def edit(change: Change, service: Service, wanted: dict[str, Any]) -> Service:
    """Change `service`, which was read under its lock.

    Raises:
        ServiceHasPrices: `priced_by_rank` would change.
        InvalidInput: there is no such category.
    """
    wanted = dict(wanted)
    if name := wanted.pop("name", None):
        wanted |= {"name_ru": name["ru"], "name_en": name["en"]}
    changed = {member: value for member, value in wanted.items() if value != getattr(service, member)}
    if not changed:
        return service
    if "priced_by_rank" in changed and _has_prices(change.conn, service):
        raise ServiceHasPrices(article=service.article)
    after = replace(service, **changed, row_version=service.row_version + 1, updated_at=change.at)
    try:
        change.conn.execute(
            """
            UPDATE medical_service
               SET name_ru = %(name_ru)s, name_en = %(name_en)s, category = %(category)s,
                   nomenclature_codes = %(nomenclature_codes)s::text[], unit = %(unit)s,
                   vat_category = %(vat_category)s, tax_deduction_code = %(tax_deduction_code)s,
                   priced_by_rank = %(priced_by_rank)s, discountable = %(discountable)s, active = %(active)s,
                   inactive_since = CASE WHEN NOT %(active)s THEN coalesce(inactive_since, %(today)s::date) END,
                   note = %(note)s, row_version = %(row_version)s, updated_at = %(updated_at)s
             WHERE id = %(id)s
            """,
            vars(after) | {"today": change.today},
        )
    except pg.ForeignKeyViolation as exc:
        raise InvalidInput([Fault("/category", "unknown_category")]) from exc
    change.record("service.changed", service.id, article=service.article, changed=sorted(changed))
    return after


def _has_prices(conn: db.Connection, service: Service) -> bool:
    return bool(db.value(conn, "SELECT true FROM price WHERE service_id = %(id)s LIMIT 1", {"id": service.id}))


def get(conn: db.Connection, article: str) -> Service:
    """The service of this article.

    Raises:
        NotFound: there is none.
    """
    found = _of(conn, [article])
    if not found:
        raise NotFound()
    return found[0]


def locked(conn: db.Connection, article: str) -> Service:
    """The service of this article, which nobody else changes until the transaction ends.

    Raises:
        NotFound: there is none.
    """
    conn.execute("SELECT FROM medical_service WHERE article = %s::text FOR NO KEY UPDATE", (article,))
    return get(conn, article)


def known(conn: db.Connection, articles: Sequence[str]) -> dict[str, Service]:
    """Those of `articles` that exist; they do not change until the transaction ends."""
    conn.execute(
        "SELECT FROM medical_service WHERE article = ANY (%s::text[]) ORDER BY id FOR SHARE", (list(articles),)
    )
    return named(conn, articles)


def named(conn: db.Connection, articles: Sequence[str]) -> dict[str, Service]:
    """Those of `articles` that exist, by article."""
    return {each.article: each for each in _of(conn, articles)}


def existing(conn: db.Connection, articles: Sequence[str]) -> set[str]:
    """Those of `articles` that are services'."""
    rows = conn.execute("SELECT article FROM medical_service WHERE article = ANY (%s::text[])", (list(articles),))
    return {row[0] for row in rows}


def _of(conn: db.Connection, articles: Sequence[str]) -> list[Service]:
    return db.many(
        conn,
        Service,
        """
        SELECT id, article, name_ru, name_en, category, nomenclature_codes, unit, vat_category, tax_deduction_code,
               priced_by_rank, discountable, active, note, row_version, created_at, updated_at
          FROM medical_service
         WHERE article = ANY (%(articles)s::text[])
        """,
        {"articles": list(articles)},
    )


def listed(
    conn: db.Connection,
    *,
    within: Sequence[str] | None = None,
    found: Search | None = None,
    active: bool | None = None,
    after: str | None = None,
    limit: int,
) -> list[Service]:
    """Up to `limit` services by article, behind the article `after`; a filter that is None lets everything pass."""
    found = found or Search()
    return db.many(
        conn,
        Service,
        """
        SELECT id, article, name_ru, name_en, category, nomenclature_codes, unit, vat_category, tax_deduction_code,
               priced_by_rank, discountable, active, note, row_version, created_at, updated_at
          FROM medical_service
         WHERE (%(within)s::text[] IS NULL OR category = ANY (%(within)s::text[]))
           AND (%(patterns)s::text[] IS NULL OR search LIKE ALL (%(patterns)s::text[]))
           AND (%(meant)s::uuid[] IS NULL OR id = ANY (%(meant)s::uuid[]))
           AND (%(active)s::boolean IS NULL OR active = %(active)s::boolean)
           AND (%(after)s::text IS NULL OR article COLLATE "C" > %(after)s::text)
         ORDER BY article COLLATE "C"
         LIMIT %(limit)s::int
        """,
        {
            "within": None if within is None else list(within),
            "patterns": found.patterns,
            "meant": found.meant,
            "active": active,
            "after": after,
            "limit": limit,
        },
    )
