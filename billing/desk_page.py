"""The page of the reception's form, for a new quote and for a document that is changed."""

from __future__ import annotations

from typing import cast

from flask import Response, current_app, render_template

from billing import desk as desks
from billing import quote_codes, quotes, refusals
from billing.desk import Desk, Edited
from clinic import branches, clock, db, forms, http
from clinic.errors import Fault, Problem
from clinic.settings import Settings


def shown(
    desk: Desk,
    faults: list[Fault] | None = None,
    *,
    editing: Edited | None = None,
    refusal: Problem | None = None,
    sent_before: bool = False,
    status: int = 200,
) -> Response:
    """The form as it was typed, with what it comes to."""
    actor, now = http.actor(), clock.now()
    today = clock.day_of(now)
    bare = editing is not None and editing.bare
    of_payer = refusals.by_field(refusal)
    valid_days = cast(Settings, current_app.config["CLINIC"]).quote_days
    estimate = desks.estimate(actor, now, valid_days, desk, editing)
    with db.reading() as conn:
        found = desks.found(conn, desk.q)
        packages = desks.packages_found(conn, today, desk.q) if desk.q and not bare else []
        chosen = [row.article for row in desk.rows if row.article]
        choices = desks.choices(conn, today, chosen + [each.article for each in found], desk.price_list)
        recent = quotes.page(conn, actor, {"since": today, "limit": 10}, None)[:10] if not desk.rows else []
        reasons = desks.reasons(conn, today)
        doctors = desks.staff(conn, today) if desk.rows else {}
        branch = branches.chosen(conn, actor, None)
    page = render_template(
        editing.template if editing else "desk.html",
        desk=desk,
        action=editing.action if editing else "/desk",
        editing=editing,
        today=today,
        estimate=estimate,
        faults=forms.by_field(
            faults if faults is not None else [*(editing.wrong if editing else ()), *estimate.faults], desks.SAID
        )
        | of_payer,
        refusal=None if of_payer else forms.told(refusal),
        bare=bare,
        found=found,
        packages=packages,
        most_found=desks.FOUND,
        choices=choices,
        doctors=doctors,
        reasons=reasons,
        recent=recent if editing is None else [],
        shown_code=quote_codes.shown,
        sample=branch.requisites is None,
        sent_before=sent_before,
        valid_days=valid_days,
    )
    return Response(page, refusal.status if refusal else status)
