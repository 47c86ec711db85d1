"""The rules of discounts: reasons the clinic knows, and how much each role may take off alone.

A reason is valid on the days of its period; documents keep its code, so the days that are over stay as they were. A
ceiling is in percent of a line's gross and is compared with all discounts of the line together. Whether a document may
go out is judged by the database (`discount_approved`), at the ceilings of that moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any, cast

import marshmallow as ma
from psycopg import errors as pg

from billing.lines import REASON, NamesOut
from clinic import db, fields, ids, money
from clinic.auth import ROLES, Actor
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput, NotFound


class DiscountAboveLimit(Conflict):
    """A discount is above what its author may give alone.

    A second person approves it, or the discount is lowered."""

    ru = "Скидка выше той, что автор может дать сам\n\nЕё утверждает второй человек, или скидку снижают."


class DiscountReasonTaken(Conflict):
    """A discount reason of this code exists.

    Documents name it; change its names or its last day, or take another code."""

    ru = (
        "Причина скидки с таким кодом уже есть\n\n"
        "Её называют документы: измените названия или срок либо возьмите другой код."
    )


@contextmanager
def within_limits(**document: Any) -> Iterator[None]:
    """Around the statement that lets a document go out.

    Raises:
        DiscountAboveLimit: a discount of it waits for approval; `document` says of which one.
    """
    try:
        yield
    except pg.CheckViolation as exc:
        if exc.diag.constraint_name != "discount_approved":
            raise
        raise DiscountAboveLimit(**document) from exc


# ---- Ceilings ----

CEILINGS_ID = ids.of_code("discount_ceiling", "*")
CeilingsIn = cast(
    type[fields.Shape], fields.Shape.from_dict({role: fields.Percent() for role in ROLES}, name="DiscountCeilingsIn")
)
CeilingsIn.__doc__ = "Percent for each role; a role that is left out keeps what it has."
CeilingsOut = ma.Schema.from_dict({role: ma.fields.String(required=True) for role in ROLES}, name="DiscountCeilingsOut")
CeilingsOut.__doc__ = "For each role how much of a line, in percent, it may take off alone."


@dataclass(frozen=True)
class Ceilings:
    """What each role may take off alone, in percent; `row_version` counts the changes of all of them."""

    by_role: dict[str, Decimal]
    row_version: int

    def as_json(self) -> dict[str, Any]:
        return {role: money.text(ceiling) for role, ceiling in self.by_role.items()}


def ceiling_of(conn: db.Connection, actor: Actor) -> Decimal:
    """What `actor` may take off a line alone, in percent: by the role of a person, by the setting of a key."""
    return Decimal(db.value(conn, "SELECT discount_ceiling_of(%(who)s::text)", {"who": actor.label}))


def ceilings(conn: db.Connection) -> Ceilings:
    """The ceilings of all roles; a role without one may give nothing."""
    return _ceilings(conn.execute("SELECT role, ceiling, row_version FROM discount_ceiling"))


def locked_ceilings(conn: db.Connection) -> Ceilings:
    """As `ceilings`, held until the end of the transaction."""
    return _ceilings(conn.execute("SELECT role, ceiling, row_version FROM discount_ceiling ORDER BY role FOR UPDATE"))


def _ceilings(rows: Iterable[Any]) -> Ceilings:
    known = {role: (ceiling, version) for role, ceiling, version in rows}
    by_role = {role: known[role][0] if role in known else Decimal(0) for role in ROLES}
    return Ceilings(by_role, sum(version for _, version in known.values()))


def set_ceilings(change: Change, now: Ceilings, wanted: dict[str, Decimal]) -> Ceilings:
    """Give roles other ceilings; `now` was read under its lock. Documents are judged by them when they next go out."""
    moved = {role: ceiling for role, ceiling in wanted.items() if ceiling != now.by_role[role]}
    change.conn.execute(
        """
        INSERT INTO discount_ceiling AS known (role, ceiling)
        SELECT role, ceiling FROM unnest(%(roles)s::text[], %(ceilings)s::numeric[]) AS wanted (role, ceiling)
            ON CONFLICT (role)
            DO UPDATE SET ceiling = EXCLUDED.ceiling, row_version = known.row_version + 1
        """,
        {"roles": list(moved), "ceilings": list(moved.values())},
    )
    for role, ceiling in moved.items():
        change.record(
            "discount_ceiling.changed", ids.of_code("discount_ceiling", role),
            role=role, old=money.text(now.by_role[role]), new=money.text(ceiling),
        )  # fmt: skip
    return ceilings(change.conn)


# ---- Reasons ----


class ReasonIn(fields.Shape):
    """A new reason of discounts. `valid_until` is the first day on which it is not valid any more."""

    code = fields.Form(REASON, required=True, metadata={"example": "birthday"})
    name = fields.Nested(fields.Words, required=True)
    valid_from = fields.Day(load_default=None, allow_none=True, metadata={"description": "today by default"})
    valid_until = fields.Day(load_default=None, allow_none=True)


class ReasonPatch(fields.Shape):
    """What of a reason may be changed; a member that is left out stays. Days that are over stay as they were."""

    name = fields.Nested(fields.Words)
    valid_from = fields.Day()
    valid_until = fields.Day(allow_none=True)


class ReasonOut(ma.Schema):
    code = ma.fields.String(required=True)
    name = ma.fields.Nested(NamesOut, required=True)
    valid_from = ma.fields.Date(required=True)
    valid_until = ma.fields.Date(
        required=True, allow_none=True, metadata={"description": "the first day on which it is not valid any more"}
    )


@dataclass(frozen=True)
class Reason:
    """Why a discount may be given."""

    code: str
    name_ru: str
    name_en: str
    valid_from: date
    valid_until: date | None
    row_version: int = 1

    def is_valid_on(self, day: date) -> bool:
        return self.valid_from <= day and (self.valid_until is None or day < self.valid_until)

    def as_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "name": {"ru": self.name_ru, "en": self.name_en},
            "valid_from": self.valid_from,
            "valid_until": self.valid_until,
        }


_SELECT = """
SELECT code, name_ru, name_en, lower(valid) AS valid_from, upper(valid) AS valid_until, row_version
  FROM discount_reason
"""


def reasons(conn: db.Connection) -> list[Reason]:
    """All reasons there are or were, by their Russian names."""
    return db.many(conn, Reason, _SELECT + "ORDER BY name_ru, code")


def reason(conn: db.Connection, code: str) -> Reason:
    """Raises:
    NotFound: there is no such reason.
    """
    return _found(db.find(conn, Reason, _SELECT + "WHERE code = %(code)s::text", {"code": code}))


def locked_reason(conn: db.Connection, code: str) -> Reason:
    """As `reason`, held until the end of the transaction."""
    return _found(db.find(conn, Reason, _SELECT + "WHERE code = %(code)s::text FOR UPDATE", {"code": code}))


def _found(found: Reason | None) -> Reason:
    if found is None:
        raise NotFound()
    return found


def add_reason(change: Change, wanted: dict[str, Any]) -> Reason:
    """A new reason, valid from today or a later day.

    Raises:
        DiscountReasonTaken: there is one of this code.
        InvalidInput: its first day is over, or not before its end.
    """
    name = wanted["name"]
    since = wanted["valid_from"] or change.today
    made = Reason(wanted["code"], name["ru"], name["en"], since, wanted["valid_until"])
    _must_be_a_period(made, [Fault("/valid_from", "since_passed")] if since < change.today else [])
    try:
        change.conn.execute(
            """
            INSERT INTO discount_reason (code, name_ru, name_en, valid)
            VALUES (%(code)s, %(name_ru)s, %(name_en)s, daterange(%(valid_from)s::date, %(valid_until)s::date))
            """,
            vars(made),
        )
    except pg.UniqueViolation as exc:
        raise DiscountReasonTaken(discount_reason=made.code) from exc
    return _recorded(change, "created", made)


def edit_reason(change: Change, known: Reason, wanted: dict[str, Any]) -> Reason:
    """Change names or days of a reason that is locked: the days before today stay what they were.

    Raises:
        InvalidInput: a day that is over would change, or the period is empty.
    """
    name = wanted.get("name", {"ru": known.name_ru, "en": known.name_en})
    edited = replace(
        known,
        name_ru=name["ru"],
        name_en=name["en"],
        valid_from=wanted.get("valid_from", known.valid_from),
        valid_until=wanted.get("valid_until", known.valid_until),
        row_version=known.row_version + 1,
    )
    _must_be_a_period(edited, list(_past_changed(known, edited, change.today)))
    change.conn.execute(
        """
        UPDATE discount_reason
           SET name_ru = %(name_ru)s, name_en = %(name_en)s, row_version = %(row_version)s,
               valid = daterange(%(valid_from)s::date, %(valid_until)s::date)
         WHERE code = %(code)s
        """,
        vars(edited),
    )
    return _recorded(change, "changed", edited)


def _past_changed(known: Reason, edited: Reason, today: date) -> Iterator[Fault]:
    if known.valid_from != edited.valid_from and min(known.valid_from, edited.valid_from) < today:
        yield Fault("/valid_from", "since_passed")
    ends = [each for each in (known.valid_until, edited.valid_until) if each is not None]
    if known.valid_until != edited.valid_until and min(ends) < today:
        yield Fault("/valid_until", "since_passed")


def _must_be_a_period(reason: Reason, faults: list[Fault]) -> None:
    if reason.valid_until is not None and reason.valid_until <= reason.valid_from:
        faults.append(Fault("/valid_until", "period_empty"))
    if faults:
        raise InvalidInput(faults)


def _recorded(change: Change, what: str, reason: Reason) -> Reason:
    change.record(
        f"discount_reason.{what}",
        ids.of_code("discount_reason", reason.code),
        code=reason.code,
        valid_from=reason.valid_from.isoformat(),
        valid_until=reason.valid_until and reason.valid_until.isoformat(),
    )
    return reason


def unknown_reasons(conn: db.Connection, day: date, document: dict[str, Any]) -> list[Fault]:
    """The reasons a wanted document gives, for itself or its lines, that are not valid on `day`."""
    named = {"/discount_reason": document.get("discount_reason")} | {
        f"/lines/{place}/discount_reason": each.get("discount_reason") for place, each in enumerate(document["lines"])
    }
    asked = {pointer: reason for pointer, reason in named.items() if reason}
    if not asked:
        return []
    known = db.value(
        conn,
        "SELECT array_agg(code) FROM discount_reason WHERE code = ANY(%(codes)s::text[]) AND valid @> %(day)s::date",
        {"codes": list(asked.values()), "day": day},
    )
    return [Fault(where, "unknown_discount_reason") for where, reason in asked.items() if reason not in (known or [])]
