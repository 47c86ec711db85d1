"""Editing of draft invoices: a direct one is priced anew, one made from a quote takes other parts of it.

A draft is no promise: lines that are given have the prices of the day they are given on, and that is then the
invoice's day. What comes from a quote keeps the quote's prices, whatever the catalog says by now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import marshmallow as ma
from psycopg.types.json import Jsonb

from billing import invoicing, parts, payers, quote_edits, quotes
from billing.invoices import Invoice, InvoiceLine
from billing.invoicing import Document
from billing.lines import MOST, REASON, LineIn, Sums, kept, packed
from billing.payers import PayerIn
from billing.pricing import needs_approval
from billing.quote_edits import DISCOUNT, moved
from billing.quoting import PersonIn
from catalog import price_lists
from clinic import db, errors, fields, parties
from clinic.auth import Actor
from clinic.command import Change
from clinic.errors import Fault, InvalidInput

errors.describe(
    {
        "fixed_by_quote": (
            "Это задаёт смета, по которой сделан счёт.",
            "The quote that the invoice was made from says this.",
        ),
        "not_with_position": (
            "Рядом с position указывается только quantity.",
            "Beside position there is only quantity.",
        ),
        "only_of_quotes": (
            "Счёт сделан без сметы: укажите услугу (article) или программу (package).",
            "The invoice was made without a quote: give an article or a package.",
        ),
    }
)


class DraftLineIn(LineIn):
    """A line of a direct draft as when it is made; of a draft made from a quote only `position` and `quantity`."""

    position = fields.Whole(
        1, MOST, load_default=None,
        metadata={"description": "which line of the quote; for drafts made from one, and there in place of a service"},
    )  # fmt: skip
    quantity = fields.Quantity(metadata={"description": "else 1; of a quote's line all that is left of it"})

    @ma.validates_schema(pass_original=True, skip_on_field_errors=False)
    def article_or_package(self, given: dict[str, Any], raw: Any, **_: Any) -> None:
        if not isinstance(raw, Mapping) or raw.get("position") is None:
            super().article_or_package(given, raw)
            return
        beyond = {name for name in LineIn().fields.keys() - {"quantity"} if raw.get(name) is not None}
        if beyond:
            raise ma.ValidationError({name: ["not_with_position"] for name in sorted(beyond)})

    @ma.post_load
    def of_one_kind(self, given: dict[str, Any], **_: Any) -> dict[str, Any]:
        position = given.pop("position")
        if position is not None:
            return {"position": position, "quantity": given.get("quantity")}
        return {"quantity": Decimal(1)} | given


class InvoicePatch(fields.Shape):
    """What of a draft may be changed; a member that is left out stays.

    Of a draft made from a quote only `lines`, `payer`, `due_date` and `comment`: the rest is the quote's.
    """

    lines = fields.Many(fields.Nested(DraftLineIn), least=1, most=MOST)
    price_list = fields.Form(price_lists.FORM, metadata={"example": "base"})
    patient = fields.Nested(PersonIn, allow_none=True)
    payer = fields.Nested(PayerIn)
    due_date = fields.Day(allow_none=True)
    comment = fields.Text(1000, allow_none=True)
    discount_percent = fields.Percent(allow_none=True)
    discount_amount = fields.Money(allow_none=True)
    discount_reason = fields.Form(REASON, allow_none=True, metadata={"example": "staff"})


_OF_QUOTE = ("price_list", "patient", *DISCOUNT)


def fixed_by_quote(given: Mapping[str, Any]) -> list[Fault]:
    """The members of a patch that the quote of a draft decides on."""
    return [Fault(f"/{name}", "fixed_by_quote") for name in _OF_QUOTE if name in given]


def edit(change: Change, invoice: Invoice, lines: list[InvoiceLine], given: dict[str, Any]) -> Document:
    """Change a draft that is locked, and before it the quote it was made from, if any.

    The discounts of a direct one are by then those of who edits it: an approval is dropped.

    Raises:
        InvoiceNotDraft: it is issued, cancelled or discarded.
        InvalidInput: names every wrong place.
    """
    invoice.must_be_draft()
    if invoice.quote_id is None:
        edited, new_lines = worked_out(change.conn, change.actor, change.today, invoice, lines, given)
    else:
        edited, new_lines = _with_parts(change, invoice, lines, given)
    edited = replace(
        _with_persons(change.conn, edited, given),
        approval=_approval(change, edited, new_lines),
        edited_by=change.actor.label,
        row_version=invoice.row_version + 1,
        updated_at=change.at,
    )
    approval, lacking = _write(change.conn, edited, new_lines)
    edited = replace(edited, approval=approval, lacking=lacking)
    if new_lines is not lines:
        _replace_lines(change.conn, edited, new_lines)
    return edited, new_lines


def _with_persons(conn: db.Connection, invoice: Invoice, given: dict[str, Any]) -> Invoice:
    if "patient" in given:
        patient = parties.of_person(conn, given["patient"]) if given["patient"] else None
        invoice = replace(
            invoice,
            patient_party=patient.id if patient else None,
            patient_ref=patient.ref if patient else None,
            patient_name=patient.name if patient else None,
        )
    if "payer" in given:
        payer, frozen = payers.add(conn, given["payer"], invoice.patient_ref, invoice.patient_name)
        invoice = replace(invoice, payer_party=payer.id, payer_ref=payer.ref, payer_name=payer.name, payer=frozen)
    return invoice


def _approval(change: Change, invoice: Invoice, lines: Sequence[InvoiceLine]) -> str:
    """What discounts of its own need; those of a quote's lines were judged there."""
    if needs_approval(change.conn, change.actor, [line for line in lines if line.quote_position is None]):
        return "required"
    return "none" if invoice.quote_id is None else invoice.approval


def _write(conn: db.Connection, invoice: Invoice, lines: Sequence[InvoiceLine]) -> tuple[str, list[str]]:
    """Write the draft; returns what the database says of it: its approval, and legal references it lacks."""
    sums = Sums.of(lines)
    (row,) = conn.execute(
        """
        UPDATE invoice
           SET date = %(date)s, due_date = %(due_date)s, price_list = %(price_list)s,
               patient_party = %(patient_party)s, patient_ref = %(patient_ref)s, payer_party = %(payer_party)s,
               payer_ref = %(payer_ref)s, payer = %(payer)s, comment = %(comment)s,
               discount_percent = %(discount_percent)s, discount_amount = %(discount_amount)s,
               discount_reason = %(discount_reason)s, approval = %(approval)s, edited_by = %(edited_by)s,
               subtotal = %(subtotal)s, discount = %(discount)s, total = %(total)s, row_version = %(row_version)s,
               updated_at = %(updated_at)s
         WHERE id = %(id)s
        RETURNING approval, legal_references_lacking(date)
        """,
        vars(invoice) | {"payer": Jsonb(invoice.payer), "subtotal": sums.subtotal, "discount": sums.discount},
    ).fetchall()
    return row


def _replace_lines(conn: db.Connection, invoice: Invoice, lines: Sequence[InvoiceLine]) -> None:
    conn.execute("DELETE FROM invoice_line WHERE invoice_id = %(id)s", {"id": invoice.id})
    conn.execute(
        "WITH " + invoicing.LINES,
        {
            "id": invoice.id,
            "quote_id": invoice.quote_id,
            "quote_revision": invoice.quote_revision,
            "lines": packed(lines),
        },
    )


# ---- A direct draft ----


def worked_out(
    conn: db.Connection, actor: Actor, today: date, invoice: Invoice, lines: list[InvoiceLine], given: dict[str, Any]
) -> Document:
    """What a direct draft would come to with what is `given`; the persons it names are not kept yet.

    With `lines` or another price list it is priced again, at today's prices, and of today. Without them the lines keep
    their prices, and a discount of the document is spread over them anew.

    Raises:
        InvalidInput: names every wrong place.
    """
    wanted = as_wanted(invoice, lines) | given
    anew = "lines" in given or wanted["price_list"] != invoice.price_list
    day = today if anew else invoice.date
    faults = quote_edits.discount_faults(wanted) + invoicing.due_date_faults(wanted["due_date"], day)
    faults += _payer_faults(conn, invoice, given, wanted["price_list"], has_patient=_has_patient(invoice, given))
    faults += [
        Fault(f"/lines/{place}/position", "only_of_quotes")
        for place, each in enumerate(wanted["lines"])
        if "position" in each
    ]
    if anew or not given.keys().isdisjoint(DISCOUNT):
        places = [place for place, each in enumerate(wanted["lines"]) if "position" not in each]
        sound = wanted | {"lines": [wanted["lines"][place] for place in places]}
        found, wrong = quote_edits.repriced(conn, actor, today, lines, sound, anew=anew, lines_given="lines" in given)
        faults += moved(wrong, places) if "lines" in given else wrong
        lines = [InvoiceLine(**kept(line), quote_position=None) for line in found]
    _must_be_sound(faults)
    edited = replace(
        invoice,
        date=day,
        total=Sums.of(lines).total,
        **{name: wanted[name] for name in ("due_date", "price_list", "comment", *DISCOUNT)},
    )
    return edited, lines


def as_wanted(invoice: Invoice, lines: Sequence[InvoiceLine]) -> dict[str, Any]:
    """The document as the body that asks for it, but for its persons."""
    return {
        "lines": quote_edits.lines_as_wanted(lines),
        "due_date": invoice.due_date,
        "price_list": invoice.price_list,
        "comment": invoice.comment,
        "discount_percent": invoice.discount_percent,
        "discount_amount": invoice.discount_amount,
        "discount_reason": invoice.discount_reason,
    }


def _has_patient(invoice: Invoice, given: dict[str, Any]) -> bool:
    return given.get("patient", invoice.patient_ref) is not None


def _payer_faults(
    conn: db.Connection, invoice: Invoice, given: dict[str, Any], price_list: str, *, has_patient: bool
) -> list[Fault]:
    """Of the payer given; of the one there is, that another price list may not be for him."""
    if "payer" not in given and price_list == invoice.price_list:
        return []
    payer = given.get("payer", invoice.payer | {"is_patient": False})
    return payers.faults(conn, payer, price_list, has_patient=has_patient)


def _must_be_sound(faults: Sequence[Fault]) -> None:
    if faults:
        raise InvalidInput(sorted(dict.fromkeys(faults), key=lambda fault: fault.pointer))


# ---- A draft made from a quote ----


def _with_parts(change: Change, invoice: Invoice, lines: list[InvoiceLine], given: dict[str, Any]) -> Document:
    faults = fixed_by_quote(given)
    faults += invoicing.due_date_faults(given.get("due_date", invoice.due_date), invoice.date)
    has_patient = invoice.patient_ref is not None
    faults += _payer_faults(change.conn, invoice, given, invoice.price_list, has_patient=has_patient)
    if "lines" in given:
        lines, wrong = _other_parts(change, invoice, lines, given["lines"])
        faults += wrong
    _must_be_sound(faults)
    edited = replace(
        invoice,
        due_date=given.get("due_date", invoice.due_date),
        comment=given.get("comment", invoice.comment),
        total=Sums.of(lines).total,
    )
    return edited, lines


def _other_parts(
    change: Change, invoice: Invoice, lines: Sequence[InvoiceLine], wanted: Sequence[dict[str, Any]]
) -> tuple[list[InvoiceLine], list[Fault]]:
    """The parts wanted, once those the draft has are given back; lines that are none of the quote's stay behind them.

    With faults the lines must not be used.
    """
    faults = [
        Fault(f"/lines/{place}/{'package' if each.get('package') else 'article'}", "fixed_by_quote")
        for place, each in enumerate(wanted)
        if "position" not in each
    ]
    places = [place for place, each in enumerate(wanted) if "position" in each]
    assert invoice.quote_id is not None, "a draft made from a quote"
    quote = quotes.get(change.conn, change.actor, invoice.quote_id, invoice.quote_revision)
    parts.give_back(change.conn, invoice.id)
    # Gone before the remainders are reckoned: what a draft gives back is nobody's.
    change.conn.execute("DELETE FROM invoice_line WHERE invoice_id = %(id)s", {"id": invoice.id})
    try:
        taken = parts.taken(change.conn, quote, [wanted[place] for place in places])
    except InvalidInput as wrong:
        return [], faults + moved(wrong.faults, places)
    own = [line for line in lines if line.quote_position is None]
    renumbered = [replace(line, position=place) for place, line in enumerate(own, len(taken) + 1)]
    return [*taken, *renumbered], faults
