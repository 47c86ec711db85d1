"""The page where a desk checks a quote on paper."""

from __future__ import annotations

from flask import Blueprint, Response, render_template, request

from billing import quote_verification
from billing.quote_verification import Verified, VerifyQuery
from clinic import forms, html, http
from clinic.errors import Fault, InvalidInput, TooManyRequests

bp = Blueprint("quote_verification_pages", __name__, template_folder="templates")
_SAID = {
    "not_money": (
        "Нужна сумма в рублях, например 17700 или 17 700,00.",
        "A sum in rubles is needed, such as 17700 or 17 700.00.",
    ),
    "wrong_form": (
        "Отпечаток — двенадцать цифр и букв от a до f.",
        "A fingerprint is twelve digits and letters a to f.",
    ),
}


@bp.get("/desk/verify")
@html.page(may="quotes:read")
def verify() -> Response:
    if "code" not in request.args:
        return _page(None)
    try:
        return _page(quote_verification.verify(http.actor(), forms.loaded(VerifyQuery(), _wanted())))
    except InvalidInput as wrong:
        return _page(None, wrong.faults, status=422)
    except TooManyRequests as refusal:
        response = _page(None, refusal=refusal)
        response.headers.update(refusal.headers)
        return response


def _wanted() -> dict[str, str]:
    typed = {name: request.args.get(name, "").strip() for name in ("code", "total", "fingerprint")}
    typed["total"] = forms.plain_number(typed["total"])
    return {name: text for name, text in typed.items() if text or name == "code"}


def _page(
    verified: Verified | None,
    faults: list[Fault] | None = None,
    *,
    refusal: TooManyRequests | None = None,
    status: int = 200,
) -> Response:
    shown = render_template(
        "quote_verify.html",
        verified=verified and verified.as_json(),
        typed=request.args,
        faults=forms.by_field(faults or [], _SAID),
        refusal=forms.told(refusal),
    )
    return Response(shown, refusal.status if refusal else status)
