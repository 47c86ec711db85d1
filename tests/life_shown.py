"""How the model's documents look in the database and in answers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.model import Clinic
from tests.model_documents import Act, Credited, Document, Invoice, Line, Note, Payment, Quote, VatGroup


def state_of(model: Clinic) -> dict[str, Any]:
    """What the database must say of everything; see `life_invariants.STATE`."""
    return {
        "quotes": {revision(each): quote_state(each) for each in model.quotes},
        "quote_lines": {revision(each): [*map(quote_line, each.lines)] for each in model.quotes},
        "invoices": {
            each.id: [each.status, each.approval, each.number, of_revision(each), *header(each), *paid(each)]
            for each in model.invoices
        },
        "invoice_lines": {each.id: [*map(invoice_line, each.lines)] for each in model.invoices},
        "payments": {
            each.id: [text(each.amount), text(each.allocated), text(each.refunded)] for each in model.payments
        },
        "notes": {
            each.number: [each.invoice.id, each.cancels, text(each.amount), [*map(note_line, each.lines)]]
            for each in model.notes
        },
        "acts": {each.id: [each.status, each.number, text(each.total)] for each in model.acts},
        "decisions": decisions(model),
        "series": {f"{kind} {year}": each.next for (kind, year), each in model.series.items() if each.next > 1},
    }


def revision(quote: Quote) -> str:
    return f"{quote.id}/{quote.revision}"


def of_revision(invoice: Invoice) -> str | None:
    return revision(invoice.quote) if invoice.quote else None


def quote_state(quote: Quote) -> list[Any]:
    invoiced = quote.shown_status == "invoiced"
    return [quote.status, quote.approval, invoiced, quote.newest, quote.valid_until.isoformat(), *header(quote)]


def decisions(model: Clinic) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in model.decisions:
        key = revision(each.document) if isinstance(each.document, Quote) else each.document.id
        ceilings = [model.ceilings[who] for who in (each.by, each.author)]
        found.setdefault(key, []).append([each.decision, text(each.highest), *ceilings])
    return found


def text(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:.2f}"


def header(document: Document) -> list[Any]:
    return [document.date.isoformat(), text(document.subtotal), text(document.total)]


def paid(invoice: Invoice) -> list[Any]:
    return [text(invoice.paid), text(invoice.credited)]


def line_state(line: Line) -> list[Any]:
    sums = map(text, (line.unit_price, line.gross, line.discount, line.document_discount, line.vat))
    return [line.service.article, f"{line.quantity:.3f}", *sums]


def quote_line(line: Line) -> list[Any]:
    return [*line_state(line), f"{line.taken:.3f}"]


def invoice_line(line: Line) -> list[Any]:
    credited = [f"{line.back:.3f}", text(line.credited), text(line.credited_vat)]
    return [*line_state(line), line.quote_position, *credited]


def note_line(row: Credited) -> list[Any]:
    sums = map(text, (row.gross, row.discount, row.document_discount, row.amount, row.vat))
    return [row.line.position, None if row.quantity is None else f"{row.quantity:.3f}", *sums]


def shown(document: Any) -> dict[str, Any]:
    """What an answer must say of a document."""
    match document:
        case Quote():
            return {
                "status": document.shown_status,
                "revision": document.revision,
                "approval": document.approval,
                "valid_until": document.valid_until.isoformat(),
                **totals(document),
            }
        case Invoice():
            return {
                "status": document.status, "approval": document.approval, "number": document.number,
                "payment_status": document.payment_status,
                "paid": text(document.paid), "credited": text(document.credited), "balance": text(document.balance),
                "quote": document.quote and {"id": document.quote.id, "revision": document.quote.revision},
                **totals(document),
            }  # fmt: skip
        case Payment():
            standing = {invoice.id: text(document.on(invoice)) for invoice, _ in document.puts if document.on(invoice)}
            return {
                "status": document.status, "amount": text(document.amount), "allocated": text(document.allocated),
                "refunded": text(document.refunded), "advance": text(document.advance), "allocations": standing,
            }  # fmt: skip
        case Act():
            return {"status": document.status, "number": document.number, "total": text(document.total)}
        case Note():
            return {
                "number": document.number, "cancels": document.cancels, "invoice": document.invoice.id,
                "credited": [credited_line(each) for each in document.lines], "total": text(document.amount),
                "vat": taxed(document.vat_groups()),
            }  # fmt: skip
    raise AssertionError(document)


def credited_line(row: Credited) -> tuple[Any, ...]:
    quantity = row.quantity and f"{row.quantity.normalize():f}"
    return row.line.position, row.line.service.article, quantity, text(row.amount), text(row.vat)


def totals(document: Document) -> dict[str, Any]:
    lines = [(line.service.article, text(line.unit_price), text(line.amount)) for line in document.lines]
    return {
        "date": document.date.isoformat(),
        "lines": lines,
        "total": text(document.total),
        "vat": taxed(document.vat_groups()),
    }


def taxed(groups: set[VatGroup]) -> set[tuple[str | None, ...]]:
    return {(None if rate is None else f"{rate:f}", text(base), text(tax)) for rate, base, tax in groups}


def picked(answer: Any, name: str) -> Any:
    """What an answer says of the same."""
    match name:
        case "total":
            return answer["totals"]["total"]
        case "vat":
            return {(each["rate"], each["base"], each["amount"]) for each in answer["totals"]["vat"]}
        case "lines":
            return [(each["article"], each["unit_price"], each["amount"]) for each in answer["lines"]]
        case "credited" if "lines" in answer and "cancels" in answer:
            return [
                (each["invoice_position"], each["article"], each["quantity"], each["amount"], each["vat"]["amount"])
                for each in answer["lines"]
            ]
        case "invoice":
            return answer["invoice"]["id"]
        case "allocations":
            return {each["invoice"]: each["amount"] for each in answer["allocations"]}
    return answer[name]
