"""Pages of links: where reception makes and revokes them, and what the patient sees who opens one."""

from __future__ import annotations

from typing import cast
from uuid import UUID

from flask import Blueprint, Response, current_app, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from billing import quote_codes, quote_links, quotes
from billing.quote_links import QuoteLinkIn
from clinic import clock, db, forms, html, http
from clinic.errors import Fault, InvalidInput, NotFound, Problem, TooManyRequests
from clinic.settings import Settings

bp = Blueprint("quote_link_pages", __name__, template_folder="templates")


# ---- At the desk ----


@bp.get("/desk/quotes/<uuid:quote_id>/links")
@html.page(may="quotes:read")
def links(quote_id: UUID) -> Response:
    return _links_page(quote_id)


@bp.post("/desk/quotes/<uuid:quote_id>/links")
@html.page(may="quotes:write")
def new_link(quote_id: UUID) -> Response:
    raw = {"expires_on": request.form.get("expires_on", "").strip() or None}
    try:
        wanted = forms.loaded(QuoteLinkIn(), raw)
        with forms.change() as change:
            _, path = quote_links.create(change, quote_id, wanted)
    except InvalidInput as wrong:
        return _links_page(quote_id, faults=wrong.faults, status=422)
    except NotFound:
        raise
    except Problem as refusal:
        return _links_page(quote_id, refusal=refusal, status=refusal.status)
    # No redirect: the address is nowhere but in this answer.
    return _links_page(quote_id, url=_base() + path)


@bp.post("/desk/quotes/<uuid:quote_id>/links/<uuid:link_id>/revoke")
@html.page(may="quotes:write")
def revoke_link(quote_id: UUID, link_id: UUID) -> AnyResponse:
    with forms.change() as change:
        quote_links.revoke(change, quote_id, link_id)
    return redirect(f"/desk/quotes/{quote_id}/links", 303)


def _links_page(
    quote_id: UUID,
    *,
    url: str | None = None,
    faults: list[Fault] | None = None,
    refusal: Problem | None = None,
    status: int = 200,
) -> Response:
    today = clock.today()
    with db.transaction() as conn:
        quote = quotes.get(conn, http.actor(), quote_id)
        found = quote_links.of_quote(conn, http.actor(), quote_id)
    shown = render_template(
        "quote_links.html",
        quote=quote,
        code=quote_codes.shown(quote.code),
        links=[(link, link.state(today)) for link in found],
        url=url,
        typed=request.form,
        faults=forms.by_field(faults or []),
        refusal=forms.told(refusal),
    )
    return Response(shown, status)


def _base() -> str:
    return cast(Settings, current_app.config["CLINIC"]).public_url or request.host_url.rstrip("/")


# ---- For the patient ----


@bp.get("/q/<string:token>")
@html.page(may=http.PUBLIC)
def shared(token: str) -> Response:
    today = clock.today()
    try:
        opened = quote_links.opened(token, request.remote_addr or "", today, http.request_id())
    except (NotFound, TooManyRequests) as refusal:
        # A page of its own: the common one leads to the rest of the service, and would repeat the address.
        response = Response(render_template("quote_shared_gone.html", refusal=refusal), refusal.status)
        response.headers.update(refusal.headers)
        return response
    shown = render_template(
        "quote_shared.html",
        document=quotes.as_json(opened.quote, opened.lines),
        overdue=opened.quote.status == "sent" and today > opened.quote.valid_until,
        requisites=opened.requisites,
        fingerprint=opened.fingerprint,
    )
    return Response(shown)


@bp.after_request
def keep_to_yourself(response: Response) -> Response:
    """Whatever is answered under a patient's address, refusals too: it is neither kept, nor found, nor passed on."""
    if request.path.startswith("/q/"):
        response.headers["Cache-Control"] = "no-store"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Robots-Tag"] = "noindex, nofollow, noarchive"
    return response
