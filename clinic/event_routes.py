"""JSON of the event feed."""

from __future__ import annotations

import time
from typing import Any

import marshmallow as ma
from flask import Response, current_app

from clinic import db, event_feed, fields, http
from clinic.event_feed import Page, Wanted

bp = http.Blueprint("events", __name__, url_prefix="/v1", description="Changes of state, in the order of commits")


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
    more = ma.fields.Boolean(required=True, metadata={"description": "there are positions behind `next` already"})


class EventsQuery(http.Query):
    after = fields.Whole(0, 2**62, query=True, load_default=0)
    limit = fields.Whole(1, 1000, query=True, load_default=500)
    wait = fields.Whole(
        0, 10, query=True, load_default=0, metadata={"description": "seconds to wait for the next event"}
    )
    type = fields.Form(
        rf"(?:{event_feed.PATTERN})(?:,(?:{event_feed.PATTERN})){{0,19}}",
        load_default="*",
        metadata={"description": "types, or `invoice.*` for all of one kind, separated by commas"},
    )
    object = fields.Uuid(load_default=None, metadata={"description": "id of the one object to hear of"})


@bp.get("/events")
@bp.contract(may="events:read", query=EventsQuery, gives={200: EventsOut})
def events(query: dict[str, Any]) -> Response:
    """Read the event feed

    Changes of state in the order of their commits, dense positions. Reading on from `next` never misses one; of
    another branch's events a key of a branch sees the gaps alone, and `next` passes over what a filter leaves out.
    One page looks through 10000 positions; `more` says that others are there already. With `wait` the answer is held
    back until there is an event, or the seconds are over; when too many wait already it comes at once."""
    until = time.monotonic() + query["wait"]
    wanted = Wanted(http.actor().branch_id, tuple(query["type"].split(",")), query["object"])
    page = _page(query["after"], query["limit"], wanted)
    while not page.entries and not page.more and event_feed.grows(page.next, until, _most_waiting()):
        page = _page(page.next, query["limit"], wanted)
    return http.reply({"events": [entry.as_json() for entry in page.entries], "next": page.next, "more": page.more})


def _page(position: int, limit: int, wanted: Wanted) -> Page:
    with db.reading() as conn:
        return event_feed.after(conn, position, limit, wanted)


def _most_waiting() -> int:
    # Readers that wait must leave threads to everybody else.
    return int(current_app.config["CLINIC"].threads) // 2
