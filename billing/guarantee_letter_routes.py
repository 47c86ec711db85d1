"""JSON of guarantee letters."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from flask import Response

from billing import examples, guarantee_letters
from billing.guarantee_letters import KnownLetterOut, LetterFilter
from clinic import db, errors, http

bp = http.Blueprint("guarantee_letters", __name__, url_prefix="/v1", description="Guarantee letters of insurers")


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
    with db.transaction() as conn:
        found, cursor = guarantee_letters.listed(conn, wanted)
    return http.reply({"items": [each.as_json() for each in found], "next_cursor": cursor})
