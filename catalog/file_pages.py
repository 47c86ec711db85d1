"""The public price list as a file for everybody: to print, to put on the stand, to look through in Excel."""

from __future__ import annotations

from flask import Blueprint, request
from marshmallow import ValidationError
from werkzeug.wrappers import Response as AnyResponse

from catalog import feed, price_lists, price_sheets, price_shelf, price_writing
from clinic import budgets, clock, fields, html, http
from clinic.errors import Fault, InvalidInput

bp = Blueprint("price_file_pages", __name__)


@bp.get("/prices/file")
@html.page(may=http.PUBLIC, a_minute=budgets.COSTLY)
def price_file() -> AnyResponse:
    format, on = request.args.get("format", "pdf"), request.args.get("on") or None
    if format not in price_writing.FORMATS:
        raise InvalidInput([Fault("?format", "not_a_choice")])
    try:
        day = fields.Day(allow_none=True).deserialize(on)
    except ValidationError as exc:
        raise InvalidInput([Fault("?on", "not_day")]) from exc
    sheet = price_sheets.read(price_lists.BASE, day or clock.today(), public=True)
    response = price_shelf.ready(sheet, format, http.lang()).response()
    response.headers["Cache-Control"] = f"public, max-age={feed.fresh_for()}, stale-if-error=86400"
    response.vary.update(("Accept-Language", "Cookie"))
    return response.make_conditional(request)
