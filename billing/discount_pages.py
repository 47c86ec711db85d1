"""Pages of discounts: the queue of those that wait for a decision, and the rules an administrator keeps.

They call the same nouns, by the same shapes, as the JSON routes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from billing import approvals, discounts, invoices, quote_codes, quotes
from billing.approvals import ApproveInvoiceIn, RefuseInvoiceIn
from billing.desk import SAID
from billing.discounts import CeilingsIn, ReasonIn, ReasonPatch
from clinic import access_log, clock, db, forms, html, http, money, staff
from clinic.auth import ROLES, Actor
from clinic.command import Change
from clinic.errors import Fault, InvalidInput, NotFound, Problem

bp = Blueprint("discount_pages", __name__, template_folder="templates")
html.door(
    3,
    "/desk/approvals",
    ("Утверждения", "Approvals"),
    ("Скидки, которые ждут решения второго человека", "Discounts that wait for a second person"),
    "discounts:approve",
)
html.door(
    7,
    "/desk/discounts",
    ("Скидки", "Discounts"),
    ("Причины скидок и пределы ролей", "Reasons of discounts and ceilings of roles"),
    "admin",
)


# ---- What waits ----


@bp.get("/desk/approvals")
@html.page(may="discounts:approve")
def queue() -> Response:
    return _queue_page()


@bp.post("/desk/approvals/<any(quotes, invoices):kind>/<uuid:document_id>")
@html.page(may="discounts:approve")
def decide(kind: str, document_id: UUID) -> AnyResponse:
    typed = request.form.to_dict()
    grants = typed.get("do") != "refuse"
    raw = {"reason": typed.get("reason", "").strip() or None}
    try:
        wanted = forms.loaded(ApproveInvoiceIn() if grants else RefuseInvoiceIn(), raw if grants else forms.given(raw))
        with forms.change() as change:
            _decide(change, kind, document_id, "granted" if grants else "refused", wanted["reason"])
    except InvalidInput as wrong:
        return _queue_page(typed | {"id": str(document_id)}, wrong.faults, status=422)
    except NotFound:
        raise
    except Problem as refusal:
        return _queue_page(typed | {"id": str(document_id)}, refusal=refusal, status=refusal.status)
    return redirect(f"/desk/{kind}/{document_id}" if typed.get("back") == "document" else "/desk/approvals", 303)


def _decide(change: Change, kind: str, document_id: UUID, decision: str, reason: str | None) -> None:
    if kind == "invoices":
        # The reader decides on what he saw; what was changed meanwhile he has to look at first.
        forms.must_have_seen(invoices.locked(change.conn, change.actor, document_id).row_version)
        approvals.decide_on_invoice(change, document_id, decision, reason)
    else:
        forms.must_have_seen(quotes.locked(change.conn, change.actor, document_id).row_version)
        approvals.decide_on_quote(change, document_id, decision, reason)


def _queue_page(
    typed: dict[str, str] | None = None,
    faults: Sequence[Fault] = (),
    *,
    refusal: Problem | None = None,
    status: int = 200,
) -> Response:
    actor = http.actor()
    with db.transaction() as conn:
        waiting = approvals.waiting(conn, actor, clock.today())
        ceiling = discounts.ceiling_of(conn, actor)
        authors = staff.logins(conn, [each.author for each in waiting])
        reasons = {each.code: each for each in discounts.reasons(conn)}
        _note(conn, actor, waiting)
    shown = render_template(
        "approvals.html",
        waiting=waiting,
        most=approvals.QUEUE,
        ceiling=ceiling,
        authors=defaultdict(str, authors),
        reasons=reasons,
        shown_code=quote_codes.shown,
        typed=defaultdict(str, typed or {}),
        faults=forms.by_field(faults, SAID),
        refusal=forms.told(refusal),
    )
    return Response(shown, status)


def _note(conn: db.Connection, actor: Actor, waiting: Sequence[approvals.Waiting]) -> None:
    for kind, is_quote in (("quote", True), ("invoice", False)):
        named = [each.document.id for each in waiting if each.is_quote == is_quote and each.document.patient_party]
        access_log.note(conn, actor.label, "list", kind, named, http.request_id())


# ---- The rules ----


@bp.get("/desk/discounts")
@html.page(may="admin")
def rules() -> Response:
    return _rules_page({})


@bp.post("/desk/discounts/reasons")
@html.page(may="admin")
def add_reason() -> AnyResponse:
    typed = request.form.to_dict()
    raw = forms.members(typed, "code", "name-ru", "name-en", "valid_from", "valid_until")
    try:
        wanted = forms.loaded(ReasonIn(), forms.given(raw))
        with forms.change() as change:
            discounts.add_reason(change, wanted)
    except InvalidInput as wrong:
        return _rules_page(typed, faults=wrong.faults, status=422)
    except Problem as refusal:
        return _rules_page(typed, refusal=refusal, status=refusal.status)
    return redirect("/desk/discounts", 303)


@bp.get("/desk/discounts/reasons/<string:code>")
@html.page(may="admin")
def one_reason(code: str) -> Response:
    with db.reading() as conn:
        reason = discounts.reason(conn, code)
    return _reason_page(reason, {})


@bp.post("/desk/discounts/reasons/<string:code>")
@html.page(may="admin")
def change_reason(code: str) -> AnyResponse:
    typed = request.form.to_dict()
    raw = forms.members(typed, "name-ru", "name-en", "valid_from", "valid_until")
    with db.reading() as conn:
        reason = discounts.reason(conn, code)
    try:
        wanted = forms.loaded(ReasonPatch(), forms.given(raw) | {"valid_until": raw["valid_until"]})
        with forms.change() as change:
            locked = discounts.locked_reason(change.conn, code)
            forms.must_have_seen(locked.row_version)
            discounts.edit_reason(change, locked, wanted)
    except InvalidInput as wrong:
        return _reason_page(reason, typed, faults=wrong.faults, status=422)
    except Problem as refusal:
        return _reason_page(reason, typed, refusal=refusal, status=refusal.status)
    return redirect("/desk/discounts", 303)


@bp.post("/desk/discounts/ceilings")
@html.page(may="admin")
def set_ceilings() -> AnyResponse:
    typed = request.form.to_dict()
    raw = {role: forms.plain_number(typed.get(f"ceiling-{role}", "")) for role in ROLES}
    try:
        wanted = forms.loaded(CeilingsIn(), forms.given({role: ceiling or None for role, ceiling in raw.items()}))
        with forms.change() as change:
            known = discounts.locked_ceilings(change.conn)
            forms.must_have_seen(known.row_version)
            discounts.set_ceilings(change, known, wanted)
    except InvalidInput as wrong:
        named = [Fault(f"/ceiling-{each.pointer[1:]}", each.code, each.values) for each in wrong.faults]
        return _rules_page(typed, faults=named, status=422)
    except Problem as refusal:
        return _rules_page(typed, refusal=refusal, status=refusal.status)
    return redirect("/desk/discounts", 303)


def _rules_page(
    typed: dict[str, str], *, faults: Sequence[Fault] = (), refusal: Problem | None = None, status: int = 200
) -> Response:
    with db.reading() as conn:
        reasons, ceilings = discounts.reasons(conn), discounts.ceilings(conn)
    shown = render_template(
        "discounts.html",
        reasons=reasons,
        ceilings={role: _percent(ceiling) for role, ceiling in ceilings.by_role.items()},
        version=ceilings.row_version,
        today=clock.today(),
        typed=defaultdict(str, typed),
        faults=forms.by_field(faults, SAID),
        refusal=forms.told(refusal),
    )
    return Response(shown, status)


def _reason_page(
    reason: discounts.Reason,
    typed: dict[str, str],
    *,
    faults: Sequence[Fault] = (),
    refusal: Problem | None = None,
    status: int = 200,
) -> Response:
    kept = {
        "name-ru": reason.name_ru,
        "name-en": reason.name_en,
        "valid_from": reason.valid_from.isoformat(),
        "valid_until": reason.valid_until.isoformat() if reason.valid_until else "",
    }
    shown = render_template(
        "discount_reason.html",
        reason=reason,
        typed=kept | typed,
        faults=forms.by_field(faults, SAID),
        refusal=forms.told(refusal),
    )
    return Response(shown, status)


def _percent(ceiling: Decimal) -> str:
    """«7,5»: without idle zeros."""
    return money.text(ceiling).rstrip("0").rstrip(".").replace(".", ",")
