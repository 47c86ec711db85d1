"""JSON of the clinic itself: health, the event feed, branches."""

from __future__ import annotations

import threading
import time
from typing import Any

import marshmallow as ma
from flask import Response

from clinic import branches, db, errors, fields, http, journal, migrate
from clinic.branches import BranchTaken

bp = http.Blueprint("clinic", __name__, url_prefix="/", description="Health, events, branches")

_PAUSE = 0.25
# Readers that wait must leave threads to everybody else.
_waiting = threading.Semaphore(2)


class HealthOut(ma.Schema):
    status = ma.fields.String(required=True, metadata={"enum": ["ok"]})


class EventObjectOut(ma.Schema):
    type = ma.fields.String(required=True)
    id = ma.fields.UUID(required=True)


class EventOut(ma.Schema):
    """A change of state. `data` holds ids, states and sums; never a name."""

    position = ma.fields.Integer(required=True)
    id = ma.fields.UUID(required=True)
    type = ma.fields.String(required=True, metadata={"example": "invoice.issued"})
    version = ma.fields.Integer(required=True)
    at = ma.fields.DateTime(required=True)
    actor = ma.fields.String(required=True)
    object = ma.fields.Nested(EventObjectOut, required=True)
    data = ma.fields.Dict(required=True)


class EventsOut(ma.Schema):
    events = ma.fields.List(ma.fields.Nested(EventOut), required=True)
    next = ma.fields.Integer(required=True, metadata={"description": "give it as `after` to read on"})


class EventsQuery(http.Query):
    after = fields.Whole(0, 2**62, query=True, load_default=0)
    limit = fields.Whole(1, 1000, query=True, load_default=500)
    wait = fields.Whole(
        0, 10, query=True, load_default=0, metadata={"description": "seconds to wait for the next event"}
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
@bp.contract(may=http.PUBLIC, gives={200: HealthOut})
def live() -> Response:
    """Whether this process answers

    Touches nothing else."""
    return http.reply({"status": "ok"})


@bp.get("/health/ready")
@bp.contract(may=http.PUBLIC, gives={200: HealthOut})
def ready() -> Response:
    """Whether the service can do its work

    The database answers and its schema is the one this program was written for."""
    with db.reading() as conn:
        applied = db.value(conn, "SELECT count(*) FROM schema_migration")
    if applied != len(migrate.files()):
        raise errors.DatabaseAway("the schema is not the one this program needs")
    return http.reply({"status": "ok"})


@bp.get("/v1/events")
@bp.contract(may="events:read", query=EventsQuery, gives={200: EventsOut})
def events(query: dict[str, Any]) -> Response:
    """Read the event feed

    Changes of state in the order of their commits, dense positions. Reading on from the last position seen never
    misses one. With `wait` the answer is held back until there is an event, or the seconds are over."""
    deadline = time.monotonic() + query["wait"]
    found = _events(query)
    if not found and query["wait"] and _waiting.acquire(blocking=False):
        try:
            # No connection is held between the looks.
            while not found and time.monotonic() < deadline:
                time.sleep(_PAUSE)
                found = _events(query)
        finally:
            _waiting.release()
    position = found[-1].position if found else query["after"]
    return http.reply({"events": [entry.as_json() for entry in found], "next": position})


def _events(query: dict[str, Any]) -> list[journal.Entry]:
    with db.reading() as conn:
        return journal.after(conn, query["after"], query["limit"], http.actor().branch_id)


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
