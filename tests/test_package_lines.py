"""Packages on quotes and invoices: a line per part with its share, exact on every way a document goes.

Domain rules 19–23 beside packages (alone they are in test_discount_rules), and rule 29.
"""

from __future__ import annotations

import csv
import io
import re
from datetime import date
from decimal import Decimal

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as forall
from hypothesis import strategies as st
from psycopg import errors as pg

from clinic import db
from clinic.auth import COMMAND_LINE
from clinic.command import change
from tests import given, given_payers, given_prices
from tests.browser import Person, forms, quick_passwords, text  # noqa: F401
from tests.given import PAYER, faults, line, made

TODAY = "2026-11-23"
BOTH = {"package": "CT-MRI-DAY"}


@pytest.fixture
def clinic(clinic):
    """The clinic with its price list and its package, on their first day."""
    with given.day(TODAY):
        yield clinic


def amounts(document):
    return [each["amount"] for each in document["lines"]]


def shown(page):
    """A page's text with plain spaces."""
    return text(page).replace("\u00a0", " ").replace(" ,", ",")


def total(document):
    return document["totals"]["total"]


def odd(clinic, code="ODD", **more):
    """A package whose shares do not divide: 100.00 for three parts at 33.33 rubles, one of them 1.5 times."""
    for article in ("ODD-1", "ODD-2", "ODD-3"):
        given_prices.service(article)
        given.price(article, "33.33", date(2026, 11, 23))
    parts = [line("ODD-1"), line("ODD-2"), line("ODD-3", quantity="1.5")]
    return given.package(clinic, code, *parts, **({"total": "100.00"} | more))


# ---- On a quote ----


def test_a_package_is_one_line_per_part_with_its_share(clinic):
    quote = clinic.quote(("ONC-CONS-1", "none"), BOTH)
    assert total(quote) == "28630.00"
    assert [each["position"] for each in quote["lines"]] == [1, 2, 3]
    consultation, ct, mri = quote["lines"]
    assert consultation["package"] is None
    assert (ct["article"], ct["unit_price"], ct["gross"], ct["amount"]) == (
        "CT-ABD-RP-BOLUS", "14000.00", "12600.00", "12600.00",
    )  # fmt: skip
    assert (mri["article"], mri["unit_price"], mri["gross"], mri["amount"]) == (
        "MRI-ABD-RP", "13700.00", "12330.00", "12330.00",
    )  # fmt: skip
    assert (ct["discount"], ct["discount_percent"], ct["price_source"]["order"]) == ("0.00", None, "1")
    name = {"ru": "МСКТ и МРТ в один день", "en": "MSCT and MRI in one day"}
    assert ct["package"] == {"code": "CT-MRI-DAY", "name": name, "no": 1, "quantity": 1, "list_amount": "14000.00"}
    assert quote["packages"] == [
        {"no": 1, "code": "CT-MRI-DAY", "name": name, "quantity": 1, "list_amount": "27700.00", "amount": "24930.00",
         "saving": "2770.00"}
    ]  # fmt: skip
    assert quote["totals"]["subtotal"] == "28630.00"
    assert quote["totals"]["discount"] == "0.00"
    assert "package_above_parts" not in [each["code"] for each in quote["warnings"]]


def test_two_packages_are_split_as_one_whole_and_a_document_tells_its_packages_apart(clinic):
    odd(clinic)
    quote = clinic.quote({"package": "ODD", "quantity": "2"}, BOTH, {"package": "ODD"})
    assert [each["package"]["no"] for each in quote["lines"]] == [1, 1, 1, 2, 2, 3, 3, 3]
    assert [each["quantity"] for each in quote["lines"]][:3] == ["2", "2", "3"]
    # 66.66 + 66.66 + 99.99 alone; 200.00 together.
    assert amounts(quote)[:3] == ["57.14", "57.14", "85.72"]
    assert amounts(quote)[5:] == ["28.57", "28.57", "42.86"]
    assert [each["package"]["list_amount"] for each in quote["lines"]][:3] == ["66.66", "66.66", "99.99"]
    assert total(quote) == "25230.00"


def test_a_package_says_the_same_in_preview_kept_invoiced_printed_and_exported(clinic, quick_passwords):  # noqa: F811
    odd(clinic)
    body = {"lines": [{"package": "ODD", "quantity": 2}, BOTH], "patient": {"id": "P-1"}}
    preview = made(clinic.post("/v1/quotes/preview", body, key=""))
    quote = made(clinic.post("/v1/quotes", body))
    assert made(clinic.get(f"/v1/quotes/{quote['id']}")) == quote
    invoice = clinic.invoice(quote)
    for one in (preview, invoice):
        assert amounts(one) == amounts(quote)
        assert one["totals"] == quote["totals"]
        assert one["packages"] == quote["packages"]
        assert [each["package"] for each in one["lines"]] == [each["package"] for each in quote["lines"]]
    person = Person(clinic.app, "administrator")
    for page in (f"/desk/quotes/{quote['id']}/print", f"/desk/invoices/{invoice['id']}/print"):
        paper = shown(person.get(page))
        assert "Программа «Программа ODD» (ODD) × 2: 200,00 ₽, экономия 33,31 ₽" in paper
        assert "Программа «МСКТ и МРТ в один день» (CT-MRI-DAY): 24 930,00 ₽, экономия 2 770,00 ₽" in paper
        for share in ("57,14", "85,72", "12 600,00", "12 330,00"):
            assert share in paper, share
        assert "Всего к оплате 25 130,00" in paper
    table = csv.reader(io.StringIO(person.get("/accounting/invoices.csv").data.decode("utf-8-sig")), delimiter=";")
    assert [row[9] for row in table][1:] == ["25130,00"]


def test_the_same_package_speaks_english_on_paper(clinic, quick_passwords):  # noqa: F811
    quote = clinic.quote(BOTH)
    person = Person(clinic.app, "administrator")
    paper = shown(person.get(f"/desk/quotes/{quote['id']}/print?lang=en"))
    assert "Package «MSCT and MRI in one day» (CT-MRI-DAY): 24 930,00 ₽, saving 2 770,00 ₽" in paper


def test_a_package_follows_the_prices_of_its_day_of_service(clinic):
    given.price("MRI-ABD-RP", "16000.00", date(2026, 12, 1))
    quote = clinic.quote(BOTH, BOTH | {"service_date": "2026-12-01"})
    assert amounts(quote) == ["12600.00", "12330.00", "12600.00", "14400.00"]
    assert [each["service_date"] for each in quote["lines"]] == [None, None, "2026-12-01", "2026-12-01"]


def test_the_vat_is_inside_the_share_of_each_part(clinic):
    given_prices.service("TAXED", vat_category="standard")
    given.price("TAXED", "1220.00", date(2026, 11, 23))
    given.package(clinic, "MIXED", line("TAXED"), line("CT-ABD-RP"), percent_off="50")
    taxed, exempt = clinic.quote({"package": "MIXED"})["lines"]
    assert (taxed["amount"], taxed["vat"]["amount"], exempt["vat"]["amount"]) == ("610.00", "110.00", None)


def test_a_package_dearer_than_its_parts_is_sold_with_a_warning(clinic, quick_passwords):  # noqa: F811
    given.package(clinic, "DEAR", total="30000")
    quote = clinic.quote(("ONC-CONS-1", "none"), BOTH, {"package": "DEAR"})
    (warning,) = (each for each in quote["warnings"] if each["code"] == "package_above_parts")
    assert (warning["code"], warning["no"]) == ("package_above_parts", 2)
    assert (
        warning["message"]["en"]
        == "The package DEAR costs more than its parts alone: 30000.00 against 22540.00 rubles."
    )
    assert quote["packages"][1]["saving"] == "0.00"
    assert made(clinic.get(f"/v1/quotes/{quote['id']}"))["warnings"] == quote["warnings"]
    invoice = clinic.invoice(quote)
    assert invoice["warnings"] == quote["warnings"]
    reader = Person(clinic.app, "reception")
    for path in (f"/desk/quotes/{quote['id']}", f"/desk/invoices/{invoice['id']}"):
        assert "Программа DEAR дороже своих частей по отдельности" in text(reader.get(path)), path


# ---- Refused ----


def test_what_is_wrong_with_a_package_is_named_at_its_line_all_at_once(clinic):
    given.package(clinic, "ENDED", valid_until="2026-11-24")
    given_prices.published(given_prices.line("MRI-ABD-RP", None), since=date(2026, 12, 1))
    lines = [
        {"package": "NONE"},
        {"package": "ENDED", "service_date": "2026-11-24"},
        BOTH | {"service_date": "2026-12-01"},
        BOTH | {"discount_percent": "1", "discount_reason": "staff"},
        line("NO-SUCH"),
        BOTH | {"quantity": "999999"},
    ]
    catalog = [
        ("/lines/0/package", "unknown_package"),
        ("/lines/1/package", "package_not_in_force"),
        ("/lines/2/package", "package_not_priced"),
        ("/lines/3/package", "not_discountable"),
        ("/lines/4/article", "unknown_article"),
    ]
    for path, more in (("/v1/quotes", {}), ("/v1/quotes/preview", {}), ("/v1/invoices", {"payer": PAYER})):
        assert faults(clinic.post(path, {"lines": lines, **more})) == catalog
    shape = [
        BOTH | {"article": "CT-ABD-RP"},
        BOTH | {"quantity": "1.5"},
        BOTH | {"doctor_rank": "none", "unit_price": "1", "price_reason": "так"},
        {},
        {"package": "NONE", "quantity": "0"},
        {"package": "ct"},
    ]
    assert faults(clinic.post("/v1/quotes", {"lines": [*lines, *shape]})) == [
        *catalog[:2],
        ("/lines/10/package", "unknown_package"),
        ("/lines/10/quantity", "not_positive"),
        ("/lines/11/package", "wrong_form"),
        *catalog[2:],
        ("/lines/6/package", "article_or_package"),
        ("/lines/7/quantity", "not_whole"),
        ("/lines/8/doctor_rank", "not_with_package"),
        ("/lines/8/price_reason", "not_with_package"),
        ("/lines/8/unit_price", "not_with_package"),
        ("/lines/9/article", "required"),
    ]


def test_a_sum_or_a_number_of_lines_no_document_can_hold_is_refused_by_place(clinic):
    given.package(clinic, "DEAR", total="40000000000")
    dear = {"package": "DEAR", "quantity": "999999"}
    assert faults(clinic.post("/v1/quotes", {"lines": [dear]})) == [("/lines/0/quantity", "total_too_large")]
    assert faults(clinic.post("/v1/quotes", {"lines": [BOTH] * 101})) == [("/lines", "too_many_lines")]
    assert len(clinic.quote(*[BOTH] * 100)["lines"]) == 200


def test_a_package_is_sold_at_its_own_list_and_no_other(clinic):
    given_payers.price_list(clinic, "abroad", "foreign")
    refused = clinic.post("/v1/quotes", {"lines": [BOTH], "price_list": "abroad"})
    assert faults(refused) == [("/lines/0/package", "unknown_package")]
    given.package(clinic, "CT-MRI-DAY", price_list="abroad", total="20000")
    assert total(clinic.quote(BOTH, price_list="abroad")) == "20000.00"
    unknown = clinic.post("/v1/quotes", {"lines": [BOTH], "price_list": "nobody"})
    assert faults(unknown) == [("/price_list", "unknown_price_list")]


# ---- Discounts pass a package by (domain rules 19–23) ----


def test_rule_19_a_percent_of_the_document_is_taken_beside_the_package_only(clinic):
    quote = clinic.quote(line("CT-ABD-RP"), BOTH, discount_percent="12.5", discount_reason="staff")
    assert [each["document_discount"] for each in quote["lines"]] == ["1105.00", "0.00", "0.00"]
    assert amounts(quote) == ["7735.00", "12600.00", "12330.00"]


def test_rules_20_and_21_a_sum_is_spread_over_the_other_lines_exactly(clinic):
    caller = given.caller(clinic.app, "*", discount_ceiling=Decimal(100))
    lines = [line("ONC-CONS-1", "none"), BOTH, line("CT-ABD-RP"), line("HEP-DRAIN-PT")]
    quote = caller.quote(*lines, discount_amount="1000.00", discount_reason="goodwill")
    assert [each["document_discount"] for each in quote["lines"]] == ["46.40", "0.00", "0.00", "110.86", "842.74"]
    small = caller.quote(*[line("CT-ABD-RP")] * 3, BOTH, discount_amount="0.02", discount_reason="goodwill")
    assert [each["document_discount"] for each in small["lines"]] == ["0.01", "0.01", "0.00", "0.00", "0.00"]


def test_rule_22_a_discount_is_never_more_than_the_lines_it_may_touch(clinic):
    lines = [line("ONC-CONS-1", "none"), BOTH]
    refused = clinic.post("/v1/quotes", {"lines": lines, "discount_amount": "3700.01", "discount_reason": "staff"})
    assert faults(refused) == [("/discount_amount", "discount_too_large")]
    no_reason = clinic.post("/v1/quotes", {"lines": lines, "discount_percent": "1"})
    assert faults(no_reason) == [("/discount_reason", "discount_needs_reason")]
    too_much = clinic.post("/v1/quotes", {"lines": lines, "discount_percent": "101", "discount_reason": "staff"})
    assert faults(too_much) == [("/discount_percent", "not_percent")]


def test_rule_23_a_service_without_discounts_and_a_package_are_left_out_of_the_split(clinic):
    etag = clinic.get("/v1/services/MRI-ABD-RP").headers["ETag"]
    made(clinic.patch("/v1/services/MRI-ABD-RP", {"discountable": False}, match=etag))
    caller = given.caller(clinic.app, "*", discount_ceiling=Decimal(100))
    quote = caller.quote(line("MRI-ABD-RP"), line("CT-ABD-RP"), BOTH, discount_amount="100", discount_reason="goodwill")
    assert [each["document_discount"] for each in quote["lines"]] == ["0.00", "100.00", "0.00", "0.00"]
    refused = caller.post("/v1/quotes", {"lines": [line("MRI-ABD-RP", discount_percent="1", discount_reason="staff")]})
    assert faults(refused) == [("/lines/0/article", "not_discountable")]


def test_a_package_does_not_touch_the_ceiling_of_who_sells_it(clinic):
    given.package(clinic, "HALF", percent_off="50")
    reception = given.caller(clinic.app, "*", discount_ceiling=Decimal(0))
    quote = reception.quote({"package": "HALF"})
    assert quote["approval"] == "none"
    assert total(reception.invoice(quote)) == "11270.00"


# ---- Whatever comes later (domain rule 29) ----


def test_rule_29_no_later_change_of_catalog_or_package_reaches_a_document(clinic):
    caller = given.caller(clinic.app, "*")
    quote, other = caller.quote(BOTH), caller.quote(BOTH)
    invoice = caller.invoice(other)
    paths = [f"/v1/quotes/{quote['id']}", f"/v1/invoices/{invoice['id']}"]
    before = [clinic.get(path).data for path in paths]
    package = made(clinic.get("/v1/packages/CT-MRI-DAY"))
    with given.day("2026-11-24"):
        caller = given.caller(clinic.app, "*")
        given.price("MRI-ABD-RP", "99000.00", date(2026, 11, 24))
        etag = caller.get(f"/v1/packages/{package['id']}").headers["ETag"]
        ended = {"name": {"ru": "Иная", "en": "Another"}, "valid_until": "2026-11-24"}
        made(caller.patch(f"/v1/packages/{package['id']}", ended, match=etag))
        given.package(caller, "CT-MRI-DAY", line("CT-ABD-RP"), total="1.00")
        etag = caller.get("/v1/services/MRI-ABD-RP").headers["ETag"]
        made(caller.patch("/v1/services/MRI-ABD-RP", {"name": {"ru": "x", "en": "x"}, "active": False}, match=etag))
        assert [clinic.get(path).data for path in paths] == before
        late = caller.invoice(quote)
    assert amounts(late) == ["12600.00", "12330.00"]
    assert late["lines"][0]["package"]["name"]["ru"] == "МСКТ и МРТ в один день"


def test_a_direct_draft_is_priced_again_at_issue(clinic):
    draft, dated = (made(clinic.post("/v1/invoices", {"lines": lines, "payer": PAYER})) for lines in (
        [line("ONC-CONS-1", "none"), BOTH], [BOTH | {"service_date": TODAY, "quantity": 2}],
    ))  # fmt: skip
    given.price("MRI-ABD-RP", "16000.00", date(2026, 11, 24))
    with given.day("2026-11-24"):
        caller = given.caller(clinic.app, "*")
        refused = caller.post(f"/v1/invoices/{draft['id']}/issue", {})
        assert (refused.status_code, refused.get_json()["code"]) == (409, "price_changed")
        assert refused.get_json()["changes"] == [
            {"position": 3, "package": "CT-MRI-DAY", "old": "12330.00", "new": "14400.00",
             "old_list_amount": "13700.00", "new_list_amount": "16000.00"},
        ]  # fmt: skip
        assert total(made(caller.post(f"/v1/invoices/{dated['id']}/issue", {}))) == "49860.00"


@pytest.mark.parametrize("wanted", [{"withdrawn": True}, {"valid_until": "2026-11-24"}])
def test_a_direct_draft_of_a_package_that_is_sold_no_longer_is_not_issued(clinic, wanted):
    draft = made(clinic.post("/v1/invoices", {"lines": [BOTH], "payer": PAYER}))
    package = clinic.get("/v1/packages/CT-MRI-DAY")
    made(clinic.patch(f"/v1/packages/{package.get_json()['id']}", wanted, match=package.headers["ETag"]))
    with given.day("2026-11-24"):
        refused = given.caller(clinic.app, "*").post(f"/v1/invoices/{draft['id']}/issue", {})
    assert refused.get_json()["code"] == "price_changed"
    assert [each["new"] for each in refused.get_json()["changes"]] == [None, None]


def test_another_package_under_the_code_changes_the_price_of_a_draft(clinic):
    draft = made(clinic.post("/v1/invoices", {"lines": [BOTH], "payer": PAYER}))
    package = clinic.get("/v1/packages/CT-MRI-DAY")
    made(clinic.patch(f"/v1/packages/{package.get_json()['id']}", {"withdrawn": True}, match=package.headers["ETag"]))
    parts = [line("CT-ABD-RP-BOLUS"), line("MRI-ABD-RP"), line("ONC-REMOTE")]
    given.package(clinic, "CT-MRI-DAY", *parts)
    refused = clinic.post(f"/v1/invoices/{draft['id']}/issue", {})
    # The shares are the same, and yet a part has come.
    assert [(each["old"], each["new"]) for each in refused.get_json()["changes"]] == [
        ("12600.00", "12600.00"), ("12330.00", "12330.00"),
    ]  # fmt: skip


# ---- Invoices in parts, cancelled, hashed ----


def test_parts_of_a_package_are_invoiced_to_the_kopeck_and_given_back(clinic):
    odd(clinic)
    quote = clinic.quote({"package": "ODD", "quantity": 3})
    # 300.00 over 99.99, 99.99 and 149.99.
    assert amounts(quote) == ["85.71", "85.71", "128.58"]
    one = clinic.invoice(quote, lines=[{"position": 1, "quantity": "1"}])
    two = clinic.invoice(quote, lines=[{"position": 1, "quantity": "1"}, {"position": 3, "quantity": "1.5"}])
    rest = clinic.invoice(quote)
    assert [amounts(each) for each in (one, two, rest)] == [["28.57"], ["28.57", "42.86"], ["28.57", "85.71", "85.72"]]
    shown = [line["package"]["list_amount"] for each in (one, two, rest) for line in each["lines"]]
    assert shown == ["33.33", "33.33", "50.00", "33.33", "99.99", "99.99"]
    assert one["packages"][0]["amount"] == "28.57"
    assert made(clinic.get(f"/v1/quotes/{quote['id']}"))["status"] == "invoiced"
    made(clinic.post(f"/v1/invoices/{two['id']}/cancel", {"reason": "Ошибка"}))
    again = clinic.invoice(quote)
    assert amounts(again) == ["28.57", "42.86"]


def digests(opened):
    with psycopg.connect(opened.owner) as owner:
        return owner.execute("SELECT content_version, content_sha256 = invoice_digest(invoice) FROM invoice").fetchall()


PACKAGE_COLUMNS = (
    "package_id = gen_random_uuid()", "package_code = 'X'", "package_name_ru = 'x'", "package_name_en = 'x'",
    "package_no = 9", "package_quantity = 9", "list_amount = 1",
)  # fmt: skip


@pytest.mark.parametrize("column", PACKAGE_COLUMNS)
def test_the_hash_of_an_invoice_is_over_the_package_of_its_lines(clinic, opened, column):
    clinic.invoice(clinic.quote(BOTH))
    assert digests(opened) == [(3, True)]
    with psycopg.connect(opened.owner) as owner:
        owner.execute("ALTER TABLE invoice_line DISABLE TRIGGER USER")
        owner.execute(f"UPDATE invoice_line SET {column}".encode())
        owner.commit()
    assert digests(opened) == [(3, False)]


# ---- What the database keeps ----


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE quote_line SET package_code = NULL WHERE position = 2",
        "UPDATE quote_line SET gross = 1, amount = 1 WHERE position = 1",
        "UPDATE quote_line SET list_amount = 1 WHERE position = 2",
        "UPDATE quote_line SET discount = 1, amount = amount - 1 WHERE position = 2",
        "UPDATE quote_line SET document_discount = 1, amount = amount - 1 WHERE position = 2",
        "UPDATE quote_line SET discountable = true WHERE position = 2",
        "UPDATE quote_line SET price_kind = 'from' WHERE position = 2",
        "UPDATE quote_line SET package_quantity = 0 WHERE position = 2",
        "UPDATE invoice_line SET package_no = NULL WHERE position = 2",
        "UPDATE invoice_line SET discount = 1, amount = amount - 1 WHERE position = 2",
    ],
)
def test_no_line_of_a_package_is_half_a_one_or_discounted_and_no_other_line_leaves_its_price(clinic, opened, attack):
    clinic.invoice(clinic.quote(("CT-ABD-RP", None), BOTH))
    with psycopg.connect(opened.owner) as owner, pytest.raises(pg.CheckViolation):
        owner.execute("ALTER TABLE quote_line DISABLE TRIGGER USER; ALTER TABLE invoice_line DISABLE TRIGGER USER")
        owner.execute(attack.encode())


def test_a_share_moved_to_another_line_of_an_accepted_quote_is_refused(clinic, opened):
    quote = clinic.quote(BOTH)
    made(clinic.post(f"/v1/quotes/{quote['id']}/accept"))
    with psycopg.connect(opened.owner) as owner, pytest.raises(pg.RestrictViolation):
        owner.execute("UPDATE quote_line SET gross = gross - 1, amount = amount - 1 WHERE position = 1")


KOPECKS = st.integers(0, 10**9).map(lambda kopecks: Decimal(kopecks) / 100)


@settings(
    derandomize=True, database=None, deadline=None, max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@forall(
    st.lists(st.tuples(KOPECKS, st.integers(1, 9999)), min_size=1, max_size=6),
    st.one_of(KOPECKS.map(lambda total: {"total": str(total)}),
              st.integers(0, 10000).map(lambda basis: {"percent_off": str(Decimal(basis) / 100)})),
    st.integers(1, 30),
)  # fmt: skip
def test_the_lines_add_up_to_the_package_for_any_prices(clinic, parts, price, times):
    with change(COMMAND_LINE) as made_:
        run = len(made_.conn.execute("SELECT FROM package").fetchall())
    articles = [f"R{run}-{n}" for n in range(len(parts))]
    for article in articles:
        given_prices.service(article)
    given_prices.published(*[given_prices.line(a, str(p)) for a, (p, _) in zip(articles, parts, strict=True)])
    wanted = [line(a, quantity=str(Decimal(q) / 1000)) for a, (_, q) in zip(articles, parts, strict=True)]
    package = given.package(clinic, f"R{run}", *wanted, **price)
    assert sum(Decimal(part["share"]) for part in package["parts"]) == Decimal(package["price"])
    quote = clinic.quote({"package": f"R{run}", "quantity": times})
    (sums,) = quote["packages"]
    assert sums["amount"] == total(quote)
    if "total" in price:
        assert Decimal(total(quote)) == Decimal(package["price"]) * times
    else:
        assert Decimal(total(quote)) <= Decimal(sums["list_amount"])
    assert all(Decimal(each["amount"]) >= 0 for each in quote["lines"])


# ---- At the desk ----


@pytest.fixture
def desk(clinic, quick_passwords):  # noqa: F811
    return Person(clinic.app, "reception")


def test_a_package_is_found_and_added_with_one_button(desk):
    found = desk.press(desk.get("/desk"), "/desk", do="search", q="мрт мскт день")
    assert "МСКТ и МРТ в один день" in shown(found)
    assert "+ 24 930 ₽ · вместо 27 700 ₽" in shown(found)
    page = desk.press(found, "/desk", add_package="CT-MRI-DAY")
    page = desk.press(page, "/desk", add="ONC-CONS-1 none")
    assert "12 600,00 ₽ вместо 14 000,00 ₽" in shown(page)
    assert "экономия 2 770,00 ₽ 24 930,00 ₽" in shown(page)
    assert "Итого 28 630,00 ₽" in shown(page)
    page = desk.press(page, "/desk", do="recalculate", lines__0__quantity="2")
    assert "49 860,00 ₽" in shown(page)
    quote = desk.follow(desk.press(page, "/desk", do="save"))
    assert "Программа «МСКТ и МРТ в один день» (CT-MRI-DAY) × 2: 49 860,00 ₽, экономия 5 540,00 ₽" in shown(quote)
    invoice = desk.follow(desk.press(quote, f"{quote.request.path}/invoice", payer__name="Анна"))
    assert "× 2: 49 860,00 ₽" in shown(invoice)


def test_a_package_can_be_removed_and_is_not_found_on_a_day_without_it(clinic, desk):
    page = desk.press(desk.get("/desk"), "/desk", add_package="CT-MRI-DAY")
    page = desk.press(page, "/desk", add="CT-ABD-RP")
    page = desk.press(page, "/desk", remove="0")
    assert "CT-MRI-DAY" not in page.text
    assert "8 840,00 ₽" in shown(page)
    package = clinic.get("/v1/packages/CT-MRI-DAY")
    made(clinic.patch(f"/v1/packages/{package.get_json()['id']}", {"withdrawn": True}, match=package.headers["ETag"]))
    assert "CT-MRI-DAY" not in desk.press(page, "/desk", do="search", q="CT-MRI-DAY").text.split("<form")[0]
    assert not re.search('name="add_package"', desk.press(page, "/desk", do="search", q="МРТ").text)


@pytest.mark.parametrize(
    ("typed", "said"),
    [({"lines-0-quantity": "1,5"}, "Нужно целое число программ."), ({"lines-0-package": "NONE"}, "NONE")],
)
def test_a_wrong_package_row_is_marked_and_the_others_are_priced(desk, typed, said):
    page = desk.press(desk.press(desk.get("/desk"), "/desk", add_package="CT-MRI-DAY"), "/desk", add="CT-ABD-RP")
    page = desk.press(page, "/desk", do="save", **typed)
    assert page.status_code == 422
    assert said in shown(page)
    assert "8 840,00 ₽" in shown(page)
    sent = next(fields for to, fields in forms(page) if to == "/desk")
    assert typed.items() <= sent.items()


def test_forged_packages_are_faults_and_not_defects(desk):
    for forged in ("NO-SUCH", "<b>", "ct"):
        page = desk.press(desk.get("/desk"), "/desk", add_package=forged)
        assert page.status_code == 200
        assert "<b>" not in page.text


def test_a_document_without_packages_takes_no_statement_more_and_one_with_any_number_takes_one(clinic, monkeypatch):
    asked: list[str] = []
    many = db.many

    def counted(conn, shape, sql, params=None):
        asked.append(sql)
        return many(conn, shape, sql, params)

    monkeypatch.setattr(db, "many", counted)
    counts = []
    for lines in ([line("CT-ABD-RP")], [line("CT-ABD-RP"), BOTH, BOTH]):
        asked.clear()
        made(clinic.post("/v1/quotes/preview", {"lines": lines}))
        counts.append(len(asked))
    assert counts == [1, 2]
