"""Pages of programs' keys for administrators."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from clinic import api_keys, branches, clock, db, forms, html, http
from clinic.api_keys import KeyIn, RotateIn
from clinic.auth import EVERYTHING, SCOPES, Actor
from clinic.errors import Fault, InvalidInput, NotFound, Problem

bp = Blueprint("key_pages", __name__)
html.door(
    20,
    "/admin/keys",
    ("Ключи", "Keys"),
    ("Ключи программ: выпустить, сменить, отозвать", "Keys of programs: make, replace, revoke"),
    "admin",
)
_SHOWN = 100


@bp.get("/admin/keys")
@html.page(may="admin")
def keys() -> Response:
    return _page()


@bp.post("/admin/keys")
@html.page(may="admin")
def create_key() -> Response:
    raw = forms.given(forms.members(request.form, "name", "branch", "days", "discount_ceiling"))
    raw = _numbers(raw) | {"scopes": request.form.getlist("scopes")}
    try:
        wanted = forms.loaded(KeyIn(), raw)
        with forms.change() as change:
            issued = api_keys.wanted_by(change, wanted)
    except InvalidInput as wrong:
        return _page(faults=wrong.faults, status=422)
    return _secret(issued.secret)


@bp.post("/admin/keys/<uuid:key_id>/rotate")
@html.page(may="admin")
def rotate_key(key_id: UUID) -> Response:
    try:
        wanted = forms.loaded(RotateIn(), _numbers(forms.given(forms.members(request.form, "overlap_hours"))))
        with forms.change() as change:
            issued = api_keys.rotate(change, key_id, timedelta(hours=wanted["overlap_hours"]))
    except InvalidInput as wrong:
        return _page(faults=wrong.faults, status=422)
    except NotFound:
        raise
    except Problem as refusal:
        return _page(refusal=refusal)
    return _secret(issued.secret)


@bp.post("/admin/keys/<uuid:key_id>/revoke")
@html.page(may="admin")
def revoke_key(key_id: UUID) -> AnyResponse:
    try:
        with forms.change() as change:
            api_keys.revoke(change, key_id)
    except api_keys.KeyRevoked:
        pass  # pressed twice: it is as was wished
    return redirect("/admin/keys", 303)


def _numbers(raw: dict[str, Any]) -> dict[str, Any]:
    """Whole numbers as JSON has them; whatever is none stays as it is and is refused by its name."""
    whole = {
        name: int(raw[name])
        for name in ("days", "overlap_hours")
        if raw.get(name, "").isdecimal() and len(raw[name]) < 9
    }
    percent = {"discount_ceiling": forms.plain_number(raw["discount_ceiling"])} if "discount_ceiling" in raw else {}
    return raw | whole | percent


def _page(*, faults: list[Fault] | None = None, refusal: Problem | None = None, status: int = 200) -> Response:
    actor = http.actor()
    with db.transaction() as conn:
        found = api_keys.page(conn, actor, _before(), _SHOWN + 1)
        known = branches.every(conn, actor)
    shown = render_template(
        "keys.html",
        keys=found[:_SHOWN],
        older=found[_SHOWN - 1].id if len(found) > _SHOWN else None,
        branches=known,
        offered=_offered(actor),
        chosen=request.form.getlist("scopes"),
        typed=request.form.to_dict() if request.endpoint == "key_pages.create_key" else {},
        faults=_by_field(faults or []),
        refusal=forms.told(refusal),
        now=clock.now(),
    )
    return Response(shown, refusal.status if refusal else status)


def _before() -> UUID | None:
    try:
        return UUID(request.args.get("before", ""))
    except ValueError:
        return None


def _by_field(faults: list[Fault]) -> dict[str, list[str]]:
    """All faults of scopes stand at their common place."""
    said = {"wrong_count": ("Выберите хотя бы одно право.", "Choose at least one right.")}
    return forms.by_field(
        [Fault("/scopes", each.code, each.values) if each.pointer.startswith("/scopes") else each for each in faults],
        said,
    )


def _offered(actor: Actor) -> dict[str, list[str]]:
    """The scopes this person may give, by what they are about."""
    found: dict[str, list[str]] = {}
    for scope in (*SCOPES, EVERYTHING):
        if actor.may(scope):
            found.setdefault(scope.partition(":")[0], []).append(scope)
    return found


def _secret(secret: str) -> Response:
    return Response(render_template("key_secret.html", secret=secret))
