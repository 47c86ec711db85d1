"""JSON of accounts of people."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from clinic import db, errors, examples, fields, http, lists, passwords, second_factor, staff
from clinic.staff import (
    Account,
    AccountIn,
    AccountOut,
    AccountPatch,
    LastAdministrator,
    LoginTaken,
    NewAccountOut,
    PasswordNotOurs,
)

bp = http.Blueprint("staff", __name__, url_prefix="/v1", description="Accounts of people")

_AT = "/staff/<uuid:staff_id>"


class AccountsOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(AccountOut), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


@bp.get("/staff")
@bp.contract(may="admin", query=lists.Page, gives={200: AccountsOut}, refuses=(errors.BadCursor,))
def list_accounts(wanted: dict[str, Any]) -> Response:
    """Accounts of people by their logins

    Of all branches, or of the caller's own."""
    behind = lists.place_of("staff", lists.filters_of(wanted), wanted["cursor"])
    with db.reading() as conn:
        rows = staff.page(conn, http.actor(), behind[0] if behind else None, wanted["limit"] + 1)
    found, cursor = lists.page_of("staff", wanted, rows, lambda account: [account.login])
    return http.reply({"items": [each.as_json() for each in found], "next_cursor": cursor})


@bp.post("/staff")
@bp.contract(
    may="admin", takes=AccountIn, gives={201: NewAccountOut}, refuses=(LoginTaken,),
    example=examples.ACCOUNT_IN, answers=examples.NEW_ACCOUNT,
)  # fmt: skip
def create_account(wanted: dict[str, Any]) -> Response:
    """Open an account

    `temporary_password` is shown this once and good for setting another one, so the call takes no Idempotency-Key: a
    login is taken once. Nobody gives a role that may do more than he may, or a branch he does not see."""
    password = passwords.temporary()
    with http.change() as change:
        staff_id = staff.wanted_by(change, wanted, password)
        account = staff.get(change.conn, change.actor, staff_id)
    headers = {"Location": f"/v1/staff/{account.id}", "ETag": _etag(account)}
    return http.reply(account.as_json() | {"temporary_password": password}, 201, headers)


@bp.get(_AT)
@bp.contract(may="admin", gives={200: AccountOut}, refuses=(errors.NotFound,), answers=examples.ACCOUNT)
def read_account(staff_id: UUID) -> Response:
    """An account"""
    with db.reading() as conn:
        account = staff.get(conn, http.actor(), staff_id)
    return _shown(account)


@bp.patch(_AT)
@bp.contract(
    may="admin", takes=AccountPatch, gives={200: AccountOut}, refuses=(errors.NotFound, LastAdministrator),
    match=True, example={"active": False}, answers=examples.ACCOUNT,
)  # fmt: skip
def change_account(wanted: dict[str, Any], staff_id: UUID) -> Response:
    """Change an account

    Its role, its branch, or whether it is active. Whatever changes, its sessions end. The last active administrator of
    all branches stays what he is."""
    with http.change() as change:
        account = staff.locked(change, staff_id)
        http.must_match(_etag(account))
        account = staff.edit(change, account, wanted)
    return _shown(account)


@bp.post(f"{_AT}/reset-password")
@bp.contract(
    may="admin", takes=fields.Nothing, gives={200: NewAccountOut}, refuses=(errors.NotFound, PasswordNotOurs),
    answers=examples.NEW_ACCOUNT,
)  # fmt: skip
def reset_password(staff_id: UUID) -> Response:
    """Give an account a password for once

    It is shown this once and must be changed at the next sign-in. All sessions of the account end."""
    password = passwords.temporary()
    with http.change() as change:
        staff.reset_password(change, staff.locked(change, staff_id), password)
        account = staff.get(change.conn, change.actor, staff_id)
    return http.reply(account.as_json() | {"temporary_password": password}, headers={"ETag": _etag(account)})


@bp.post(f"{_AT}/sign-out")
@bp.contract(
    may="admin", takes=fields.Nothing, gives={200: AccountOut}, refuses=(errors.NotFound,), answers=examples.ACCOUNT
)
def sign_out(staff_id: UUID) -> Response:
    """End all sessions of an account"""
    with http.change() as change:
        account = staff.locked(change, staff_id)
        staff.sign_out_everywhere(change, account)
    return _shown(account)


@bp.post(f"{_AT}/remove-second-factor")
@bp.contract(
    may="admin", takes=fields.Nothing, gives={200: AccountOut}, refuses=(errors.NotFound,), answers=examples.ACCOUNT
)
def remove_second_factor(staff_id: UUID) -> Response:
    """Take an account's second factor away

    For who has lost the device and the recovery codes. Make sure that it is he who asks."""
    with http.change() as change:
        account = staff.locked(change, staff_id)
        second_factor.remove(change, account.id, account.branch_id)
        account = staff.get(change.conn, change.actor, staff_id)
    return _shown(account)


def _shown(account: Account) -> Response:
    return http.reply(account.as_json(), headers={"ETag": _etag(account)})


def _etag(account: Account) -> str:
    return http.etag(account.id, account.row_version)
