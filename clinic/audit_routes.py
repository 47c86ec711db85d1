"""JSON of the audit: the journal with its hashes, and who looked at whose documents."""

from __future__ import annotations

from typing import Any

from flask import Response

from clinic import audit, db, errors, http, lists
from clinic.audit import AccessFilter, AuditFilter, LooksOut, RecordsOut

bp = http.Blueprint("audit", __name__, url_prefix="/v1", description="Who did what, and who looked")


@bp.get("/audit")
@bp.contract(may="audit:read", query=AuditFilter, gives={200: RecordsOut}, refuses=(errors.BadCursor,))
def list_records(wanted: dict[str, Any]) -> Response:
    """Read the journal as an auditor, newest first

    Every change of state: who made it, in which request, to what, with the hash that chains it to the one before.
    `since` and `until` are clinic days, both included."""
    behind = lists.place_of("audit", lists.filters_of(wanted), wanted["cursor"])
    with db.reading() as conn:
        rows = audit.records(conn, http.actor(), wanted, behind)
    found, cursor = lists.page_of("audit", wanted, rows, lambda each: [str(each.position)])
    return http.reply({"items": [each.as_json() for each in found], "next_cursor": cursor})


@bp.get("/audit/access")
@bp.contract(may="audit:read", query=AccessFilter, gives={200: LooksOut}, refuses=(errors.BadCursor,))
def list_looks(wanted: dict[str, Any]) -> Response:
    """Read who looked at persons' documents, newest first

    One row for each document that was read, listed, printed or exported. It is for callers of all branches; one that
    is kept to a branch gets 403."""
    if http.actor().branch_id is not None:
        raise errors.Forbidden()
    behind = lists.place_of("access", lists.filters_of(wanted), wanted["cursor"])
    with db.reading() as conn:
        rows = audit.looks(conn, http.actor(), wanted, behind)
    found, cursor = lists.page_of("access", wanted, rows, lambda each: [str(each.id)])
    return http.reply({"items": [each.as_json() for each in found], "next_cursor": cursor})
