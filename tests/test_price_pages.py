"""The public price list as pages: what patients read, and what search engines do."""

import json
import re
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import pytest

from catalog import browsing, price_chart
from catalog.price_history import PublicPast
from clinic import branches
from clinic.auth import COMMAND_LINE
from clinic.command import change
from tests import given, given_prices
from tests.browser import Person, text
from tests.conftest import SETTINGS
from tests.given_feed import unpacked
from tests.given_prices import line, published
from tests.test_pages import REQUISITES
from wsgi import create_app

BREAKING = "</script><script>alert(1)</script>\u2028<!-- &"


@pytest.fixture
def stranger(app):
    return Person(app)


@pytest.fixture
def ahead():
    """100 rubles, from 1 December 120, from the 10th withdrawn."""
    given_prices.service("MRI-1", ru="МРТ печени", en="MRI of the liver")
    with given.day("2026-11-23"):
        published(line("MRI-1", "100.00"))
        published(line("MRI-1", "120.00"), since=given_prices.on("2026-12-01"))
        published(line("MRI-1", None), since=given_prices.on("2026-12-10"))


def said(person: Person, path: str = "/prices", day: str = "2026-11-24") -> str:
    """What a reader sees on this day."""
    with given.day(day):
        page = person.get(path)
    assert page.status_code == 200, page.text
    return text(page).replace("\u00a0", " ")


# ---- The list ----


def test_what_is_ordered_ahead_stands_under_todays_price(stranger, ahead):
    assert "МРТ печени MRI-1 100 ₽ с 01.12.2026 — 120 ₽ по 09.12.2026" in said(stranger)
    assert "МРТ печени MRI-1 120 ₽ по 09.12.2026" in said(stranger, day="2026-12-01")
    assert "МРТ печени" not in said(stranger, day="2026-12-10")
    assert "100 ₽ from 1 December 2026 — 120 ₽ until 9 December 2026" in said(stranger, "/prices?lang=en")


def test_a_service_that_begins_later_is_shown_with_its_first_day(stranger, ahead):
    assert "МРТ печени MRI-1 с 23.11.2026 — 100 ₽ с 01.12.2026 — 120 ₽" in said(stranger, day="2026-11-20")


def test_from_and_on_request_are_explained_where_they_stand_and_only_there(stranger):
    given_prices.service("MRI-1")
    given_prices.service("MRI-2")
    given_prices.service("MRI-3")
    with given.day("2026-11-23"):
        published(line("MRI-1", "100.00"))
        assert "наименьшая цена" not in said(stranger) and "зависит от случая" not in said(stranger)
        published(line("MRI-2", "67200.00", kind="from"), line("MRI-3", None, kind="on_request"))
    shown = said(stranger)
    assert "от 67 200 ₽" in shown and "по запросу" in shown
    assert shown.count("наименьшая цена") == shown.count("цена зависит от случая") == 1


def test_vat_the_unit_and_what_is_included_stand_with_the_service(stranger):
    given_prices.service("WARD", vat_category="standard", unit="сутки", note="Не входит: питание.")
    given_prices.service("FREE")
    with given.day("2026-11-23"):
        published(line("WARD", "5000.00"), line("FREE", "0.00"))
    shown = said(stranger)
    assert "WARD · сутки · в том числе НДС 22 % Не входит: питание. 5 000 ₽" in shown
    assert "FREE FREE бесплатно" in shown
    assert "в том числе НДС 22 %" in said(stranger, "/prices/WARD")


def test_ranks_stand_from_the_lowest_whichever_service_has_them(stranger):
    given_prices.service("A-1", priced_by_rank=True)
    given_prices.service("A-2", priced_by_rank=True)
    with given.day("2026-11-23"):
        published(line("A-1", "1.00", "none"), line("A-1", "3.00", "doctor"), line("A-2", "2.00", "candidate"))
    assert "Услуга врач к.м.н. д.м.н. A-1 A-1 1 ₽ — 3 ₽ A-2 A-2 — 2 ₽ —" in said(stranger)


def test_the_clinic_behind_the_list_is_named_once_it_is_known(stranger, ahead):
    assert "1027700132195" not in said(stranger)
    with change(COMMAND_LINE) as made:
        branches.set_requisites(made, branches.MAIN, REQUISITES)
    for path in ("/prices", "/prices/MRI-1"):
        assert "ООО «Клиника <здоровья>», ИНН 1234567894, ОГРН 1027700132195" in said(stranger, path)
        assert "Лицензия Л041-01137-77/00000001" in said(stranger, path)


def test_every_sheet_of_paper_says_the_order_and_the_day(stranger, ahead):
    with given.day("2026-12-02"):
        page = stranger.get("/prices").text
    foot = re.search(r'<p class="on-every-sheet"[^>]*>(.*)</p>', page)
    assert foot
    assert foot[1] == "Основной прейскурант, приказ № 2 от 23.11.2026. Цены на 02.12.2026"


# ---- A long list ----


@pytest.fixture
def long_list(monkeypatch, stranger):
    """More than fits on a page: five services of one category, two of another."""
    monkeypatch.setattr(browsing, "WHOLE", 3)
    monkeypatch.setattr(browsing, "PER_PAGE", 2)
    given_prices.category("lab", "Лаборатория")
    for number in range(1, 6):
        given_prices.service(f"MRI-{number}")
    for number in range(1, 3):
        given_prices.service(f"LAB-{number}", category="lab")
    with given.day("2026-11-23"):
        published(*(line(f"MRI-{n}", "1.00") for n in range(1, 6)), *(line(f"LAB-{n}", "1.00") for n in range(1, 3)))
    return stranger


def articles(person: Person, path: str) -> list[str]:
    with given.day("2026-11-24"):
        page = person.get(path)
    assert page.status_code == 200
    return re.findall(r'<a href="/prices/([A-Z0-9-]+)"', page.text)


def test_a_long_list_begins_with_its_categories(long_list):
    assert articles(long_list, "/prices") == []
    assert "МРТ 5" in said(long_list) and "Лаборатория 2" in said(long_list)
    assert 'href="/prices?category=mri"' in long_list.get("/prices").text


def test_a_category_of_a_long_list_goes_by_pages_when_it_is_long_itself(long_list):
    assert articles(long_list, "/prices?category=lab") == ["LAB-1", "LAB-2"]
    found = [articles(long_list, f"/prices?category=mri&page={number}") for number in (1, 2, 3, 4)]
    assert found == [["MRI-1", "MRI-2"], ["MRI-3", "MRI-4"], ["MRI-5"], ["MRI-5"]]
    assert "Страница 2 из 3" in said(long_list, "/prices?category=mri&page=2")
    assert 'rel="next" href="/prices?category=mri&amp;page=3"' in long_list.get("/prices?category=mri&page=2").text


def test_what_is_found_in_a_long_list_goes_by_pages_too(long_list):
    assert "Найдено услуг: 5" in said(long_list, "/prices?q=mri")
    assert articles(long_list, "/prices?q=mri&page=3") == ["MRI-5"]


@pytest.mark.parametrize("number", ["0", "-1", "x", "", "1e3", "²"])
def test_a_page_that_is_none_is_the_first(long_list, number):
    assert articles(long_list, f"/prices?category=mri&page={number}") == ["MRI-1", "MRI-2"]


@pytest.mark.parametrize("code", ["no_such", "NO", "%00", "x" * 200])
def test_a_category_that_is_none_is_not_found(stranger, code):
    assert stranger.get(f"/prices?category={code}").status_code == 404


# ---- A service ----


def test_a_service_shows_its_prices_of_all_days_with_their_orders(stranger, ahead):
    shown = said(stranger, "/prices/MRI-1")
    assert "Цены на 24.11.2026 Цена Приказ 100 ₽ с 01.12.2026 — 120 ₽ по 09.12.2026 № 1 от 23.11.2026" in shown
    assert "с 23.11.2026 по 30.11.2026 действует 100 ₽ № 1 от 23.11.2026" in shown
    assert "с 01.12.2026 по 09.12.2026 будет 120 ₽ № 2 от 23.11.2026" in shown
    assert "с 10.12.2026 будет не оказывается № 3 от 23.11.2026" in shown
    gone = said(stranger, "/prices/MRI-1", day="2026-12-10")
    assert "Сейчас услуга по этому прейскуранту не оказывается" in gone and "100 ₽" in gone


def test_a_corrected_price_is_struck_through_with_the_order_that_put_it_right(stranger):
    given_prices.service("MRI-1")
    with given.day("2026-11-23"):
        wrong = published(line("MRI-1", "1000.00"))
        published(line("MRI-1", "100.00"), corrects=wrong.id)
    assert "1 000 ₽ № 1 от 23.11.2026 исправлен приказом № 2 от 23.11.2026" in said(stranger, "/prices/MRI-1")
    page = stranger.get("/prices/MRI-1").text
    assert re.findall(r"<s>(.*?)</s>", page) == ["1\u00a0000\u00a0₽"]
    assert "<svg" not in page, "a price that was never charged is no change"


def test_a_service_sold_no_longer_says_so(clinic, stranger, ahead):
    with given.day("2026-11-25"):
        match = clinic.get("/v1/services/MRI-1").headers["ETag"]
        clinic.patch("/v1/services/MRI-1", {"active": False}, match=match)
        shown = said(stranger, "/prices/MRI-1", day="2026-11-25")
    assert "с 23.11.2026 по 24.11.2026 100 ₽" in shown
    assert "120 ₽" not in shown
    assert "не оказывается" in shown


def svg(person: Person, path: str) -> ElementTree.Element:
    with given.day("2026-11-24"):
        found = re.search(r"<svg.*?</svg>", person.get(path).text, re.DOTALL)
    assert found
    return ElementTree.fromstring(found[0])


def test_the_chart_is_named_and_needs_no_style_of_its_own(stranger, ahead):
    drawing = svg(stranger, "/prices/MRI-1")
    assert drawing.get("role") == "img"
    named = {each.attrib["id"]: each.text for each in drawing if "id" in each.attrib}
    assert drawing.get("aria-labelledby") == " ".join(named)
    assert named["chart-name"] == "Цена по дням: МРТ печени"
    assert [each.get("d") for each in drawing.iter("path")] == ["M76 101 H178 V77 H292"]
    assert not [each for each in drawing.iter() if "style" in each.attrib]


def past(amount: str | None, since: str, until: str | None, rank: str = "none") -> PublicPast:
    return PublicPast(
        rank, 1, rank, rank, "fixed" if amount else "withdrawn", given_prices.line("X", amount).amount,
        date.fromisoformat(since), date.fromisoformat(until) if until else None, "1", date(2026, 1, 1), None, None,
    )  # fmt: skip


@pytest.mark.parametrize("most", ["0.01", "1.00", "5500.00", "67200.00", "99999.99", "1000000000000.00"])
def test_every_line_stays_inside_its_chart(most):
    history = [past("0.00", "2020-02-29", "2026-11-24"), past(most, "2026-11-24", None)]
    chart = price_chart.of(history, date(2026, 11, 24))
    assert chart
    for x, y in re.findall(r"M(\d+) (\d+)", chart.lines[0].path):
        assert chart.left <= int(x) <= chart.right and chart.top <= int(y) <= chart.bottom
    for y in re.findall(r"V(-?\d+)", chart.lines[0].path):
        assert chart.top <= int(y) <= chart.bottom
    assert chart.amounts[0] == (chart.bottom, Decimal(0)) and chart.amounts[-1][1] >= Decimal(most)
    assert len(chart.amounts) <= 7


def test_a_line_breaks_where_the_service_had_no_price():
    history = [
        past("100.00", "2026-01-01", "2026-02-01"),
        past(None, "2026-02-01", "2026-03-01"),
        past("100.00", "2026-03-01", None),
    ]
    chart = price_chart.of(history, date(2026, 11, 24))
    assert chart
    assert chart.lines[0].path.count("M") == 2


def test_a_price_that_never_changed_has_no_chart():
    assert price_chart.of([past("100.00", "2026-01-01", None)], date(2026, 11, 24)) is None
    assert price_chart.of([past(None, "2026-01-01", None)], date(2026, 11, 24)) is None


# ---- Headers and the script ----


@pytest.mark.parametrize("path", ["/prices", "/prices/MRI-1"])
def test_pages_come_compressed_and_are_not_sent_twice(stranger, ahead, path):
    plain = stranger.get(path)
    etags = {plain.headers["ETag"]}
    for encoding in ("br", "gzip"):
        packed = stranger.get(path, Accept_Encoding=encoding)
        assert packed.headers["Content-Encoding"] == encoding
        assert unpacked(packed.data, encoding) == plain.data
        assert "Accept-Encoding" in packed.vary
        etags.add(packed.headers["ETag"])
        again = stranger.get(path, Accept_Encoding=encoding, If_None_Match=packed.headers["ETag"])
        assert (again.status_code, again.data) == (304, b"")
    assert len(etags) == 3


def test_a_page_with_a_name_on_it_is_neither_kept_nor_compressed(app, ahead):
    anna = Person(app, "reception")
    page = anna.get("/prices", Accept_Encoding="br")
    assert page.headers["Cache-Control"] == "no-store"
    assert "Content-Encoding" not in page.headers


def test_searching_as_one_types_needs_a_script_and_searching_does_not(stranger, ahead):
    page = stranger.get("/prices").text
    script = re.search(r'<script src="(/static/prices\.js\?v=[0-9a-f]{12})" defer></script>', page)
    assert script
    code = stranger.get(script[1]).text
    for place in re.findall(r'"(told|found|search)"', code):
        assert f'id="{place}"' in page, "the script looks for what the page does not have"
    assert "Найдено услуг: 1" in said(stranger, "/prices?q=печени")


# ---- What search engines read ----

# Of https://schema.org, release 29: what a type is besides, and which of its properties take what.
PARENTS: dict[str, tuple[str, ...]] = {
    "MedicalClinic": ("MedicalBusiness", "MedicalOrganization"),
    "MedicalBusiness": ("LocalBusiness",),
    "LocalBusiness": ("Organization", "Place"),
    "MedicalOrganization": ("Organization",),
    "Organization": ("Thing",),
    "Place": ("Thing",),
    "OfferCatalog": ("ItemList",),
    "ItemList": ("Intangible",),
    "Offer": ("Intangible",),
    "Service": ("Intangible",),
    "Intangible": ("Thing",),
    "MedicalProcedure": ("MedicalEntity",),
    "MedicalEntity": ("Thing",),
    "MedicalCode": ("CategoryCode", "MedicalIntangible"),
    "CategoryCode": ("DefinedTerm",),
    "DefinedTerm": ("Intangible",),
    "MedicalIntangible": ("MedicalEntity",),
    "PriceSpecification": ("StructuredValue",),
    "StructuredValue": ("Intangible",),
    "Thing": (),
}
PROPERTIES: dict[str, dict[str, tuple[str, ...]]] = {
    "Thing": {"name": ("Text",), "description": ("Text", "TextObject"), "url": ("URL",)},
    "Organization": {
        "address": ("PostalAddress", "Text"), "telephone": ("Text",), "email": ("Text",), "taxID": ("Text",),
        "hasOfferCatalog": ("OfferCatalog",),
    },
    "ItemList": {"itemListElement": ("ListItem", "Text", "Thing")},
    "Offer": {
        "sku": ("Text",), "priceSpecification": ("PriceSpecification",),
        "itemOffered": ("AggregateOffer", "CreativeWork", "Event", "MenuItem", "Product", "Service", "Trip"),
    },
    "Service": {
        "category": ("CategoryCode", "PhysicalActivityCategory", "Text", "Thing", "URL"),
        "provider": ("Organization", "Person"), "offers": ("Demand", "Offer"),
    },
    "MedicalEntity": {"code": ("MedicalCode",)},
    "CategoryCode": {"codeValue": ("Text",)},
    "MedicalCode": {"codingSystem": ("Text",)},
    "PriceSpecification": {
        "price": ("Number", "Text"), "minPrice": ("Number",), "priceCurrency": ("Text",),
        "valueAddedTaxIncluded": ("Boolean",), "validFrom": ("Date", "DateTime"), "validThrough": ("Date", "DateTime"),
    },
}  # fmt: skip


def kinds(type_: str) -> set[str]:
    return {type_}.union(*(kinds(each) for each in PARENTS[type_]))


def types_of(thing: dict[str, Any], known: dict[str, Any]) -> set[str]:
    if thing.keys() == {"@id"}:
        thing = known[thing["@id"]]
    named = thing["@type"] if isinstance(thing["@type"], list) else [thing["@type"]]
    return set().union(*map(kinds, named))


def identified(thing: Any) -> dict[str, Any]:
    """All things that have an id and a type, by their ids."""
    if isinstance(thing, list):
        return {name: found for each in thing for name, found in identified(each).items()}
    if not isinstance(thing, dict):
        return {}
    own = {thing["@id"]: thing} if "@id" in thing and "@type" in thing else {}
    return own | identified(list(thing.values()))


def check(thing: dict[str, Any], known: dict[str, Any]) -> None:
    """That schema.org has these types and their properties take these values."""
    types = types_of(thing, known)
    takes = {name: ranges for each in types for name, ranges in PROPERTIES.get(each, {}).items()}
    for name, value in thing.items():
        if name.startswith("@"):
            continue
        assert name in takes, f"{sorted(types)} have no {name}"
        for each in value if isinstance(value, list) else [value]:
            check_value(name, each, takes[name], known)


def check_value(name: str, value: Any, ranges: tuple[str, ...], known: dict[str, Any]) -> None:
    match value:
        case dict():
            assert types_of(value, known) & set(ranges), f"{name} takes {ranges}"
            check(value, known)
        case bool():
            assert "Boolean" in ranges, name
        case int() | float():
            assert "Number" in ranges, name
        case str() if "Text" not in ranges:
            assert re.fullmatch(r"\d{4}-\d\d-\d\d" if "Date" in ranges else r"(https?:/)?/\S+", value), (name, value)
        case _:
            assert isinstance(value, str), (name, value)


def linked(person: Person, path: str, day: str = "2026-11-24") -> Any:
    """The page's data for search engines, checked against schema.org."""
    with given.day(day):
        found = re.findall(r'<script type="application/ld\+json">(.*?)</script>', person.get(path).text, re.DOTALL)
    assert len(found) == 1, found
    told = json.loads(found[0])
    assert told["@context"] == "https://schema.org"
    check(told, identified(told))
    return told


def test_the_real_list_is_told_in_words_of_schema_org(clinic):
    told = linked(Person(clinic.app), "/prices?lang=ru")
    assert (told["@type"], told["name"]) == ("MedicalClinic", "Клиника")
    catalogs = {each["name"]: each["itemListElement"] for each in told["hasOfferCatalog"]["itemListElement"]}
    offer = next(each for each in catalogs["МСКТ"] if each["sku"] == "CT-ABD-RP")
    assert offer["itemOffered"] == {
        "@type": ["MedicalProcedure", "Service"],
        "@id": "/prices/CT-ABD-RP#service",
        "name": "МСКТ органов брюшной полости и забрюшинного пространства",
        "category": "МСКТ",
        "code": [{"@type": "MedicalCode", "codeValue": "A06.30.005.001", "codingSystem": "804н"}],
    }
    assert offer["priceSpecification"] == {
        "@type": "PriceSpecification",
        "price": 8840.00,
        "priceCurrency": "RUB",
        "valueAddedTaxIncluded": True,
        "validFrom": "2026-11-23",
    }
    board = next(each for each in catalogs["Консультации специалистов"] if each["sku"] == "ONC-BOARD")
    assert "priceSpecification" not in board and "price" not in board
    by_rank = [each for each in catalogs["Консультации специалистов"] if each["sku"] == "ONC-CONS-1"]
    assert [each["priceSpecification"]["price"] for each in by_rank] == [3700, 5300, 8500]
    assert by_rank[2]["name"] == "Первичный приём врача-онколога, д.м.н."


def test_a_service_is_told_with_its_offers_and_who_gives_them(stranger, ahead):
    with change(COMMAND_LINE) as made:
        more = {"phone": "+7 495 000-00-00", "email": "a@example.org"}
        branches.set_requisites(made, branches.MAIN, REQUISITES | more)
    told = linked(stranger, "/prices/MRI-1?lang=en")
    assert (told["name"], told["provider"]["name"]) == ("MRI of the liver", "ООО «Клиника <здоровья>»")
    prices = [each["priceSpecification"] for each in told["offers"]]
    days = [(each["validFrom"], each["validThrough"]) for each in prices]
    assert days == [
        ("2026-11-23", "2026-11-30"),
        ("2026-12-01", "2026-12-09"),
    ]


def test_from_is_a_least_price_and_no_price(stranger):
    given_prices.service("MRI-1", note="Не входит: описание.")
    with given.day("2026-11-23"):
        published(line("MRI-1", "0.10", kind="from"))
    told = linked(stranger, "/prices/MRI-1")
    assert told["description"] == "Не входит: описание."
    assert told["offers"][0]["priceSpecification"]["minPrice"] == 0.1
    assert "price" not in told["offers"][0]["priceSpecification"]


def test_the_public_address_is_told_where_it_is_known(app, ahead):
    app = create_app(replace(SETTINGS, public_url="https://clinic.example/"))
    app.config["SERVER_NAME"] = "clinic.example"
    away = Person(app)
    told = linked(away, "/prices")
    assert told["url"] == "https://clinic.example"
    offer = told["hasOfferCatalog"]["itemListElement"][0]["itemListElement"][0]
    assert offer["url"] == "https://clinic.example/prices/MRI-1"


def test_no_name_can_end_the_data_and_begin_a_script(stranger):
    given_prices.service("MRI-1", ru=BREAKING, en=BREAKING, note=BREAKING)
    with given.day("2026-11-23"):
        published(line("MRI-1", "1.00"))
    for path in ("/prices", "/prices/MRI-1"):
        told = json.dumps(linked(stranger, path), ensure_ascii=False)
        assert json.dumps(BREAKING, ensure_ascii=False) in told, "the name is told as it is"
        page = stranger.get(path).text
        assert "<script>alert" not in page and "<!--" not in page
        data = re.search(r'ld\+json">(.*?)</script>', page, re.DOTALL)
        assert data
        assert not re.search("[<>&\u2028\u2029]", data[1])


def test_what_is_found_is_not_told_twice(stranger, ahead):
    with given.day("2026-11-24"):
        assert "ld+json" not in stranger.get("/prices?q=печени").text
