"""JSON of the clinic itself: health, branches."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from flask import Response

from clinic import branches, db, errors, fields, http, migrate, webhooks
from clinic.branches import BranchTaken

bp = http.Blueprint("clinic", __name__, url_prefix="/", description="Health, branches")


class HealthOut(ma.Schema):
    status = ma.fields.String(required=True, metadata={"enum": ["ok"]})


class ReadyOut(HealthOut):
    delivery_lag_seconds = ma.fields.Integer(
        required=True, metadata={"description": "age of the oldest event that some webhook has not been told of"}
    )


class BranchOut(ma.Schema):
    code = ma.fields.String(required=True)
    name = ma.fields.String(required=True)
    prefix = ma.fields.String(required=True)
    requisites = ma.fields.Dict(required=True, allow_none=True)


class BranchesOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(BranchOut), required=True)


class BranchIn(fields.Shape):
    """A new branch; its numbers begin with `prefix`."""

    code = fields.Form(branches.CODE, required=True, metadata={"example": "north"})
    name = fields.Text(160, required=True)
    prefix = fields.Form(r"[A-ZА-ЯЁ]{1,4}", required=True, metadata={"example": "С"})


@bp.get("/health/live")
@bp.contract(may=http.PUBLIC, gives={200: HealthOut}, a_minute=None)
def live() -> Response:
    """Whether this process answers

    Touches nothing else."""
    return http.reply({"status": "ok"})


@bp.get("/health/ready")
@bp.contract(may=http.PUBLIC, gives={200: ReadyOut}, a_minute=None)
def ready() -> Response:
    """Whether the service can do its work

    The database answers and its schema is the one this program was written for. How far the webhooks are behind is told
    and decides nothing: a receiver that is down must not take the service away."""
    with db.seeing(None), db.transaction() as conn:
        applied = db.value(conn, "SELECT count(*) FROM schema_migration")
        if applied != len(migrate.files()):
            raise errors.DatabaseAway("the schema is not the one this program needs")
        behind = max((each.seconds for each in webhooks.lag(conn)), default=0)
    return http.reply({"status": "ok", "delivery_lag_seconds": behind})


@bp.get("/v1/branches")
@bp.contract(may="catalog:read", gives={200: BranchesOut})
def list_branches() -> Response:
    """List the branches this caller sees"""
    with db.reading() as conn:
        return http.reply({"items": [branch.as_json() for branch in branches.every(conn, http.actor())]})


@bp.post("/v1/branches")
@bp.contract(may="admin", takes=BranchIn, gives={201: BranchOut}, refuses=(BranchTaken,), key="optional")
def create_branch(wanted: dict[str, Any]) -> Response:
    """Open a branch"""
    with http.change() as change:
        branch = branches.create(change, wanted["code"], wanted["name"], wanted["prefix"])
        return http.shown(change.give(201, branch.as_json(), headers={"Location": f"/v1/branches/{branch.code}"}))


@bp.put("/v1/branches/<string:code>/requisites")
@bp.contract(may="admin", takes=branches.RequisitesIn, gives={200: BranchOut}, refuses=(errors.NotFound,))
def set_requisites(wanted: dict[str, Any], code: str) -> Response:
    """Set a branch's requisites

    They are copied into each document at issue; documents already issued keep the ones they have."""
    with http.change() as change:
        branch = branches.set_requisites(change, code, wanted)
        return http.reply(branch.as_json())
