"""Taking money: one payment, or several tenders handed over at once, with what they are for.

Money that came under a reference of its source, such as a terminal's slip, is one payment however often it is told.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import marshmallow as ma
import orjson
from psycopg import errors as pg
from psycopg.types.json import Jsonb

from billing import allocating, payers, payments, shifts
from billing.allocating import MOST, AllocationIn, Part, Source
from billing.payers import PaidByIn
from billing.payments import TENDERS, Payment
from clinic import branches, db, errors, fields, ids, money
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput
from clinic.money import ZERO

OFFSET = "offset"
SOURCE = r"[A-Za-z0-9._:/-]{1,64}"
REFERENCE = r"[\x21-\x7e]{1,128}"
errors.describe(
    {
        "one_rest_only": ("Без суммы — только одна часть.", "Only one tender may leave its amount out."),
        "one_offset_only": ("Зачёт аванса — один.", "Only one tender may be the offset."),
        "nothing_left": ("На эту часть ничего не осталось.", "Nothing is left for this tender."),
        "needs_allocations": ("Скажите, за какие счета.", "Say which invoices it is for."),
        "no_reference_here": ("У зачёта аванса нет внешнего номера.", "An offset has no reference of a source."),
        "repeated_reference": ("Номер указан дважды.", "The reference is given twice."),
        "no_desk_here": ("Этот способ оплаты идёт не через кассу.", "This tender does not pass through a desk."),
    }
)


class PaymentReferenceTaken(Conflict):
    """Another payment has this reference of this source.

    A reference is one payment for ever. The member `payment` names it; the same content again would have been answered
    with it."""

    ru = (
        "Платёж с этим номером этого источника уже есть\n\n"
        "Номер навсегда означает один платёж, `payment` называет его; на то же содержание ответом был бы он сам."
    )


class AmountExceedsAdvance(Conflict):
    """The payer's advance is less than that.

    The member `advance` says how much of it there is in this branch."""

    ru = "Аванс плательщика меньше\n\nПоле `advance` говорит, сколько его в этом филиале."


class _MoneyIn(fields.Shape):
    payer = fields.Nested(
        PaidByIn,
        load_default=None,
        allow_none=True,
        metadata={"description": "left out: the payer of the first invoice named"},
    )
    received_on = fields.Day(
        load_default=None, allow_none=True, metadata={"description": "today by default; never later"}
    )
    branch = fields.Form(branches.CODE, load_default=None, allow_none=True, metadata={"example": "main"})
    desk = fields.Text(64, load_default=None, allow_none=True, metadata={"description": "the cash desk's open shift"})
    comment = fields.Text(500, load_default=None, allow_none=True)
    allocations = fields.Many(fields.Nested(AllocationIn), most=MOST, load_default=list)
    auto = fields.Flag(load_default=False, metadata={"description": "to the payer's open invoices, oldest due first"})

    @ma.validates_schema(skip_on_field_errors=True)
    def says_one_way(self, given: dict[str, Any], **_: Any) -> None:
        allocating.must_be_one_way(given)
        if given["payer"] is None and not given["allocations"]:
            raise ma.ValidationError({"payer": "required"})


def _reference_faults(given: dict[str, Any]) -> dict[str, str]:
    if (given["source"] is None) == (given["external_ref"] is None):
        return {}
    return {"source" if given["source"] is None else "external_ref": "required"}


class PaymentIn(_MoneyIn):
    """Money that came by one tender; what the allocations leave of it is the payer's advance."""

    tender = fields.Choice(*TENDERS, required=True)
    amount = fields.PositiveMoney(required=True)
    source = fields.Form(SOURCE, load_default=None, allow_none=True, metadata={"example": "terminal-3"})
    external_ref = fields.Form(REFERENCE, load_default=None, allow_none=True, metadata={"example": "000123456789"})

    @ma.validates_schema(skip_on_field_errors=True)
    def has_a_whole_reference(self, given: dict[str, Any], **_: Any) -> None:
        wrong = _reference_faults(given)
        if given["desk"] and given["tender"] not in shifts.AT_THE_DESK:
            wrong["desk"] = "no_desk_here"
        if wrong:
            raise ma.ValidationError(wrong)


class TenderIn(fields.Shape):
    """One of several tenders; the one without an amount pays the rest. `offset` spends the payer's advance."""

    tender = fields.Choice(*TENDERS, OFFSET, required=True)
    amount = fields.PositiveMoney(load_default=None, allow_none=True)
    source = fields.Form(SOURCE, load_default=None, allow_none=True, metadata={"example": "terminal-3"})
    external_ref = fields.Form(REFERENCE, load_default=None, allow_none=True, metadata={"example": "000123456789"})

    @ma.validates_schema(skip_on_field_errors=True)
    def has_a_whole_reference(self, given: dict[str, Any], **_: Any) -> None:
        wrong = _reference_faults(given)
        if given["tender"] == OFFSET and given["source"]:
            wrong["source"] = "no_reference_here"
        if wrong:
            raise ma.ValidationError(wrong)


class SplitIn(_MoneyIn):
    """Several tenders handed over at once: «5,000 by card and the rest in cash»."""

    tenders = fields.Many(fields.Nested(TenderIn), least=1, most=10, required=True)

    @ma.validates_schema(skip_on_field_errors=True)
    def fits_together(self, given: dict[str, Any], **_: Any) -> None:
        wrong: dict[Any, Any] = {}
        of_rest = [place for place, each in enumerate(given["tenders"]) if each["amount"] is None]
        for place in of_rest[1:]:
            wrong.setdefault("tenders", {})[place] = {"amount": "one_rest_only"}
        spends = of_rest or [each for each in given["tenders"] if each["tender"] == OFFSET]
        if spends and not given["allocations"] and not given["auto"]:
            wrong["allocations"] = "needs_allocations"
        seen = Counter((each["source"], each["external_ref"]) for each in given["tenders"] if each["source"])
        for place, each in enumerate(given["tenders"]):
            if seen[each["source"], each["external_ref"]] > 1:
                wrong.setdefault("tenders", {}).setdefault(place, {})["external_ref"] = "repeated_reference"
        for place in [place for place, each in enumerate(given["tenders"]) if each["tender"] == OFFSET][1:]:
            wrong.setdefault("tenders", {}).setdefault(place, {})["tender"] = "one_offset_only"
        if given["desk"] and not any(each["tender"] in shifts.AT_THE_DESK for each in given["tenders"]):
            wrong["desk"] = "no_desk_here"
        if wrong:
            raise ma.ValidationError(wrong)


@dataclass
class _Tender:
    tender: str
    amount: Decimal | None
    source: str | None
    external_ref: str | None

    @classmethod
    def read(cls, wanted: dict[str, Any]) -> _Tender:
        return cls(wanted["tender"], wanted["amount"], wanted["source"], wanted["external_ref"])

    @property
    def is_new_money(self) -> bool:
        return self.tender != OFFSET


@dataclass(frozen=True)
class Taken:
    """What came of it. `again` when it was told before, under the same reference and with the same content."""

    payments: list[Payment]
    again: bool = False
    split_id: UUID | None = None


@dataclass(frozen=True)
class _Known:
    """A payment that bears a reference told now."""

    id: UUID
    branch_id: UUID
    split_id: UUID | None
    asked_sha256: bytes
    source: str
    external_ref: str


def receive(change: Change, wanted: dict[str, Any]) -> Taken:
    """Take one payment.

    Raises:
        InvalidInput: names every wrong place.
        PaymentReferenceTaken: the reference is another payment's.
        InvoiceNotIssued, OtherPayer, AmountExceedsBalance, AmountExceedsPayment: the invoices do not take it so.
        NoOpenShift: cash needs a shift.
    """
    return _take(change, wanted, [_Tender.read(wanted)], None)


def split(change: Change, wanted: dict[str, Any]) -> Taken:
    """Take several tenders at once: a payment each, and the payer's advance where one is `offset`.

    Raises:
        AmountExceedsAdvance: the advance is less than the offset.
        as `receive`.
    """
    return _take(change, wanted, [_Tender.read(each) for each in wanted["tenders"]], ids.new())


def _take(change: Change, wanted: dict[str, Any], tenders: list[_Tender], split_id: UUID | None) -> Taken:
    if wanted["received_on"] and wanted["received_on"] > change.today:
        raise InvalidInput([Fault("/received_on", "in_the_future")])
    parts = allocating.named(change, wanted["allocations"])
    branch_id = _branch(change, wanted["branch"], parts)
    payer_ref = wanted["payer"]["ref"] if wanted["payer"] else parts[0].invoice.payer_ref
    if wanted["auto"]:
        parts = allocating.owed(change, branch_id, payer_ref, _sum_told(tenders))
    # Asked once the invoices are held: two who tell the same slip for the same invoice come one after the other.
    asked = _asked(wanted)
    if before := _told_before(change, tenders, asked):
        return before
    allocating.must_be_of_branch(parts, branch_id)
    for part in parts:
        part.must_be_owed_by(payer_ref)
    _give_the_rest(tenders, parts)
    advances = _advances(change, branch_id, payer_ref, tenders)
    common = {
        "branch_id": branch_id,
        "received_on": wanted["received_on"] or change.today,
        "split_id": split_id,
        "comment": wanted["comment"],
        "shift_id": _shift(change, branch_id, wanted["desk"], {each.tender for each in tenders}),
        "asked_sha256": f"\\x{asked.hex()}",
    }
    rows = _rows([each for each in tenders if each.is_new_money], common)
    moves = allocating.spread(parts, _sources(tenders, rows, advances))
    of_payer = _payer(change, wanted["payer"], parts)
    _insert(change, [row | of_payer for row in rows])
    allocating.write(change, moves, split_id)
    touched = {row["id"] for row in rows} | {move.payment_id for move in moves}
    return Taken(payments.of_ids(change.conn, touched), split_id=split_id)


def _sum_told(tenders: Sequence[_Tender]) -> Decimal | None:
    """What the tenders come to, in rubles; None when one of them is to pay the rest, whatever that is."""
    amounts = [each.amount for each in tenders if each.amount is not None]
    return sum(amounts, ZERO) if len(amounts) == len(tenders) else None


def _rows(tenders: Sequence[_Tender], common: dict[str, Any]) -> list[dict[str, Any]]:
    """A row of `payment` for each tender; their ids are in the order of the tenders."""
    found = []
    for each, payment_id in zip(tenders, sorted(ids.new() for _ in tenders), strict=True):
        row = common | vars(each) | {"id": payment_id}
        if each.tender not in shifts.AT_THE_DESK:
            row["shift_id"] = None
        if each.source is None:
            row["asked_sha256"] = None
        found.append(row)
    return found


def _sources(tenders: Sequence[_Tender], rows: Sequence[dict[str, Any]], advances: Sequence[Source]) -> list[Source]:
    """The new payments and the advances in the order of the tenders: the first one named is used up first."""
    new = iter(rows)
    found: list[Source] = []
    for each in tenders:
        if each.is_new_money:
            row = next(new)
            found.append(Source(row["id"], row["branch_id"], row["amount"], "payment"))
        else:
            found += advances
    return found


def _shift(change: Change, branch_id: UUID, desk: str | None, tenders: set[str]) -> UUID | None:
    if tenders.isdisjoint(shifts.AT_THE_DESK):
        return None
    return shifts.taking(change, branch_id, desk, cash="cash" in tenders)


def _branch(change: Change, named: str | None, parts: Sequence[Part]) -> UUID:
    """The branch that takes the money: the one named or the caller's own, else that of the invoices, else `main`."""
    if named is None and parts:
        return parts[0].invoice.branch_id
    return branches.chosen(change.conn, change.actor, named).id


def _asked(wanted: dict[str, Any]) -> bytes:
    """SHA-256 over what was asked for; without names, since it is kept for ever."""
    payer = wanted["payer"] and {name: wanted["payer"][name] for name in ("kind", "ref", "inn", "kpp")}
    content = wanted | {"payer": payer, "comment": None}
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS, default=str)).digest()


def _told_before(change: Change, tenders: Sequence[_Tender], asked: bytes) -> Taken | None:
    """What came of the same money when it was told before; None when it is new.

    Raises:
        PaymentReferenceTaken: it was told with other content.
    """
    references = [(each.source, each.external_ref) for each in tenders if each.source]
    if not references:
        return None
    known = db.many(
        change.conn,
        _Known,
        """
        SELECT id, branch_id, split_id, asked_sha256, source, external_ref
          FROM payments_of_references(%(sources)s::text[], %(references)s::text[])
         ORDER BY id
        """,
        {"sources": [each[0] for each in references], "references": [each[1] for each in references]},
    )
    if not known:
        return None
    first = known[0]
    seen = change.actor.branch_id in (None, first.branch_id)
    if not seen or len(known) < len(references) or any(each.asked_sha256 != asked for each in known):
        named: dict[str, Any] = {"payment": first.id} if seen else {}
        raise PaymentReferenceTaken(source=first.source, external_ref=first.external_ref, **named)
    if first.split_id is None:
        return Taken([payments.get(change.conn, change.actor, first.id)], again=True)
    return Taken(_of_split(change, first.split_id), again=True, split_id=first.split_id)


def _of_split(change: Change, split_id: UUID) -> list[Payment]:
    rows = change.conn.execute(
        """
        SELECT id FROM payment WHERE split_id = %(split)s::uuid
         UNION
        SELECT payment_id FROM payment_allocation WHERE split_id = %(split)s::uuid
        """,
        {"split": split_id},
    ).fetchall()
    return payments.of_ids(change.conn, [row[0] for row in rows])


def _give_the_rest(tenders: Sequence[_Tender], parts: Sequence[Part]) -> None:
    """The tender without an amount gets what the others leave of the sum owed."""
    for place, each in enumerate(tenders):
        if each.amount is None:
            others = sum((other.amount for other in tenders if other.amount is not None), ZERO)
            rest = sum((part.wanted for part in parts), ZERO) - others
            if rest <= 0:
                raise InvalidInput([Fault(f"/tenders/{place}/amount", "nothing_left")])
            each.amount = rest


def _advances(change: Change, branch_id: UUID, payer_ref: str | None, tenders: Sequence[_Tender]) -> list[Source]:
    """The payer's advances, oldest first and held, up to what the tenders `offset` spend of them."""
    wanted = sum((each.amount or ZERO for each in tenders if not each.is_new_money), ZERO)
    if not wanted:
        return []
    held = change.conn.execute(
        """
        SELECT id FROM payment
         WHERE payer_ref = %(payer)s::text AND branch_id = %(branch)s::uuid AND allocated + refunded < amount
         ORDER BY id FOR NO KEY UPDATE
        """,
        {"payer": payer_ref, "branch": branch_id},
    ).fetchall()
    rows = change.conn.execute(
        """
        SELECT id, amount - allocated - refunded
          FROM payment
         WHERE id = ANY(%(ids)s::uuid[]) AND allocated + refunded < amount
         ORDER BY received_on, id
        """,
        {"ids": [row[0] for row in held]},
    ).fetchall()
    found, missing = [], wanted
    for payment_id, left in rows:
        if missing:
            found.append(Source(payment_id, branch_id, min(left, missing), OFFSET))
            missing -= found[-1].left
    if missing:
        raise AmountExceedsAdvance(advance=money.text(wanted - missing))
    return found


def _payer(change: Change, given: dict[str, Any] | None, parts: Sequence[Part]) -> dict[str, Any]:
    """Whose money it is: the payer named, else that of the first invoice."""
    if given is None:
        first = parts[0].invoice
        return {"payer_party": first.payer_party, "payer_ref": first.payer_ref, "payer": first.payer}
    party, frozen = payers.add(change.conn, given, None, None)
    return {"payer_party": party.id, "payer_ref": party.ref, "payer": frozen}


def _insert(change: Change, rows: Sequence[dict[str, Any]]) -> None:
    # In the order of references: of two who tell the same ones in another order, one waits for the other at the first.
    in_order = sorted(rows, key=lambda row: (row["source"] or "", row["external_ref"] or ""))
    try:
        change.conn.execute(
            """
            INSERT INTO payment
                   (id, branch_id, payer_party, payer_ref, payer, tender, amount, source, external_ref, asked_sha256,
                    received_on, shift_id, split_id, comment, created_at, created_by)
            SELECT id, branch_id, payer_party, payer_ref, payer, tender, amount, source, external_ref, asked_sha256,
                   received_on, shift_id, split_id, comment, %(at)s::timestamptz, %(by)s::text
              FROM jsonb_populate_recordset(NULL::payment, %(rows)s::jsonb)
            """,
            {"rows": Jsonb(in_order, dumps=_dumped), "at": change.at, "by": change.actor.label},
        )
    except pg.UniqueViolation as exc:
        if exc.diag.constraint_name != "payment_reference":
            raise
        # Somebody told the same money a moment ago: begin anew, and find it.
        raise db.OnceMore() from exc
    for row in rows:
        received: date = row["received_on"]
        change.record(
            "payment.received",
            row["id"],
            row["branch_id"],
            tender=row["tender"],
            amount=money.text(row["amount"]),
            received_on=received.isoformat(),
            **{name: row[f"{name}_id"] for name in ("shift", "split") if row[f"{name}_id"]},
        )


def _dumped(rows: Any) -> bytes:
    return orjson.dumps(rows, default=str)
