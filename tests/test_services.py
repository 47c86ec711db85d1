"""Services under their articles."""

import pytest
from werkzeug.test import TestResponse

from tests import given, given_prices
from tests.given import faults, made
from tests.given_prices import line, published

ULTRASOUND = {
    "article": "US-ABD",
    "name": {"ru": "УЗИ органов брюшной полости", "en": "Abdominal ultrasound"},
    "category": "ultrasound",
}


def etag(clinic: given.Caller, article: str) -> str:
    return clinic.get(f"/v1/services/{article}").headers["ETag"]


def test_a_new_service_has_its_defaults_and_a_warning_without_a_code(clinic):
    answer = clinic.post("/v1/services", ULTRASOUND)
    service = made(answer)
    assert {**service, **ULTRASOUND, "nomenclature_codes": [], "unit": "услуга", "active": True} == service
    assert (service["vat_category"], service["tax_deduction_code"]) == ("exempt_medical", "1")
    assert (service["priced_by_rank"], service["discountable"], service["note"]) == (False, True, None)
    assert [each["code"] for each in service["warnings"]] == ["code_missing"]
    assert answer.headers["Location"] == "/v1/services/US-ABD"
    assert answer.headers["ETag"] == etag(clinic, "US-ABD")


def test_a_service_with_a_code_has_no_warning(clinic):
    assert made(clinic.post("/v1/services", {**ULTRASOUND, "nomenclature_codes": ["A04.16.001"]}))["warnings"] == []


def test_it_has_no_price_until_an_order_gives_one(clinic):
    clinic.post("/v1/services", ULTRASOUND)
    assert clinic.get("/v1/services/US-ABD/prices").get_json() == {"article": "US-ABD", "prices": []}


def test_an_article_is_used_once(clinic):
    clinic.post("/v1/services", ULTRASOUND)
    refused = clinic.post("/v1/services", ULTRASOUND)
    assert (refused.status_code, refused.get_json()["code"], refused.get_json()["article"]) == (
        409, "article_taken", "US-ABD",
    )  # fmt: skip


def test_an_article_of_a_service_no_longer_sold_is_not_used_again(clinic):
    clinic.post("/v1/services", {**ULTRASOUND, "active": False})
    assert clinic.post("/v1/services", ULTRASOUND).status_code == 409


def test_all_faults_come_at_once(clinic):
    wrong = {
        "article": "us abd", "name": {"ru": "УЗИ"}, "category": "no_such", "nomenclature_codes": ["А04.16.001"],
        "vat_category": "free", "priced_by_rank": "yes", "price": "100.00",
    }  # fmt: skip
    assert faults(clinic.post("/v1/services", wrong)) == [
        ("/article", "wrong_form"),
        ("/category", "unknown_category"),
        ("/name/en", "required"),
        ("/nomenclature_codes/0", "wrong_nomenclature_code"),
        ("/price", "unknown_member"),
        ("/priced_by_rank", "not_flag"),
        ("/vat_category", "not_a_choice"),
    ]


def test_an_unknown_category_alone_is_named_too(clinic):
    assert faults(clinic.post("/v1/services", {**ULTRASOUND, "category": "no_such"})) == [
        ("/category", "unknown_category")
    ]


def test_a_change_changes_what_it_names_and_gives_a_new_etag(clinic):
    before = etag(clinic, "US-LIVER")
    answer = clinic.patch("/v1/services/US-LIVER", {"note": "Натощак", "discountable": False}, match=before)
    service = made(answer)
    assert (service["note"], service["discountable"], service["name"]["en"]) == ("Натощак", False, "Liver ultrasound")
    assert answer.headers["ETag"] == etag(clinic, "US-LIVER") != before


def test_a_change_of_what_was_read_long_ago_is_refused(clinic):
    before = etag(clinic, "US-LIVER")
    clinic.patch("/v1/services/US-LIVER", {"note": "Натощак"}, match=before)
    assert clinic.patch("/v1/services/US-LIVER", {"note": "Иначе"}, match=before).status_code == 412
    assert clinic.patch("/v1/services/US-LIVER", {"note": "Иначе"}).status_code == 428


def test_the_article_cannot_be_changed(clinic):
    refused = clinic.patch("/v1/services/US-LIVER", {"article": "US-2"}, match=etag(clinic, "US-LIVER"))
    assert faults(refused) == [("/article", "unknown_member")]


def test_whether_rank_matters_is_fixed_once_there_is_a_price(clinic):
    refused = clinic.patch("/v1/services/US-LIVER", {"priced_by_rank": True}, match=etag(clinic, "US-LIVER"))
    assert (refused.status_code, refused.get_json()["code"]) == (409, "service_has_prices")
    clinic.post("/v1/services", ULTRASOUND)
    assert made(clinic.patch("/v1/services/US-ABD", {"priced_by_rank": True}, match=etag(clinic, "US-ABD")))


def test_changes_are_events_that_say_what_changed(clinic):
    clinic.patch("/v1/services/US-LIVER", {"note": "Натощак", "unit": "услуга"}, match=etag(clinic, "US-LIVER"))
    event = clinic.events()[-1]
    assert (event["type"], event["data"]) == ("service.changed", {"article": "US-LIVER", "changed": ["note"]})


def test_a_change_that_changes_nothing_is_no_event(clinic):
    before, events = etag(clinic, "US-LIVER"), clinic.events()
    clinic.patch("/v1/services/US-LIVER", {"unit": "услуга"}, match=before)
    assert (etag(clinic, "US-LIVER"), clinic.events()) == (before, events)


def test_an_article_nobody_has_is_not_found(clinic):
    for path in ("/v1/services/NO-SUCH", "/v1/services/NO-SUCH/prices"):
        assert clinic.get(path).status_code == 404


def test_the_history_shows_past_future_and_corrected_prices(app):
    given_prices.service("MRI-1")
    with given.day("2026-11-01"):
        first = published(line("MRI-1", "100.00"))
        second = published(line("MRI-1", "110.00"), corrects=first.id)
        published(line("MRI-1", None), since=given_prices.on("2026-12-01"))
    prices = given.caller(app, "catalog:read").get("/v1/services/MRI-1/prices").get_json()["prices"]
    assert [(each["kind"], each["amount"], each["valid_from"], each["valid_until"]) for each in prices] == [
        ("fixed", "100.00", "2026-11-01", None),
        ("fixed", "110.00", "2026-11-01", "2026-12-01"),
        ("withdrawn", None, "2026-12-01", None),
    ]
    assert [each["corrected_by"] for each in prices] == [str(second.id), None, None]


# ---- Lists ----


def articles(response: TestResponse) -> list[str]:
    assert response.status_code == 200, response.get_json()
    return [each["article"] for each in response.get_json()["items"]]


def test_services_are_listed_page_by_page(clinic):
    found, cursor = [], ""
    while cursor is not None:
        page = clinic.get(f"/v1/services?limit=10{cursor and f'&cursor={cursor}'}")
        found += articles(page)
        cursor = page.get_json()["next_cursor"]
    assert len(found) == 29
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("category=mri", ["MRI-ABD-CONTRAST", "MRI-ABD-RP"]),
        ("q=мрт контраст", ["MRI-ABD-CONTRAST"]),
        ("q=mri-abd", ["MRI-ABD-CONTRAST", "MRI-ABD-RP"]),
        ("q=плазмоферез", ["ONC-PLASMA"]),
        ("active=false", []),
        ("category=mri&active=true&q=rp", ["MRI-ABD-RP"]),
    ],
)
def test_services_are_filtered(clinic, query, expected):
    assert articles(clinic.get(f"/v1/services?{query}")) == expected


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("catalog:read", "post", "/v1/services"),
        ("catalog:read", "post", "/v1/categories"),
        ("catalog:read", "patch", "/v1/services/US-LIVER"),
        ("catalog:write", "get", "/v1/services"),
        ("catalog:write", "get", "/v1/categories"),
    ],
)
def test_reading_and_writing_are_rights_of_their_own(clinic, app, scope, method, path):
    other = given.caller(app, scope)
    call = getattr(other, method)
    assert (call(path) if method == "get" else call(path, {})).status_code == 403
