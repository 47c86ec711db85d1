"""Signatures of webhooks by the specification Standard Webhooks, version 1: HMAC-SHA256 over id, time and body."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

_PREFIX = "whsec_"


def new_secret() -> bytes:
    """256 random bits; the specification asks for 192 to 512."""
    return secrets.token_bytes(32)


def shown(secret: bytes) -> str:
    """A secret as receivers are given it."""
    return _PREFIX + base64.b64encode(secret).decode()


def headers(message_id: UUID, at: datetime, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """What goes out with a message at this instant: a signature by each of the keys that are good."""
    moment = str(int(at.timestamp()))
    signed = b".".join([str(message_id).encode(), moment.encode(), body])
    signatures = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
    return {
        "webhook-id": str(message_id),
        "webhook-timestamp": moment,
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }
