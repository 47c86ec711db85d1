"""Sections of the price list, and the other short lists that services refer to."""

import pytest

from tests import given
from tests.given import faults, made

ENDOSCOPY = {"code": "endoscopy", "name": {"ru": "Эндоскопия", "en": "Endoscopy"}}


@pytest.fixture
def keeper(app):
    """Who looks after the catalog of an empty clinic."""
    return given.caller(app, "catalog:read", "catalog:write")


def test_the_samples_categories_have_their_codes_in_the_files_order(clinic):
    assert [each["code"] for each in clinic.get("/v1/categories").get_json()["items"]] == [
        "consultation", "intervention", "msct", "mri", "ultrasound", "pet_ct", "biopsy", "drug_treatment", "surgery",
    ]  # fmt: skip


def test_a_new_category_stands_last_and_is_an_event(keeper):
    keeper.post("/v1/categories", {**ENDOSCOPY, "code": "first", "name": {"ru": "Первая", "en": "First"}})
    assert made(keeper.post("/v1/categories", ENDOSCOPY)) == {**ENDOSCOPY, "parent": None}
    assert [each["code"] for each in keeper.get("/v1/categories").get_json()["items"]] == ["first", "endoscopy"]


def test_a_category_may_stand_inside_another(keeper):
    keeper.post("/v1/categories", ENDOSCOPY)
    inner = {"code": "gastroscopy", "name": {"ru": "Гастроскопия", "en": "Gastroscopy"}, "parent": "endoscopy"}
    assert made(keeper.post("/v1/categories", inner)) == inner


def test_the_parent_must_exist(keeper):
    assert faults(keeper.post("/v1/categories", {**ENDOSCOPY, "parent": "nowhere"})) == [
        ("/parent", "unknown_category")
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"code": "endoscopy_2"},
        {"name": {"ru": "Другая", "en": "Other"}},
        {"code": "e", "name": {"ru": "эндоскопия", "en": "E"}},
    ],
)
def test_a_code_and_a_russian_name_are_used_once(keeper, other):
    keeper.post("/v1/categories", ENDOSCOPY)
    refused = keeper.post("/v1/categories", {**ENDOSCOPY, **other})
    assert (refused.status_code, refused.get_json()["code"]) == (409, "category_taken")


def test_a_repeated_call_answers_the_same_and_makes_nothing(keeper):
    first = keeper.post("/v1/categories", ENDOSCOPY, key="make-endoscopy")
    again = keeper.post("/v1/categories", ENDOSCOPY, key="make-endoscopy")
    assert again.get_json() == first.get_json()
    assert again.headers["Idempotency-Replayed"] == "true"


def test_ranks_are_listed_from_the_lowest(keeper):
    items = keeper.get("/v1/doctor-ranks").get_json()["items"]
    assert [each["code"] for each in items] == ["none", "candidate", "doctor", "professor"]
    assert items[1]["name"] == {"ru": "к.м.н.", "en": "Candidate of Medical Science"}


def test_the_base_price_list_is_there_and_public(keeper):
    assert keeper.get("/v1/price-lists").get_json()["items"] == [
        {
            "code": "base",
            "name": {"ru": "Основной прейскурант", "en": "Base price list"},
            "kind": "base",
            "public": True,
            "fallback": None,
            "contract": {"number": None, "valid_from": None, "valid_until": None},
            "insurer_inn": None,
        }
    ]
