"""JSON of guarantee letters."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from flask import Response

from billing import examples, guarantee_letters
from billing.guarantee_letters import KnownLetterOut
from clinic import db, errors, fields, http, lists

bp = http.Blueprint("guarantee_letters", __name__, url_prefix="/v1", description="Guarantee letters of insurers")


class LetterFilter(lists.Page):
    inn = fields.Inn(load_default=None)
    number = fields.Text(64, load_default=None)


class LettersOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(KnownLetterOut), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


@bp.get("/guarantee-letters")
@bp.contract(
    may="invoices:read",
    query=LetterFilter,
    gives={200: LettersOut},
    refuses=(errors.BadCursor,),
    answers=examples.GUARANTEE_LETTERS,
)
def list_guarantee_letters(wanted: dict[str, Any]) -> Response:
    """List guarantee letters, with what is used and what is left of each

    By INN and number. Letters are known from the invoices issued under them, of all branches: the limit is one for the
    whole clinic."""
    behind = lists.place_of("guarantee-letters", lists.filters_of(wanted), wanted["cursor"])
    with db.transaction() as conn:
        rows = guarantee_letters.page(conn, wanted, behind)
    found, cursor = lists.page_of("guarantee-letters", wanted, rows, lambda each: [each.insurer_inn, each.number])
    return http.reply({"items": [each.as_json() for each in found], "next_cursor": cursor})
