"""Keyset cursors of lists: opaque, signed, and good only for the list, filters and reader they were made for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any

import orjson

from clinic.errors import BadCursor


def sealed(secret: str, bound_to: Any, place: list[str]) -> str:
    """A cursor that stands behind `place`, the sort values of the last row given."""
    body = orjson.dumps(place)
    return base64.urlsafe_b64encode(_signature(secret, bound_to, body) + body).rstrip(b"=").decode()


def opened(secret: str, bound_to: Any, cursor: str) -> list[str]:
    """The place a cursor stands at.

    Raises:
        BadCursor: altered, or made for another list, other filters or another reader.
    """
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (binascii.Error, ValueError) as exc:
        raise BadCursor() from exc
    signature, body = raw[:16], raw[16:]
    if not hmac.compare_digest(signature, _signature(secret, bound_to, body)):
        raise BadCursor()
    place: list[str] = orjson.loads(body)
    return place


def _signature(secret: str, bound_to: Any, body: bytes) -> bytes:
    bound = orjson.dumps(bound_to, option=orjson.OPT_SORT_KEYS, default=str)
    return hmac.digest(secret.encode(), bound + b"\0" + body, hashlib.sha256)[:16]
