"""Who read or exported a person's documents: actor, action, object, time. Append-only, without any shared lock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from clinic import clock, db


def note(
    conn: db.Connection, actor: str, action: str, object_type: str, object_ids: Iterable[UUID], request_id: str
) -> None:
    """Remember that `actor` saw these documents; `action` is `read`, `list`, `print` or `export`."""
    ids = list(object_ids)
    if not ids:
        return
    conn.execute(
        """
        INSERT INTO access_log (at, actor, action, object_type, object_id, request_id)
        SELECT %(at)s, %(actor)s, %(action)s, %(type)s, id, %(request)s FROM unnest(%(ids)s::uuid[]) AS id
        """,
        {
            "at": clock.now(),
            "actor": actor,
            "action": action,
            "type": object_type,
            "ids": ids,
            "request": request_id,
        },
    )


def of(conn: db.Connection, object_ids: Iterable[UUID]) -> list[dict[str, Any]]:
    """Who saw these documents, in the order of time."""
    rows = conn.execute(
        """
        SELECT at, actor, action, object_type, object_id FROM access_log
         WHERE object_id = ANY (%(ids)s::uuid[]) ORDER BY id
        """,
        {"ids": list(object_ids)},
    )
    return [dict(zip(("at", "actor", "action", "object_type", "object"), row, strict=True)) for row in rows]
