"""Packages in the catalog: made, shown on any day with their exact split, ended, followed, never changed."""

from __future__ import annotations

import functools
from datetime import date
from decimal import Decimal

import psycopg
import pytest
from hypothesis import given as forall
from hypothesis import settings
from hypothesis import strategies as st
from psycopg import errors as pg

from catalog import package_offers, package_split
from catalog.package_split import Price
from clinic import db, http, money
from clinic.money import ZERO
from tests import given, given_payers, given_prices, running
from tests.given import faults, line, made
from tests.running import at_once, seen

TODAY = "2026-11-23"
CT, MRI = line("CT-ABD-RP-BOLUS"), line("MRI-ABD-RP")


@pytest.fixture
def clinic(clinic):
    """The clinic with its price list, on the day of it."""
    with given.day(TODAY):
        yield clinic


def body(**more):
    price = {} if {"total", "percent_off"} & more.keys() else {"total": "25000"}
    name = {"ru": "Два снимка", "en": "Two scans"}
    return {"code": "SCANS", "name": name, "parts": [CT, MRI], **price, **more}


def shares(package):
    return [part["share"] for part in package["parts"]]


# ---- The split ----

SUMS = st.integers(0, 10**13).map(lambda kopecks: Decimal(kopecks) / 100)
EXACTLY = settings(derandomize=True, database=None, deadline=None)


@EXACTLY
@forall(SUMS, st.lists(SUMS, min_size=1, max_size=50))
def test_shares_add_up_to_the_package_for_any_prices(total, list_amounts):
    found = package_split.shares(total, list_amounts)
    assert sum(found, ZERO) == total
    assert len(found) == len(list_amounts)
    assert all(share >= 0 and share == money.rounded(share) for share in found)


@EXACTLY
@forall(SUMS, st.lists(SUMS, min_size=1, max_size=20).filter(any))
def test_a_share_is_its_proportion_within_a_kopeck_and_a_free_part_among_others_stays_free(total, list_amounts):
    found, whole = package_split.shares(total, list_amounts), sum(list_amounts)
    for share, alone in zip(found, list_amounts, strict=True):
        assert abs(share - total * alone / whole) < money.KOPECK
        assert alone or not share


@EXACTLY
@forall(SUMS, st.lists(SUMS, min_size=2, max_size=12, unique=True), st.randoms(use_true_random=False))
def test_the_order_of_parts_moves_a_share_by_a_kopeck_at_most_and_never_a_dearer_part_below_a_cheaper(
    total, list_amounts, random
):
    shuffled = random.sample(list_amounts, len(list_amounts))
    one = dict(zip(list_amounts, package_split.shares(total, list_amounts), strict=True))
    other = dict(zip(shuffled, package_split.shares(total, shuffled), strict=True))
    assert all(abs(one[alone] - other[alone]) <= money.KOPECK for alone in list_amounts)
    in_order = [one[alone] for alone in sorted(list_amounts)]
    assert in_order == sorted(in_order)


@EXACTLY
@forall(st.lists(SUMS, min_size=1, max_size=20), st.integers(0, 10000).map(lambda basis: Decimal(basis) / 100))
def test_a_percent_off_never_makes_a_package_dearer_than_its_parts(list_amounts, percent):
    total = Price(None, percent).of(list_amounts)
    assert 0 <= total <= sum(list_amounts)
    assert total == money.rounded(sum(list_amounts) * (100 - percent) / 100)
    assert sum(package_split.shares(total, list_amounts), ZERO) == total


@pytest.mark.parametrize(
    ("total", "alone", "expected"),
    [
        ("24930.00", ["14000", "13700"], ["12600.00", "12330.00"]),
        ("0.02", ["1", "1", "1"], ["0.01", "0.01", "0.00"]),
        ("100.00", ["0", "0", "0"], ["33.34", "33.33", "33.33"]),
        ("0.00", ["0", "5"], ["0.00", "0.00"]),
        ("10.00", ["0", "5"], ["0.00", "10.00"]),
        ("30000.00", ["10000", "5000"], ["20000.00", "10000.00"]),
    ],
)
def test_a_package_is_split_by_largest_remainder_and_parts_that_are_all_free_share_alike(total, alone, expected):
    assert package_split.shares(Decimal(total), [Decimal(each) for each in alone]) == [
        Decimal(each) for each in expected
    ]


# ---- Making one ----


def test_the_sample_has_a_package_with_the_share_of_each_part(clinic):
    package = made(clinic.get("/v1/packages/CT-MRI-DAY"))
    assert package["name"] == {"ru": "МСКТ и МРТ в один день", "en": "MSCT and MRI in one day"}
    assert (package["percent_off"], package["total"]) == ("10.00", None)
    assert (package["price"], package["list_amount"], package["saving"]) == ("24930.00", "27700.00", "2770.00")
    assert [(part["article"], part["price"], part["list_amount"], part["share"]) for part in package["parts"]] == [
        ("CT-ABD-RP-BOLUS", "14000.00", "14000.00", "12600.00"),
        ("MRI-ABD-RP", "13700.00", "13700.00", "12330.00"),
    ]
    assert package["warnings"] == []


def test_a_package_is_made_read_back_and_listed(clinic):
    answer = clinic.post("/v1/packages", body(note="Натощак"))
    package = made(answer)
    assert shares(package) == ["12635.38", "12364.62"]
    read = clinic.get(answer.headers["Location"])
    assert (read.get_json(), read.headers["ETag"]) == (package, answer.headers["ETag"])
    assert made(clinic.get("/v1/packages/SCANS")) == package
    assert [each["code"] for each in made(clinic.get("/v1/packages"))["items"]] == ["CT-MRI-DAY", "SCANS"]
    event = clinic.events()[-1]
    assert (event["type"], event["object"]["id"]) == ("package.created", package["id"])
    assert event["data"] == {
        "code": "SCANS", "price_list": "base", "valid_from": TODAY, "total": "25000.00", "percent_off": None,
    }  # fmt: skip


def test_a_part_may_have_a_rank_and_a_quantity(clinic):
    parts = [line("ONC-CONS-1", "candidate"), line("CT-ABD-RP", quantity="1.5")]
    package = made(clinic.post("/v1/packages", body(parts=parts, percent_off="10")))
    first, second = package["parts"]
    assert (first["rank_name"]["ru"], first["list_amount"]) == ("к.м.н.", "5300.00")
    assert (second["rank_name"], second["quantity"], second["list_amount"]) == (None, "1.5", "13260.00")
    assert (package["price"], shares(package)) == ("16704.00", ["4770.00", "11934.00"])


def test_a_preview_says_the_same_and_keeps_nothing(clinic):
    before = clinic.events()
    preview = made(clinic.post("/v1/packages/preview", body(), key=""))
    assert clinic.events() == before
    package = made(clinic.post("/v1/packages", body()))
    assert {name: package[name] for name in preview} == preview
    assert package.keys() - preview.keys() == {"id", "created_at", "updated_at"}


@pytest.mark.parametrize("path", ["/v1/packages", "/v1/packages/preview"])
def test_all_faults_come_at_once_with_their_places(clinic, path):
    given_prices.service("FROM-1")
    given_prices.published(given_prices.line("FROM-1", "100.00", kind="from"))
    parts = [
        line("NO-SUCH"), line("ONC-CONS-1"), line("ONC-CONS-1", "academician"), line("CT-ABD-RP", "doctor"),
        line("FROM-1"), line("US-LIVER"), CT, CT,
    ]  # fmt: skip
    expected = [
        ("/parts/0/article", "unknown_article"),
        ("/parts/1/doctor_rank", "rank_required"),
        ("/parts/2/doctor_rank", "unknown_rank"),
        ("/parts/3/doctor_rank", "rank_not_applicable"),
        ("/parts/4/article", "package_part_not_fixed"),
        ("/parts/5/article", "package_part_not_fixed"),
        ("/parts/7", "repeated_part"),
    ]
    dates = {"valid_from": "2026-11-22", "valid_until": "2026-11-22"}
    wrong_dates = [("/valid_from", "package_begins_in_past"), ("/valid_until", "package_ends_too_soon")]
    assert faults(clinic.post(path, body(parts=parts, **dates))) == expected + wrong_dates
    # Also beside what is wrong in the form of the body.
    malformed = body(
        parts=[*parts, {"article": "CT-ABD-RP", "quantity": "0"}], total="1", percent_off="1", colour="red"
    )
    assert faults(clinic.post(path, malformed)) == [
        ("/colour", "unknown_member"),
        *expected,
        ("/parts/8/quantity", "not_positive"),
        ("/total", "total_or_percent"),
    ]


@pytest.mark.parametrize(
    ("wrong", "where", "code"),
    [
        ({"total": None}, "/total", "total_or_percent"),
        ({"total": "1", "percent_off": "1"}, "/total", "total_or_percent"),
        ({"percent_off": "101"}, "/percent_off", "not_percent"),
        ({"total": "-1"}, "/total", "not_money"),
        ({"parts": []}, "/parts", "wrong_count"),
        ({"code": "scans"}, "/code", "wrong_form"),
        ({"price_list": "nobody"}, "/price_list", "unknown_price_list"),
    ],
)
def test_what_is_wrong_is_named(clinic, wrong, where, code):
    assert (where, code) in faults(clinic.post("/v1/packages", body(**wrong)))


def test_publishing_takes_its_own_right(clinic):
    reader = given.caller(clinic.app, "catalog:read", "catalog:write")
    assert reader.get("/v1/packages/CT-MRI-DAY").status_code == 200
    assert reader.post("/v1/packages", body()).get_json()["scope"] == "prices:publish"


def test_a_code_names_one_package_a_day_in_each_list(clinic):
    first = made(clinic.post("/v1/packages", body(valid_until="2026-12-01")))
    for path in ("/v1/packages", "/v1/packages/preview"):
        refused = clinic.post(path, body(valid_from="2026-11-30"))
        assert (refused.status_code, refused.get_json()["code"]) == (409, "packages_overlap")
    other = made(clinic.post("/v1/packages", body(valid_from="2026-12-01", total="26000")))
    given_payers.price_list(clinic, "abroad", "foreign")
    abroad = made(clinic.post("/v1/packages", body(price_list="abroad", total="40000")))

    def found(query):
        return made(clinic.get(f"/v1/packages/SCANS?{query}"))["id"]

    assert found("on=2026-11-30") == first["id"]
    assert found("on=2026-12-01") == other["id"]
    assert found("price_list=abroad") == abroad["id"]
    assert made(clinic.get("/v1/packages?price_list=abroad"))["items"] == [abroad]
    assert clinic.get("/v1/packages/SCANS?on=2026-11-22").status_code == 404
    assert clinic.get("/v1/packages/NONE").status_code == 404


def test_packages_are_listed_page_by_page(clinic):
    for code in ("A", "B", "C"):
        given.package(clinic, code)
    seen, cursor = [], ""
    while cursor is not None:
        page = made(clinic.get(f"/v1/packages?limit=3{cursor and '&cursor=' + cursor}"))
        seen += [each["code"] for each in page["items"]]
        cursor = page["next_cursor"]
    assert seen == ["A", "B", "C", "CT-MRI-DAY"]


# ---- Other days ----


def test_the_split_follows_the_prices_of_the_day(clinic):
    given.price("MRI-ABD-RP", "16000.00", date(2026, 12, 1))
    before, after = (made(clinic.get(f"/v1/packages/CT-MRI-DAY?on={on}")) for on in ("2026-11-30", "2026-12-01"))
    assert (before["price"], shares(before)) == ("24930.00", ["12600.00", "12330.00"])
    assert (after["price"], shares(after)) == ("27000.00", ["12600.00", "14400.00"])


def test_a_package_dearer_than_its_parts_is_warned_of_even_when_it_will_be_so_later(clinic):
    given.price("MRI-ABD-RP", "9000.00", date(2026, 12, 1))
    given.price("MRI-ABD-RP", "8000.00", date(2026, 12, 10))
    given.price("MRI-ABD-RP", "13700.00", date(2026, 12, 20))
    package = made(clinic.post("/v1/packages", body(total="25000"), Accept_Language="en"))
    (warning,) = package["warnings"]
    assert (warning["code"], warning["on"], warning["article"]) == ("package_above_parts", "2026-12-01", None)
    assert "25000.00 against 23000.00" in warning["message"]
    (there,) = made(clinic.get("/v1/packages/SCANS?on=2026-12-05"))["warnings"]
    assert there["on"] == "2026-12-05"
    assert made(clinic.get("/v1/packages/SCANS?on=2026-12-20"))["warnings"] == []
    short = made(clinic.post("/v1/packages/preview", body(code="SHORT", valid_until="2026-12-01")))
    assert short["warnings"] == []
    dear = made(clinic.post("/v1/packages/preview", body(code="DEAR", total="30000", valid_until="2026-11-30")))
    assert [(each["code"], each["on"]) for each in dear["warnings"]] == [("package_above_parts", TODAY)]
    assert (dear["saving"], shares(dear)) == ("0.00", ["15162.45", "14837.55"])


def test_a_package_is_not_sold_on_a_day_on_which_a_part_has_no_fixed_price(clinic):
    given_prices.published(given_prices.line("MRI-ABD-RP", None), since=date(2026, 12, 1))
    now = made(clinic.get("/v1/packages/CT-MRI-DAY"))
    assert now["price"] == "24930.00"
    assert [(each["code"], each["on"], each["article"]) for each in now["warnings"]] == [
        ("package_not_priced", "2026-12-01", "MRI-ABD-RP")
    ]
    then = made(clinic.get("/v1/packages/CT-MRI-DAY?on=2026-12-02"))
    assert (then["price"], then["list_amount"], then["saving"], shares(then)) == (None, None, None, [None, None])
    assert [each["code"] for each in then["warnings"]] == ["package_not_priced"]


def test_a_package_ends_with_the_contract_of_its_list(clinic):
    contract = {"number": "ДМС-17", "valid_from": TODAY, "valid_until": "2026-12-01"}
    given_payers.price_list(clinic, "dms", contract=contract)
    (warning,) = made(clinic.post("/v1/packages", body(price_list="dms")))["warnings"]
    assert warning["code"] == "price_list_not_in_force"
    late = made(clinic.get(f"/v1/packages/SCANS?price_list=dms&on={warning['on']}"))
    assert late["price"] is None
    refused = faults(clinic.post("/v1/packages", body(price_list="dms", code="LATE", valid_from="2026-12-10")))
    assert refused == [("/price_list", "price_list_not_in_force")]


def test_a_part_sold_no_longer_ends_the_sale_of_the_package(clinic):
    etag = clinic.get("/v1/services/MRI-ABD-RP").headers["ETag"]
    made(clinic.patch("/v1/services/MRI-ABD-RP", {"active": False}, match=etag))
    assert made(clinic.get("/v1/packages/CT-MRI-DAY"))["price"] is None


def test_the_public_sees_the_packages_of_public_lists_only(clinic):
    given_payers.price_list(clinic, "ours", "staff")
    made(clinic.post("/v1/packages", body(price_list="ours", total="1000")))
    with db.transaction() as conn:
        assert package_offers.listed(conn, "ours", date(2026, 11, 23)) == []
        (offer,) = package_offers.listed(conn, "base", date(2026, 11, 23))
        assert package_offers.listed(conn, "base", date(2026, 11, 22)) == []
    assert http.dumped(offer.as_json("ru")) == clinic.get("/v1/packages/CT-MRI-DAY").data


def test_everything_for_a_list_and_a_day_takes_two_statements(clinic, monkeypatch):
    given.package(clinic, "OTHER")
    asked: list[object] = []
    monkeypatch.setattr(db, "many", counted(db.many, asked))
    with db.transaction() as conn:
        assert len(package_offers.listed(conn, "base", date(2026, 11, 23))) == 2
    assert len(asked) == 2


def counted(work, calls):
    def wrapper(*args, **kwargs):
        calls.append(args)
        return work(*args, **kwargs)

    return wrapper


# ---- Changing and ending one ----


def edited(clinic, package, wanted):
    path = f"/v1/packages/{package['id']}"
    return clinic.patch(path, wanted, match=clinic.get(path).headers["ETag"])


def test_names_note_and_end_may_change_and_nothing_else(clinic):
    package = made(clinic.post("/v1/packages", body()))
    after = made(edited(clinic, package, {"name": {"ru": "Снимки", "en": "Scans"}, "note": "Днём",
                                          "valid_until": "2026-12-01"}))  # fmt: skip
    assert (after["name"]["ru"], after["note"], after["valid_until"]) == ("Снимки", "Днём", "2026-12-01")
    assert after["parts"] == package["parts"]
    event = clinic.events()[-1]
    assert (event["type"], event["data"]["changed"]) == (
        "package.changed",
        ["name_en", "name_ru", "note", "valid_until"],
    )
    assert faults(edited(clinic, package, {"total": "1", "parts": [], "valid_from": TODAY})) == [
        ("/parts", "unknown_member"), ("/total", "unknown_member"), ("/valid_from", "unknown_member"),
    ]  # fmt: skip


def test_a_change_needs_the_version_that_was_read(clinic):
    package = made(clinic.post("/v1/packages", body()))
    path = f"/v1/packages/{package['id']}"
    assert clinic.patch(path, {"note": "x"}).status_code == 428
    etag = clinic.get(path).headers["ETag"]
    made(clinic.patch(path, {"note": "x"}, match=etag))
    assert clinic.patch(path, {"note": "y"}, match=etag).status_code == 412
    assert clinic.patch("/v1/packages/SCANS", {"note": "y"}, match=etag).status_code == 404


def test_the_end_is_not_before_today_and_what_has_ended_does_not_begin_again(clinic):
    package = made(clinic.post("/v1/packages", body()))
    with given.day("2026-12-05"):
        clinic = given.caller(clinic.app, "*")
        for early in ("2026-12-04", TODAY):
            assert faults(edited(clinic, package, {"valid_until": early})) == [
                ("/valid_until", "package_ends_too_soon")
            ]
        made(edited(clinic, package, {"valid_until": "2026-12-05"}))
        assert clinic.get("/v1/packages/SCANS").status_code == 404
        assert made(clinic.get("/v1/packages/SCANS?on=2026-12-04"))["id"] == package["id"]
        assert made(clinic.get(f"/v1/packages/{package['id']}"))["on"] == "2026-12-04"
        assert faults(edited(clinic, package, {"valid_until": None})) == [("/valid_until", "package_ended")]
        made(clinic.post("/v1/packages", body(total="26000")))


def test_an_end_that_reaches_into_the_next_package_is_refused(clinic):
    package = made(clinic.post("/v1/packages", body(valid_until="2026-12-01")))
    made(clinic.post("/v1/packages", body(valid_from="2026-12-01")))
    refused = edited(clinic, package, {"valid_until": None})
    assert (refused.status_code, refused.get_json()["code"]) == (409, "packages_overlap")


def test_a_mistake_is_taken_back_on_its_first_day_and_the_right_one_follows_at_once(clinic):
    wrong = made(clinic.post("/v1/packages", body(total="2500.00")))
    assert made(edited(clinic, wrong, {"withdrawn": True}))["withdrawn"] is True
    right = made(clinic.post("/v1/packages", body(total="25000.00")))
    assert made(clinic.get("/v1/packages/SCANS"))["id"] == right["id"]
    assert faults(edited(clinic, wrong, {"withdrawn": False})) == [("/withdrawn", "package_withdrawn")]
    with given.day("2026-11-24"):
        clinic = given.caller(clinic.app, "*")
        assert faults(edited(clinic, right, {"withdrawn": True})) == [("/withdrawn", "package_begun")]


# ---- What nobody can do ----

ATTACKS = {
    "another total": "UPDATE package SET total = 1 WHERE total IS NOT NULL",
    "another percent": "UPDATE package SET percent_off = 50 WHERE percent_off IS NOT NULL",
    "a total for a percent": "UPDATE package SET total = 1, percent_off = NULL",
    "another code": "UPDATE package SET code = 'X'",
    "another list": "UPDATE package SET price_list = 'other'",
    "fewer parts": "UPDATE package SET parts = 1",
    "another beginning": "UPDATE package SET valid = daterange(lower(valid) - 1, upper(valid))",
    "withdrawn no longer": "UPDATE package SET withdrawn = false WHERE withdrawn",
    "no package": "DELETE FROM package",
    "no packages": "TRUNCATE package CASCADE",
    "another quantity": "UPDATE package_part SET quantity = 2",
    "another service": "UPDATE package_part SET service_id = gen_random_uuid()",
    "a part less": "DELETE FROM package_part WHERE position = 1",
    "no parts": "TRUNCATE package_part",
}
MORE = """
    INSERT INTO package_part (package_id, position, service_id, doctor_rank, quantity)
    SELECT package.id, 9, service.id, 'none', 1 FROM package, medical_service AS service
     WHERE service.article = 'ONC-REMOTE'
"""


@pytest.fixture
def owner(clinic, opened):
    """The owner of the database, beside a package by percent, one by total and one withdrawn."""
    made(edited(clinic, made(clinic.post("/v1/packages", body())), {"withdrawn": True}))
    made(clinic.post("/v1/packages", body()))
    with psycopg.connect(opened.owner) as conn:
        conn.execute("INSERT INTO price_list (code, name_ru, name_en) VALUES ('other', 'x', 'x')")
        yield conn
        conn.rollback()


@pytest.mark.parametrize("name", ATTACKS)
def test_what_a_package_is_made_of_and_costs_never_changes_not_even_for_the_owner(owner, name):
    with pytest.raises(pg.RestrictViolation):
        owner.execute(ATTACKS[name].encode())


def test_a_part_more_is_not_committed(owner):
    owner.execute(MORE)
    with pytest.raises(pg.CheckViolation, match="parts it was made with"):
        owner.commit()


@pytest.mark.parametrize("attack", [*ATTACKS.values()])
def test_the_application_has_no_right_to_either(owner, attack):
    owner.execute("SET ROLE clinic_app")
    with pytest.raises((pg.InsufficientPrivilege, pg.RestrictViolation)):
        owner.execute(attack.encode())


@pytest.mark.xdist_group("server")
def test_of_two_who_add_the_same_package_at_once_one_does(cluster):
    with running.new_database(cluster) as urls, running.service(urls) as service:
        caller = service.caller()
        for wanted in [body(code=f"SCANS-{n}") for n in range(5)]:
            answers = at_once(2, functools.partial(lambda wanted, _: caller.post("/v1/packages", wanted), wanted))
            assert seen(answers) == {"201": 1, "409 packages_overlap": 1}
