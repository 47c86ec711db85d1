"""A shift of a cash desk: from its opening to its closing, with what came and went in between.

What should be in the drawer is never stored: it follows from the payments and refunds that name the shift, and none
can be added once it is closed. Stored is what people counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import marshmallow as ma

from clinic import branches, db, fields, ids, money
from clinic.auth import Actor
from clinic.command import Change
from clinic.errors import Conflict, NotFound
from clinic.money import ZERO

AT_THE_DESK = ("cash", "card")
"""The tenders that pass through a cash desk; a transfer or an online payment belongs to no shift."""


class NoOpenShift(Conflict):
    """No shift is open that could take this money.

    Cash belongs to a shift once the branch has opened its first one. The member `desks` lists the desks that are open:
    name one in `desk`, or open a shift."""

    ru = (
        "Нет открытой смены для этих денег\n\n"
        "После первой открытой в филиале смены наличные принимает только смена. Поле `desks` перечисляет открытые "
        "кассы: назовите одну в `desk` или откройте смену."
    )


class ShiftAlreadyOpen(Conflict):
    """This desk has an open shift.

    The member `shift` names it; close it before another one is opened."""

    ru = "У этой кассы смена уже открыта\n\nПоле `shift` называет её; сначала закройте её."


class ShiftClosed(Conflict):
    """The shift is closed already.

    It takes no more money and is closed once; open another one."""

    ru = "Смена уже закрыта\n\nОна больше не принимает деньги и закрывается один раз; откройте новую."


class ShiftIn(fields.Shape):
    """A desk that opens, with the cash that lies in its drawer."""

    desk = fields.Text(64, required=True, metadata={"example": "Касса 1"})
    branch = fields.Form(branches.CODE, load_default=None, allow_none=True, metadata={"example": "main"})
    opening_cash = fields.Money(load_default=ZERO)


class CountedIn(fields.Shape):
    """What was counted, in rubles: the drawer, and the terminals' own totals if one likes."""

    cash = fields.Money(required=True)
    card = fields.Money(load_default=None, allow_none=True)


class CloseIn(fields.Shape):
    counted = fields.Nested(CountedIn, required=True)


class TenderTotalOut(ma.Schema):
    """What came and went by one tender. `in` − `out` is what the shift made of it."""

    class Meta:
        include = {
            "in": ma.fields.String(required=True),
            "out": ma.fields.String(required=True),
        }

    tender = ma.fields.String(required=True, metadata={"enum": list(AT_THE_DESK)})
    payments = ma.fields.Integer(required=True)
    refunds = ma.fields.Integer(required=True)


class CountedOut(ma.Schema):
    cash = ma.fields.String(required=True)
    card = ma.fields.String(required=True, allow_none=True)


class ShiftOut(ma.Schema):
    """A shift. expected = opening cash + in − out; difference = counted − expected, in rubles."""

    id = ma.fields.UUID(required=True)
    branch = ma.fields.String(required=True)
    desk = ma.fields.String(required=True)
    status = ma.fields.String(required=True, metadata={"enum": ["open", "closed"]})
    opened_at = ma.fields.DateTime(required=True)
    opened_by = ma.fields.String(required=True)
    closed_at = ma.fields.DateTime(required=True, allow_none=True)
    closed_by = ma.fields.String(required=True, allow_none=True)
    currency = ma.fields.String(required=True)
    opening_cash = ma.fields.String(required=True)
    totals = ma.fields.List(ma.fields.Nested(TenderTotalOut), required=True)
    expected = ma.fields.Nested(CountedOut, required=True)
    counted = ma.fields.Nested(CountedOut, required=True, allow_none=True)
    difference = ma.fields.Nested(CountedOut, required=True, allow_none=True)


@dataclass(frozen=True)
class Shift:
    """A shift; `came`, `went` and how often, by tender, are the sums of its payments and refunds."""

    id: UUID
    branch_id: UUID
    branch: str
    desk: str
    opening_cash: Decimal
    opened_at: datetime
    opened_by: str
    closed_at: datetime | None
    closed_by: str | None
    counted_cash: Decimal | None
    counted_card: Decimal | None
    sums: dict[str, list[Any]]

    @property
    def status(self) -> str:
        return "closed" if self.closed_at else "open"

    def total(self, tender: str) -> tuple[Decimal, Decimal, int, int]:
        """What came and went by the tender, in rubles, and how many payments and refunds that were."""
        came, went, payments, refunds = self.sums.get(tender, ("0.00", "0.00", 0, 0))
        return Decimal(came), Decimal(went), payments, refunds

    def expected(self, tender: str) -> Decimal:
        """What should be there: the drawer's cash, or what the terminals should tell."""
        came, went, *_ = self.total(tender)
        return came - went + (self.opening_cash if tender == "cash" else ZERO)


_SELECT = """
SELECT shift.id, shift.branch_id, branch.code AS branch, desk, opening_cash, opened_at, opened_by, closed_at, closed_by,
       counted_cash, counted_card, summed.sums
  FROM shift
  JOIN branch ON branch.id = shift.branch_id
  CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_object_agg(tender, jsonb_build_array(came::text, went::text, payments, refunds)),
                    '{}') AS sums
      FROM (SELECT tender, coalesce(sum(amount) FILTER (WHERE amount > 0), 0.00) AS came,
                   coalesce(-sum(amount) FILTER (WHERE amount < 0), 0.00) AS went,
                   count(*) FILTER (WHERE amount > 0) AS payments, count(*) FILTER (WHERE amount < 0) AS refunds
              FROM (SELECT tender, amount::numeric FROM payment WHERE shift_id = shift.id
                     UNION ALL
                    SELECT tender, -amount FROM refund WHERE shift_id = shift.id) AS money
             GROUP BY tender) AS by_tender) AS summed
"""


def get(conn: db.Connection, actor: Actor, shift_id: UUID) -> Shift:
    """The shift with its sums.

    Raises:
        NotFound: there is none, or it belongs to a branch `actor` does not see.
    """
    found = db.find(conn, Shift, _SELECT + "WHERE shift.id = %(id)s::uuid", {"id": shift_id})
    if found is None or actor.branch_id not in (None, found.branch_id):
        raise NotFound()
    return found


def page(conn: db.Connection, actor: Actor, wanted: dict[str, Any], behind: list[str] | None) -> list[Shift]:
    """Shifts, the latest opened first: one more than `limit`."""
    return db.filtered(
        conn,
        Shift,
        _SELECT
        + """
         WHERE (%(branch)s::uuid IS NULL OR shift.branch_id = %(branch)s::uuid)
           AND (%(desk)s::text IS NULL OR desk = %(desk)s::text)
           AND (%(status)s::text IS NULL OR (closed_at IS NULL) = (%(status)s::text = 'open'))
           AND (%(at)s::timestamptz IS NULL OR (opened_at, shift.id) < (%(at)s::timestamptz, %(id)s::uuid))
         ORDER BY opened_at DESC, shift.id DESC
         LIMIT %(limit)s::int
        """,
        {
            "branch": actor.branch_id,
            "desk": wanted.get("desk"),
            "status": wanted.get("status"),
            "at": behind and behind[0],
            "id": behind and behind[1],
            "limit": wanted["limit"] + 1,
        },
    )


def open_(change: Change, wanted: dict[str, Any]) -> Shift:
    """Open a desk.

    Raises:
        InvalidInput: there is no such branch.
        ShiftAlreadyOpen: the desk is open.
    """
    branch = branches.chosen(change.conn, change.actor, wanted["branch"])
    new = {
        "id": ids.new(),
        "branch": branch.id,
        "desk": wanted["desk"],
        "cash": wanted["opening_cash"],
        "at": change.at,
        "by": change.actor.label,
    }
    opened = db.value(
        change.conn,
        """
        INSERT INTO shift (id, branch_id, desk, opening_cash, opened_at, opened_by)
        VALUES (%(id)s::uuid, %(branch)s::uuid, %(desk)s::text, %(cash)s::rub, %(at)s::timestamptz, %(by)s::text)
        ON CONFLICT (branch_id, desk) WHERE closed_at IS NULL DO NOTHING
        RETURNING id
        """,
        new,
    )
    if opened is None:
        raise ShiftAlreadyOpen(shift=_open_at(change, branch.id, wanted["desk"]))
    change.record(
        "shift.opened", opened, branch.id, desk=wanted["desk"], opening_cash=money.text(wanted["opening_cash"])
    )
    return get(change.conn, change.actor, opened)


def _open_at(change: Change, branch_id: UUID, desk: str) -> UUID | None:
    found: UUID | None = db.value(
        change.conn,
        "SELECT id FROM shift WHERE branch_id = %(branch)s::uuid AND desk = %(desk)s::text AND closed_at IS NULL",
        {"branch": branch_id, "desk": desk},
    )
    return found


def close(change: Change, shift_id: UUID, counted: dict[str, Any]) -> Shift:
    """Close a shift: whatever is on its way to it comes in first, and nothing after.

    Raises:
        NotFound: there is no such shift here.
        ShiftClosed: it is closed.
    """
    get(change.conn, change.actor, shift_id)
    closed = db.value(
        change.conn,
        """
        UPDATE shift
           SET closed_at = %(at)s::timestamptz, closed_by = %(by)s::text, counted_cash = %(cash)s::rub,
               counted_card = %(card)s::rub
         WHERE id = %(id)s::uuid AND closed_at IS NULL
        RETURNING id
        """,
        {
            "at": change.at,
            "by": change.actor.label,
            "cash": counted["cash"],
            "card": counted["card"],
            "id": shift_id,
        },
    )
    if closed is None:
        raise ShiftClosed(shift=shift_id)
    # Read after the lock was had: the sums have all that came before it.
    shift = get(change.conn, change.actor, shift_id)
    shown = as_json(shift)
    change.record(
        "shift.closed",
        shift.id,
        shift.branch_id,
        desk=shift.desk,
        **{name: shown[name] for name in ("opening_cash", "totals", "expected", "counted", "difference")},
    )
    return shift


def taking(change: Change, branch_id: UUID, desk: str | None, *, cash: bool) -> UUID | None:
    """The open shift that money at a desk belongs to, held; without `desk` the branch's only open one.

    None when there is none and none is needed: cards need no shift unless a desk is named, and cash needs one only
    once the branch has opened its first.

    Raises:
        NoOpenShift: the desk named is closed, or cash has no shift to go to, or more than one and none is named.
    """
    open_now = _open_now(change.conn, branch_id)
    fitting = [shift_id for shift_id, name in open_now if desk in (None, name)]
    if len(fitting) == 1 and _held(change, fitting[0]):
        return fitting[0]
    if desk is None and not (cash and _uses_shifts(change, branch_id)):
        return None
    raise NoOpenShift(desks=[name for _, name in open_now])


def open_desks(conn: db.Connection, branch_id: UUID) -> list[str]:
    """The desks of a branch that are open."""
    return [name for _, name in _open_now(conn, branch_id)]


def _open_now(conn: db.Connection, branch_id: UUID) -> list[tuple[UUID, str]]:
    return conn.execute(
        "SELECT id, desk FROM shift WHERE branch_id = %(branch)s::uuid AND closed_at IS NULL ORDER BY desk",
        {"branch": branch_id},
    ).fetchall()


def _held(change: Change, shift_id: UUID) -> bool:
    # Not shared: sharers would come and go without an end while the one who closes it waits.
    held = db.value(
        change.conn,
        "SELECT true FROM shift WHERE id = %(id)s::uuid AND closed_at IS NULL FOR NO KEY UPDATE",
        {"id": shift_id},
    )
    return bool(held)


def _uses_shifts(change: Change, branch_id: UUID) -> bool:
    used = db.value(
        change.conn, "SELECT EXISTS (SELECT FROM shift WHERE branch_id = %(branch)s::uuid)", {"branch": branch_id}
    )
    return bool(used)


def as_json(shift: Shift) -> dict[str, Any]:
    expected = {tender: shift.expected(tender) for tender in AT_THE_DESK}
    counted = {"cash": shift.counted_cash, "card": shift.counted_card} if shift.closed_at else None
    return {
        "id": shift.id,
        "branch": shift.branch,
        "desk": shift.desk,
        "status": shift.status,
        "opened_at": shift.opened_at,
        "opened_by": shift.opened_by,
        "closed_at": shift.closed_at,
        "closed_by": shift.closed_by,
        "currency": "RUB",
        "opening_cash": money.text(shift.opening_cash),
        "totals": [_total_json(shift, tender) for tender in AT_THE_DESK],
        "expected": {tender: money.text(amount) for tender, amount in expected.items()},
        "counted": counted and {tender: money.text_or_none(amount) for tender, amount in counted.items()},
        "difference": counted
        and {
            tender: None if amount is None else money.text(amount - expected[tender])
            for tender, amount in counted.items()
        },
    }


def _total_json(shift: Shift, tender: str) -> dict[str, Any]:
    came, went, payments, refunds = shift.total(tender)
    return {
        "tender": tender,
        "in": money.text(came),
        "out": money.text(went),
        "payments": payments,
        "refunds": refunds,
    }
