"""Invoices in random lives: of quotes, direct; issued, edited, discarded; and the acts of what was done."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.life import (
    HEAD,
    Machine,
    authors,
    is_draft,
    is_issued,
    is_open,
    other_lines,
    other_percent,
    parts,
    payers,
    percents,
    picked_of,
    rarely,
    wanted,
    which,
)


class PartRules(Machine):
    """What takes of a quote, and gives it back."""

    @precondition(lambda self: any(map(is_open, self.model.newest)))
    @rule(of=which, payer=payers, part=parts, issue=st.booleans(), late=st.sampled_from([None, 0, 1]))
    def invoice(self, of: int, payer: str, part: dict[int, Decimal] | None, issue: bool, late: int | None) -> None:
        quote = picked_of(self.model.newest, of, is_open)
        day = None if late is None or not issue else self.model.today - timedelta(late)
        body = {
            "payer": self.person(payer),
            "issue": issue,
            "lines": part and [{"position": place, "quantity": str(much)} for place, much in part.items()],
            "date": day and day.isoformat(),
        }
        expected = self.model.invoice(quote, payer, part, issue, day, HEAD)
        self.told(expected, f"/v1/quotes/{quote.id}/invoice", body, 201)

    @precondition(lambda self: any(map(is_draft, self.model.invoices)))
    @rule(of=which)
    def discard(self, of: int) -> None:
        invoice = picked_of(self.model.invoices, of, is_draft)
        self.told(self.model.discard(invoice), f"/v1/invoices/{invoice.id}/discard", None, 200)


class InvoiceRules(Machine):
    @rule(lines=wanted, percent=percents, payer=payers, by=authors)
    def direct(self, lines: Any, percent: Decimal, payer: str, by: str = HEAD) -> None:
        body = self.asked(lines, percent) | {"payer": self.person(payer)}
        self.told(self.model.direct(self.read(lines), percent, payer, by), "/v1/invoices", body, 201, by)

    @precondition(lambda self: any(map(is_draft, self.model.invoices)))
    @rule(of=which, late=st.sampled_from([None, 0, 1]))
    def issue(self, of: int, late: int | None) -> None:
        invoice = picked_of(self.model.invoices, of, is_draft)
        day = None if late is None else self.model.today - timedelta(late)
        body = {"date": day and day.isoformat()}
        self.told(self.model.issue(invoice, day), f"/v1/invoices/{invoice.id}/issue", body, 200)

    @precondition(lambda self: any(map(is_draft, self.model.invoices)))
    @rule(of=which, lines=other_lines, percent=other_percent, part=parts, by=authors, stale=rarely)
    def edit(
        self,
        of: int,
        stale: bool,
        lines: Any = None,
        percent: Decimal | None = None,
        part: dict[int, Decimal] | None = None,
        by: str = HEAD,
    ) -> None:
        """One made from a quote takes other parts of it; another one has other lines, or another discount."""
        invoice = picked_of(self.model.invoices, of, is_draft)
        given, body = self.changed(None if invoice.quote else lines, percent)
        if invoice.quote and part:
            body["lines"] = [{"position": place, "quantity": str(much)} for place, much in part.items()]
        expected = self.model.edit(invoice, given, part, by, stale=stale)
        self.edited(expected, f"/v1/invoices/{invoice.id}", body | {"comment": "Позвонить"}, by, stale=stale)

    # ---- Acts ----

    @precondition(lambda self: any(map(is_issued, self.model.invoices)))
    @rule(of=which, part=parts)
    def act(self, of: int, part: dict[int, Decimal] | None) -> None:
        invoice = picked_of(self.model.invoices, of, is_issued)
        body = {"lines": part and [{"position": place, "quantity": str(much)} for place, much in part.items()]}
        self.told(self.model.act(invoice, part), f"/v1/invoices/{invoice.id}/acts", body, 201)

    @precondition(lambda self: any(map(is_issued, self.model.acts)))
    @rule(of=which)
    def cancel_act(self, of: int) -> None:
        act = picked_of(self.model.acts, of, is_issued)
        self.told(self.model.cancel_act(act), f"/v1/acts/{act.id}/cancel", {"reason": "Ошибка"}, 200)
