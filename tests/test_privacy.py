"""A person's data: forgotten at once where no law keeps it, after the term where one does; given out whole."""

from __future__ import annotations

import json

import psycopg
import pytest
from click.testing import CliRunner

from billing import books, privacy
from billing.privacy_commands import privacy_commands
from clinic import clock, db, settings
from clinic.auth import COMMAND_LINE
from clinic.command import change
from tests import given, given_money
from tests.given import line, made

PATIENT = {"id": "P-9", "name": "Канарейкина Анна", "phone": "+79990001122", "email": "canary@example.ru"}
PAYER = {"kind": "person", "ref": "P-9", "name": "Канарейкина Анна", "phone": "+79990001122"}
CANARIES = ("Канарейкина", "+79990001122", "canary@example.ru")


def erase(ref="P-9", years=5):
    with change(COMMAND_LINE) as made_:
        return privacy.erase(made_, ref, years)


def everywhere(opened):
    """Everything in the database, as text."""
    with psycopg.connect(opened.owner) as conn:
        tables = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return "\n".join(
            str(conn.execute(f"SELECT string_agg(each::text, ' ') FROM {table} AS each").fetchone())
            for (table,) in tables
        )


def is_known(opened):
    return any(each in everywhere(opened) for each in CANARIES)


def invoice(clinic, **more):
    return clinic.invoice(clinic.quote(line("MRI-ABD-RP"), patient=PATIENT), payer=PAYER, **more)


# ---- Domain rule 72 ----


def test_names_of_2026_are_kept_to_the_end_of_2031_and_gone_the_day_after(clinic, opened):
    with given.day("2026-12-01"):
        issued = invoice(clinic)
        outcome = erase()
    assert (outcome.status, outcome.hold_until.isoformat()) == ("retention_hold", "2031-12-31")
    with given.day("2031-12-31"):
        privacy.sweep(5)
        assert made(clinic.get(f"/v1/invoices/{issued['id']}"))["payer"]["name"] == PAYER["name"]
    with given.day("2032-01-01"):
        assert privacy.sweep(5) > 0
        after = made(clinic.get(f"/v1/invoices/{issued['id']}"))
        assert (after["payer"]["name"], after["patient"]["name"]) == ("удалено", "удалено")
        assert not is_known(opened)
    for kept in ("number", "totals", "lines", "content_sha256", "date"):
        assert after[kept] == issued[kept]
    assert waiting() == []


def waiting():
    with db.reading() as conn:
        return conn.execute("SELECT ref, hold_until::text FROM erasure_request WHERE done_at IS NULL").fetchall()


def test_nobody_need_have_asked(clinic, opened):
    with given.day("2026-12-01"):
        invoice(clinic)
    with given.day("2032-01-01"):
        assert privacy.sweep(5) > 0
    assert not is_known(opened)


def test_the_books_are_whole_after_it(clinic):
    with given.day("2026-12-01"):
        issued = invoice(clinic)
        given_money.payment(clinic, "100.00", issued, payer=PAYER)
        made(clinic.post(f"/v1/invoices/{issued['id']}/acts", {}))
    with given.day("2032-01-01"):
        privacy.sweep(5)
    with db.moment() as conn:
        assert books.check(conn).offenders == []


def rendered(clinic, invoice):
    made(clinic.post(f"/v1/invoices/{invoice['id']}/acts", {}))


def cancelled(clinic, invoice):
    made(clinic.post(f"/v1/invoices/{invoice['id']}/cancel", {"reason": "Ошибка"}))


def paid(clinic, invoice):
    given_money.payment(clinic, "100.00", invoice, payer=PAYER)


@pytest.mark.parametrize("later", [rendered, cancelled, paid])
def test_what_came_later_keeps_the_name_longer(clinic, later):
    with given.day("2026-12-30"):
        issued = invoice(clinic)
    with given.day("2027-01-11"):
        later(clinic, issued)
        assert erase().hold_until.isoformat() == "2032-12-31"


def test_a_refund_keeps_the_name_of_who_paid(clinic):
    with given.day("2026-12-30"):
        payment = given_money.payment(clinic, "100.00", payer=PAYER)
        assert erase().hold_until.isoformat() == "2031-12-31"
    with given.day("2027-01-11"):
        made(given_money.refunded(clinic, payment, "100.00"))
        assert erase().hold_until.isoformat() == "2032-12-31"


# ---- What no law keeps ----


@pytest.mark.parametrize("end", ["draft", "send", "decline"])
def test_a_quote_nobody_accepted_is_forgotten_at_once(clinic, opened, end):
    quote = clinic.quote(line("MRI-ABD-RP"), patient=PATIENT)
    if end != "draft":
        made(clinic.post(f"/v1/quotes/{quote['id']}/{end}", {}))
    outcome = erase()
    assert (outcome.status, outcome.forgotten, outcome.hold_until) == ("erased", 1, None)
    assert not is_known(opened)
    assert made(clinic.get(f"/v1/quotes/{quote['id']}"))["patient"] == {"id": "P-9", "name": "удалено"}


def test_an_accepted_quote_is_kept_like_a_contract(clinic):
    quote = clinic.quote(line("MRI-ABD-RP"), patient=PATIENT)
    made(clinic.post(f"/v1/quotes/{quote['id']}/accept", {}))
    assert erase().status == "retention_hold"


def test_a_draft_invoice_is_worked_on_and_a_discarded_one_is_not(clinic, opened):
    draft = made(clinic.post("/v1/invoices", {"lines": [line("MRI-ABD-RP")], "payer": PAYER}))
    assert erase().status == "retention_hold"
    made(clinic.post(f"/v1/invoices/{draft['id']}/discard"))
    outcome = erase()
    assert (outcome.status, waiting()) == ("erased", [])
    assert not is_known(opened)


def test_a_person_nobody_knows_has_nothing_to_be_forgotten(clinic):
    assert erase("P-77").as_json() == {"status": "erased", "hold_until": None, "forgotten": 0}


def test_others_are_left_alone(clinic):
    invoice(clinic)
    other = clinic.invoice(clinic.quote(line("CT-ABD-RP")))
    erase()
    assert made(clinic.get(f"/v1/invoices/{other['id']}"))["payer"]["name"] == given.PAYER["name"]


def test_an_answer_given_again_names_nobody_forgotten(clinic, opened):
    body = {"lines": [line("MRI-ABD-RP")], "patient": PATIENT}
    first = clinic.post("/v1/quotes", body, key="the-same-key-1")
    erase()
    again = clinic.post("/v1/quotes", body, key="the-same-key-1")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (first.get_json()["patient"]["name"], again.get_json()["patient"]["name"]) == (PATIENT["name"], "удалено")


def test_a_request_is_remembered_once_and_told_without_a_name(clinic):
    invoice(clinic)
    erase()
    erase()
    year = clock.today().year
    assert waiting() == [("P-9", f"{year + 5}-12-31")]
    told = [each for each in clinic.events() if each["type"] == "person.erasure_on_hold"]
    assert [each["data"] for each in told] == [{"hold_until": f"{year + 5}-12-31"}] * 2


# ---- What the database promises ----


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE party SET name = 'Другая'",
        "UPDATE party SET name = 'удалено', phone = NULL, email = NULL, salt = NULL, erased_at = now()",
        "DELETE FROM party",
        "TRUNCATE party",
        "DELETE FROM erasure_request",
        "UPDATE erasure_request SET ref = 'P-1'",
        "UPDATE erasure_request SET hold_until = '2027-01-01'",
    ],
)
def test_the_application_forgets_by_the_one_function_only(clinic, opened, sql):
    invoice(clinic)
    erase()
    with psycopg.connect(opened.app, options="-c clinic.branch=*") as conn, pytest.raises(psycopg.Error) as refused:
        conn.execute(sql)
    assert isinstance(refused.value, (psycopg.errors.InsufficientPrivilege, psycopg.errors.RestrictViolation))


def test_the_function_keeps_what_the_law_keeps_whoever_asks(clinic, opened):
    with given.day("2026-12-01"):
        invoice(clinic)
    with psycopg.connect(opened.app, options="-c clinic.branch=*") as conn:
        sql = "SELECT count(*) FROM party_forget((SELECT array_agg(id) FROM party), %s::date, 0)"
        assert conn.execute(sql, ("2031-12-31",)).fetchone() == (0,)


def test_the_owners_hand_changes_no_name_either(clinic, opened):
    invoice(clinic)
    with psycopg.connect(opened.owner) as conn, pytest.raises(psycopg.errors.RestrictViolation):
        conn.execute("UPDATE party SET name = 'Другая'")


# ---- Given out ----


def test_an_export_has_all_of_a_persons_documents_and_who_looked(clinic):
    quote = clinic.quote(line("CT-ABD-RP"), patient=PATIENT)
    issued = invoice(clinic)
    act = made(clinic.post(f"/v1/invoices/{issued['id']}/acts", {}))
    payment = given_money.payment(clinic, "100.00", issued, payer=PAYER)
    clinic.invoice(clinic.quote(line("CT-ABD-RP")))
    clinic.get(f"/v1/invoices/{issued['id']}")
    with db.transaction() as conn:
        found = privacy.export(conn, "P-9", "the-request")
    assert {"name": PATIENT["name"], "phone": PATIENT["phone"], "email": PATIENT["email"]} in found["names"]
    assert quote["id"] in [str(each["id"]) for each in found["quotes"]]
    assert [str(each["id"]) for each in found["invoices"]] == [issued["id"]]
    assert [str(each["id"]) for each in found["acts"]] == [act["id"]]
    assert [str(each["id"]) for each in found["payments"]] == [payment["id"]]
    assert len(found["quotes"]) == 2
    assert [(each["action"], str(each["object"])) for each in found["looked_at_by"]] == [("read", issued["id"])]
    with db.reading() as conn:
        noted = db.value(conn, "SELECT count(*) FROM access_log WHERE action = 'export' AND request_id = 'the-request'")
    assert noted == 5


def command(opened, monkeypatch, *words):
    chosen = settings.Settings(database_url=opened.app, database_owner_url=opened.owner, secret_key="k" * 32)
    monkeypatch.setattr(settings, "from_environment", lambda: chosen)
    db.close_pool()
    done = CliRunner().invoke(privacy_commands, words)
    db.open_pool(opened.app, size=4)
    return done


def test_the_commands_speak_json(clinic, opened, monkeypatch):
    invoice(clinic)
    exported = command(opened, monkeypatch, "export", "P-9")
    assert json.loads(exported.stdout)["invoices"][0]["payer"]["name"] == PAYER["name"]
    erased = json.loads(command(opened, monkeypatch, "erase", "P-9").stdout)
    assert erased["status"] == "retention_hold"
    assert command(opened, monkeypatch, "erase", "Канарейкина Анна").exit_code == 2
