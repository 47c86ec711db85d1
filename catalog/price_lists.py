"""Price lists: the public one, and those of insurers and others, which may fall back to another list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import marshmallow as ma

from clinic import db, errors
from clinic.errors import Fault, InvalidInput

BASE = "base"
"""The public list that stands in every clinic."""
FORM = r"[a-z][a-z0-9_-]{0,31}"

errors.describe({"unknown_price_list": ("Такого прейскуранта нет.", "There is no such price list.")})


class NameOut(ma.Schema):
    """A name in both languages."""

    ru = ma.fields.String(required=True)
    en = ma.fields.String(required=True)


class PriceListOut(ma.Schema):
    """A price list. `fallback` is where a service without a price in this list is looked up next."""

    code = ma.fields.String(required=True)
    name = ma.fields.Nested(NameOut, required=True)
    public = ma.fields.Boolean(required=True)
    fallback = ma.fields.String(required=True, allow_none=True)


@dataclass(frozen=True)
class PriceList:
    code: str
    name_ru: str
    name_en: str
    public: bool
    fallback: str | None

    def as_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "name": {"ru": self.name_ru, "en": self.name_en},
            "public": self.public,
            "fallback": self.fallback,
        }


def unknown() -> InvalidInput:
    """The refusal of a request that names a price list that does not exist."""
    return InvalidInput([Fault("/price_list", "unknown_price_list")])


def get(conn: db.Connection, code: str) -> PriceList:
    """The list of this code.

    Raises:
        InvalidInput: there is none.
    """
    found = db.find(
        conn,
        PriceList,
        "SELECT code, name_ru, name_en, public, fallback FROM price_list WHERE code = %(code)s::text",
        {"code": code},
    )
    if found is None:
        raise unknown()
    return found


def exists(conn: db.Connection, code: str) -> bool:
    """Whether there is a list of this code."""
    return bool(db.value(conn, "SELECT true FROM price_list WHERE code = %(code)s::text", {"code": code}))


def every(conn: db.Connection) -> list[PriceList]:
    """All lists, the base one first."""
    return db.many(
        conn,
        PriceList,
        """
        SELECT code, name_ru, name_en, public, fallback FROM price_list
         ORDER BY code <> 'base', code
        """,
    )


def lock(conn: db.Connection, code: str) -> None:
    """Let nobody else publish in this list until the transaction ends; quotes and invoices go on.

    Raises:
        InvalidInput: there is no such list.
    """
    # Not FOR UPDATE: that would also hold up every new quote, whose foreign key looks at this row.
    if not db.value(conn, "SELECT true FROM price_list WHERE code = %(code)s::text FOR NO KEY UPDATE", {"code": code}):
        raise unknown()
