"""JSON of the links that show a quote to its patient."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from flask import Response, current_app, request

from billing import examples, quote_links
from billing.quote_links import QuoteLinkIn, QuoteLinkOut, QuoteLinksOut
from billing.quotes import QuoteNotOpen
from clinic import clock, db, errors, http
from clinic.settings import Settings

bp = http.Blueprint("quote_links", __name__, url_prefix="/v1", description="Quotes shown to patients")


@bp.post("/quotes/<uuid:quote_id>/links")
@bp.contract(
    may="quotes:write",
    takes=QuoteLinkIn,
    gives={201: QuoteLinkOut},
    refuses=(errors.NotFound, QuoteNotOpen),
    key="optional",
    example={"expires_on": "2026-12-23"},
    answers=examples.QUOTE_LINK,
)
def create_link(wanted: dict[str, Any], quote_id: UUID) -> Response:
    """Make a link for the patient

    Whoever has the address reads this revision without signing in. It is told now and never again, not even when the
    call is repeated under its key: `url` is then null."""
    with http.change() as change:
        link, path = quote_links.create(change, quote_id, wanted)
        answer = change.give(201, link.as_json(change.today))
    settings = cast(Settings, current_app.config["CLINIC"])
    # Put in after the answer was stored: nothing of ours keeps the address.
    url = (settings.public_url or request.host_url.rstrip("/")) + path
    return http.reply({**answer.body, "url": url}, 201)


@bp.get("/quotes/<uuid:quote_id>/links")
@bp.contract(may="quotes:read", gives={200: QuoteLinksOut}, refuses=(errors.NotFound,))
def list_links(quote_id: UUID) -> Response:
    """List the links of a quote, newest first

    Without their addresses, which are not kept."""
    today = clock.today()
    with db.transaction() as conn:
        links = quote_links.of_quote(conn, http.actor(), quote_id)
    return http.reply({"items": [link.as_json(today) for link in links]})


@bp.post("/quotes/<uuid:quote_id>/links/<uuid:link_id>/revoke")
@bp.contract(may="quotes:write", gives={200: QuoteLinkOut}, refuses=(errors.NotFound,), key="optional")
def revoke_link(quote_id: UUID, link_id: UUID) -> Response:
    """Revoke a link

    From now on its address opens nothing. One that is revoked stays as it is."""
    with http.change() as change:
        link = quote_links.revoke(change, quote_id, link_id)
        return http.shown(change.give(200, link.as_json(change.today)))
