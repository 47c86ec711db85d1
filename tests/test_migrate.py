"""Migrations: once each, in order, by one process at a time; and the roles beside them."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from clinic import migrate
from clinic.migrate import MigrationError


@pytest.fixture
def empty(cluster):
    """The URL of an empty database of a role that owns it and may not make roles, and the superuser's."""
    with psycopg.connect(cluster.owner_url("postgres"), autocommit=True) as owner:
        owner.execute("CREATE ROLE weak LOGIN")
        owner.execute("CREATE DATABASE empty OWNER weak")
        superuser = cluster.owner_url("empty")
        yield superuser.replace("clinic_owner", "weak"), superuser
        owner.execute("DROP DATABASE empty WITH (FORCE)")
        owner.execute("REVOKE clinic_app, clinic_command FROM weak")
        owner.execute("DROP ROLE weak")


def test_each_migration_is_applied_once(empty):
    _, url = empty
    assert migrate.run(url) == len(migrate.files())
    assert migrate.run(url) == 0


def test_of_many_starts_at_once_one_migrates(empty):
    _, url = empty
    with ThreadPoolExecutor(6) as starts:
        applied = list(starts.map(lambda _: migrate.run(url), range(6)))
    assert sorted(applied) == [0] * 5 + [len(migrate.files())]


def test_an_applied_file_that_was_edited_is_refused(empty):
    _, url = empty
    migrate.run(url)
    with psycopg.connect(url) as conn:
        conn.execute("UPDATE schema_migration SET sha256 = 'other' WHERE name = '0001_clinic.sql'")
    with pytest.raises(MigrationError, match="was changed after it was applied"):
        migrate.run(url)


def test_a_database_from_the_future_is_left_alone(empty):
    _, url = empty
    migrate.run(url)
    with psycopg.connect(url) as conn:
        conn.execute("INSERT INTO schema_migration (name, sha256) VALUES ('9999_later.sql', '')")
    with pytest.raises(MigrationError, match="newer than this program"):
        migrate.run(url)


def test_an_owner_who_may_not_grant_roles_is_told_what_an_administrator_runs(empty):
    url, superuser = empty
    with pytest.raises(MigrationError, match="run CREATE ROLE") as refused:
        migrate.run(url)
    # The roles of the cluster are there already; the grants are what is missing here.
    _, _, statements = str(refused.value).partition("run ")
    with psycopg.connect(superuser, autocommit=True) as administrator:
        for statement in statements.split("; "):
            if not statement.startswith("CREATE"):
                administrator.execute(statement.encode())
    assert migrate.run(url) == len(migrate.files())


SOLD_BEFORE_LINES_HAD_DOCTORS = """
INSERT INTO branch (id, code, name, prefix, created_at) VALUES (gen_random_uuid(), 'main', 'x', '', now());
INSERT INTO party (id, ref, salt, digest) VALUES (gen_random_uuid(), 'P-1', 'x', 'x');
INSERT INTO number_series (branch_id, kind, year, prefix) SELECT id, 'invoice', 2026, '' FROM branch;
INSERT INTO invoice (id, branch_id, status, date, payer_party, payer_ref, payer, price_list, subtotal, discount, total,
                     created_at, created_by, updated_at)
SELECT gen_random_uuid(), branch.id, 'draft', '2026-11-23', party.id, ref, '{"kind": "person"}', 'base', 5, 0, 5, now(),
       'x', now()
  FROM branch, party, generate_series(1, 2);
INSERT INTO invoice_line (invoice_id, position, article, name_ru, name_en, nomenclature_codes, unit, doctor_rank,
                          quantity, price_kind, unit_price, gross, discount, document_discount, amount, discountable,
                          vat_category, tax_deduction_code, price_id, price_list, order_id, order_number, order_date,
                          fallback)
SELECT id, 1, 'A', 'а', 'a', '{}', 'x', 'none', 1, 'fixed', 5, 5, 0, 0, 5, true, 'exempt_medical', '1',
       gen_random_uuid(), 'base', gen_random_uuid(), '1', '2026-11-23', false
  FROM invoice;
UPDATE invoice SET status = 'issued', series_id = series.id, sequence = 1, number = '2026-000001', issued_at = now(),
       supplier = '{}'
  FROM number_series AS series
 WHERE invoice.id = (SELECT min(id::text)::uuid FROM invoice);
"""


def test_what_was_issued_before_lines_had_doctors_keeps_its_hash(empty, monkeypatch):
    _, url = empty
    every = migrate.files()
    monkeypatch.setattr(migrate, "files", lambda: every[:4])
    migrate.run(url)
    with psycopg.connect(url) as conn:
        conn.execute(SOLD_BEFORE_LINES_HAD_DOCTORS)
    monkeypatch.setattr(migrate, "files", lambda: every)
    migrate.run(url)
    with psycopg.connect(url) as conn:
        found = conn.execute(
            "SELECT status, content_version, content_sha256 = invoice_digest(invoice) FROM invoice ORDER BY status"
        ).fetchall()
    assert found == [("draft", 3, None), ("issued", 1, True)]


CANCELLED_BEFORE_CREDIT_NOTES_HAD_LINES = """
INSERT INTO number_series (branch_id, kind, year, prefix) SELECT id, 'credit_note', 2026, 'К-' FROM branch;
INSERT INTO credit_note (id, invoice_id, branch_id, cancels, series_id, sequence, number, date, amount, reason,
                         created_at, created_by)
SELECT gen_random_uuid(), invoice.id, invoice.branch_id, true, series.id, 1, 'К-2026-000001', '2026-11-23', total, 'x',
       now(), 'x'
  FROM invoice, number_series AS series WHERE status = 'issued' AND kind = 'credit_note';
UPDATE invoice SET status = 'cancelled', credited = total WHERE status = 'issued';
"""


def test_what_was_cancelled_before_credit_notes_had_lines_has_them_and_keeps_its_hash(empty, monkeypatch):
    _, url = empty
    every = migrate.files()
    monkeypatch.setattr(migrate, "files", lambda: every[:4])
    migrate.run(url)
    with psycopg.connect(url) as conn:
        conn.execute(SOLD_BEFORE_LINES_HAD_DOCTORS)
        conn.execute(CANCELLED_BEFORE_CREDIT_NOTES_HAD_LINES)
    monkeypatch.setattr(migrate, "files", lambda: every)
    migrate.run(url)
    with psycopg.connect(url) as conn:
        cancelled = conn.execute(
            """
            SELECT invoice.credited, issued_by, invoice.content_sha256 = invoice_digest(invoice), note.status,
                   note.content_sha256 = credit_note_digest(note), note.supplier = invoice.supplier
              FROM invoice JOIN credit_note AS note ON note.invoice_id = invoice.id
            """
        ).fetchall()
        lines = conn.execute(
            """
            SELECT note.quantity, note.amount, line.credited_quantity, line.credited_amount
              FROM invoice_line AS line JOIN invoice ON invoice.id = invoice_id
              LEFT JOIN credit_note_line AS note
                ON note.invoice_id = line.invoice_id AND note.invoice_position = line.position
             ORDER BY invoice.status
            """
        ).fetchall()
    assert cancelled == [(5, "x", True, "issued", True, True)]
    assert lines == [(1, 5, 1, 5), (None, None, 0, 0)]
