"""Doctor ranks: what a price may depend on besides the service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import marshmallow as ma

from catalog.price_lists import NameOut
from clinic import db, errors

NONE = "none"
"""A doctor without a degree; also the one rank of a service whose price does not depend on it."""
FORM = r"[a-z][a-z0-9_]{0,31}"

errors.describe(
    {"unknown_rank": ("Звания врача «{doctor_rank}» нет.", "There is no doctor rank {doctor_rank}.")},
)


class RankOut(ma.Schema):
    """A doctor rank."""

    code = ma.fields.String(required=True)
    name = ma.fields.Nested(NameOut, required=True)


@dataclass(frozen=True)
class Rank:
    code: str
    name_ru: str
    name_en: str

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "name": {"ru": self.name_ru, "en": self.name_en}}


def every(conn: db.Connection) -> list[Rank]:
    """All ranks, from the lowest."""
    return db.many(conn, Rank, "SELECT code, name_ru, name_en FROM doctor_rank ORDER BY position")
