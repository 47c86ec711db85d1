"""JSON of legal references: which acts of law papers name."""

from __future__ import annotations

from typing import Any

from flask import Response

from billing import legal_references
from billing.legal_references import LegalReferenceIn, LegalReferencesOut
from clinic import db, errors, http

bp = http.Blueprint("legal_references", __name__, url_prefix="/v1", description="Acts of law that papers name")


@bp.get("/legal-references")
@bp.contract(may="catalog:read", gives={200: LegalReferencesOut})
def list_references() -> Response:
    """List legal references with their periods

    A paper names what is in force on its own day. Where nothing is, it names nothing and the document has the warning
    `legal_reference_missing`."""
    with db.reading() as conn:
        return http.reply({"items": [each.as_json() for each in legal_references.every(conn)]})


@bp.put("/legal-references/<string:reference>")
@bp.contract(
    may="admin", takes=LegalReferenceIn, gives={200: LegalReferencesOut},
    refuses=(errors.NotFound, errors.AlreadyExists),
)  # fmt: skip
def put_reference(wanted: dict[str, Any], reference: str) -> Response:
    """Add a period of a legal reference, or end the present one

    A further text ends the one in force on `valid_from`, which then has to be today or later; where none is in force it
    may begin in the past. The same text and `valid_from` with another `valid_until`, the first day without it, ends or
    prolongs a period that is not over. 200 has all periods of this reference; days that are over never change."""
    with http.change() as change:
        periods = legal_references.put(change, reference, wanted)
        return http.reply({"items": [each.as_json() for each in periods]})
