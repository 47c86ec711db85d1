"""Domain rules of money, VAT, quotes, invoices and words, each by its number.

19–23 are in `test_discount_rules`, 33 in `test_legal_references`.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from catalog import vat as rates
from clinic import dates, db, money
from tests import given, running
from tests.given import PAYER, faults, line, made
from tests.running import at_once

CONSULTATION, BOLUS, SCAN = ("ONC-CONS-1", "none"), ("CT-ABD-RP-BOLUS", None), ("CT-ABD-RP", None)


def taxed(clinic, price, *, article="SIDE", category="standard"):
    """A service with VAT at this price, from the first day on."""
    name = {"ru": "Справка", "en": "Certificate"}
    body = {"article": article, "name": name, "category": "consultation", "vat_category": category}
    made(clinic.post("/v1/services", body))
    with given.day(given.FIRST_DAY) as first:
        given.price(article, price, first)
    return article


# ---- Money and VAT ----


@pytest.mark.parametrize("sent", ["67200.005", "1e3", "1_000", "٣", "-1.00", "NaN", 67200.1, True])
def test_rule_10_what_is_not_strictly_money_is_refused(clinic, sent):
    wanted = line("CT-ABD-RP", discount_amount=sent, discount_reason="goodwill")
    ((pointer, _),) = faults(clinic.post("/v1/quotes/preview", {"lines": [wanted]}))
    assert pointer == "/lines/0/discount_amount"


@pytest.mark.parametrize(("sent", "read"), [("672", "672.00"), ("672.5", "672.50"), ("672.00", "672.00")])
def test_rule_10_money_of_at_most_two_decimals_is_read(clinic, sent, read):
    wanted = line("HEP-DRAIN-PT", discount_amount=sent, discount_reason="goodwill")
    assert made(clinic.post("/v1/quotes/preview", {"lines": [wanted]}))["lines"][0]["discount"] == read


def test_rule_11_money_is_written_with_two_decimals(clinic):
    assert clinic.quote(("HEP-DRAIN-PT", None))["totals"]["total"] == "67200.00"
    assert money.text(Decimal("6.72E+4")) == "67200.00"


def test_rule_12_a_line_is_rounded_half_up_once(clinic):
    article = taxed(clinic, "33.33")
    assert clinic.quote(line(article, quantity="1.5"))["lines"][0]["amount"] == "50.00"


@pytest.mark.parametrize(
    ("price", "tax"), [("1220.00", "220.00"), ("14000.00", "2524.59"), ("0.03", "0.01"), ("807.30", "145.58")]
)
def test_rule_13_vat_is_inside_the_price(clinic, price, tax):
    assert clinic.quote(line(taxed(clinic, price)))["lines"][0]["vat"]["amount"] == tax


def test_rule_14_vat_is_taken_per_line_then_summed(clinic):
    quote = clinic.quote(*[line(taxed(clinic, "100.00"))] * 3)
    assert [each["amount"] for each in quote["totals"]["vat"]] == ["54.09"]


def test_rule_15_exempt_has_neither_rate_nor_amount(clinic):
    found = clinic.quote(SCAN)["lines"][0]["vat"]
    assert (found["rate"], found["amount"], found["text"]) == (None, None, "Без НДС")


def test_rule_16_zero_percent_is_not_exempt(clinic):
    found = clinic.quote(line(taxed(clinic, "100.00", category="zero")))["lines"][0]["vat"]
    assert (found["amount"], found["text"]) == ("0.00", "НДС 0 %")


@pytest.mark.parametrize(("day", "rate"), [("2025-12-31", 20), ("2026-01-01", 22)])
def test_rule_17_the_rate_is_that_of_the_day_of_service(opened, day, rate):
    with given.day(day) as served, db.reading() as conn:
        assert rates.rate_on(conn, "standard", served) == rate


def test_rule_18_a_mixed_document_has_a_row_for_each_rate(clinic):
    totals = clinic.quote(CONSULTATION, line(taxed(clinic, "1220.00")))["totals"]
    assert totals["total"] == "4920.00"
    assert [(each["rate"], each["base"], each["amount"]) for each in totals["vat"]] == [
        ("22", "1220.00", "220.00"),
        (None, "3700.00", None),
    ]


# ---- Quote and invoice ----


def test_rule_24_the_total_of_a_quote_is_spelled(clinic):
    totals = clinic.quote(CONSULTATION, BOLUS)["totals"]
    assert (totals["total"], totals["in_words"]) == ("17700.00", "Семнадцать тысяч семьсот рублей 00 копеек")


def test_rule_25_a_quote_has_a_kind_and_a_last_day(clinic):
    quote = clinic.quote(SCAN)
    assert quote["kind"] == "firm" and quote["valid_until"] >= quote["date"]
    assert clinic.quote(SCAN, kind="approximate")["kind"] == "approximate"
    wanted = {"lines": [line("CT-ABD-RP")], "kind": "rough", "valid_until": "2020-01-01"}
    assert {pointer for pointer, _ in faults(clinic.post("/v1/quotes", wanted))} >= {"/kind"}
    wanted = {"lines": [line("CT-ABD-RP")], "valid_until": "2020-01-01"}
    assert faults(clinic.post("/v1/quotes", wanted)) == [("/valid_until", "before_date")]


def test_rule_26_an_expired_quote_is_not_invoiced(clinic):
    with given.day("2026-11-24"):
        quote = clinic.quote(SCAN, valid_until="2026-11-24")
    with given.day("2026-11-25"):
        refused = clinic.post(f"/v1/quotes/{quote['id']}/invoice", {"payer": PAYER})
    assert (refused.status_code, refused.get_json()["code"]) == (409, "quote_expired")


def test_rule_28_a_quote_needs_nobody_and_an_invoice_a_payer(clinic):
    quote = clinic.quote(SCAN)
    assert quote["patient"] is None
    assert [pointer for pointer, _ in faults(clinic.post(f"/v1/quotes/{quote['id']}/invoice", {}))] == ["/payer"]


def test_rule_29_a_later_price_reaches_no_issued_document(clinic):
    with given.day("2026-11-24") as first:
        invoice = clinic.invoice(clinic.quote(SCAN))
        given.price("CT-ABD-RP", "9000.00", first.replace(day=25))
    with given.day("2026-11-25"):
        assert clinic.quote(SCAN)["totals"]["total"] == "9000.00"
        assert made(clinic.get(f"/v1/invoices/{invoice['id']}"))["lines"] == invoice["lines"]


def test_rule_30_an_issued_invoice_does_not_change(clinic):
    first = clinic.invoice(clinic.quote(SCAN))
    path = f"/v1/invoices/{first['id']}"
    etag = clinic.get(path).headers["ETag"]
    assert clinic.patch(path, {"comment": "x"}, match=etag).status_code == 409
    assert [pointer for pointer, _ in faults(clinic.post(f"{path}/cancel", {}))] == ["/reason"]
    made(clinic.post(f"{path}/cancel", {"reason": "Ошибка"}))
    assert clinic.invoice(clinic.quote(SCAN))["sequence"] == first["sequence"] + 1


@pytest.mark.xdist_group("server")
def test_rule_31_fifty_invoices_issued_at_once_have_fifty_numbers(service):
    desk = service.branch()
    drafts = [running.made(desk.post("/v1/invoices", DRAFT))["id"] for _ in range(50)]
    issued = at_once(50, lambda each: running.surely(desk, f"/v1/invoices/{drafts[each]}/issue", {}, lambda _: None))
    assert sorted(each["sequence"] for each in issued) == list(range(1, 51))


DRAFT = {"lines": [line("CT-ABD-RP")], "payer": PAYER}


@pytest.mark.parametrize("wrong", [{"inn": "1234567895"}, {"inn": "123456789047"}, {"inn": None}, {"kpp": None}])
def test_rule_32_an_organisation_pays_under_its_inn_and_kpp_apart_from_the_patient(clinic, wrong):
    quote = clinic.quote(SCAN, patient={"id": "P-1", "name": "Иванова Анна"})
    path, payer = f"/v1/quotes/{quote['id']}/invoice", given.ORGANISATION
    assert {pointer for pointer, _ in faults(clinic.post(path, {"payer": payer | wrong}))} == {
        f"/payer/{member}" for member in wrong
    }
    invoice = made(clinic.post(path, {"payer": payer}))
    assert (invoice["payer"]["name"], invoice["patient"]["name"]) == (payer["name"], "Иванова Анна")


def test_rule_34_a_key_stands_for_one_request(clinic):
    path = f"/v1/quotes/{clinic.quote(SCAN)['id']}/invoice"
    first, again = (made(clinic.post(path, {"payer": PAYER}, key="rule-34-key")) for _ in range(2))
    assert first == again
    assert clinic.post(path, {"payer": PAYER, "issue": True}, key="rule-34-key").status_code == 422


def test_rule_35_a_part_is_a_part_and_what_is_over_is_an_advance(clinic):
    invoice = clinic.invoice(clinic.quote(("HEP-DRAIN-PT", None)))
    path = f"/v1/invoices/{invoice['id']}"

    def paid(amount, **more):
        whole = {"payer": PAYER, "amount": amount, "tender": "card", **more}
        return made(clinic.post("/v1/payments", whole))

    paid("5000.00", allocations=[{"invoice": invoice["id"]}])
    found = made(clinic.get(path))
    assert (found["payment_status"], found["balance"]) == ("partially_paid", "62200.00")
    over = paid("70000.00", allocations=[{"invoice": invoice["id"]}])
    assert made(clinic.get(path))["payment_status"] == "paid"
    assert over["advance"] == "7800.00"


# ---- Documents and words ----


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        ("127200", "Сто двадцать семь тысяч двести рублей 00 копеек"),
        ("1000", "Одна тысяча рублей 00 копеек"),
        ("131131.31", "Сто тридцать одна тысяча сто тридцать один рубль 31 копейка"),
        ("0.11", "Ноль рублей 11 копеек"),
    ],
)
def test_rule_36_a_sum_is_spelled(amount, words):
    assert money.in_words(Decimal(amount)) == words


def test_rule_37_an_int_is_rubles():
    assert money.in_words(127200) == money.in_words(Decimal("127200"))


def test_rule_38_a_ruble_follows_its_number():
    forms = [money.plural(number, "рубль", "рубля", "рублей") for number in (1, 2, 5, 11, 21, 22, 111)]
    assert forms == ["рубль", "рубля", "рублей", "рублей", "рубль", "рубля", "рублей"]


def test_rule_39_a_sum_is_shown_with_no_break_spaces_and_whole_kopecks():
    assert money.display(Decimal(67200)) == "67\u00a0200,00\u00a0₽"
    with pytest.raises(ValueError, match="whole kopecks"):
        money.display(Decimal("0.125"))


def test_rule_40_a_document_is_dated_in_words():
    with given.day("2026-11-23") as day:
        assert dates.long(day) == "23 ноября 2026 г."
