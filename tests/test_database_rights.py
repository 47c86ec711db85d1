"""What the application's role may do, as the database itself tells it: every table, column and function there is (S36).

What is history besides, and frozen by triggers, is attacked in `test_frozen` and `test_frozen_tables`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg

from clinic.embedded import Cluster, Urls
from tests.running import new_database
from tests.test_frozen_tables import HISTORY, OTHERS

TABLES = sorted(HISTORY.keys() | OTHERS)
"""All of them, as `test_every_table_has_a_rule` holds."""
DELETED = {
    "idempotency": "keys are forgotten after thirty days",
    "rate_limit": "limits nobody is near",
    "staff_session": "signing out",
    "second_factor": "taken away by its owner or an administrator",
    "price_order_line": "lines of drafts are written anew, which a trigger holds",
    "quote_line": "the same",
    "invoice_line": "the same",
}
"""Where the application may delete rows, and why."""
KEYS = {"id", "branch_id", "created_at", "created_by", "sha256", "token_sha256"}
"""Columns that are never written again, whatever the table."""
MOVED = {
    ("second_factor", "created_at"): "setting one up is begun anew",
    ("staff", "branch_id"): "an account is moved by an administrator",
}
"""But for these, and why."""


@pytest.fixture(scope="module")
def urls(cluster: Cluster) -> Iterator[Urls]:
    with new_database(cluster) as urls:
        yield urls


@pytest.fixture
def asked(urls):
    """A question to the database's own catalog."""

    def ask(sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(urls.owner) as conn:
            return conn.execute(sql.encode(), values).fetchall()

    return ask


def is_refused(urls: Urls, attack: str) -> bool:
    """Whether the application's role lacks the right, before any row or trigger is asked."""
    with psycopg.connect(urls.app) as conn:
        try:
            conn.execute(attack.encode())
        except (pg.InsufficientPrivilege, pg.GeneratedAlways):
            return True
        finally:
            conn.rollback()
    return False


def test_s36_the_applications_role_is_an_ordinary_one_that_owns_nothing(asked):
    assert asked(
        """
        SELECT rolname FROM pg_roles
         WHERE rolname IN ('clinic_app', 'clinic_command')
           AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls OR rolconfig IS NOT NULL)
        """
    ) == []  # fmt: skip
    assert asked("SELECT roleid::regrole FROM pg_auth_members WHERE member = 'clinic_app'::regrole") == []
    owned = """
        SELECT {what} FROM {catalog}
         WHERE {owner} IN (SELECT oid FROM pg_roles WHERE rolname IN ('clinic_app', 'clinic_command'))
        """
    for catalog, what, owner in [
        ("pg_class", "relname", "relowner"), ("pg_proc", "proname", "proowner"), ("pg_type", "typname", "typowner"),
        ("pg_namespace", "nspname", "nspowner"), ("pg_database", "datname", "datdba"),
    ]:  # fmt: skip
        assert asked(owned.format(what=what, catalog=catalog, owner=owner)) == [], catalog
    # Nor is it given what is made later.
    assert asked("SELECT defaclrole::regrole::text, defaclobjtype::text FROM pg_default_acl") == []


@pytest.mark.parametrize("table", TABLES)
def test_s36_a_table_is_neither_emptied_nor_dropped_nor_altered(urls, table):
    attacks = [
        f"TRUNCATE {table} CASCADE",
        f"DROP TABLE {table} CASCADE",
        f"ALTER TABLE {table} DISABLE TRIGGER USER",
        f"CREATE INDEX ON {table} ((1))",
        f"CREATE POLICY x ON {table} USING (true)",
        f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
    ]
    for attack in attacks:
        assert is_refused(urls, attack), attack
    assert is_refused(urls, f"DELETE FROM {table}") is (table not in DELETED)


def test_s36_columns_are_updated_by_name_and_keys_never(asked, urls):
    whole = [table for table in TABLES if asked(f"SELECT has_table_privilege('clinic_app', '{table}', 'UPDATE')")[0][0]]
    assert whole == []
    granted = asked(
        """
        SELECT relname, attname, coalesce(attnum = ANY (indkey), false)
          FROM pg_class
          JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
          LEFT JOIN pg_index ON indrelid = pg_class.oid AND indisprimary
         WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
           AND has_column_privilege('clinic_app', pg_class.oid, attnum, 'UPDATE')
        """
    )
    assert len(granted) > 100, "the rights are not understood"
    written = {(table, column) for table, column, is_key in granted if is_key or column in KEYS}
    assert written == MOVED.keys()
    for table in TABLES:
        moves = {column for of, column, _ in granted if of == table}
        for (column,) in asked(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped", table
        ):
            if column not in moves:
                assert is_refused(urls, f"UPDATE {table} SET {column} = {column}"), (table, column)


def test_s36_no_sequence_is_set(asked):
    for (sequence,) in asked("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'S'"):
        assert asked(f"SELECT has_sequence_privilege('clinic_app', '{sequence}', 'UPDATE')") == [(False,)], sequence


def test_s36_functions_find_their_tables_in_one_place(asked):
    """Whoever calls may make a temporary table of the same name, and those are looked at first unless it is said."""
    rows = asked(
        r"""
        SELECT proname, prosecdef, proconfig
          FROM pg_proc
         WHERE pronamespace = 'public'::regnamespace
           AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
           AND (prosecdef OR prosrc ~* '\m(FROM|JOIN|INTO|UPDATE|DELETE|PERFORM)\M')
        """
    )
    assert len(rows) > 50, "the functions are not understood"
    places = (["search_path=public, pg_temp"], ["search_path=pg_catalog"])
    astray = {name: config for name, _, config in rows if (config or [])[:1] not in places}
    assert astray == {}


def test_s36_no_temporary_table_leads_the_guard_of_administrators_astray(urls):
    with psycopg.connect(urls.owner) as conn:
        conn.execute(
            """
            INSERT INTO staff (id, login, role, password_hash, created_at)
            VALUES (gen_random_uuid(), 'anna', 'administrator', 'x', now())
            """
        )
    with psycopg.connect(urls.app) as conn:
        conn.execute("CREATE TEMP TABLE staff AS SELECT * FROM public.staff")
        with pytest.raises(pg.RestrictViolation):
            conn.execute("UPDATE public.staff SET active = false; SET CONSTRAINTS ALL IMMEDIATE")


def test_s36_no_temporary_table_keeps_the_sessions_of_a_closed_account(urls):
    with psycopg.connect(urls.owner) as conn:
        conn.execute(
            """
            WITH berta AS (
              INSERT INTO staff (id, login, role, password_hash, created_at)
              VALUES (gen_random_uuid(), 'berta', 'reception', 'x', now()) RETURNING id)
            INSERT INTO staff_session (token_sha256, id, staff_id, created_at, seen_at, ends_at, needs_code, device)
            SELECT sha256('berta'), gen_random_uuid(), id, now(), now(), now() + interval '1 hour', false, '' FROM berta
            """
        )
    with psycopg.connect(urls.app) as conn:
        conn.execute("CREATE TEMP TABLE staff_session (staff_id uuid)")
        conn.execute("UPDATE staff SET active = false WHERE login = 'berta'")
        assert conn.execute("SELECT count(*) FROM public.staff_session").fetchone() == (0,)
