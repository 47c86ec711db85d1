"""Pages of cash-desk shifts, and of the payments of a period."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from billing import payments, shifts, takings
from billing.desk import SAID
from billing.exports import PAGE, Period
from clinic import access_log, branches, clock, db, forms, html, http
from clinic.errors import Fault, IdempotencyKeyReused, InvalidInput, NotFound, Problem

bp = Blueprint("payment_pages", __name__, template_folder="templates")
html.door(
    2,
    "/shifts",
    ("Касса", "Cash desk"),
    ("Открыть и закрыть смену, сверить наличные", "Open and close a shift, count the cash"),
    "payments:write",
)
RECENT = 20


@dataclass(frozen=True)
class Form:
    """A form of this module, as it was typed."""

    key: str
    typed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def sent(cls) -> Form:
        return cls(forms.known_key(request.form.get("key")), request.form.to_dict())

    def get(self, name: str, otherwise: str = "") -> str:
        return self.typed.get(name, otherwise)

    def sum(self, name: str) -> str:
        return forms.plain_number(self.get(name))


# ---- Shifts ----


@bp.get("/shifts")
@html.page(may="payments:read")
def list_shifts() -> Response:
    return _shifts_page(Form(forms.new_key()))


@bp.post("/shifts")
@html.page(may="payments:write")
def open_shift() -> AnyResponse:
    form = Form.sent()
    raw = {"desk": form.get("desk"), "opening_cash": form.sum("opening_cash") or "0"}
    try:
        wanted = forms.loaded(shifts.ShiftIn(), raw)
        shift_id = forms.once(form.key, raw, lambda change: shifts.open_(change, wanted).id)
    except InvalidInput as wrong:
        return _shifts_page(form, faults=wrong.faults, status=422)
    except IdempotencyKeyReused as refusal:
        return _shifts_page(Form(forms.new_key(), form.typed), refusal=refusal)
    except Problem as refusal:
        return _shifts_page(form, refusal=refusal)
    return redirect(f"/shifts/{shift_id}", 303)


def _shifts_page(
    form: Form, *, faults: list[Fault] | None = None, refusal: Problem | None = None, status: int | None = None
) -> Response:
    with db.reading() as conn:
        found = shifts.page(conn, http.actor(), {"limit": RECENT}, None)[:RECENT]
    shown = render_template("shifts.html", shifts=found, day_of=clock.day_of, **_told(form, faults, refusal))
    return Response(shown, status or (refusal.status if refusal else 200))


@bp.get("/shifts/<uuid:shift_id>")
@html.page(may="payments:read")
def shift(shift_id: UUID) -> Response:
    return _shift_page(shift_id, Form(forms.new_key()))


@bp.post("/shifts/<uuid:shift_id>/close")
@html.page(may="payments:write")
def close_shift(shift_id: UUID) -> AnyResponse:
    form = Form.sent()
    raw: dict[str, Any] = {"counted": {"cash": form.sum("counted-cash"), "card": form.sum("counted-card") or None}}
    try:
        wanted = forms.loaded(shifts.CloseIn(), raw)
        with forms.change() as change:
            shifts.close(change, shift_id, wanted["counted"])
    except InvalidInput as wrong:
        return _shift_page(shift_id, form, faults=wrong.faults, status=422)
    except NotFound:
        raise
    except Problem as refusal:
        return _shift_page(shift_id, form, refusal=refusal)
    return redirect(f"/shifts/{shift_id}", 303)


def _shift_page(
    shift_id: UUID,
    form: Form,
    *,
    faults: list[Fault] | None = None,
    refusal: Problem | None = None,
    status: int | None = None,
) -> Response:
    with db.transaction() as conn:
        found = shifts.get(conn, http.actor(), shift_id)
        rows = payments.page(conn, http.actor(), {"shift": shift_id, "limit": PAGE}, None)[:PAGE]
        _note(conn, rows)
    shown = render_template(
        "shift.html",
        shift=found,
        document=shifts.as_json(found),
        tenders=shifts.AT_THE_DESK,
        payments=rows,
        day_of=clock.day_of,
        **_told(form, faults, refusal),
    )
    return Response(shown, status or (refusal.status if refusal else 200))


def _told(form: Form, faults: list[Fault] | None, refusal: Problem | None) -> dict[str, Any]:
    return {
        "form": form,
        "faults": forms.by_field(faults or [], SAID),
        "refusal": forms.told(refusal),
    }


# ---- Accounting ----


@bp.get("/accounting/payments")
@html.page(may="exports:read")
def payments_of_period() -> Response:
    actor = http.actor()
    actor.must("payments:read")
    period, faults = Period.asked(request.args, clock.today())
    asked = {"since": period.since, "until": period.until, "limit": PAGE}
    with db.transaction() as conn:
        rows = payments.page(conn, actor, asked, _behind())
        shown = rows[:PAGE]
        _note(conn, shown)
        sums = takings.of_period(conn, actor, period)
        branch = branches.chosen(conn, actor, None)
    page = render_template(
        "payments.html",
        period=period,
        typed=request.args,
        faults=forms.by_field(faults),
        rows=shown,
        further=shown[-1] if len(rows) > len(shown) else None,
        sums=sums,
        came=sum(each.came for each in sums),
        went=sum(each.went for each in sums),
        sample=branch.requisites is None,
    )
    return Response(page, 422 if faults else 200)


def _behind() -> list[str] | None:
    """Where the page before ended; an address nobody could have been given begins at the beginning."""
    period, faults = Period.asked({"since": request.args.get("after", "")}, clock.today())
    last = request.args.get("id", "")
    if faults or not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", last):
        return None
    return [period.since.isoformat(), last]


def _note(conn: db.Connection, rows: list[payments.Payment]) -> None:
    access_log.note(conn, http.actor().label, "list", "payment", [row.id for row in rows], http.request_id())
