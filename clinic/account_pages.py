"""Pages of one's own account: password, sessions, second factor."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from clinic import db, forms, html, http, limits, passwords, second_factor, sessions, sign_in, staff
from clinic.errors import Fault, InvalidInput, NotFound, Problem, TooManyRequests
from clinic.limits import Limit
from clinic.second_factor import WrongCode

bp = Blueprint("account_pages", __name__)
_OLD_PASSWORDS = Limit("old_password", 10, timedelta(minutes=15))


@bp.get("/account")
@html.page(may=http.SIGNED_IN)
def account() -> str:
    who = http.actor()
    with db.transaction() as conn:
        shown = {
            "account": staff.get(conn, who, who.id),
            "sessions": sessions.of(conn, who.id),
            "codes_left": second_factor.recovery_codes_left(conn, who.id),
        }
    needed = sessions.needs_factor(who.role or "")
    return render_template("account.html", **shown, this=html.own_session().id, needed=needed)


# ---- Password ----


@bp.get("/account/password")
@html.page(may=http.SIGNED_IN, during=("password",))
def ask_password() -> Response:
    return _password_page(request.args.get("next"))


@bp.post("/account/password")
@html.page(may=http.SIGNED_IN, during=("password",))
def change_password() -> AnyResponse:
    next_ = request.form.get("next")
    try:
        token = _change_password(request.form.get("old", ""), request.form.get("new", ""))
    except InvalidInput as wrong:
        return _password_page(next_, faults=wrong.faults)
    except TooManyRequests as refusal:
        return _password_page(next_, refusal=refusal)
    response = redirect(html.local(next_) if next_ else "/account", 303)
    html.remember(response, token)
    return response


def _change_password(old: str, new: str) -> str:
    who = http.actor()
    limits.take(_OLD_PASSWORDS, str(who.id))
    with db.reading() as conn:
        known = db.value(conn, "SELECT password_hash FROM staff WHERE id = %(id)s::uuid", {"id": who.id})
    faults = [Fault("/new", code) for code in passwords.faults(new, who.name)]
    if not 0 < len(old) <= passwords.LONGEST or not passwords.matches(known, old):
        faults.append(Fault("/old", "wrong_password"))
    elif old == new:
        faults.append(Fault("/new", "password_is_the_old_one"))
    if new != request.form.get("again", ""):
        faults.append(Fault("/again", "passwords_differ"))
    if faults:
        raise InvalidInput(faults)
    hashed = passwords.hashed(new)
    with forms.change() as change:
        staff.change_password(change, who.id, hashed)
        return sign_in.renewed(change.conn, html.own_session(), html.visitor())


def _password_page(next_: str | None, *, faults: list[Fault] | None = None, refusal: Problem | None = None) -> Response:
    shown = render_template(
        "password.html",
        next=html.local(next_) if next_ else "",
        first=html.own_session().step == "password",
        faults=forms.by_field(faults or []),
        refusal=forms.told(refusal),
    )
    return html.refused(shown, refusal, 422 if faults else 200)


# ---- Sessions ----


@bp.post("/account/sessions/<uuid:session_id>/end")
@html.page(may=http.SIGNED_IN)
def end_session(session_id: UUID) -> AnyResponse:
    with forms.change() as change:
        sessions.end_one(change.conn, change.actor.id, session_id)
    return redirect("/account", 303)


@bp.post("/account/sessions/end")
@html.page(may=http.SIGNED_IN)
def end_sessions() -> AnyResponse:
    with forms.change() as change:
        sessions.end_all(change.conn, change.actor.id, but=html.own_session().id)
        change.record("staff.signed_out", change.actor.id, change.actor.branch_id)
    return redirect("/account", 303)


# ---- Second factor ----


@bp.get("/account/second-factor")
@html.page(may=http.SIGNED_IN, during=("enrolment",))
def second_factor_page() -> Response:
    return _factor_page()


@bp.post("/account/second-factor")
@html.page(may=http.SIGNED_IN, during=("enrolment",))
def begin_second_factor() -> AnyResponse:
    with forms.change() as change:
        second_factor.begin(change, change.actor.id)
    return redirect("/account/second-factor", 303)


@bp.get("/account/second-factor.svg")
@html.page(may=http.SIGNED_IN, during=("enrolment",))
def second_factor_picture() -> Response:
    with db.reading() as conn:
        secret = second_factor.waiting(conn, http.actor().id)
    if secret is None:
        raise NotFound()
    return Response(second_factor.picture(secret, http.actor().name), mimetype="image/svg+xml")


@bp.post("/account/second-factor/confirm")
@html.page(may=http.SIGNED_IN, during=("enrolment",))
def confirm_second_factor() -> AnyResponse:
    session = html.own_session()
    try:
        second_factor.count_try(session.actor.id)
        with forms.change() as change:
            codes = second_factor.confirm(change, session.actor.id, request.form.get("code", "")[:64])
            # Others were opened without it.
            sessions.end_all(change.conn, session.actor.id)
            token = sign_in.renewed(change.conn, session, html.visitor())
    except (WrongCode, TooManyRequests) as refusal:
        return _factor_page(refusal)
    response = Response(render_template("recovery_codes.html", codes=codes))
    html.remember(response, token)
    return response


@bp.post("/account/second-factor/remove")
@html.page(may=http.SIGNED_IN)
def remove_second_factor() -> AnyResponse:
    who = http.actor()
    try:
        if sessions.needs_factor(who.role or ""):
            raise second_factor.SecondFactorNeeded()
        second_factor.count_try(who.id)
        with forms.change() as change:
            second_factor.verify(change, who.id, request.form.get("code", "")[:64])
            second_factor.remove(change, who.id, who.branch_id)
    except (WrongCode, TooManyRequests) as refusal:
        return _factor_page(refusal)
    return redirect("/account", 303)


def _factor_page(refusal: Problem | None = None) -> Response:
    who = http.actor()
    with db.transaction() as conn:
        shown = {"is_set": second_factor.is_set(conn, who.id), "secret": second_factor.waiting(conn, who.id)}
    words = forms.told(refusal)
    needed = sessions.needs_factor(who.role or "")
    return html.refused(render_template("second_factor.html", **shown, needed=needed, refusal=words), refusal)
