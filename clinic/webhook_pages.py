"""Pages of webhooks for administrators: which of them hear what happens, which do not, and sending again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from clinic import db, deliveries, forms, html, http, webhooks
from clinic.command import Change
from clinic.deliveries import Delivery, ReplayIn
from clinic.errors import InvalidInput, NotFound, Problem

bp = Blueprint("webhook_pages", __name__)
html.door(
    22,
    "/admin/webhooks",
    ("Вебхуки", "Webhooks"),
    (
        "Оповещение других систем: состояние, задержка, повторная отправка",
        "Other systems that are called: state, lag, sending again",
    ),
    "webhooks:write",
)
MOST = 200
_MAY = "webhooks:write"

ERRORS: dict[str, tuple[str, str]] = {
    "refused": ("отказ", "refused"),
    "redirected": ("перенаправление", "redirected"),
    "timed_out": ("нет ответа вовремя", "no answer in time"),
    "no_connection": ("нет соединения", "no connection"),
    "tls_failed": ("сертификат не принят", "the certificate is not accepted"),
    "bad_answer": ("ответ непонятен", "the answer makes no sense"),
    "address_not_allowed": ("адрес не разрешён", "the address is not allowed"),
    "https_needed": ("нужен https", "https is needed"),
    "port_not_allowed": ("порт не разрешён", "the port is not allowed"),
    "secret_unreadable": ("секрет не читается", "the secret cannot be read"),
}
"""What went wrong with an attempt, (ru, en)."""


@bp.get("/admin/webhooks")
@html.page(may=_MAY)
def overview() -> str:
    with db.reading() as conn:
        found = webhooks.page(conn, http.actor(), MOST, None)
    return render_template("webhooks.html", webhooks=found[:MOST], more=len(found) > MOST)


@bp.get("/admin/webhooks/<uuid:webhook_id>")
@html.page(may=_MAY)
def endpoint(webhook_id: UUID) -> Response:
    return _endpoint_page(webhook_id)


@bp.post("/admin/webhooks/<uuid:webhook_id>/disable")
@html.page(may=_MAY)
def disable(webhook_id: UUID) -> AnyResponse:
    return _done(webhook_id, lambda change: webhooks.disable(change, webhook_id))


@bp.post("/admin/webhooks/<uuid:webhook_id>/enable")
@html.page(may=_MAY)
def enable(webhook_id: UUID) -> AnyResponse:
    return _done(webhook_id, lambda change: webhooks.enable(change, webhook_id, skip="skip" in request.form))


@bp.post("/admin/webhooks/<uuid:webhook_id>/test")
@html.page(may=_MAY)
def send_test(webhook_id: UUID) -> AnyResponse:
    return _done(webhook_id, lambda change: deliveries.ping(change, webhooks.locked(change, webhook_id)))


@bp.post("/admin/webhooks/<uuid:webhook_id>/replay")
@html.page(may=_MAY)
def replay(webhook_id: UUID) -> AnyResponse:
    raw: dict[str, Any] = forms.given(forms.members(request.form, "event", "from", "to"))
    raw = {name: _number(text) for name, text in raw.items()}
    if "dead" in request.form:
        raw["dead"] = True

    def work(change: Change) -> object:
        return deliveries.replay(change, webhooks.locked(change, webhook_id), forms.loaded(ReplayIn(), raw))

    return _done(webhook_id, work)


def _done(webhook_id: UUID, work: Callable[[Change], object]) -> AnyResponse:
    try:
        with forms.change() as change:
            work(change)
    except NotFound:
        raise
    except Problem as refusal:
        return _endpoint_page(webhook_id, refusal)
    return redirect(f"/admin/webhooks/{webhook_id}", 303)


def _endpoint_page(webhook_id: UUID, refusal: Problem | None = None) -> Response:
    status = request.args.get("status")
    status = status if status in deliveries.STATUSES else None
    with db.moment() as conn:
        found = webhooks.get(conn, http.actor(), webhook_id)
        rows = deliveries.page(conn, webhook_id, 50, status=status)[:50]
    faults = forms.by_field(refusal.faults) if isinstance(refusal, InvalidInput) else {}
    if "" in faults:  # of the form as a whole
        faults["from"] = faults.pop("") + faults.get("from", [])
    shown = render_template(
        "webhook.html",
        webhook=found,
        deliveries=rows,
        status=status,
        statuses=deliveries.STATUSES,
        last=_last_attempt,
        errors=ERRORS,
        refusal=None if faults else forms.told(refusal),
        faults=faults,
        typed={name: request.form.get(name, "") for name in ("from", "to")},
    )
    return Response(shown, refusal.status if refusal else 200)


def _last_attempt(delivery: Delivery) -> dict[str, Any] | None:
    """The latest attempt, its moment as one."""
    if not delivery.attempts:
        return None
    latest = delivery.attempts[-1]
    return {**latest, "at": datetime.fromisoformat(latest["at"])}


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else text
