"""The form for an invoice of what is left of a quote and of services beyond it, as it was typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Self
from uuid import UUID

from billing import parts, quote_page
from billing.desk import Desk
from billing.invoices import InvoiceLine
from billing.lines import MOST, ExtraLineIn, Line, Sums
from billing.pricing import catalog_faults, priced
from billing.quote_page import InvoiceForm
from billing.quotes import Quote
from catalog import price_lists
from clinic import clock, db, fields, http
from clinic.auth import Actor
from clinic.errors import Fault, InvalidInput


class ExtraIn(fields.Shape):
    """Services beyond a quote, and the list they are priced by."""

    lines = fields.Many(fields.Nested(ExtraLineIn), most=MOST, required=True)
    price_list = fields.Form(price_lists.FORM, required=True)

    def beyond(self, raw: Any) -> list[Fault]:
        return catalog_faults(raw, clock.today())


@dataclass(frozen=True)
class Exceeding:
    """The quote, its lines as the invoice would have them, and who pays as it was typed."""

    quote: Quote
    lines: list[InvoiceLine]
    form: InvoiceForm
    template: ClassVar = "quote_exceed.html"
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
            quote, _ = quote_page.read(conn, http.actor(), quote_id, "read")
            quote.must_be_firm_on(clock.today())
            quote.must_be("draft", "sent", "accepted")
            return cls(quote, parts.taken(conn, quote, None), form)

    @property
    def action(self) -> str:
        return f"/desk/quotes/{self.quote.id}/exceed"

    @property
    def total(self) -> Decimal:
        """What is left of the quote, in rubles."""
        return Sums.of(self.lines).total

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
    beyond = {"extra_lines": lines, "consent_ref": (form.get("consent_ref").strip() or None) if lines else None}
    return form.wanted(revision) | beyond | {"comment": desk.comment or None}


def as_typed(faults: Sequence[Fault]) -> list[Fault]:
    """Faults of the body by the names of the form's fields."""
    return [replace(each, pointer=each.pointer.replace("/extra_lines", "/lines", 1)) for each in faults]


def _lines(desk: Desk) -> list[dict[str, Any]]:
    wanted = [row.wanted() for row in desk.rows]
    return [{name: each[name] for name in each if not name.startswith("discount_")} for each in wanted]
