"""Lists of a large clinic: what the plans of a million rows stand on. `bench.size` has the milliseconds."""

from __future__ import annotations

import psycopg
import pytest

LISTS = {
    "invoice": "branch_id, date DESC, id DESC",
    "quote_revision": "branch_id, date DESC, quote_id DESC",
    "act": "branch_id, date DESC, id DESC",
    "payment": "branch_id, received_on DESC, id DESC",
    "shift": "branch_id, opened_at DESC, id DESC",
}


@pytest.mark.parametrize("table", LISTS)
def test_a_branch_with_few_documents_is_not_looked_for_among_all(database_url, table):
    with psycopg.connect(database_url.owner) as conn:
        rows = conn.execute("SELECT indexdef FROM pg_indexes WHERE tablename = %s", (table,)).fetchall()
    assert any(f"({LISTS[table]})" in row[0] for row in rows)
