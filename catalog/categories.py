"""Categories: the sections of the price list, which may stand inside one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import marshmallow as ma
from psycopg import errors as pg

from catalog.price_lists import NameOut
from catalog.search import folded
from clinic import db, errors, fields, ids
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput

FORM = r"[a-z][a-z0-9_]{0,31}"

errors.describe({"unknown_category": ("Такой категории нет.", "There is no such category.")})


class CategoryTaken(Conflict):
    """A category of this code or this Russian name exists.

    Files find a category by its Russian name, so both are used once."""

    ru = (
        "Категория с таким кодом или русским названием уже есть\n\n"
        "Файлы находят категорию по русскому названию, поэтому оно одно."
    )


class CategoryIn(fields.Shape):
    """A new category; with `parent` it stands inside that one."""

    code = fields.Form(FORM, required=True, metadata={"example": "endoscopy"})
    name = fields.Nested(fields.Words, required=True)
    parent = fields.Form(FORM, load_default=None, allow_none=True)


class CategoryOut(ma.Schema):
    """A category."""

    code = ma.fields.String(required=True)
    name = ma.fields.Nested(NameOut, required=True)
    parent = ma.fields.String(required=True, allow_none=True)


@dataclass(frozen=True)
class Category:
    id: UUID
    code: str
    name_ru: str
    name_en: str
    parent: str | None

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "name": {"ru": self.name_ru, "en": self.name_en}, "parent": self.parent}


def create(change: Change, code: str, name_ru: str, name_en: str, parent: str | None = None) -> Category:
    """Add a category behind those that are there.

    Raises:
        CategoryTaken: code or Russian name is in use.
        InvalidInput: there is no such parent.
    """
    category = Category(ids.new(), code, name_ru, name_en, parent)
    try:
        change.conn.execute(
            """
            INSERT INTO category (code, id, name_ru, name_en, parent, position, created_at)
            SELECT %(code)s, %(id)s, %(ru)s, %(en)s, %(parent)s, coalesce(max(position), 0) + 1, %(now)s FROM category
            """,
            {
                "code": code,
                "id": category.id,
                "ru": name_ru,
                "en": name_en,
                "parent": parent,
                "now": change.at,
            },
        )
    except pg.UniqueViolation as exc:
        raise CategoryTaken(category=code) from exc
    except (pg.ForeignKeyViolation, pg.CheckViolation) as exc:  # nor does it stand inside itself
        raise InvalidInput([Fault("/parent", "unknown_category")]) from exc
    change.record("category.created", category.id, code=code, parent=parent)
    return category


def every(conn: db.Connection) -> list[Category]:
    """All categories in the order of the price list."""
    return db.many(conn, Category, "SELECT id, code, name_ru, name_en, parent FROM category ORDER BY position, code")


def by_russian_name(conn: db.Connection) -> dict[str, str]:
    """Code of each category by its folded Russian name."""
    return {folded(each.name_ru): each.code for each in every(conn)}


def within(conn: db.Connection, code: str) -> Sequence[str]:
    """The category and all that stand inside it.

    Raises:
        InvalidInput: there is no such category.
    """
    codes: list[str] = db.value(
        conn,
        """
        WITH RECURSIVE inside AS (
          SELECT code FROM category WHERE code = %(code)s::text
           UNION
          SELECT category.code FROM category JOIN inside ON category.parent = inside.code)
        SELECT array_agg(code) FROM inside
        """,
        {"code": code},
    )
    if not codes:
        raise InvalidInput([Fault("?category", "unknown_category")])
    return codes
