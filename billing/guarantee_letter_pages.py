"""The page of guarantee letters: what insurers promised, what is used of it and what is left."""

from __future__ import annotations

from flask import Blueprint, Response, render_template, request

from billing import guarantee_letters
from billing.guarantee_letters import LetterFilter
from clinic import clock, db, forms, html
from clinic.errors import Fault, InvalidInput

bp = Blueprint("guarantee_letter_pages", __name__, template_folder="templates")


@bp.get("/desk/guarantee-letters")
@html.page(may="invoices:read")
def list_guarantee_letters() -> Response:
    typed = {name: request.args.get(name, "").strip() for name in ("inn", "number")}
    asked = typed | {"cursor": request.args.get("cursor")}
    try:
        wanted = forms.loaded(LetterFilter(), {name: value for name, value in asked.items() if value})
    except InvalidInput as wrong:
        return _page(typed, [], None, {}, wrong.faults)
    with db.reading() as conn:
        found, cursor = guarantee_letters.listed(conn, wanted)
        insurers = guarantee_letters.insurers(conn, found)
    return _page(typed, found, cursor, insurers)


def _page(
    typed: dict[str, str],
    found: list[guarantee_letters.GuaranteeLetter],
    cursor: str | None,
    insurers: dict[str, str],
    faults: list[Fault] | None = None,
) -> Response:
    shown = render_template(
        "guarantee_letters.html",
        typed=typed,
        found=found,
        cursor=cursor,
        insurers=insurers,
        today=clock.today(),
        faults=forms.by_field(faults or []),
    )
    return Response(shown, 422 if faults else 200)
