"""The page of a quote: what it says, what may be done with it, what became of its former revisions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from flask import Response, render_template, request

from billing import approvals, invoices, issuing, quote_differences, quote_validity, quotes, refusals
from billing import desk as desks
from billing.quote_differences import LineDifference
from billing.quote_validity import Extension
from billing.quotes import Quote, QuoteLine
from clinic import access_log, branches, clock, db, forms, html, http
from clinic.auth import Actor
from clinic.command import Change
from clinic.errors import Fault, Problem


@dataclass(frozen=True)
class InvoiceForm:
    """The form that makes an invoice of a quote, as it was typed."""

    key: str
    typed: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str:
        return self.typed.get(name, "")

    def wanted(self, revision: int) -> dict[str, Any]:
        """As the body of `POST /v1/quotes/{id}/invoice`."""
        issue = self.get("do") != "draft"
        return {"payer": self.payer(), "issue": issue, "due_date": self.due_date, "revision": revision}

    @property
    def is_sent(self) -> bool:
        """Whether a button was pressed that makes an invoice."""
        return self.get("do") in ("issue", "draft")

    @property
    def due_date(self) -> str | None:
        return self._given("due_date")

    def payer(self) -> dict[str, Any]:
        """As the member of a body."""
        letter = {name: self._given(f"payer-guarantee_letter-{name}") for name in ("number", "valid_until")}
        letter["limit"] = forms.plain_number(self.get("payer-guarantee_letter-limit")) or None
        return {
            "kind": self.get("payer-kind") or "person",
            "is_patient": "payer-is_patient" in self.typed,
            "name": self._given("payer-name"),
            "inn": self._given("payer-inn"),
            "kpp": self._given("payer-kpp"),
            "guarantee_letter": letter if any(letter.values()) else None,
        }

    def _given(self, name: str) -> str | None:
        return self.get(name).strip() or None


def revision_seen() -> int:
    """Which revision the reader of the form saw: a button never acts on one he has not seen."""
    sent = request.form.get("revision", "")
    return int(sent) if sent.isascii() and sent.isdigit() and len(sent) < 6 else 0


def read(conn: db.Connection, actor: Actor, quote_id: UUID, action: str) -> tuple[Quote, list[QuoteLine]]:
    """The quote with its lines; that somebody looks at it is noted."""
    quote = quotes.get(conn, actor, quote_id)
    access_log.note(conn, actor.label, action, "quote", [quote_id], http.request_id())
    return quote, quotes.lines_of(conn, [quote])[quote_id]


@dataclass(frozen=True)
class Step:
    """A revision, and what it changed of the one before."""

    quote: Quote
    former: Quote | None
    lines: list[LineDifference]
    extensions: list[Extension]

    def changed(self) -> Iterator[tuple[str, str]]:
        """What differs beside the lines, (ru, en)."""
        if former := self.former:
            for names, ru, en in _BESIDE_LINES:
                if any(getattr(self.quote, name) != getattr(former, name) for name in names):
                    yield ru, en


_BESIDE_LINES = (
    (("patient_ref", "patient_name"), "пациент", "patient"),
    (("kind",), "вид", "kind"),
    (("price_list",), "прейскурант", "price list"),
    (("valid_until",), "срок действия", "last day"),
    (("discount_percent", "discount_amount", "discount_reason"), "скидка", "discount"),
    (("comment",), "примечание", "comment"),
)


def _history(conn: db.Connection, actor: Actor, quote: Quote) -> list[Step]:
    """Its revisions, newest first; none where there was but one that never was extended."""
    extensions = quote_validity.extensions_of(conn, quote.id)
    if quote.revision == 1 and not extensions:
        return []
    revisions = quotes.revisions(conn, actor, quote.id)
    lines = quotes.lines_of_revisions(conn, revisions)
    formers = [*revisions[1:], None]
    return [
        Step(
            each,
            former,
            [one for one in quote_differences.of_lines(_of(lines, former), _of(lines, each)) if one.is_one]
            if former
            else [],
            [one for one in extensions if one.revision == each.revision],
        )
        for each, former in zip(revisions, formers, strict=True)
    ]


def _of(lines: dict[tuple[UUID, int], list[QuoteLine]], quote: Quote) -> list[QuoteLine]:
    return lines[quote.id, quote.revision]


def invoiced(change: Change, quote_id: UUID, wanted: dict[str, Any]) -> UUID:
    """The invoice that the quote's form made, by the clinic's settings."""
    settings = html.settings()
    made = issuing.of_quote(change, quote_id, wanted, due_days=settings.due_days, production=settings.production)
    return made[0].id


def shown(
    quote_id: UUID,
    form: InvoiceForm,
    *,
    faults: list[Fault] | None = None,
    refusal: Problem | None = None,
    wrong: tuple[str, list[Fault]] | None = None,
    status: int | None = None,
) -> Response:
    """The page; `faults` are of the form for an invoice, `wrong` of the form of another move, as it was typed."""
    actor, today = http.actor(), clock.today()
    with db.transaction() as conn:
        quote, lines = read(conn, actor, quote_id, "read")
        made = invoices.page(conn, actor, {"quote": quote_id, "limit": 20}, None) if actor.may("invoices:read") else []
        branch = branches.of_id(conn, quote.branch_id)
        approval = approvals.on_page_of(conn, actor, quote)
        history = _history(conn, actor, quote)
    move, of_move = wrong or ("", [])
    of_payer = refusals.by_field(refusal)
    page = render_template(
        "quote.html",
        approval=approval,
        quote=quote,
        document=quotes.as_json(quote, lines),
        state=quote.state_on(today),
        overdue=quote.state_on(today) == "expired",
        on_invoices=any(line.invoiced_quantity for line in lines),
        history=history,
        invoices=made,
        form=form,
        faults=forms.by_field(faults or [], desks.SAID) | of_payer,
        move=move,
        move_faults={f"{move}-{name}": said for name, said in forms.by_field(of_move, desks.SAID).items()},
        typed=request.form if move else {},
        refusal=None if of_payer else forms.told(refusal),
        sample=branch.requisites is None,
    )
    return Response(page, status or (refusal.status if refusal else 200))
