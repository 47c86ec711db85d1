"""JSON of variants of quotes side by side."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from flask import Response, current_app

from billing import comparing, examples, quotes, variants
from billing.comparing import CompareIn, ComparisonOut
from billing.variants import CompareQuoteIn
from clinic import access_log, clock, db, errors, http
from clinic.settings import Settings

bp = http.Blueprint("comparing", __name__, url_prefix="/v1", description="Variants of quotes side by side")


@bp.post("/quotes/compare")
@bp.contract(may="quotes:write", takes=CompareIn, gives={200: ComparisonOut}, example=examples.COMPARE_IN)
def compare_variants(wanted: dict[str, Any]) -> Response:
    """Compare variants without keeping them

    Each is priced like `POST /v1/quotes/preview`; differences are to the first one."""
    with db.transaction() as conn:
        columns = comparing.priced(conn, http.actor(), clock.now(), _valid_days(), wanted["variants"])
    return http.reply(comparing.compared(columns))


@bp.post("/quotes/<uuid:quote_id>/compare")
@bp.contract(
    may="quotes:write",
    takes=CompareQuoteIn,
    gives={200: ComparisonOut},
    refuses=(errors.NotFound,),
    example=examples.COMPARE_QUOTE_IN,
)
def compare_quote(wanted: dict[str, Any], quote_id: UUID) -> Response:
    """Compare a quote with variants of it

    The quote is the first column, at the prices it has; each variant is worked out of its lines at today's prices.
    Nothing is kept."""
    with db.transaction() as conn:
        quote = quotes.get(conn, http.actor(), quote_id)
        lines = quotes.lines_of(conn, [quote])[quote_id]
        columns = variants.compare(conn, http.actor(), clock.now(), _valid_days(), (quote, lines), wanted["variants"])
        if quote.patient_party:
            access_log.note(conn, http.actor().label, "read", "quote", [quote_id], http.request_id())
    return http.reply(comparing.compared(columns))


def _valid_days() -> int:
    return cast(Settings, current_app.config["CLINIC"]).quote_days
