"""Every table of the database, as its catalog tells them: what the application's role may not do to any of them.

A table that is new must be given a rule here. What is peculiar to one table is tried in `test_frozen`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import errors as pg

from clinic.embedded import Cluster
from tests import given_books
from tests.given_books import Books, undone


@dataclass(frozen=True)
class Rule:
    """Which rows of a table are history, which of their columns may still move, and by which ways its status may go."""

    frozen: str = "true"
    moves: frozenset[str] = frozenset()
    ways: frozenset[str] = frozenset()


def moving(*columns: str, frozen: str = "true", ways: str = "") -> Rule:
    return Rule(frozen, frozenset(columns), frozenset(ways.split()))


HISTORY = {
    "quote": Rule(),
    "quote_revision": moving(
        "status", "newest", "approval", "row_version", "updated_at",
        frozen="status <> 'draft'",
        ways="""
        draft>sent draft>accepted draft>declined draft>expired draft>superseded draft>cancelled
        sent>accepted sent>declined sent>expired sent>superseded sent>cancelled accepted>superseded accepted>cancelled
        expired>draft expired>sent expired>declined
        """,
    ),
    "quote_extension": Rule(),
    # How much of it is invoiced moves with the invoices, which a check of the books compares.
    "quote_line": moving("invoiced_quantity"),
    "quote_tombstone": Rule(),
    # That it can be revoked only once is tried in `test_quote_links`.
    "quote_link": moving("revoked_at", "revoked_by"),
    "invoice": moving(
        "status", "row_version", "updated_at",
        frozen="status <> 'draft'",
        ways="draft>issued draft>discarded issued>cancelled",
    ),
    # Of those that are credited a CHECK would stop some changes before the freeze does.
    "invoice_line": Rule("invoice_id IN (SELECT id FROM invoice WHERE status <> 'draft' AND credited = 0)"),
    "number_series": moving("next_no", "last_on"),
    "credit_note": moving("status", frozen="status <> 'draft'", ways="draft>issued"),
    "credit_note_line": Rule(),
    "act": moving(
        "status", "cancelled_at", "cancelled_by", "cancel_reason",
        frozen="status <> 'draft'",
        ways="draft>issued issued>cancelled",
    ),
    "act_line": Rule(),
    "payment": Rule(),
    "payment_allocation": Rule(),
    "refund": Rule(),
    "shift": Rule("closed_at IS NOT NULL"),
    "refund_reason": Rule(),
    # That a period is ended or prolonged, and never for days that are over, is tried in `test_legal_references`.
    "legal_reference": moving("valid"),
    # What is used of it moves by a trigger of the owner, with the invoices.
    "guarantee_letter": Rule(),
    "discount_approval": Rule(),
    "journal": Rule(),
    "journal_head": Rule(),
    "access_log": Rule(),
    "party": Rule(),
    # That it ends once and its day only moves on is tried in `test_privacy`.
    "erasure_request": moving("hold_until", "done_at"),
}  # fmt: skip
"""Documents, money, and what tells of them."""
OTHERS = {
    # The catalog: what documents copy from it stays in them; its orders and prices have rules of their own.
    "category", "doctor_rank", "doctor", "doctor_promotion", "medical_service", "search_word", "vat_rate", "price_list",
    "price_order", "price_order_line", "price", "package", "package_part", "catalog_version", "nomenclature",
    # Rules of discounts: administrators change them, documents keep what was given.
    "discount_reason", "discount_ceiling",
    # Who is told of the journal, and how far: what is told stands in the journal itself.
    "webhook", "webhook_delivery",
    # Who may come in, what is being done, what was answered.
    "branch", "api_key", "api_key_secret", "staff", "staff_session", "staff_identity", "second_factor",
    "recovery_code", "idempotency", "job", "chore", "kept_file", "rate_limit", "schema_migration",
}  # fmt: skip
"""Tables that are no history of documents or money."""
LINES = {
    "quote_line": "quote_id IN (SELECT quote_id FROM quote_revision WHERE status <> 'draft')",
    "invoice_line": HISTORY["invoice_line"].frozen,
    "act_line": "true",
    "credit_note_line": "true",
}
"""Rows that belong to a document, and which of them belong to one that is issued or sent."""
REFUSED = (pg.InsufficientPrivilege, pg.RestrictViolation, pg.GeneratedAlways)
OTHER_VALUES = {
    "text": "'x'", "uuid": "gen_random_uuid()", "date": "date '2000-01-01'", "jsonb": """'{"x": 1}'::jsonb""",
    "timestamptz": "timestamptz '2000-01-01'", "bytea": r"'\\x00'::bytea", "bool": "NOT coalesce({column}, false)",
    "_text": "'{x}'::text[]", "daterange": "'empty'::daterange",
    **dict.fromkeys(("int2", "int4", "int8", "numeric", "rub", "percent"), "coalesce({column}, 0) + 1"),
}  # fmt: skip
"""By type: an expression for a value that a column does not have."""


@pytest.fixture(scope="module")
def books(cluster: Cluster) -> Iterator[Books]:
    with given_books.kept(cluster) as books:
        yield books


@pytest.fixture(scope="module")
def columns(books: Books) -> dict[str, dict[str, str]]:
    """The columns of each table of the database, with their types."""
    found: dict[str, dict[str, str]] = {}
    with psycopg.connect(books.urls.owner) as conn:
        for table, column, type_ in conn.execute(
            """
            SELECT relname, attname, typname
              FROM pg_class
              JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
              JOIN pg_type ON pg_type.oid = atttypid
             WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
            """
        ):
            found.setdefault(table, {})[column] = type_
    return found


def test_every_table_has_a_rule(columns):
    assert not HISTORY.keys() & OTHERS
    assert columns.keys() == HISTORY.keys() | OTHERS


def test_every_table_that_belongs_to_a_document_is_known(books):
    with psycopg.connect(books.urls.owner) as conn:
        rows = conn.execute(r"SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE '%\_line'").fetchall()
    assert {row[0] for row in rows} - {"price_order_line"} == LINES.keys()


@pytest.mark.parametrize("table", HISTORY)
def test_there_is_history_to_attack(books, table):
    with psycopg.connect(books.urls.owner) as conn:
        assert (
            conn.execute(f"SELECT FROM {table} WHERE {HISTORY[table].frozen} LIMIT 1".encode()).fetchone() is not None
        )


def other_value(column: str, type_: str) -> str:
    if column.endswith(("vat_rate", "vat_amount")):
        return "1, vat_amount = 1" if column.endswith("vat_rate") else "1, vat_rate = 1"  # both or neither
    return OTHER_VALUES[type_].replace("{column}", column)


@pytest.mark.parametrize("table", HISTORY)
def test_s36_no_frozen_column_is_updated(books, columns, table):
    rule = HISTORY[table]
    for column, type_ in columns[table].items():
        if column not in rule.moves:
            attack = f"UPDATE {table} SET {column} = {other_value(column, type_)} WHERE {rule.frozen}"
            assert was_refused(books, attack), attack


@pytest.mark.parametrize("table", HISTORY)
def test_no_frozen_column_is_written_by_an_upsert(books, columns, table):
    rule = HISTORY[table]
    with psycopg.connect(books.urls.owner) as conn:
        (key,) = conn.execute(_KEY, {"table": table}).fetchall()[0]
    for column, type_ in columns[table].items():
        if column not in rule.moves:
            value = other_value(f"{table}.{column}", type_)
            attack = f"""
                INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {table} WHERE {rule.frozen}
                    ON CONFLICT ({", ".join(key)}) DO UPDATE SET {column} = {value}"""
            assert was_refused(books, attack), attack


_KEY = """
SELECT array_agg(attname)
  FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
 WHERE indrelid = %(table)s::regclass AND indisprimary
"""


@pytest.mark.parametrize("table", HISTORY)
def test_s36_no_row_is_deleted_and_no_table_emptied(books, table):
    for attack in (f"DELETE FROM {table} WHERE {HISTORY[table].frozen}", f"TRUNCATE {table} CASCADE"):
        assert was_refused(books, attack, pg.ForeignKeyViolation), attack


@pytest.mark.parametrize("table", [table for table, rule in HISTORY.items() if rule.ways])
def test_s06_a_status_goes_forward_only(books, table):
    ways = HISTORY[table].ways
    with psycopg.connect(books.urls.owner) as conn:
        (stated,) = conn.execute(_STATUSES, {"table": table}).fetchall()[0]
        there = [row[0] for row in conn.execute(f"SELECT DISTINCT status FROM {table}".encode())]
    assert {each.split(">")[0] for each in ways} | {each.split(">")[1] for each in ways} == set(stated)
    for before in there:
        for after in stated:
            if before != after and f"{before}>{after}" not in ways:
                attack = f"UPDATE {table} SET status = '{after}' WHERE status = '{before}'"
                assert was_refused(books, attack), attack


_STATUSES = r"""
SELECT array(SELECT match[1] FROM regexp_matches(pg_get_constraintdef(oid), '''([a-z_]+)''', 'g') AS match)
  FROM pg_constraint
 WHERE conrelid = %(table)s::regclass AND contype = 'c'
   AND pg_get_constraintdef(oid) ~ '^CHECK \(\(status = ANY \(ARRAY'
"""


@pytest.mark.parametrize("table", LINES)
def test_no_line_is_added_to_a_document_that_is_out(books, columns, table):
    members = ", ".join(f"{name} + 100" if name == "position" else name for name in columns[table])
    attack = f"INSERT INTO {table} SELECT {members} FROM {table} WHERE {LINES[table]}"
    assert was_refused(books, f"{attack}; SET CONSTRAINTS ALL IMMEDIATE", pg.CheckViolation), attack


@pytest.mark.parametrize(
    "attack",
    [
        "ALTER TABLE {table} DISABLE TRIGGER ALL",
        "ALTER TABLE {table} OWNER TO clinic_app",
        "ALTER TABLE {table} ADD COLUMN x int",
        "DROP TABLE {table} CASCADE",
        "CREATE TRIGGER x BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE RULE x AS ON UPDATE TO {table} DO INSTEAD NOTHING",
        "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
    ],
)
def test_s36_no_table_is_altered(books, columns, attack):
    for table in columns:
        assert was_refused(books, attack.format(table=table)), table


def test_s36_nobody_grants_himself_a_right(books, columns):
    """PostgreSQL answers with a warning, not with an error: so the rights are asked for."""
    may = "SELECT array_agg(has_table_privilege(oid, right_) ORDER BY oid, right_)"
    may += " FROM pg_class, unnest('{INSERT,UPDATE,DELETE,TRUNCATE,TRIGGER}'::text[]) AS right_ WHERE relkind = 'r'"
    with undone(books.urls.app) as conn:
        before = conn.execute(may.encode()).fetchall()
        conn.execute(f"GRANT ALL ON {', '.join(columns)} TO clinic_app".encode())
        assert conn.execute(may.encode()).fetchall() == before


@pytest.mark.parametrize(
    "attack",
    [
        "SET session_replication_role = replica",
        "SELECT set_config('session_replication_role', 'replica', false)",
        "SET ROLE clinic_owner",
        "SET SESSION AUTHORIZATION clinic_owner",
        "CREATE TABLE public.x ()",
        "CREATE FUNCTION public.x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "ALTER FUNCTION journal_append OWNER TO clinic_app",
        "DROP FUNCTION keep_frozen CASCADE",
        "ALTER ROLE clinic_app SUPERUSER",
        "ALTER ROLE clinic_app SET session_replication_role = replica",
        "GRANT clinic_owner TO clinic_app",
        "CREATE ROLE x SUPERUSER",
        "CREATE SCHEMA x",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY party TO '/tmp/x'",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'clinic_owner'",
        "UPDATE pg_class SET relhastriggers = false",
        "DELETE FROM pg_trigger",
    ],
)
def test_s36_the_guards_themselves_are_out_of_reach(books, attack):
    assert was_refused(books, attack), attack


def test_s36_no_function_of_the_owner_is_open_to_everybody(books):
    """A function with its owner's rights is called by the application by name, or only by triggers."""
    with psycopg.connect(books.urls.owner) as conn:
        rows = conn.execute(
            """
            SELECT proname FROM pg_proc
             WHERE pronamespace = 'public'::regnamespace AND prosecdef AND prorettype <> 'trigger'::regtype
               AND EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE grantee = 0)
            """
        ).fetchall()
    assert rows == []


def was_refused(books: Books, attack: str, *also: type[psycopg.Error]) -> bool:
    """Whether the application's role is told no."""
    refusals: tuple[type[psycopg.Error], ...] = (*REFUSED, *also)
    with undone(books.urls.app) as conn:
        try:
            conn.execute(attack.encode())
        except refusals:
            return True
    return False
