"""Invoices: numbers, snapshots, parts, payers (domain rules 26–32, 34, 36)."""

import hashlib
from datetime import date, timedelta

import pytest

from billing import numbering
from catalog import vat
from clinic import clock, db
from clinic.settings import Settings
from tests import given
from tests.given import ORGANISATION, PAYER, faults, line, made
from wsgi import create_app


def test_the_patient_at_the_desk_gets_an_invoice_in_one_call(clinic):
    quote = clinic.quote(*[(article, rank) for article, rank, _ in given.REAL])
    invoice = clinic.invoice(quote)
    assert (invoice["status"], invoice["number"]) == ("issued", f"{invoice['date'][:4]}-000001")
    assert invoice["totals"] == quote["totals"]
    assert (invoice["balance"], invoice["payment_status"]) == ("121240.00", "unpaid")
    events = [each["type"] for each in clinic.events()][-4:]
    assert events == ["quote.created", "quote.accepted", "invoice.created", "invoice.issued"]
    assert made(clinic.get(f"/v1/quotes/{quote['id']}"))["status"] == "invoiced"


def test_numbers_begin_again_each_clinic_year(clinic):
    with given.day("2027-12-31", "23:59"):
        caller = given.caller(clinic.app, "*")
        old = caller.invoice(caller.quote(("CT-ABD-RP", None)))
    with given.day("2028-01-01", "00:00"):
        new = caller.invoice(caller.quote(("CT-ABD-RP", None)))
    assert (old["number"], new["number"]) == ("2027-000001", "2028-000001")


def test_a_quote_is_invoiced_once(clinic):
    quote = clinic.quote(("CT-ABD-RP", None))
    invoice = clinic.invoice(quote)
    again = clinic.post(f"/v1/quotes/{quote['id']}/invoice", {"payer": PAYER, "issue": True})
    body = again.get_json()
    assert (again.status_code, body["code"], body["invoice"]) == (409, "quote_already_invoiced", invoice["id"])


def test_an_expired_quote_is_not_invoiced_at_its_old_price(clinic):
    quote = clinic.quote(("CT-ABD-RP", None))
    late = (date.fromisoformat(quote["valid_until"]) + timedelta(days=1)).isoformat()
    with given.day(late):
        caller = given.caller(clinic.app, "*")
        refused = caller.post(f"/v1/quotes/{quote['id']}/invoice", {"payer": PAYER, "issue": True})
    assert (refused.status_code, refused.get_json()["code"]) == (409, "quote_expired")


def test_an_accepted_quote_may_be_invoiced_later(clinic):
    quote = clinic.quote(("CT-ABD-RP", None))
    made(clinic.post(f"/v1/quotes/{quote['id']}/accept"))
    with given.day((date.fromisoformat(quote["valid_until"]) + timedelta(days=9)).isoformat()):
        assert given.caller(clinic.app, "*").invoice(quote)["totals"] == quote["totals"]


def test_there_is_no_invoice_without_a_payer(clinic):
    quote = clinic.quote(("CT-ABD-RP", None))
    assert faults(clinic.post(f"/v1/quotes/{quote['id']}/invoice", {"issue": True})) == [("/payer", "required")]
    assert faults(clinic.post("/v1/invoices", {"lines": [line("CT-ABD-RP")]})) == [("/payer", "required")]


@pytest.mark.parametrize(
    ("payer", "wrong"),
    [
        (ORGANISATION | {"inn": "1234567895"}, [("/payer/inn", "wrong_inn")]),
        (ORGANISATION | {"inn": "0000000000"}, [("/payer/inn", "wrong_inn")]),
        (ORGANISATION | {"inn": "123456789047"}, [("/payer/inn", "wrong_inn")]),
        (ORGANISATION | {"kpp": "77010100"}, [("/payer/kpp", "wrong_kpp")]),
        ({"kind": "organisation", "name": "ООО"}, [("/payer/inn", "required"), ("/payer/kpp", "required")]),
        (ORGANISATION | {"kind": "insurer"}, [("/payer/guarantee_letter", "required")]),
        ({"kind": "person"}, [("/payer/name", "required")]),
        (PAYER | {"kpp": "770101001"}, [("/payer/kpp", "only_for_organisations")]),
        (PAYER | {"is_patient": True}, [("/payer/is_patient", "needs_patient")]),
        ({"kind": "aunt", "name": "Анна"}, [("/payer/kind", "not_a_choice")]),
    ],
)
def test_a_payer_is_complete(clinic, payer, wrong):
    assert faults(clinic.post("/v1/invoices", {"lines": [line("CT-ABD-RP")], "payer": payer})) == wrong


def test_patient_and_payer_are_kept_apart(clinic):
    letter = {"number": "ГП-77", "valid_until": "2027-01-31", "limit": "50000.00"}
    invoice = clinic.invoice(
        clinic.quote(("CT-ABD-RP", None), patient={"id": "P-7", "name": "Петров"}),
        payer=ORGANISATION | {"kind": "insurer", "guarantee_letter": letter, "ref": "INS-1"},
    )
    assert invoice["patient"] == {"id": "P-7", "name": "Петров"}
    assert (invoice["payer"]["ref"], invoice["payer"]["name"]) == ("INS-1", "ООО «Ромашка»")
    assert invoice["payer"]["guarantee_letter"] == letter


def test_a_patient_who_pays_is_named_once(clinic):
    quote = clinic.quote(("CT-ABD-RP", None), patient={"id": "P-7", "name": "Петров"})
    payer = clinic.invoice(quote, payer={"kind": "person", "is_patient": True})["payer"]
    assert (payer["ref"], payer["name"]) == ("P-7", "Петров")


def test_a_later_change_of_the_catalog_reaches_no_document(clinic):
    quote = clinic.quote(("CT-ABD-RP", None))
    invoice = clinic.invoice(clinic.quote(("CT-ABD-RP", None)))
    service = clinic.get("/v1/services/CT-ABD-RP")
    renamed = {"name": {"ru": "Иначе", "en": "Other"}, "nomenclature_codes": [], "vat_category": "standard"}
    made(clinic.patch("/v1/services/CT-ABD-RP", renamed, match=service.headers["ETag"]))
    assert made(clinic.get(f"/v1/quotes/{quote['id']}")) == quote
    assert made(clinic.get(f"/v1/invoices/{invoice['id']}")) == invoice
    later = clinic.invoice(quote)
    assert later["lines"][0]["name"]["ru"].startswith("МСКТ")
    assert later["lines"][0]["vat"]["text"] == "Без НДС"


def test_an_issued_invoice_is_not_edited(clinic):
    invoice = clinic.invoice(clinic.quote(("CT-ABD-RP", None)))
    read = clinic.get(f"/v1/invoices/{invoice['id']}")
    refused = clinic.patch(f"/v1/invoices/{invoice['id']}", {"comment": "x"}, match=read.headers["ETag"])
    assert (refused.status_code, refused.get_json()["code"]) == (409, "invoice_not_draft")
    assert made(clinic.get(f"/v1/invoices/{invoice['id']}")) == invoice


def test_a_draft_is_edited_by_whoever_has_read_it(clinic):
    draft = clinic.draft(("CT-ABD-RP", None))
    path = f"/v1/invoices/{draft['id']}"
    tag = clinic.get(path).headers["ETag"]
    assert clinic.patch(path, {"comment": "x"}).status_code == 428
    edited = clinic.patch(path, {"comment": "срочно", "payer": ORGANISATION}, match=tag)
    assert (edited.get_json()["comment"], edited.get_json()["payer"]["inn"]) == ("срочно", "1234567894")
    stale = clinic.patch(path, {"comment": "y"}, match=tag)
    assert (stale.status_code, stale.get_json()["current"]) == (412, edited.headers["ETag"])


def test_an_invoice_is_cancelled_with_a_reason_and_its_number_is_not_used_again(clinic):
    quote = clinic.quote(("CT-ABD-RP", None))
    invoice = clinic.invoice(quote)
    path = f"/v1/invoices/{invoice['id']}/cancel"
    assert faults(clinic.post(path, {})) == [("/reason", "required")]
    cancelled = made(clinic.post(path, {"reason": "не тот плательщик"}))
    assert (cancelled["status"], cancelled["credited"], cancelled["balance"]) == ("cancelled", "8840.00", "0.00")
    assert cancelled["content_sha256"] == invoice["content_sha256"]
    assert clinic.post(path, {"reason": "ещё раз"}).get_json()["code"] == "invoice_not_issued"
    again = clinic.invoice(quote)
    assert (again["sequence"], again["totals"]) == (invoice["sequence"] + 1, invoice["totals"])
    series = made(clinic.get("/v1/numbering/proof"))["series"]
    assert [(each["kind"], each["count"], each["whole"]) for each in series] == [
        ("credit_note", 1, True),
        ("invoice", 2, True),
    ]


def test_a_discarded_draft_gives_its_quote_back(clinic):
    quote = clinic.quote(("CT-ABD-RP", None))
    draft = clinic.invoice(quote, issue=False)
    assert (draft["status"], draft["number"]) == ("draft", None)
    assert made(clinic.post(f"/v1/invoices/{draft['id']}/discard"))["status"] == "discarded"
    assert clinic.invoice(quote)["number"].endswith("-000001")
    assert clinic.post(f"/v1/invoices/{draft['id']}/issue").get_json()["code"] == "invoice_not_draft"


def test_parts_of_a_line_add_up_to_the_kopeck(clinic):
    quote = clinic.quote(line("US-LIVER", quantity="1.5", unit_price="33.33", price_reason="проба"))
    parts = [clinic.invoice(quote, lines=[{"position": 1, "quantity": each}]) for each in ("0.5", "0.5", "0.5")]
    assert [part["totals"]["total"] for part in parts] == ["16.67", "16.67", "16.66"]
    left = clinic.post(f"/v1/quotes/{quote['id']}/invoice", {"payer": PAYER, "lines": [{"position": 1}]})
    assert left.get_json()["code"] == "quote_already_invoiced"


def test_more_than_the_quote_is_refused_by_place(clinic):
    quote = clinic.quote(line("CT-ABD-RP", quantity="2"), line("MRI-ABD-RP"))
    clinic.invoice(quote, lines=[{"position": 1, "quantity": 1}])
    wrong = [{"position": 1, "quantity": 2}, {"position": 9}, {"position": 2}, {"position": 2}]
    refused = clinic.post(f"/v1/quotes/{quote['id']}/invoice", {"payer": PAYER, "lines": wrong})
    assert faults(refused) == [
        ("/lines/0/quantity", "quantity_exceeds_quote"),
        ("/lines/1/position", "unknown_position"),
        ("/lines/3/position", "repeated_position"),
    ]
    rest = clinic.invoice(quote)
    assert [(each["quote_position"], each["quantity"]) for each in rest["lines"]] == [(1, "1"), (2, "1")]


def test_a_direct_invoice_is_drafted_then_issued(clinic):
    draft = clinic.draft(("MRI-ABD-RP", None), ("ONC-CONS-1", "doctor"))
    assert (draft["number"], draft["payment_status"], draft["supplier"]) == (None, None, None)
    issued = made(clinic.post(f"/v1/invoices/{draft['id']}/issue"))
    assert (issued["sequence"], issued["totals"]) == (1, draft["totals"])
    assert issued["supplier"] == {"branch": "main", "sample": True, "requisites": None}


def test_an_invoice_for_nothing_is_paid_at_issue(clinic):
    invoice = clinic.invoice(clinic.quote(("ONC-REMOTE", None)))
    assert (invoice["totals"]["total"], invoice["payment_status"]) == ("0.00", "paid")


def test_the_requisites_are_copied_at_issue(clinic):
    requisites = {
        "name": "Общество с ограниченной ответственностью «Клиника»",
        "short_name": "ООО «Клиника»",
        "inn": "1234567894",
        "kpp": "770101001",
        "ogrn": "1027700132195",
        "address": "Москва",
        "bank": {
            "bik": "044525225",
            "name": "ПАО Сбербанк",
            "account": "40702810200000012345",
            "corr_account": "30101810400000000225",
        },
    }
    made(clinic.put("/v1/branches/main/requisites", requisites))
    issued = clinic.invoice(clinic.quote(("CT-ABD-RP", None)))
    made(clinic.put("/v1/branches/main/requisites", requisites | {"address": "Тверь"}))
    assert issued["supplier"]["sample"] is False
    kept = made(clinic.get(f"/v1/invoices/{issued['id']}"))["supplier"]["requisites"]
    assert (kept["address"], kept["bank"]["bik"]) == ("Москва", "044525225")


def test_dates_of_numbers_never_go_back(clinic):
    with given.day("2027-05-10"):
        caller = given.caller(clinic.app, "*")
        caller.invoice(caller.quote(("CT-ABD-RP", None)))
        draft = caller.draft(("CT-ABD-RP", None))
        issue = f"/v1/invoices/{draft['id']}/issue"
        assert faults(caller.post(issue, {"date": "2027-05-11"})) == [("/date", "in_the_future")]
        refused = caller.post(issue, {"date": "2027-05-09"})
        assert (refused.get_json()["code"], refused.get_json()["last_on"]) == ("number_date_order", "2027-05-10")
        humble = given.caller(clinic.app, "invoices:issue")
        assert humble.post(issue, {"date": "2027-05-09"}).get_json()["scope"] == "admin"


def test_midnight_between_clock_and_number_runs_the_command_again(clinic, monkeypatch):
    """A series already dated tomorrow: our own date is taken afresh, and the caller sees nothing of it."""
    with given.day("2027-05-11", "00:00"):
        caller = given.caller(clinic.app, "*")
        quote = caller.quote(("CT-ABD-RP", None))
        caller.invoice(caller.quote(("CT-ABD-RP", None)))
        midnight = clock.now()
    later = numbering._later

    def while_midnight_passes(*args):
        monkeypatch.setattr(clock, "now", lambda: midnight)
        return later(*args)

    monkeypatch.setattr(numbering, "_later", while_midnight_passes)
    monkeypatch.setattr(clock, "now", lambda: midnight - timedelta(seconds=1))
    assert caller.invoice(quote)["date"] == "2027-05-11"


def test_a_draft_at_an_old_price_is_not_issued(clinic):
    draft = clinic.draft(("CT-ABD-RP", None))
    tomorrow = clock.today() + timedelta(days=1)
    given.price("CT-ABD-RP", "9000.00", tomorrow)
    with given.day(tomorrow.isoformat()):
        refused = given.caller(clinic.app, "*").post(f"/v1/invoices/{draft['id']}/issue")
    body = refused.get_json()
    assert (refused.status_code, body["code"]) == (409, "price_changed")
    assert body["changes"] == [{"position": 1, "old": "8840.00", "new": "9000.00"}]


def test_what_comes_from_a_quote_is_not_priced_again(clinic):
    quote = clinic.quote(("CT-ABD-RP", None))
    later = clock.today() + timedelta(days=1)
    given.price("CT-ABD-RP", "9000.00", later)
    with given.day(later.isoformat()):
        assert given.caller(clinic.app, "*").invoice(quote)["totals"]["total"] == "8840.00"


def test_the_vat_rate_follows_the_day_of_service(clinic):
    ward = {
        "article": "WARD",
        "name": {"ru": "Палата повышенной комфортности", "en": "Comfort ward"},
        "category": "surgery",
        "vat_category": "standard",
    }
    with given.day("2027-06-01"):
        made(given.caller(clinic.app, "*").post("/v1/services", ward))
        given.price("WARD", "1220.00", date(2027, 6, 1))
        caller = given.caller(clinic.app, "*")
        invoice = caller.invoice(caller.quote(("WARD", None), ("ONC-CONS-1", "none")))
    assert invoice["totals"]["vat"] == [
        {"text": "в том числе НДС 22 %", "rate": "22", "base": "1220.00", "amount": "220.00"},
        {"text": "Без НДС", "rate": None, "base": "3700.00", "amount": None},
    ]
    assert invoice["totals"]["total"] == "4920.00"


@pytest.mark.parametrize(("day", "rate"), [("2025-12-31", "20"), ("2026-01-01", "22")])
def test_the_rate_of_a_day_is_dated_data(opened, day, rate):
    with db.reading() as conn:
        assert vat.rate_on(conn, "standard", date.fromisoformat(day)) == int(rate)
        assert vat.rate_on(conn, "exempt_medical", date.fromisoformat(day)) is None


def test_the_hash_is_the_databases_own_and_holds_no_name(clinic):
    invoice = clinic.invoice(clinic.quote(("CT-ABD-RP", None), patient={"id": "P-7", "name": "Петров"}))
    with db.reading() as conn:
        content = db.value(conn, "SELECT invoice_content(invoice) FROM invoice")
    assert hashlib.sha256(content.encode()).hexdigest() == invoice["content_sha256"]
    assert "Петров" not in content
    assert PAYER["name"] not in content


def test_invoices_are_listed_and_filtered(clinic):
    first = clinic.invoice(clinic.quote(("CT-ABD-RP", None)))
    second = clinic.invoice(clinic.quote(("ONC-REMOTE", None)), payer=ORGANISATION | {"ref": "ORG-1"})
    draft = clinic.draft(("MRI-ABD-RP", None))

    def listed(query=""):
        return [each["id"] for each in made(clinic.get(f"/v1/invoices?{query}"))["items"]]

    assert listed() == [draft["id"], second["id"], first["id"]]
    assert listed("status=draft") == [draft["id"]]
    assert listed("payment_status=paid") == [second["id"]]
    assert listed("payment_status=unpaid") == [first["id"]]
    assert listed("payer=ORG-1") == [second["id"]]
    assert listed(f"number={first['number']}") == [first["id"]]
    assert listed(f"quote={first['quote']['id']}") == [first["id"]]
    assert listed("until=2020-01-01") == []


def test_issuing_takes_its_own_right(clinic):
    quote = clinic.quote(("CT-ABD-RP", None))
    writer = given.caller(clinic.app, "invoices:write")
    refused = writer.post(f"/v1/quotes/{quote['id']}/invoice", {"payer": PAYER, "issue": True})
    assert (refused.status_code, refused.get_json()["scope"]) == (403, "invoices:issue")
    assert writer.invoice(quote, issue=False)["status"] == "draft"


def test_production_issues_nothing_without_requisites(opened):
    app = create_app(Settings(env="production", secret_key="k" * 32))
    given.main_branch()
    given.sample()
    caller = given.caller(app, "*")
    quote = caller.quote(("CT-ABD-RP", None))
    refused = caller.post(f"/v1/quotes/{quote['id']}/invoice", {"payer": PAYER, "issue": True})
    assert (refused.status_code, refused.get_json()["code"]) == (409, "requisites_missing")
    assert made(caller.get("/v1/numbering/proof"))["series"] == []


def test_an_invoice_is_due_when_the_clinic_usually_is_paid(opened):
    app = create_app(Settings(secret_key="k" * 32, due_days=10))
    given.main_branch()
    given.sample()
    clinic = given.caller(app, "*")
    with given.day("2026-12-01"):
        of_quote, direct = clinic.invoice(clinic.quote(("CT-ABD-RP", None))), clinic.draft(("CT-ABD-RP", None))
        said = clinic.invoice(clinic.quote(("CT-ABD-RP", None)), due_date="2026-12-02")
    assert [each["due_date"] for each in (of_quote, direct, said)] == ["2026-12-11", "2026-12-11", "2026-12-02"]
