"""JSON of programs' keys."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from clinic import api_keys, db, errors, examples, fields, http, lists
from clinic.api_keys import Issued, KeyIn, KeyOut, KeyRevoked, NewKeyOut, RotateIn
from clinic.command import Change

bp = http.Blueprint("keys", __name__, url_prefix="/v1", description="Keys of programs")

_AT = "/keys/<uuid:key_id>"


class KeysOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(KeyOut), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


@bp.get("/keys")
@bp.contract(may="admin", query=lists.Page, gives={200: KeysOut}, refuses=(errors.BadCursor,))
def list_keys(wanted: dict[str, Any]) -> Response:
    """Keys of programs, the newest first

    Of all branches, or of the caller's own; never their secrets."""
    behind = lists.place_of("keys", lists.filters_of(wanted), wanted["cursor"])
    with db.reading() as conn:
        rows = api_keys.page(conn, http.actor(), UUID(behind[0]) if behind else None, wanted["limit"] + 1)
    found, cursor = lists.page_of("keys", wanted, rows, lambda key: [str(key.id)])
    return http.reply({"items": [each.as_json() for each in found], "next_cursor": cursor})


@bp.post("/keys")
@bp.contract(may="admin", takes=KeyIn, gives={201: NewKeyOut}, example=examples.KEY_IN, answers=examples.NEW_KEY)
def create_key(wanted: dict[str, Any]) -> Response:
    """Make a key

    `secret` is shown this once, so the call takes no Idempotency-Key: where the answer is lost, revoke the key and make
    another. A key has no right, branch or discount ceiling that its maker has not."""
    with http.change() as change:
        issued = api_keys.wanted_by(change, wanted)
        body = _with_secret(change, issued)
    return http.reply(body, 201, {"Location": f"/v1/keys/{issued.key_id}"})


@bp.get(_AT)
@bp.contract(may="admin", gives={200: KeyOut}, refuses=(errors.NotFound,), answers=examples.KEY)
def read_key(key_id: UUID) -> Response:
    """A key, without its secrets"""
    with db.reading() as conn:
        return http.reply(api_keys.get(conn, http.actor(), key_id).as_json())


@bp.post(f"{_AT}/rotate")
@bp.contract(
    may="admin", takes=RotateIn, gives={200: NewKeyOut}, refuses=(errors.NotFound, KeyRevoked),
    example={"overlap_hours": 24}, answers=examples.NEW_KEY,
)  # fmt: skip
def rotate_key(wanted: dict[str, Any], key_id: UUID) -> Response:
    """Give a key a new secret

    The one in use works on for `overlap_hours`, so that its program has the time to take the new one; of secrets before
    it none does. The record stays, and with it the answers to its Idempotency-Keys. `days` is a new end of the key."""
    with http.change() as change:
        overlap = timedelta(hours=wanted["overlap_hours"])
        body = _with_secret(change, api_keys.rotate(change, key_id, overlap, wanted["days"]))
    return http.reply(body)


@bp.post(f"{_AT}/revoke")
@bp.contract(
    may="admin", takes=fields.Nothing, gives={200: KeyOut}, refuses=(errors.NotFound, KeyRevoked), answers=examples.KEY
)
def revoke_key(key_id: UUID) -> Response:
    """Take a key back

    At once, in every process, and for ever."""
    with http.change() as change:
        api_keys.revoke(change, key_id)
        body = api_keys.get(change.conn, change.actor, key_id).as_json()
    return http.reply(body)


def _with_secret(change: Change, issued: Issued) -> dict[str, Any]:
    return api_keys.get(change.conn, change.actor, issued.key_id).as_json() | {"secret": issued.secret}
