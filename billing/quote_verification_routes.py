"""JSON of the verification of quotes on paper."""

from __future__ import annotations

from typing import Any

from flask import Response

from billing import examples, quote_verification
from billing.quote_verification import VerifiedOut, VerifyQuery
from clinic import errors, http

bp = http.Blueprint("quote_verification", __name__, url_prefix="/v1", description="Quotes on paper")


@bp.get("/quotes/verify")
@bp.contract(
    may="quotes:read",
    query=VerifyQuery,
    gives={200: VerifiedOut},
    refuses=(errors.TooManyRequests,),
    answers=examples.VERIFIED,
)
def verify_quote(wanted: dict[str, Any]) -> Response:
    """Check a quote on paper

    Any branch's quote, by what is printed on it: the code with its revision, and, when given, the total and the
    fingerprint. A mistyped code is told by its check character."""
    return http.reply(quote_verification.verify(http.actor(), wanted).as_json())
