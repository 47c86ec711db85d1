"""What is agreed with insurers and given to the staff is nowhere public: not shown, not found, not guessed."""

import re

import psycopg
import pytest

from tests import given, given_prices
from tests.given_feed import items
from tests.given_prices import line, published


@pytest.fixture
def insured(app, opened):
    """A public list of one service; an insurer and the staff have lists of their own with services of their own."""
    with psycopg.connect(opened.owner) as conn:
        conn.execute(
            """
            INSERT INTO price_list (code, name_ru, name_en, kind, public, insurer_inn, contract_number, fallback) VALUES
              ('alfa', 'ТАЙНЫЙ список', 'SECRET list', 'insurer', false, '1234567894', '7', 'base'),
              ('staff', 'ТАЙНЫЙ для своих', 'SECRET staff', 'staff', false, NULL, NULL, 'base'),
              -- Everybody may know it, but it is not the list that everybody pays by.
              ('foreign', 'ДРУГОЙ список', 'OTHER list', 'foreign', true, NULL, NULL, 'base')
            """
        )
    given_prices.service("MRI-1", ru="МРТ печени", en="MRI of the liver")
    given_prices.service("SECRET-1", ru="Тайная вакцинация", en="Secret vaccination", note="тайна")
    given_prices.service("SECRET-2", ru="Тайный массаж", en="Secret massage")
    with given.day("2026-11-23"):
        published(line("MRI-1", "100.00"), number="1")
        published(line("MRI-1", "7777.00"), line("SECRET-1", "7777.00"), price_list="alfa", number="SECRET-7")
        published(line("SECRET-2", "8888.00"), price_list="staff", number="SECRET-8")
        published(line("MRI-1", "9999.00"), price_list="foreign", number="OTHER-9")
        published(line("SECRET-2", None), number="2")
    return app.test_client()


@pytest.mark.parametrize(
    "path",
    [
        "/v1/prices", "/v1/prices?lang=en", "/v1/prices?from=2026-01-01", "/v1/prices?on=2026-12-01",
        "/v1/prices?q=тайная", "/v1/prices?q=secret", "/v1/prices?q=7777", "/prices", "/prices?lang=en",
        "/prices?category=mri", "/prices/MRI-1", "/prices/MRI-1?lang=en",
    ],
)  # fmt: skip
def test_what_others_pay_is_nowhere_public(insured, path):
    with given.day("2026-11-24"):
        for accept in ("text/csv;q=0.9, */*;q=0.1", "*/*"):
            shown = insured.get(path, headers={"Accept": accept})
            assert shown.status_code == 200
            told = shown.text.replace("\u00a0", "").replace("?q=secret", "").replace('value="secret"', "")
            if "q=тайная" in path:
                told = told.replace("тайная", "")
            assert not re.search(
                "secret|тайн|7777|8888|alfa|9999|other-9|other list|другой список", told, re.IGNORECASE
            ), told


@pytest.mark.parametrize("article", ["SECRET-1", "SECRET-2", "NO-SUCH", "mri-1", "%00", "MRI-1%0A"])
def test_a_service_that_is_not_public_is_as_if_it_were_not_there(insured, article):
    assert insured.get(f"/prices/{article}").status_code == 404


def test_hidden_services_do_not_change_what_a_search_finds(insured):
    def found(path: str, **wanted: str) -> list[str]:
        shown = insured.get(path, query_string=wanted)
        return re.findall(r'"/prices/([A-Z0-9-]+)"', shown.text) if path == "/prices" else list(items(shown))

    given_prices.service("LAB-1", ru="Вакцинология общая", en="Vaccinology")
    with given.day("2026-11-23"):
        published(line("LAB-1", "5.00"), number="3")
    with given.day("2026-11-24"):
        # The hidden «вакцинация» has the very word: were it thought of, the slip would not be forgiven.
        for words in ("вакцинация", "vaccination"):
            assert found("/v1/prices", q=words) == ["LAB-1"]
            assert found("/v1/prices", q=words, until="2027-01-01") == ["LAB-1"]
            assert found("/prices", q=words) == ["LAB-1"]


def test_a_crowd_of_hidden_services_does_not_push_a_public_one_out(app, opened):
    given_prices.service("MRI-1", ru="Плазмаферез", en="Plasmapheresis")
    published(line("MRI-1", "100.00"))
    with psycopg.connect(opened.owner) as conn:
        conn.execute(
            """
            INSERT INTO medical_service (id, article, name_ru, name_en, category, vat_category, priced_by_rank,
                                         created_at, updated_at)
            SELECT gen_random_uuid(), 'A-' || n, 'Плазмоферез', 'x', 'mri', 'exempt_medical', false, now(), now()
              FROM generate_series(1, 500) AS n
            """
        )
    assert items(app.test_client().get("/v1/prices?q=плазмоферез")).keys() == {"MRI-1"}


def test_packages_stand_in_the_feed_and_on_the_page_with_their_shares(clinic):
    with given.day("2026-11-24"):
        (package,) = clinic.app.test_client().get("/v1/prices").get_json()["packages"]
        page = clinic.app.test_client().get("/prices").text
    assert (package["code"], package["total"], package["list_amount"]) == ("CT-MRI-DAY", "24930.00", "27700.00")
    assert [part["share"] for part in package["parts"]] == ["12600.00", "12330.00"]
    assert "МСКТ и МРТ в один день" in page
    assert page.count("24\xa0930\xa0₽") == 1


@pytest.mark.parametrize(
    ("query", "codes"), [("q=мрт", ["CT-MRI-DAY"]), ("category=msct", ["CT-MRI-DAY"]), ("q=узи", [])]
)
def test_a_search_shows_the_packages_that_have_what_it_found(clinic, query, codes):
    with given.day("2026-11-24"):
        found = clinic.app.test_client().get(f"/v1/prices?{query}").get_json()["packages"]
    assert [each["code"] for each in found] == codes


def test_a_package_without_a_price_of_some_part_is_not_shown(clinic):
    with given.day("2026-11-24"):
        published(line("MRI-ABD-RP", None), number="9")
    with given.day("2026-11-25"):
        assert clinic.app.test_client().get("/v1/prices").get_json()["packages"] == []


def test_a_package_of_another_list_is_never_public(clinic):
    with given.day("2026-11-24"):
        given.caller(clinic.app, "*").post(
            "/v1/price-lists", {"code": "ours", "name": {"ru": "С", "en": "S"}, "kind": "staff", "fallback": "base"}
        )
        published(line("CT-ABD-RP", "1.00"), line("MRI-ABD-RP", "1.00"), price_list="ours")
        given.package(given.caller(clinic.app, "*"), "OURS", price_list="ours")
        shown = clinic.app.test_client().get("/v1/prices").get_json()["packages"]
    assert [each["code"] for each in shown] == ["CT-MRI-DAY"]
