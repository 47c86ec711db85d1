"""Doctor ranks: what a price may depend on besides the service. They stand in an order, `none` first."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import marshmallow as ma
from psycopg import errors as pg

from catalog.price_lists import NameOut
from clinic import db, errors, fields, ids
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput, NotFound

NONE = "none"
"""A doctor without a degree; also the one rank of a service whose price does not depend on it."""
FORM = r"[a-z][a-z0-9_]{0,31}"
_MOST = 1000

errors.describe(
    {
        "unknown_rank": ("Звания врача «{doctor_rank}» нет.", "There is no doctor rank {doctor_rank}."),
        "wrong_position": (
            "Звание none всегда первое; остальные стоят на местах от 2 до {last}.",
            "The rank none is always the first; the others have the places from 2 to {last}.",
        ),
    },
)


class RankTaken(Conflict):
    """A doctor rank of this code exists.

    Prices and documents name it; change its names or its place, or take another code."""

    ru = (
        "Звание врача с таким кодом уже есть\n\n"
        "Его называют цены и документы: измените названия или место либо возьмите другой код."
    )


def _position(**given: Any) -> fields.Whole:
    about = {"description": "place among all ranks, from the lowest; the others make room"}
    return fields.Whole(1, _MOST, metadata=about, **given)


class RankPatch(fields.Shape):
    """What may change of a rank. Documents already made keep the names they copied."""

    name = fields.Nested(fields.Words)
    position = _position()


class RankIn(fields.Shape):
    """A new rank; the last one unless a place is given."""

    code = fields.Form(FORM, required=True, metadata={"example": "academician"})
    name = fields.Nested(fields.Words, required=True)
    position = _position(load_default=None, allow_none=True)

    def beyond(self, raw: Any) -> list[Fault]:
        position = raw.get("position") if isinstance(raw, dict) else None
        if type(position) is not int or not 1 <= position <= _MOST:
            return []
        with db.reading() as conn:
            return _place_faults("", position, len(every(conn)) + 1)


class RankOut(ma.Schema):
    """A doctor rank and its place among all of them, from the lowest."""

    code = ma.fields.String(required=True)
    name = ma.fields.Nested(NameOut, required=True)
    position = ma.fields.Integer(required=True)


@dataclass(frozen=True)
class Rank:
    code: str
    name_ru: str
    name_en: str
    position: int
    row_version: int

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "name": {"ru": self.name_ru, "en": self.name_en}, "position": self.position}


def unknown(code: str, pointer: str = "/doctor_rank") -> InvalidInput:
    """The refusal of a request that names a rank that does not exist."""
    return InvalidInput([Fault(pointer, "unknown_rank", (("doctor_rank", code),))])


def faults_in(raw: Any) -> list[Fault]:
    """What is wrong with the member `doctor_rank` of a body that is wrong elsewhere."""
    code = raw.get("doctor_rank") if isinstance(raw, dict) else None
    if not isinstance(code, str) or not re.fullmatch(FORM, code):
        return []
    with db.reading() as conn:
        return faults_of(conn, code)


def faults_of(conn: db.Connection, code: str) -> list[Fault]:
    """The fault of naming a rank that does not exist."""
    return [] if code in {each.code for each in every(conn)} else unknown(code).faults


def every(conn: db.Connection) -> list[Rank]:
    """All ranks, from the lowest."""
    return db.many(
        conn, Rank, "SELECT code, name_ru, name_en, position, row_version FROM doctor_rank ORDER BY position"
    )


def get(conn: db.Connection, code: str) -> Rank:
    """The rank of this code.

    Raises:
        NotFound: there is none.
    """
    return _among(every(conn), code)


def _among(known: list[Rank], code: str) -> Rank:
    for each in known:
        if each.code == code:
            return each
    raise NotFound()


def all_locked(conn: db.Connection) -> list[Rank]:
    """All ranks, which nobody else adds to, names or moves until the transaction ends."""
    # `none` is always there: its row stands for all of them. Prices, whose foreign keys look at ranks, go on.
    conn.execute("SELECT FROM doctor_rank WHERE code = 'none' FOR NO KEY UPDATE")
    return every(conn)


def locked(conn: db.Connection, code: str) -> tuple[list[Rank], Rank]:
    """All ranks, as `all_locked`, and the one of this code.

    Raises:
        NotFound: there is none.
    """
    known = all_locked(conn)
    return known, _among(known, code)


def create(change: Change, code: str, name_ru: str, name_en: str, position: int | None) -> Rank:
    """Add a rank at its place.

    Raises:
        RankTaken: there is one of this code.
        InvalidInput: there is no such place.
    """
    known = all_locked(change.conn)
    rank = Rank(code, name_ru, name_en, position or len(known) + 1, 1)
    _must_be_a_place(rank, len(known) + 1)
    _arrange(change.conn, [*known[: rank.position - 1], rank, *known[rank.position - 1 :]])
    try:
        change.conn.execute(
            """
            INSERT INTO doctor_rank (code, name_ru, name_en, position)
            VALUES (%(code)s, %(name_ru)s, %(name_en)s, %(position)s)
            """,
            vars(rank),
        )
    except pg.UniqueViolation as exc:
        raise RankTaken(doctor_rank=code) from exc
    change.record("doctor_rank.created", ids.of_code("doctor_rank", code), code=code, position=rank.position)
    return rank


def edit(change: Change, known: list[Rank], rank: Rank, wanted: dict[str, Any]) -> Rank:
    """Change names or place of a rank; all of them, `known`, were read under their lock.

    Raises:
        InvalidInput: there is no such place, or it is the first one, which is that of `none`.
    """
    name = wanted.get("name", {"ru": rank.name_ru, "en": rank.name_en})
    edited = replace(rank, name_ru=name["ru"], name_en=name["en"], position=wanted.get("position", rank.position))
    if edited == rank:
        return rank
    _must_be_a_place(edited, len(known))
    others = [each for each in known if each.code != rank.code]
    _arrange(change.conn, [*others[: edited.position - 1], edited, *others[edited.position - 1 :]])
    change.conn.execute(
        """
        UPDATE doctor_rank
           SET name_ru = %(name_ru)s, name_en = %(name_en)s, position = %(position)s, row_version = row_version + 1
         WHERE code = %(code)s
        """,
        vars(edited),
    )
    change.record(
        "doctor_rank.changed", ids.of_code("doctor_rank", rank.code), code=rank.code, position=edited.position
    )
    return replace(edited, row_version=rank.row_version + 1)


def _must_be_a_place(rank: Rank, last: int) -> None:
    if faults := _place_faults(rank.code, rank.position, last):
        raise InvalidInput(faults)


def _place_faults(code: str, position: int, last: int) -> list[Fault]:
    if (position == 1) == (code == NONE) and position <= last:
        return []
    return [Fault("/position", "wrong_position", (("last", str(last)),))]


def _arrange(conn: db.Connection, order: list[Rank]) -> None:
    """Let every rank but the one that is being placed stand where it stands in `order`."""
    moved = [(each.code, place) for place, each in enumerate(order, 1) if each.position != place]
    if moved:
        conn.execute(
            """
            UPDATE doctor_rank SET position = wanted.position, row_version = row_version + 1
              FROM unnest(%(codes)s::text[], %(places)s::int[]) AS wanted (code, position)
             WHERE doctor_rank.code = wanted.code
            """,
            {"codes": [code for code, _ in moved], "places": [place for _, place in moved]},
        )
