"""Edits: what of a quote may be changed, and at which prices it then stands.

A draft is edited in place; of what is out a further revision is made with the same members. Unless the prices are asked
anew, lines that ask for what was quoted keep the price they were quoted at; a later last day is a new promise, at
today's prices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from billing import legal_references
from billing.lines import MOST, REASON, Line, LineIn, Sums, kept
from billing.package_lines import Group, asked
from billing.pricing import answers, catalog_faults, needs_approval, priced
from billing.quotes import Quote, QuoteLine
from billing.quoting import PersonIn, revision_row
from catalog import price_lists
from catalog.prices import Priced
from clinic import clock, db, fields, parties
from clinic.auth import Actor
from clinic.command import Change
from clinic.errors import Fault, InvalidInput
from clinic.money import ZERO

Document = tuple[Quote, list[QuoteLine]]


class QuotePatch(fields.Shape):
    """What of a quote may be changed: all of its body but `id` and `branch`. A member that is left out stays."""

    lines = fields.Many(fields.Nested(LineIn), least=1, most=MOST)
    kind = fields.Choice("firm", "approximate")
    valid_until = fields.Day(
        allow_none=True, metadata={"description": "a later one than before has the document priced at today's prices"}
    )
    price_list = fields.Form(price_lists.FORM, metadata={"example": "base"})
    patient = fields.Nested(PersonIn, allow_none=True)
    comment = fields.Text(1000, allow_none=True)
    discount_percent = fields.Percent(allow_none=True)
    discount_amount = fields.Money(allow_none=True)
    discount_reason = fields.Form(REASON, allow_none=True, metadata={"example": "staff"})

    def beyond(self, raw: Any) -> list[Fault]:
        # Without its price list nothing is known of prices; who knows the quote adds it.
        return catalog_faults(raw, clock.today()) if isinstance(raw, dict) and "price_list" in raw else []


@dataclass(frozen=True)
class Terms:
    """Who writes on which day, for how many days a quote is valid, and which prices are asked anew that day."""

    actor: Actor
    today: date
    valid_days: int
    anew: bool = False
    """All of them, and it is valid anew too."""
    lines_anew: bool = False
    """Those of lines that are given, also where the same stands there already."""

    @classmethod
    def of(cls, actor: Actor, today: date, valid_days: int, quote: Quote) -> Terms:
        """The terms on which `quote` is changed: what it promised holds until its last day; a first draft promised
        nothing yet."""
        first = quote.status == "draft" and quote.revision == 1
        return cls(actor, today, valid_days, anew=today > quote.valid_until, lines_anew=first)


def must_be_editable(change: Change, quote: Quote) -> None:
    """Raises:
    QuoteExpired: its last day is over.
    QuoteNotOpen: it is no draft.
    """
    quote.must_be_firm_on(change.today)
    quote.must_be("draft")


def edit(change: Change, valid_days: int, quote: Quote, lines: list[QuoteLine], given: dict[str, Any]) -> Document:
    """Change a draft that is locked; an approval of its discounts is dropped.

    With `lines`, another price list or a later last day the document is priced again, at today's prices; behind a
    former revision lines that ask for what was quoted keep its price.

    Raises:
        QuoteNotOpen: it is no draft.
        QuoteExpired: its last day is over.
        InvalidInput: names every wrong place.
    """
    must_be_editable(change, quote)
    terms = Terms.of(change.actor, change.today, valid_days, quote)
    edited, new_lines = changed(change, terms, quote, lines, given)
    edited = replace(edited, row_version=quote.row_version + 1)
    approval = db.value(
        change.conn,
        """
        UPDATE quote_revision
           SET kind = %(kind)s, date = %(date)s, valid_until = %(valid_until)s, price_list = %(price_list)s,
               patient_party = %(patient_party)s, patient_ref = %(patient_ref)s, comment = %(comment)s,
               discount_percent = %(discount_percent)s, discount_amount = %(discount_amount)s,
               discount_reason = %(discount_reason)s, approval = %(approval)s, edited_by = %(edited_by)s,
               subtotal = %(subtotal)s, discount = %(discount)s, total = %(total)s, row_version = %(row_version)s,
               updated_at = %(updated_at)s
         WHERE quote_id = %(id)s AND revision = %(revision)s
        RETURNING approval
        """,
        revision_row(edited, new_lines),
    )
    if new_lines is not lines:
        _replace_lines(change.conn, edited, new_lines)
    return replace(edited, approval=approval), new_lines


def _replace_lines(conn: db.Connection, quote: Quote, lines: Sequence[QuoteLine]) -> None:
    conn.execute(
        "DELETE FROM quote_line WHERE quote_id = %(id)s AND revision = %(revision)s",
        {"id": quote.id, "revision": quote.revision},
    )
    conn.execute(
        """
        INSERT INTO quote_line
        SELECT filled.*
          FROM jsonb_array_elements(%(lines)s::jsonb) AS line,
               jsonb_populate_record(
                 NULL::quote_line,
                 line || jsonb_build_object('quote_id', %(id)s::uuid, 'revision', %(revision)s::int)) AS filled
        """,
        revision_row(quote, lines),
    )


def changed(change: Change, terms: Terms, quote: Quote, lines: list[QuoteLine], given: dict[str, Any]) -> Document:
    """The quote as it is with what is `given`, not kept yet; only a person it names is.

    Raises:
        InvalidInput: names every wrong place.
    """
    edited, new_lines = worked_out(change.conn, terms, quote, lines, given)
    edited = replace(
        edited,
        approval="required" if needs_approval(change.conn, change.actor, new_lines) else "none",
        edited_by=change.actor.label,
        updated_at=change.at,
    )
    if "patient" in given:
        party = parties.of_person(change.conn, given["patient"]) if given["patient"] else None
        edited = replace(
            edited,
            patient_party=party.id if party else None,
            patient_ref=party.ref if party else None,
            patient_name=party.name if party else None,
        )
    return edited, new_lines


def worked_out(
    conn: db.Connection, terms: Terms, quote: Quote, lines: list[QuoteLine], given: dict[str, Any]
) -> Document:
    """What the quote would come to with what is `given`.

    Raises:
        InvalidInput: names every wrong place.
    """
    wanted = as_wanted(quote, lines) | given
    last_day = _last_day(terms, quote, given)
    faults = discount_faults(wanted)
    if last_day < terms.today:
        faults.append(Fault("/valid_until", "before_date"))
    anew = _is_asked_anew(terms, quote, given, last_day)
    if anew or not given.keys().isdisjoint({"lines", *DISCOUNT}):
        found, wrong = repriced(conn, terms.actor, terms.today, lines, wanted, anew=anew, lines_given="lines" in given)
        faults += wrong
        lines = [QuoteLine(**kept(line), invoiced_quantity=ZERO) for line in found]
    if faults:
        raise InvalidInput(sorted(dict.fromkeys(faults), key=lambda fault: fault.pointer))
    edited = replace(
        quote,
        date=terms.today if anew else quote.date,
        lacking=legal_references.lacking(conn, terms.today) if anew else quote.lacking,
        valid_until=last_day,
        total=Sums.of(lines).total,
        **{name: wanted[name] for name in ("kind", "price_list", "comment", *DISCOUNT)},
    )
    return edited, lines


DISCOUNT = ("discount_percent", "discount_amount", "discount_reason")
"""The members of a discount of the whole document."""


def _last_day(terms: Terms, quote: Quote, given: dict[str, Any]) -> date:
    if "valid_until" not in given and not terms.anew:
        return quote.valid_until
    asked_day: date | None = given.get("valid_until")
    return asked_day or terms.today + timedelta(days=terms.valid_days)


def _is_asked_anew(terms: Terms, quote: Quote, given: dict[str, Any], last_day: date) -> bool:
    return (
        terms.anew
        or (terms.lines_anew and "lines" in given)
        or last_day > quote.valid_until
        or given.get("price_list", quote.price_list) != quote.price_list
    )


def discount_faults(wanted: dict[str, Any]) -> list[Fault]:
    """What the shape of a whole body says of its discount; here its parts come from two hands."""
    percent, amount = wanted["discount_percent"], wanted["discount_amount"]
    faults = []
    if percent is not None and amount is not None:
        faults.append(Fault("/discount_amount", "one_discount_only"))
    if (percent or amount) and not wanted["discount_reason"]:
        faults.append(Fault("/discount_reason", "discount_needs_reason"))
    return faults


def repriced(
    conn: db.Connection,
    actor: Actor,
    today: date,
    lines: Sequence[Line],
    wanted: dict[str, Any],
    *,
    anew: bool,
    lines_given: bool,
) -> tuple[list[Line], list[Fault]]:
    """The lines of a document with what is `wanted` of it, and what is wrong with them.

    Unless all is asked `anew`, what asks for one of `lines` keeps its price. Where the lines are the document's own and
    not given by the caller, their faults stand at their positions, and prices by hand stay only where they may.
    """
    if anew and not lines_given:
        wanted = wanted | {"lines": _by_hand_where_open(conn, today, wanted)}
    same = {} if anew else still_quoted(lines, wanted["lines"])
    found, faults = priced(conn, actor, today, wanted["price_list"], wanted, same)
    return found, faults if lines_given else moved(faults, _first_places(lines))


def _by_hand_where_open(conn: db.Connection, today: date, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """The wanted lines without the prices given by hand of services whose price is fixed by now."""
    lines: list[dict[str, Any]] = wanted["lines"]
    by_hand = [place for place, line in enumerate(lines) if line.get("unit_price") is not None]
    if not by_hand:
        return lines
    told = answers(conn, wanted["price_list"], [lines[place] for place in by_hand], today)
    fixed = {place for place, now in zip(by_hand, told, strict=True) if isinstance(now, Priced) and now.kind == "fixed"}
    return [
        line | {"unit_price": None, "price_reason": None} if place in fixed else line
        for place, line in enumerate(lines)
    ]


def _first_places(lines: Sequence[Line]) -> list[int]:
    """Where in the document what was asked for begins: a package stands there by its parts."""
    return [(each.line if isinstance(each, Group) else each).position - 1 for each in asked(lines)]


def moved(faults: Sequence[Fault], places: Sequence[int]) -> list[Fault]:
    """Faults of some lines, by the places that these have among all."""
    found = []
    for fault in faults:
        _, member, *rest = fault.pointer.split("/")
        if member == "lines" and rest:
            fault = replace(fault, pointer="/".join(["", "lines", str(places[int(rest[0])]), *rest[1:]]))
        found.append(fault)
    return found


# ---- What was asked for ----


def as_wanted(quote: Quote, lines: Sequence[Line]) -> dict[str, Any]:
    """The document as the body that asks for it, but for the patient."""
    return {
        "lines": lines_as_wanted(lines),
        "kind": quote.kind,
        "valid_until": quote.valid_until,
        "price_list": quote.price_list,
        "comment": quote.comment,
        "discount_percent": quote.discount_percent,
        "discount_amount": quote.discount_amount,
        "discount_reason": quote.discount_reason,
    }


def lines_as_wanted(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The lines as the body that asks for them; the parts of a package are one."""
    return [each.wanted() if isinstance(each, Group) else _wanted(each) for each in asked(lines)]


def _wanted(line: Line) -> dict[str, Any]:
    by_hand = line.priced_by is not None
    return {
        "article": line.article,
        # Without the names of a rank the price does not depend on it, or did not when it was asked.
        "doctor_rank": line.doctor_rank if line.rank_name_ru and not line.doctor_id else None,
        "doctor": line.doctor_id,
        "quantity": line.quantity,
        "service_date": line.service_date,
        "unit_price": line.unit_price if by_hand else None,
        "price_reason": line.price_reason if by_hand else None,
        "discount_percent": line.discount_percent,
        "discount_amount": line.discount_amount,
        "discount_reason": line.discount_reason,
    }


def still_quoted(lines: Sequence[Line], wanted: Sequence[dict[str, Any]]) -> dict[int, Line | Group]:
    """By their places, the wanted lines that ask for what `lines` have a price of, each of these once."""
    left = asked(lines)
    found: dict[int, Line | Group] = {}
    for place, each in enumerate(wanted):
        same = next((index for index, one in enumerate(left) if _asks_for(each, one)), None)
        if same is not None:
            found[place] = left.pop(same)
    return found


def _asks_for(wanted: dict[str, Any], quoted: Line | Group) -> bool:
    """Whether the price of `quoted` is the one asked for: how many, and at which discount, makes no other price.

    A package is one price for so many of it, so there the number counts too.
    """
    same = _wanted(quoted) if isinstance(quoted, Line) else quoted.wanted()
    members = ["article", "package", "doctor", "service_date", "unit_price", "price_reason"]
    if isinstance(quoted, Group):
        members.append("quantity")
    elif quoted.doctor_id is None:
        rank = wanted.get("doctor_rank")
        if rank != same["doctor_rank"] and not (same["doctor_rank"] is None and rank == quoted.doctor_rank):
            return False
    return all(wanted.get(name) == same.get(name) for name in members)
