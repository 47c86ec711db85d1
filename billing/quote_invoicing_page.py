"""The form for an invoice of a quote: how much of what is left, and what beyond it, as it was typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Self
from uuid import UUID

from billing import part_fields, parts, quote_page
from billing.desk import Desk
from billing.invoices import InvoiceLine
from billing.lines import MOST, ExtraLineIn, Line, Sums, shown_quantity
from billing.parts import PartIn
from billing.pricing import catalog_faults, priced
from billing.quote_page import InvoiceForm
from billing.quotes import Quote, QuoteLine
from catalog import price_lists
from clinic import clock, db, fields, forms, http
from clinic.auth import Actor
from clinic.errors import Fault, InvalidInput


class ExtraIn(fields.Shape):
    """Services beyond a quote, and the list they are priced by."""

    lines = fields.Many(fields.Nested(ExtraLineIn), most=MOST, required=True)
    price_list = fields.Form(price_lists.FORM, required=True)

    def beyond(self, raw: Any) -> list[Fault]:
        return catalog_faults(raw, clock.today())


class PartsIn(fields.Shape):
    """What of a quote is invoiced."""

    lines = fields.Many(fields.Nested(PartIn), least=1, most=MOST, required=True)


@dataclass(frozen=True)
class Invoicing:
    """The quote, what is left of it, the parts of it on the invoice, and who pays as it was typed."""

    quote: Quote
    left: list[QuoteLine]
    taken: dict[int, InvoiceLine]
    """By position in the quote; none while something is `wrong` with what was typed."""
    wrong: list[Fault]
    form: InvoiceForm
    template: ClassVar = "quote_invoicing.html"
    shape: ClassVar[fields.Shape] = ExtraIn()
    bare: ClassVar = True

    @classmethod
    def read(cls, quote_id: UUID, form: InvoiceForm) -> Self:
        """The quote as it stands, with what was typed; that somebody looks at it is noted.

        Raises:
            NotFound: there is none here.
            QuoteExpired, QuoteNotOpen: it can be invoiced no more.
        """
        with db.transaction() as conn:
            quote, lines = quote_page.read(conn, http.actor(), quote_id, "read")
            quote.must_be_firm_on(clock.today())
            quote.must_be("draft", "sent", "accepted")
            taken, wrong = _taken(conn, quote, part_fields.asked(form))
        left = [line for line in lines if line.invoiced_quantity < line.quantity]
        return cls(quote, left, taken, wrong, form)

    @property
    def action(self) -> str:
        return f"/desk/quotes/{self.quote.id}/invoicing"

    @property
    def total(self) -> Decimal | None:
        """What the parts of the quote come to, in rubles; None while something is wrong with them."""
        return None if self.wrong else Sums.of(list(self.taken.values())).total

    def quantity(self, line: QuoteLine) -> str:
        """How much of a line, as it was typed; all that is left of it before anybody typed."""
        left = shown_quantity(line.quantity - line.invoiced_quantity)
        return self.form.typed.get(part_fields.name(line.position), left.replace(".", ","))

    def desk(self, desk: Desk) -> Desk:
        """The form, priced by the quote's own list."""
        return replace(desk, price_list=self.quote.price_list)

    def asked(self, desk: Desk) -> dict[str, Any]:
        return {"lines": _lines(desk), "price_list": self.quote.price_list}

    def priced(
        self, conn: db.Connection, actor: Actor, at: datetime, valid_days: int, read: dict[str, Any]
    ) -> Sequence[Line]:
        del valid_days  # of quotes
        lines, faults = priced(conn, actor, clock.day_of(at), self.quote.price_list, read)
        if faults:
            raise InvalidInput(faults)
        return lines


def body(desk: Desk, form: InvoiceForm, revision: int) -> dict[str, Any]:
    """As the body of `POST /v1/quotes/{id}/invoice`."""
    lines = _lines(desk)
    # What is not exceeded needs no consent: one that is left in the form from before is not meant.
    of_quote = {"lines": part_fields.asked(form)}
    beyond = {"extra_lines": lines, "consent_ref": (form.get("consent_ref").strip() or None) if lines else None}
    return form.wanted(revision) | of_quote | beyond | {"comment": desk.comment or None}


def as_typed(faults: Sequence[Fault], form: InvoiceForm) -> list[Fault]:
    """Faults of the body by the names of the form's fields."""
    return [
        replace(each, pointer=each.pointer.replace("/extra_lines", "/lines", 1))
        for each in part_fields.of_fields(faults, part_fields.asked(form))
    ]


def _taken(
    conn: db.Connection, quote: Quote, asked: list[dict[str, Any]] | None
) -> tuple[dict[int, InvoiceLine], list[Fault]]:
    try:
        wanted = None if asked is None else forms.loaded(PartsIn(), {"lines": asked})["lines"]
        lines = parts.taken(conn, quote, wanted)
    except InvalidInput as wrong:
        return {}, part_fields.of_fields(wrong.faults, asked)
    return {line.quote_position: line for line in lines if line.quote_position is not None}, []


def _lines(desk: Desk) -> list[dict[str, Any]]:
    wanted = [row.wanted() for row in desk.rows]
    return [{name: each[name] for name in each if not name.startswith("discount_")} for each in wanted]
