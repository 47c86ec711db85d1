"""Price lists as files for programs and for the staff who keep them: any list on any day, and the empty form."""

from __future__ import annotations

from typing import Any

from flask import request
from werkzeug.wrappers import Response as AnyResponse

from catalog import price_sheets, price_shelf, price_template, price_writing
from clinic import budgets, clock, db, errors, fields, http

bp = http.Blueprint("price_files", __name__, url_prefix="/v1", description="Price lists as files")


_TYPES = {format: type.partition(";")[0] for format, type in price_writing.TYPES.items()}


class FileQuery(http.Query):
    format = fields.Choice(*price_writing.FORMATS, required=True)
    on = fields.Day(load_default=None, metadata={"description": "prices of this day; today unless given"})
    encoding = fields.Choice(
        *price_writing.ENCODINGS, load_default="utf-8", metadata={"description": "of CSV; utf-8 is marked for Excel"}
    )


class TemplateQuery(http.Query):
    format = fields.Choice(*price_template.FORMATS, load_default="xlsx")


@bp.get("/price-lists/<string:code>/file")
@bp.contract(
    may="catalog:read",
    gives={200: None, 304: None},
    query=FileQuery,
    refuses=(errors.NotFound,),
    gives_file=list(_TYPES.values()),
    a_minute=budgets.COSTLY,
)
def read_price_list_file(wanted: dict[str, Any], code: str) -> AnyResponse:
    """A price list of a day as CSV, XLSX, JSON or PDF

    CSV and XLSX are what imports read, and have the list's own prices. JSON has the members of the public feed, with
    the prices of the list it falls back to: each price says in `price_list` and `fallback` where it comes from."""
    sheet = price_sheets.read(code, wanted["on"] or clock.today())
    ready = price_shelf.ready(sheet, wanted["format"], http.lang(), wanted["encoding"])
    return _conditional(ready.response())


@bp.get("/price-orders/template")
@bp.contract(
    may="catalog:read",
    gives={200: None, 304: None},
    query=TemplateQuery,
    gives_file=[_TYPES[format] for format in price_template.FORMATS],
)
def read_template(wanted: dict[str, Any]) -> AnyResponse:
    """The empty form of a price list for imports

    The workbook has lists to choose from, and a page that explains each column in both languages."""
    with db.reading() as conn:
        file = price_template.made(conn, wanted["format"])
    return _conditional(price_shelf.Ready.of(file).response())


def _conditional(response: AnyResponse) -> AnyResponse:
    response.headers["Cache-Control"] = "private, no-cache"
    return response.make_conditional(request)
