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


RARE = {
    "quotes agreed and not invoiced": ("quote_revision", "(date DESC, quote_id DESC)", ["'accepted'", "NOT invoiced"]),
    "a patient's quotes in a state": (
        "quote_revision",
        "(patient_ref, status, invoiced, date DESC, quote_id DESC)",
        [],
    ),
    "what a payer owes": ("invoice", "(payer_ref, date DESC, id DESC)", ["'issued'", " < "]),
    "what was invoiced for a patient and is owed": (
        "invoice",
        "(patient_ref, date DESC, id DESC)",
        ["'issued'", " < "],
    ),
    "settled invoices": ("invoice", "(date DESC, id DESC)", [" >= ", "credited"]),
    "settled invoices of a payer": ("invoice", "(payer_ref, date DESC, id DESC)", [" >= ", "credited"]),
    "settled invoices for a patient": ("invoice", "(patient_ref, date DESC, id DESC)", [" >= ", "credited"]),
    "a payer's payments by tender": ("payment", "(payer_ref, tender, received_on DESC, id DESC)", []),
}
"""What is a handful among very many: table, order and words of the condition of its index."""


@pytest.mark.parametrize("table", LISTS)
def test_a_branch_with_few_documents_is_not_looked_for_among_all(database_url, table):
    assert any(f"({LISTS[table]})" in index for index in indexes(database_url, table))


@pytest.mark.parametrize("what", RARE)
def test_what_is_rare_has_an_index_of_its_own(database_url, what):
    table, order, words = RARE[what]
    assert any(order in index and all(word in index for word in words) for index in indexes(database_url, table))


def indexes(urls, table):
    with psycopg.connect(urls.owner) as conn:
        rows = conn.execute("SELECT indexdef FROM pg_indexes WHERE tablename = %s", (table,)).fetchall()
    return [row[0] for row in rows]
