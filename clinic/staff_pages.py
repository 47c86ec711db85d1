"""Pages of accounts for administrators."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from clinic import branches, db, forms, html, http, passwords, second_factor, sessions, staff
from clinic.auth import ROLES
from clinic.command import Change
from clinic.errors import Fault, InvalidInput, NotFound, Problem
from clinic.staff import Account, AccountIn, AccountPatch

bp = Blueprint("staff_pages", __name__)
html.door(
    21,
    "/admin/staff",
    ("Сотрудники", "Staff"),
    ("Учётные записи: открыть, изменить, отключить", "Accounts: open, change, disable"),
    "admin",
)
_SHOWN = 200


@bp.get("/admin/staff")
@html.page(may="admin")
def accounts() -> Response:
    return _page()


@bp.post("/admin/staff")
@html.page(may="admin")
def create_account() -> Response:
    raw = forms.given(forms.members(request.form, "role", "branch"))
    raw["login"] = request.form.get("login", "").strip().lower()
    password = passwords.temporary()
    try:
        wanted = forms.loaded(AccountIn(), raw)
        with forms.change() as change:
            staff.wanted_by(change, wanted, password)
    except InvalidInput as wrong:
        return _page(faults=wrong.faults)
    except Problem as refusal:
        return _page(refusal=refusal)
    return _password(wanted["login"], password)


@bp.get("/admin/staff/<uuid:staff_id>")
@html.page(may="admin")
def account(staff_id: UUID) -> Response:
    return _account_page(staff_id)


@bp.post("/admin/staff/<uuid:staff_id>")
@html.page(may="admin")
def change_account(staff_id: UUID) -> AnyResponse:
    raw: dict[str, Any] = {
        "role": request.form.get("role"),
        "branch": request.form.get("branch") or None,
        "active": request.form.get("active") == "yes",
    }

    def work(change: Change, account: Account) -> None:
        forms.must_have_seen(account.row_version)
        staff.edit(change, account, forms.loaded(AccountPatch(), raw))

    return _done(staff_id, work)


@bp.post("/admin/staff/<uuid:staff_id>/reset-password")
@html.page(may="admin")
def reset_password(staff_id: UUID) -> AnyResponse:
    password = passwords.temporary()
    try:
        with forms.change() as change:
            account = staff.locked(change, staff_id)
            staff.reset_password(change, account, password)
    except staff.PasswordNotOurs as refusal:
        return _account_page(staff_id, refusal=refusal)
    return _password(account.login, password)


@bp.post("/admin/staff/<uuid:staff_id>/sign-out")
@html.page(may="admin")
def sign_out(staff_id: UUID) -> AnyResponse:
    return _done(staff_id, staff.sign_out_everywhere)


@bp.post("/admin/staff/<uuid:staff_id>/remove-second-factor")
@html.page(may="admin")
def remove_second_factor(staff_id: UUID) -> AnyResponse:
    return _done(staff_id, lambda change, account: second_factor.remove(change, account.id, account.branch_id))


def _done(staff_id: UUID, work: Callable[[Change, Account], None]) -> AnyResponse:
    try:
        with forms.change() as change:
            work(change, staff.locked(change, staff_id))
    except InvalidInput as wrong:
        return _account_page(staff_id, faults=wrong.faults)
    except NotFound:
        raise
    except Problem as refusal:
        return _account_page(staff_id, refusal=refusal)
    return redirect(f"/admin/staff/{staff_id}", 303)


def _page(*, faults: list[Fault] | None = None, refusal: Problem | None = None) -> Response:
    who, after = http.actor(), request.args.get("after", "")
    with db.transaction() as conn:
        found = staff.page(conn, who, after if re.fullmatch(staff.LOGIN, after) else None, _SHOWN + 1)
        known = branches.every(conn, who)
    shown = render_template(
        "staff.html",
        accounts=found[:_SHOWN],
        further=found[_SHOWN - 1].login if len(found) > _SHOWN else None,
        typed=request.form.to_dict(),
        **_offered(known),
        **_told(faults, refusal),
    )
    return html.refused(shown, refusal, 422 if faults else 200)


def _account_page(staff_id: UUID, *, faults: list[Fault] | None = None, refusal: Problem | None = None) -> Response:
    with db.transaction() as conn:
        found = staff.get(conn, http.actor(), staff_id)
        known = branches.every(conn, http.actor())
        open_ = sessions.of(conn, staff_id)
    shown = render_template(
        "staff_account.html", account=found, sessions=open_, **_offered(known), **_told(faults, refusal)
    )
    return html.refused(shown, refusal, 422 if faults else 200)


def _offered(known: list[branches.Branch]) -> dict[str, Any]:
    may = http.actor().may
    return {"branches": known, "roles": [role for role, scopes in ROLES.items() if all(may(scope) for scope in scopes)]}


def _told(faults: list[Fault] | None, refusal: Problem | None) -> dict[str, Any]:
    return {"faults": forms.by_field(faults or []), "refusal": forms.told(refusal)}


def _password(login: str, password: str) -> Response:
    return Response(render_template("staff_password.html", login=login, password=password))
