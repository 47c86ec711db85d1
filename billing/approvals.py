"""Approvals: a second person lets a discount above its author's ceiling pass, or refuses it with a reason.

A decision is written once. The database takes the digest of what is decided on, finds whose discount it is and how far
the one who decides may go, and keeps `granted` on no document that has come to say something else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import marshmallow as ma
from psycopg import errors as pg

from billing import invoices, quotes
from billing.invoices import Invoice, InvoiceLine
from billing.lines import Line
from billing.quotes import Quote, QuoteLine
from clinic import db, fields, ids, money, staff
from clinic.auth import Actor
from clinic.command import Change
from clinic.errors import Conflict, Refused

QUEUE = 50
"""Documents of each kind that the queue shows."""


class NoDiscountWaiting(Conflict):
    """No discount of this document waits for approval.

    The member `approval` says where it stands."""

    ru = "Скидка этого документа не ждёт утверждения\n\nПоле `approval` говорит, в каком она состоянии."


class OwnDiscount(Refused):
    """Nobody decides on a discount of his own.

    Who wrote the document last cannot approve it; another person does."""

    ru = (
        "Свою скидку никто не утверждает сам\n\n"
        "Кто последним изменил документ, не может её утвердить: это делает другой."
    )


class AboveOwnLimit(Refused):
    """The discount is above what you may give yourself.

    Somebody whose ceiling covers it approves it; `ceiling` is yours, in percent."""

    ru = (
        "Скидка выше той, что вы можете дать сами\n\n"
        "Её утверждает тот, чей предел её покрывает; `ceiling` — ваш предел в процентах."
    )


class ApproveIn(fields.Shape):
    """Which revision is meant, when it must be that one and no newer; and a remark, if there is one."""

    revision = fields.Whole(1, 100_000, load_default=None, allow_none=True)
    reason = fields.Text(500, load_default=None, allow_none=True)


class RefuseIn(ApproveIn):
    """Why the discount is not given: its author reads it."""

    reason = fields.Text(500, required=True)


class ApproveInvoiceIn(fields.Shape):
    """A remark, if there is one."""

    reason = fields.Text(500, load_default=None, allow_none=True)


class RefuseInvoiceIn(fields.Shape):
    """Why the discount is not given: its author reads it."""

    reason = fields.Text(500, required=True)


class DecisionOut(ma.Schema):
    """A decision on a discount; `highest` is the largest discount of a line, `ceiling` that of who decided."""

    id = ma.fields.UUID(required=True)
    decision = ma.fields.String(required=True, metadata={"enum": ["granted", "refused"]})
    reason = ma.fields.String(required=True, allow_none=True)
    revision = ma.fields.Integer(required=True, allow_none=True)
    author = ma.fields.String(required=True, metadata={"description": "who wrote what was decided on"})
    decided_by = ma.fields.String(required=True)
    decided_at = ma.fields.DateTime(required=True)
    highest = ma.fields.String(required=True, metadata={"description": "percent"})
    ceiling = ma.fields.String(required=True, metadata={"description": "percent"})
    content_sha256 = ma.fields.String(required=True)


@dataclass(frozen=True)
class Decision:
    """A decision on a discount, as it was written."""

    id: UUID
    decision: str
    reason: str | None
    revision: int | None
    author: str
    decided_by: str
    decided_at: datetime
    highest: Decimal
    ceiling: Decimal
    content_sha256: bytes

    def as_json(self) -> dict[str, Any]:
        return vars(self) | {
            "highest": money.text(self.highest),
            "ceiling": money.text(self.ceiling),
            "content_sha256": self.content_sha256.hex(),
        }


_SELECT = """
SELECT id, decision, reason, revision, author, decided_by, decided_at, highest, ceiling, content_sha256
  FROM discount_approval
"""


def of_quote(conn: db.Connection, quote_id: UUID) -> list[Decision]:
    """The decisions on all revisions of a quote, newest first."""
    return db.many(conn, Decision, _SELECT + "WHERE quote_id = %(id)s ORDER BY place DESC", {"id": quote_id})


def of_invoice(conn: db.Connection, invoice_id: UUID) -> list[Decision]:
    """The decisions on a direct invoice, newest first."""
    return db.many(conn, Decision, _SELECT + "WHERE invoice_id = %(id)s ORDER BY place DESC", {"id": invoice_id})


@dataclass(frozen=True)
class OnPage:
    """What the page of a document shows of approvals: decisions, who made them, and whether its reader may decide."""

    decisions: list[Decision]
    who: dict[str, str]
    may_decide: bool


def on_page_of(conn: db.Connection, actor: Actor, document: Quote | Invoice) -> OnPage:
    """What `actor` sees on the page of `document`, and whether he may decide there."""
    of = of_quote if isinstance(document, Quote) else of_invoice
    told = of(conn, document.id) if document.approval != "none" else []
    decisions = [each for each in told if isinstance(document, Invoice) or each.revision == document.revision]
    waits = document.approval == "required" and document.status in ("draft", "sent", "accepted")
    may_decide = waits and actor.may("discounts:approve") and document.edited_by != actor.label
    who = defaultdict(str, staff.logins(conn, [each.decided_by for each in decisions]))
    return OnPage(decisions, who, may_decide)


# ---- Deciding ----


def decide_on_quote(
    change: Change, quote_id: UUID, decision: str, reason: str | None, revision: int | None = None
) -> Quote:
    """Approve (`granted`) or refuse (`refused`) the discounts of a quote as it stands.

    Raises:
        NotFound, QuoteNotOpen, QuoteExpired: as `quotes.locked`; or it can go out no more.
        NoDiscountWaiting, OwnDiscount, AboveOwnLimit: see there.
    """
    quote = quotes.locked(change.conn, change.actor, quote_id, revision)
    quote.must_be_firm_on(change.today)
    quote.must_be("draft", "sent", "accepted")
    document = {"quote_id": quote.id, "revision": quote.revision, "invoice_id": None}
    decision_id, highest = _written(change, document, decision, reason, quote.approval)
    if decision == "granted":
        change.conn.execute(
            """
            UPDATE quote_revision SET approval = 'granted', row_version = row_version + 1, updated_at = %(at)s
             WHERE quote_id = %(id)s AND revision = %(revision)s
            """,
            {"at": change.at, "id": quote.id, "revision": quote.revision},
        )
        quote = replace(quote, approval=decision, row_version=quote.row_version + 1, updated_at=change.at)
    change.record(
        f"quote.discount_{_SAID[decision]}", quote.id, quote.branch_id,
        revision=quote.revision, decision=decision_id, highest=money.text(highest), total=money.text(quote.total),
    )  # fmt: skip
    return quote


def decide_on_invoice(change: Change, invoice_id: UUID, decision: str, reason: str | None) -> Invoice:
    """The same for a draft invoice that was made without a quote.

    Raises:
        NotFound, InvoiceNotDraft: there is no such draft.
        NoDiscountWaiting, OwnDiscount, AboveOwnLimit: see there.
    """
    invoice = invoices.locked(change.conn, change.actor, invoice_id)
    invoice.must_be_draft()
    document = {"quote_id": None, "revision": None, "invoice_id": invoice.id}
    decision_id, highest = _written(change, document, decision, reason, invoice.approval)
    if decision == "granted":
        change.conn.execute(
            """
            UPDATE invoice SET approval = 'granted', row_version = row_version + 1, updated_at = %(at)s
             WHERE id = %(id)s
            """,
            {"at": change.at, "id": invoice.id},
        )
        invoice = replace(invoice, approval=decision, row_version=invoice.row_version + 1, updated_at=change.at)
    change.record(
        f"invoice.discount_{_SAID[decision]}", invoice.id, invoice.branch_id,
        decision=decision_id, highest=money.text(highest), total=money.text(invoice.total),
    )  # fmt: skip
    return invoice


_SAID = {"granted": "approved", "refused": "refused"}


def _written(
    change: Change, document: dict[str, Any], decision: str, reason: str | None, approval: str
) -> tuple[UUID, Decimal]:
    decision_id = ids.new()
    with _named(approval):
        highest = db.value(
            change.conn,
            """
            INSERT INTO discount_approval (id, quote_id, revision, invoice_id, decision, reason, decided_by, decided_at)
            VALUES (%(id)s, %(quote_id)s::uuid, %(revision)s::int, %(invoice_id)s::uuid, %(decision)s, %(reason)s,
                    %(by)s, %(at)s)
            RETURNING highest
            """,
            document
            | {"id": decision_id, "decision": decision, "reason": reason, "by": change.actor.label, "at": change.at},
        )
    return decision_id, highest


@contextmanager
def _named(approval: str) -> Iterator[None]:
    try:
        yield
    except pg.CheckViolation as exc:
        match exc.diag.constraint_name:
            case "discount_waits":
                raise NoDiscountWaiting(approval=approval) from exc
            case "discount_approved_by_another":
                raise OwnDiscount() from exc
            case "discount_within_approver":
                raise AboveOwnLimit(ceiling=exc.diag.message_detail) from exc
        raise


# ---- What waits ----


@dataclass(frozen=True)
class Waiting:
    """A document whose discount waits for somebody to decide on it."""

    document: Quote | Invoice
    lines: list[QuoteLine] | list[InvoiceLine]

    @property
    def is_quote(self) -> bool:
        return isinstance(self.document, Quote)

    @property
    def author(self) -> str:
        """Who wrote it, by the label of documents."""
        return self.document.edited_by

    @property
    def discounted(self) -> list[Line]:
        """The lines that have a discount."""
        return [line for line in self.lines if line.discount or line.document_discount]

    def is_above(self, ceiling: Decimal) -> bool:
        """Whether somebody of this ceiling, in percent, may not approve it."""
        return any(line.is_discounted_above(ceiling) for line in self.lines)


def waiting(conn: db.Connection, actor: Actor, today: date) -> list[Waiting]:
    """What waits in the branches `actor` sees and was not refused as it stands: the longest waiting first."""
    asked = {"branch": actor.branch_id, "today": today, "limit": QUEUE}
    quote_ids = conn.execute(
        """
        SELECT quote_id
          FROM quote_revision AS waits
         WHERE newest AND approval = 'required' AND NOT invoiced
           AND (status IN ('draft', 'sent') AND valid_until >= %(today)s::date OR status = 'accepted')
           AND (%(branch)s::uuid IS NULL OR branch_id = %(branch)s::uuid)
           AND NOT EXISTS (
             SELECT FROM discount_approval
              WHERE quote_id = waits.quote_id AND revision = waits.revision AND decision = 'refused'
                AND content_sha256 = quote_discount_digest(waits))
         ORDER BY updated_at
         LIMIT %(limit)s::int
        """,
        asked,
    ).fetchall()
    invoice_ids = conn.execute(
        """
        SELECT id
          FROM invoice
         WHERE status = 'draft' AND approval = 'required'
           AND (%(branch)s::uuid IS NULL OR branch_id = %(branch)s::uuid)
           AND NOT EXISTS (
             SELECT FROM discount_approval
              WHERE invoice_id = invoice.id AND decision = 'refused'
                AND content_sha256 = invoice_discount_digest(invoice))
         ORDER BY updated_at
         LIMIT %(limit)s::int
        """,
        asked,
    ).fetchall()
    waiting_quotes = quotes.of_ids(conn, [row[0] for row in quote_ids])
    waiting_invoices = invoices.of_ids(conn, [row[0] for row in invoice_ids])
    of_quotes = quotes.lines_of(conn, waiting_quotes)
    of_invoices = invoices.lines_of(conn, [each.id for each in waiting_invoices])
    found = [Waiting(each, of_quotes[each.id]) for each in waiting_quotes]
    found += [Waiting(each, of_invoices[each.id]) for each in waiting_invoices]
    return sorted(found, key=lambda each: each.document.updated_at)
