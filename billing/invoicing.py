"""Drafts of invoices: of a quote, whole or in part, or direct."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from billing import invoices, lines, payers, quotes, totals
from billing.invoices import InvoiceLine
from billing.lines import MOST, DiscountIn, Line, LineIn, Sums, catalog_faults, needs_approval
from billing.payers import PayerIn
from billing.quotes import DiscountAboveLimit, PersonIn, Quote, QuoteLine, QuoteNotOpen
from clinic import branches, clock, db, errors, fields, ids, money, parties
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput
from clinic.money import ZERO
from clinic.parties import Party

errors.describe(
    {
        "unknown_position": ("В смете нет такой строки.", "The quote has no such line."),
        "repeated_position": ("Строка указана дважды.", "The line is given twice."),
        "quantity_exceeds_quote": (
            "Осталось выставить {left}; больше сметы нельзя.",
            "{left} is left to invoice; more than the quote cannot be.",
        ),
    }
)


class QuoteAlreadyInvoiced(Conflict):
    """Nothing of this quote is left to invoice.

    The member `invoice` names the invoice made from it."""

    ru = "По этой смете всё уже выставлено\n\nПоле `invoice` называет счёт, сделанный из неё."


class PartIn(fields.Shape):
    """How much of a line of the quote."""

    position = fields.Whole(1, MOST, required=True)
    quantity = fields.Quantity(load_default=None, allow_none=True)


class FromQuoteIn(fields.Shape):
    """An invoice made from a quote: without `lines`, all that is left of it."""

    payer = fields.Nested(PayerIn, required=True)
    issue = fields.Flag(load_default=False)
    date = fields.Day(load_default=None, allow_none=True, metadata={"description": "day of issue; today by default"})
    due_date = fields.Day(load_default=None, allow_none=True)
    lines = fields.Many(fields.Nested(PartIn), least=1, most=MOST, load_default=None, allow_none=True)
    revision = fields.Whole(1, 100_000, load_default=None, allow_none=True)
    comment = fields.Text(1000, load_default=None, allow_none=True)


class InvoiceIn(DiscountIn):
    """A direct invoice: lines as a quote's, and a payer."""

    id = fields.Uuid(load_default=None, allow_none=True, metadata={"description": "the invoice's id, if you give it"})
    lines = fields.Many(fields.Nested(LineIn), least=1, most=MOST, required=True)
    payer = fields.Nested(PayerIn, required=True)
    patient = fields.Nested(PersonIn, load_default=None, allow_none=True)
    due_date = fields.Day(load_default=None, allow_none=True)
    price_list = fields.Form(r"[a-z][a-z0-9_-]{0,31}", load_default="base", metadata={"example": "base"})
    branch = fields.Form(r"[a-z0-9][a-z0-9_-]{0,31}", load_default=None, allow_none=True, metadata={"example": "main"})
    comment = fields.Text(1000, load_default=None, allow_none=True)

    def beyond(self, raw: Any) -> list[Fault]:
        return catalog_faults(raw, clock.today())


class InvoicePatch(fields.Shape):
    """What of a draft may be changed; a member that is left out stays."""

    payer = fields.Nested(PayerIn)
    due_date = fields.Day(allow_none=True)
    comment = fields.Text(1000, allow_none=True)


def from_quote(change: Change, quote_id: UUID, wanted: dict[str, Any]) -> UUID:
    """Make a draft invoice from what is left of a quote, or from the parts named; returns its id.

    A draft or sent quote that is still valid is accepted by this: the patient stands at the desk. The quote's
    prices are copied, never asked again.

    Raises:
        QuoteExpired, QuoteNotOpen, DiscountAboveLimit: the quote cannot be accepted.
        QuoteAlreadyInvoiced: nothing is left.
        InvalidInput: a part does not exist or exceeds what is left.
    """
    quote = quotes.locked(change.conn, change.actor, quote_id)
    if wanted["revision"] not in (None, quote.revision):
        raise QuoteNotOpen(quote=quote.id, state="superseded", revision=quote.revision)
    if quote.status == "invoiced":
        raise QuoteAlreadyInvoiced(quote=quote.id, invoice=_latest_invoice(change.conn, quote.id))
    quote.must_be_live(change.today, "draft", "sent", "accepted")
    if quote.status != "accepted":
        quotes.accept(change, quote.id)
    taken = _parts(change.conn, quote, wanted["lines"])
    patient = _patient_of(change.conn, quote)
    payer, frozen = payers.add(change.conn, _payer(wanted["payer"], patient), patient)
    draft = {
        "id": ids.new(),
        "branch": quote.branch_id,
        "quote": quote.id,
        "revision": quote.revision,
        "price_list": quote.price_list,
        "percent": quote.discount_percent,
        "amount": quote.discount_amount,
        "reason": quote.discount_reason,
        "due_date": wanted["due_date"],
        "comment": wanted["comment"] or quote.comment,
    }
    return _insert(change, draft, taken, payer, frozen, patient)


def direct(change: Change, wanted: dict[str, Any]) -> UUID:
    """Make a draft invoice of wanted services at today's prices; returns its id.

    Raises:
        InvalidInput: names every wrong place.
        DiscountAboveLimit: a discount is above what this caller may give alone.
    """
    branch = branches.chosen(change.conn, change.actor, wanted["branch"])
    priced, faults = lines.priced(change.conn, change.actor, change.today, wanted["price_list"], wanted)
    if wanted["payer"]["is_patient"] and wanted["patient"] is None:
        faults.append(Fault("/payer/is_patient", "needs_patient"))
    if faults := faults + _due_date_faults(wanted["due_date"], change.today):
        raise InvalidInput(faults)
    if needs_approval(change.conn, change.actor, priced):
        raise DiscountAboveLimit()
    person = wanted["patient"]
    patient = person and parties.add(change.conn, person["id"], person["name"], person["phone"], person["email"])
    payer, frozen = payers.add(change.conn, _payer(wanted["payer"], patient), patient)
    draft = {
        "id": wanted["id"] or ids.new(),
        "branch": branch.id,
        "quote": None,
        "revision": None,
        "price_list": wanted["price_list"],
        "percent": wanted["discount_percent"],
        "amount": wanted["discount_amount"],
        "reason": wanted["discount_reason"],
        "due_date": wanted["due_date"],
        "comment": wanted["comment"],
    }
    return _insert(change, draft, [_of_no_quote(line) for line in priced], payer, frozen, patient)


def edit(change: Change, invoice: invoices.Invoice, wanted: dict[str, Any]) -> None:
    """Change payer, due date or comment of a draft.

    Raises:
        InvoiceNotDraft: it is issued, cancelled or discarded.
        InvalidInput: the due date is before the invoice's, or the payer is a patient the invoice has not.
    """
    invoice.must_be_draft()
    due_date = wanted.get("due_date", invoice.due_date)
    if faults := _due_date_faults(due_date, invoice.date):
        raise InvalidInput(faults)
    payer_party, payer_ref, payer = invoice.payer_party, invoice.payer_ref, invoice.payer
    if "payer" in wanted:
        patient = _known_party(change.conn, invoice.patient_party)
        party, payer = payers.add(change.conn, _payer(wanted["payer"], patient), patient)
        payer_party, payer_ref = party.id, party.ref
    change.conn.execute(
        """
        UPDATE invoice
           SET payer_party = %(party)s, payer_ref = %(ref)s, payer = %(payer)s, due_date = %(due)s,
               comment = %(comment)s, row_version = row_version + 1, updated_at = %(at)s
         WHERE id = %(id)s
        """,
        {
            "party": payer_party,
            "ref": payer_ref,
            "payer": Jsonb(payer),
            "due": due_date,
            "comment": wanted.get("comment", invoice.comment),
            "at": change.at,
            "id": invoice.id,
        },
    )


def discard(change: Change, invoice_id: UUID) -> None:
    """Put a draft away; what it took of its quote can be invoiced again.

    Raises:
        InvoiceNotDraft: it is issued, cancelled or discarded already.
    """
    quote_id = invoices.get(change.conn, change.actor, invoice_id).quote_id
    if quote_id is not None:
        # The quote's lock comes before the invoice's, always.
        quotes.locked(change.conn, change.actor, quote_id)
    invoice = invoices.locked(change.conn, change.actor, invoice_id)
    invoice.must_be_draft()
    change.conn.execute(
        "UPDATE invoice SET status = 'discarded', row_version = row_version + 1, updated_at = %(at)s WHERE id = %(id)s",
        {"at": change.at, "id": invoice.id},
    )
    give_back(change.conn, invoice.id)
    change.record("invoice.discarded", invoice.id, invoice.branch_id)


def give_back(conn: db.Connection, invoice_id: UUID) -> None:
    """Let the quote's lines be invoiced once more; the quote is locked by the caller."""
    conn.execute(
        """
        UPDATE quote_line SET invoiced_quantity = invoiced_quantity - line.quantity
          FROM invoice_line AS line JOIN invoice ON invoice.id = line.invoice_id
         WHERE invoice.id = %(id)s
           AND quote_line.quote_id = invoice.quote_id AND quote_line.revision = invoice.quote_revision
           AND quote_line.position = line.quote_position
        """,
        {"id": invoice_id},
    )


def _payer(wanted: dict[str, Any], patient: Party | None) -> dict[str, Any]:
    if wanted["is_patient"] and patient is None:
        raise InvalidInput([Fault("/payer/is_patient", "needs_patient")])
    return wanted


def _due_date_faults(due_date: date | None, day: date) -> list[Fault]:
    return [Fault("/due_date", "before_date")] if due_date is not None and due_date < day else []


def _patient_of(conn: db.Connection, quote: Quote) -> Party | None:
    return _known_party(conn, quote.patient_party)


def _known_party(conn: db.Connection, party_id: UUID | None) -> Party | None:
    return parties.known(conn, [party_id])[party_id] if party_id else None


def _latest_invoice(conn: db.Connection, quote_id: UUID) -> UUID | None:
    found: UUID | None = db.value(
        conn,
        """
        SELECT id FROM invoice
         WHERE quote_id = %(quote)s AND status IN ('draft', 'issued')
         ORDER BY created_at DESC LIMIT 1
        """,
        {"quote": quote_id},
    )
    return found


def _of_no_quote(line: Line) -> InvoiceLine:
    return InvoiceLine(**asdict(line), quote_position=None)


def _parts(conn: db.Connection, quote: Quote, wanted: list[dict[str, Any]] | None) -> list[InvoiceLine]:
    quoted = quotes.lines_of(conn, [quote])[quote.id]
    if wanted is None:
        asked = {line.position: line.quantity - line.invoiced_quantity for line in quoted}
    else:
        asked = _asked(quoted, wanted)
    taken = _taken_before(conn, quote) if any(line.invoiced_quantity for line in quoted) else {}
    chosen = [line for line in quoted if asked.get(line.position)]
    return [
        _part(position, line, asked[line.position], taken.get(line.position, ()))
        for position, line in enumerate(chosen, 1)
    ]


def _asked(quoted: Sequence[QuoteLine], wanted: list[dict[str, Any]]) -> dict[int, Decimal]:
    by_position = {line.position: line for line in quoted}
    asked: dict[int, Decimal] = {}
    faults = []
    for place, each in enumerate(wanted):
        line = by_position.get(each["position"])
        if line is None:
            faults.append(Fault(f"/lines/{place}/position", "unknown_position"))
            continue
        left = line.quantity - line.invoiced_quantity
        quantity = left if each["quantity"] is None else each["quantity"]
        if line.position in asked:
            faults.append(Fault(f"/lines/{place}/position", "repeated_position"))
        if quantity > left or not left:
            values = (("left", lines.shown_quantity(left)),)
            faults.append(Fault(f"/lines/{place}/quantity", "quantity_exceeds_quote", values))
        asked[line.position] = quantity
    if faults:
        raise InvalidInput(faults)
    return asked


def _taken_before(conn: db.Connection, quote: Quote) -> dict[int, tuple[Decimal, ...]]:
    """What the quote's live invoices have taken of each line: gross, discount, document discount."""
    rows = conn.execute(
        """
        SELECT quote_position, sum(gross), sum(line.discount), sum(document_discount)
          FROM invoice JOIN invoice_line AS line ON line.invoice_id = invoice.id
         WHERE quote_id = %(id)s AND quote_revision = %(revision)s AND status IN ('draft', 'issued')
         GROUP BY quote_position
        """,
        {"id": quote.id, "revision": quote.revision},
    )
    return {row[0]: row[1:] for row in rows}


def _part(position: int, line: QuoteLine, quantity: Decimal, taken: tuple[Decimal, ...]) -> InvoiceLine:
    copied = {name: value for name, value in asdict(line).items() if name in _COPIED}
    part = InvoiceLine(**copied | {"position": position}, quote_position=line.position)
    if quantity == line.quantity:
        return part
    last = quantity == line.quantity - line.invoiced_quantity
    gross, discount, document_discount = (
        totals.part(whole, before, quantity, line.quantity, last=last)
        for whole, before in zip(
            (line.gross, line.discount, line.document_discount), taken or (ZERO, ZERO, ZERO), strict=True
        )
    )
    cut = replace(
        part,
        quantity=quantity,
        gross=gross,
        discount=discount,
        document_discount=document_discount,
        amount=gross - discount - document_discount,
    )
    return replace(cut, vat_amount=totals.Vat.inside(cut.amount, cut.vat_rate).amount)


_COPIED = frozenset(Line.__dataclass_fields__)


def _insert(
    change: Change,
    draft: dict[str, Any],
    taken: Sequence[InvoiceLine],
    payer: Party,
    frozen: dict[str, Any],
    patient: Party | None,
) -> UUID:
    """One statement: the draft, its lines, and the quantities it takes of its quote."""
    sums = Sums.of(taken)
    change.conn.execute(
        """
        WITH made AS (
          INSERT INTO invoice
                 (id, branch_id, status, quote_id, quote_revision, date, due_date, patient_party, patient_ref,
                  payer_party, payer_ref, payer, price_list, comment, discount_percent, discount_amount,
                  discount_reason, subtotal, discount, total, created_at, created_by, updated_at)
          VALUES (%(id)s, %(branch)s, 'draft', %(quote)s, %(revision)s, %(today)s, %(due_date)s, %(patient)s,
                  %(patient_ref)s, %(payer)s, %(payer_ref)s, %(frozen)s, %(price_list)s, %(comment)s, %(percent)s,
                  %(amount)s, %(reason)s, %(subtotal)s, %(discount)s, %(total)s, %(at)s, %(by)s, %(at)s)),
        filled AS (
          SELECT line.*
            FROM jsonb_array_elements(%(lines)s::jsonb) AS given,
                 jsonb_populate_record(
                   NULL::invoice_line, given || jsonb_build_object('invoice_id', %(id)s::uuid)) AS line),
        moved AS (
          UPDATE quote_line SET invoiced_quantity = invoiced_quantity + filled.quantity
            FROM filled
           WHERE quote_line.quote_id = %(quote)s AND quote_line.revision = %(revision)s
             AND quote_line.position = filled.quote_position)
        INSERT INTO invoice_line SELECT filled.* FROM filled
        """,
        draft
        | {
            "today": change.today,
            "patient": patient and patient.id,
            "patient_ref": patient and patient.ref,
            "payer": payer.id,
            "payer_ref": payer.ref,
            "frozen": Jsonb(frozen),
            "subtotal": sums.subtotal,
            "discount": sums.discount,
            "total": sums.total,
            "at": change.at,
            "by": change.actor.label,
            "lines": quotes.packed(taken),
        },
    )
    data = {"total": money.text(sums.total)} | ({"quote": draft["quote"]} if draft["quote"] else {})
    change.record("invoice.created", draft["id"], draft["branch"], **data)
    invoice_id: UUID = draft["id"]
    return invoice_id
