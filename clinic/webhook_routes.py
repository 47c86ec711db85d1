"""JSON of webhooks."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response, current_app

from clinic import addresses, db, deliveries, errors, fields, http, lists, sealing, webhooks
from clinic.addresses import Allowed
from clinic.command import Change
from clinic.deliveries import DeliveryOut, ReplayIn
from clinic.webhooks import Webhook, WebhookDisabled, WebhookIn, WebhookOut, WebhookPatch

bp = http.Blueprint("webhooks", __name__, url_prefix="/v1", description="Calls to other systems with what happens")
_MAY = "webhooks:write"


class WebhooksOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(WebhookOut), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class WebhookSecretOut(WebhookOut):
    """The same with its secret, shown this once; null where the call is a repeat."""

    secret = ma.fields.String(required=True, allow_none=True, metadata={"example": f"whsec_{'A' * 43}="})


class RotateSecretIn(fields.Shape):
    overlap_hours = fields.Whole(
        0, 168, load_default=24, metadata={"description": "hours for which messages are signed by the old secret too"}
    )


class EnableIn(fields.Shape):
    skip = fields.Flag(
        load_default=False, metadata={"description": "go on with what happens from now on, not where it was left"}
    )


class DeliveryFilter(lists.Page):
    status = fields.Choice(*deliveries.STATUSES, load_default=None)


class DeliveriesOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(DeliveryOut), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class ReplayOut(ma.Schema):
    deliveries = ma.fields.Integer(required=True, metadata={"description": "how many messages will be sent"})


_EXAMPLE = {
    "id": "0197d1b3-5b10-7a55-8e21-6c0a9e4f7d77",
    "url": "https://his.example.org/clinic-events",
    "events": ["invoice.*", "payment.received"],
    "description": "HIS",
    "branch": None,
    "status": "enabled",
    "disabled_reason": None,
    "old_secret_until": None,
    "position": 17,
    "failures": 0,
    "paused_until": None,
    "waiting": 0,
    "dead": 0,
    "lag_seconds": None,
    "created_at": "2026-11-23T09:15:00Z",
    "updated_at": "2026-11-23T09:15:00Z",
}


@bp.post("/webhooks")
@bp.contract(
    may=_MAY,
    takes=WebhookIn,
    gives={201: WebhookSecretOut},
    refuses=(sealing.SealBroken,),
    key="optional",
    example={"url": _EXAMPLE["url"], "events": _EXAMPLE["events"], "description": "HIS"},
    answers={**_EXAMPLE, "secret": f"whsec_{'A' * 43}="},
)
def create_webhook(wanted: dict[str, Any]) -> Response:
    """Have another system called

    It is told what happens from now on, by the specification Standard Webhooks. The secret is shown this once; a repeat
    of the call is answered without it. The host is resolved now and before each attempt: nothing is sent to an address
    that is not public, unless the service's settings name it."""
    webhooks.must_be_allowed(wanted["url"], _ours())
    with http.change() as change:
        webhook, secret = webhooks.create(change, wanted)
        return _with_secret(change, webhook, secret, 201)


@bp.get("/webhooks")
@bp.contract(may=_MAY, query=lists.Page, gives={200: WebhooksOut}, refuses=(errors.BadCursor,))
def list_webhooks(wanted: dict[str, Any]) -> Response:
    """List webhooks, with how far each is behind"""
    behind = lists.place_of("webhooks", lists.filters_of(wanted), wanted["cursor"])
    with db.reading() as conn:
        rows = webhooks.page(conn, http.actor(), wanted["limit"], UUID(behind[0]) if behind else None)
    found, cursor = lists.page_of("webhooks", wanted, rows, lambda each: [str(each.id)])
    return http.reply({"items": [each.as_json() for each in found], "next_cursor": cursor})


@bp.get("/webhooks/<uuid:webhook_id>")
@bp.contract(may=_MAY, gives={200: WebhookOut}, refuses=(errors.NotFound,), answers=_EXAMPLE)
def read_webhook(webhook_id: UUID) -> Response:
    """A webhook"""
    with db.reading() as conn:
        return _shown(webhooks.get(conn, http.actor(), webhook_id))


@bp.patch("/webhooks/<uuid:webhook_id>")
@bp.contract(may=_MAY, takes=WebhookPatch, gives={200: WebhookOut}, refuses=(errors.NotFound,), match=True)
def edit_webhook(wanted: dict[str, Any], webhook_id: UUID) -> Response:
    """Change a webhook's address, events or description

    What waits to be delivered goes to the new address. Other events count from those that happen from now on."""
    if "url" in wanted:
        webhooks.must_be_allowed(wanted["url"], _ours())
    with http.change() as change:
        webhook = webhooks.locked(change, webhook_id)
        http.must_match(_etag(webhook))
        return _shown(webhooks.edit(change, webhook, wanted))


@bp.post("/webhooks/<uuid:webhook_id>/rotate-secret")
@bp.contract(
    may=_MAY,
    takes=RotateSecretIn,
    gives={200: WebhookSecretOut},
    refuses=(errors.NotFound, sealing.SealBroken),
    key="optional",
    example={"overlap_hours": 24},
)
def rotate_secret(wanted: dict[str, Any], webhook_id: UUID) -> Response:
    """Give a webhook a new secret

    It is shown this once. While the overlap lasts each message has a signature by either secret, so the receiver can
    be changed at any moment of it; an overlap of 0 ends the old secret at once."""
    with http.change() as change:
        webhook, secret = webhooks.rotate_secret(change, webhook_id, wanted["overlap_hours"])
        return _with_secret(change, webhook, secret, 200)


@bp.post("/webhooks/<uuid:webhook_id>/disable")
@bp.contract(may=_MAY, gives={200: WebhookOut}, refuses=(errors.NotFound,), key="optional")
def disable_webhook(webhook_id: UUID) -> Response:
    """Send nothing more

    Its place in the journal is kept: once enabled it goes on from there."""
    with http.change() as change:
        return _given(change, webhooks.disable(change, webhook_id))


@bp.post("/webhooks/<uuid:webhook_id>/enable")
@bp.contract(may=_MAY, takes=EnableIn, gives={200: WebhookOut}, refuses=(errors.NotFound,), key="optional")
def enable_webhook(wanted: dict[str, Any], webhook_id: UUID) -> Response:
    """Send again, from where it was left"""
    with http.change() as change:
        return _given(change, webhooks.enable(change, webhook_id, skip=wanted["skip"]))


@bp.post("/webhooks/<uuid:webhook_id>/test")
@bp.contract(may=_MAY, gives={202: DeliveryOut}, refuses=(errors.NotFound, WebhookDisabled), key="optional")
def test_webhook(webhook_id: UUID) -> Response:
    """Send a message that says nothing

    Its type is `webhook.ping` and its position 0. What came of it stands among the deliveries a moment later."""
    with http.change() as change:
        sent = deliveries.ping(change, webhooks.locked(change, webhook_id))
        return http.shown(change.give(202, sent.as_json()))


@bp.get("/webhooks/<uuid:webhook_id>/deliveries")
@bp.contract(may=_MAY, query=DeliveryFilter, gives={200: DeliveriesOut}, refuses=(errors.NotFound, errors.BadCursor))
def list_deliveries(wanted: dict[str, Any], webhook_id: UUID) -> Response:
    """List what was sent, is to be sent, or was given up (`status=dead`), the latest first

    Each has its latest twenty attempts; of answers only the status is kept."""
    place = lists.place_of(f"deliveries of {webhook_id}", lists.filters_of(wanted), wanted["cursor"])
    with db.moment() as conn:
        webhook = webhooks.get(conn, http.actor(), webhook_id)
        before = UUID(place[0]) if place else None
        rows = deliveries.page(conn, webhook.id, wanted["limit"], status=wanted["status"], before=before)
    found, cursor = lists.page_of(f"deliveries of {webhook_id}", wanted, rows, lambda each: [str(each.id)])
    return http.reply({"items": [each.as_json() for each in found], "next_cursor": cursor})


@bp.post("/webhooks/<uuid:webhook_id>/replay")
@bp.contract(
    may=_MAY,
    takes=ReplayIn,
    gives={202: ReplayOut},
    refuses=(errors.NotFound, WebhookDisabled),
    key="optional",
    example={"from": 17, "to": 117},
)
def replay(wanted: dict[str, Any], webhook_id: UUID) -> Response:
    """Send events again

    One event, those of at most 10,000 positions, or all that were given up. A message has the id and the bytes it had,
    so a receiver that knows it already can tell. Of a range the events the webhook wants are sent."""
    with http.change() as change:
        count = deliveries.replay(change, webhooks.locked(change, webhook_id), wanted)
        return http.shown(change.give(202, {"deliveries": count}))


def _ours() -> Allowed:
    return addresses.allowed(current_app.config["CLINIC"].webhooks_allow)


def _etag(webhook: Webhook) -> str:
    return http.etag(webhook.id, webhook.row_version)


def _shown(webhook: Webhook) -> Response:
    return http.reply(webhook.as_json(), headers={"ETag": _etag(webhook)})


def _given(change: Change, webhook: Webhook) -> Response:
    return http.shown(change.give(200, webhook.as_json(), headers={"ETag": _etag(webhook)}))


def _with_secret(change: Change, webhook: Webhook, secret: str, status: int) -> Response:
    headers = {"ETag": _etag(webhook), **({"Location": f"/v1/webhooks/{webhook.id}"} if status == 201 else {})}
    # Kept for a repeat of the call without it: the row of the Idempotency-Key is no place for secrets.
    change.give(status, {**webhook.as_json(), "secret": None}, headers=headers)
    return http.reply({**webhook.as_json(), "secret": secret}, status, headers)
