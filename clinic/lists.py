"""Lists page by page: keyset cursors, opaque, signed, good only for the list, filters and reader they were made for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import orjson
from flask import current_app

from clinic import fields, http
from clinic.errors import BadCursor


class Page(http.Query):
    """A piece of a list."""

    limit = fields.Whole(1, 200, query=True, load_default=50)
    cursor = fields.Form(
        r"[A-Za-z0-9_-]{1,500}", load_default=None, metadata={"description": "next_cursor of the page before"}
    )


def _cursor_for(name: str, filters: dict[str, Any], place: list[str]) -> str:
    """A cursor of the list `name` under `filters` for this caller."""
    return _sealed(current_app.config["CLINIC_SECRET"], [name, filters, http.actor().branch_id], place)


def place_of(name: str, filters: dict[str, Any], cursor: str | None) -> list[str] | None:
    """Where a caller's cursor stands; None at the beginning.

    Raises:
        BadCursor: it is not a cursor of this list.
    """
    if cursor is None:
        return None
    return _opened(current_app.config["CLINIC_SECRET"], [name, filters, http.actor().branch_id], cursor)


def page_of(
    name: str, wanted: dict[str, Any], rows: list[Any], place: Callable[[Any], list[str]]
) -> tuple[list[Any], str | None]:
    """The rows of one page and the cursor of the next, from `limit` + 1 rows."""
    if len(rows) <= wanted["limit"]:
        return rows, None
    kept = rows[: wanted["limit"]]
    return kept, _cursor_for(name, filters_of(wanted), place(kept[-1]))


def filters_of(wanted: dict[str, Any]) -> dict[str, Any]:
    """What a cursor is bound to: the filters, not the page."""
    return {name: value for name, value in wanted.items() if name not in {"limit", "cursor", "lang"}}


def _sealed(secret: str, bound_to: Any, place: list[str]) -> str:
    """A cursor that stands behind `place`, the sort values of the last row given."""
    body = orjson.dumps(place)
    return _written(_signature(secret, bound_to, body) + body)


def _written(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _opened(secret: str, bound_to: Any, cursor: str) -> list[str]:
    """The place a cursor stands at.

    Raises:
        BadCursor: altered, or made for another list, other filters or another reader.
    """
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (binascii.Error, ValueError) as exc:
        raise BadCursor() from exc
    signature, body = raw[:16], raw[16:]
    # The last letter may have bits that nobody reads: only one writing of them is ours.
    if _written(raw) != cursor or not hmac.compare_digest(signature, _signature(secret, bound_to, body)):
        raise BadCursor()
    place: list[str] = orjson.loads(body)
    return place


def _signature(secret: str, bound_to: Any, body: bytes) -> bytes:
    bound = orjson.dumps(bound_to, option=orjson.OPT_SORT_KEYS, default=str)
    return hmac.digest(secret.encode(), bound + b"\0" + body, hashlib.sha256)[:16]
