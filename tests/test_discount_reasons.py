"""Reasons of discounts and ceilings of roles, as an administrator keeps them."""

from __future__ import annotations

from typing import Any

import pytest

from clinic.auth import ROLES
from tests import given
from tests.browser import Person, quick_passwords  # noqa: F401
from tests.given import Caller, faults, line, made

TODAY = "2026-11-23"
BIRTHDAY: dict[str, Any] = {"code": "birthday", "name": {"ru": "День рождения", "en": "Birthday"}}


@pytest.fixture
def clinic(clinic):
    """The clinic on the first day of its prices."""
    with given.day(TODAY):
        yield clinic


def reason(clinic: Caller, **more: Any) -> Any:
    return made(clinic.post("/v1/discount-reasons", BIRTHDAY | more))


def changed(clinic: Caller, code: str, **wanted: Any) -> Any:
    path = f"/v1/discount-reasons/{code}"
    return clinic.patch(path, wanted, match=clinic.get(path).headers["ETag"])


def given_today(clinic: Caller, code: str) -> bool:
    """Whether a quote of the day may name the reason."""
    wanted = {"lines": [line("CT-ABD-RP", discount_percent="1", discount_reason=code)]}
    answer = clinic.post("/v1/quotes/preview", wanted)
    if answer.status_code == 200:
        return True
    assert faults(answer) == [("/lines/0/discount_reason", "unknown_discount_reason")]
    return False


# ---- Reasons ----


def test_the_clinic_begins_with_four_reasons(clinic):
    found = made(clinic.get("/v1/discount-reasons"))["items"]
    assert {each["code"] for each in found} == {"staff", "repeat", "package", "goodwill"}


def test_a_reason_is_valid_from_the_day_it_is_made(clinic):
    assert not given_today(clinic, "birthday")
    assert reason(clinic) == {**BIRTHDAY, "valid_from": TODAY, "valid_until": None}
    assert given_today(clinic, "birthday")


def test_a_reason_is_valid_on_the_day_of_the_document(clinic):
    reason(clinic, valid_from="2026-12-01", valid_until="2026-12-03")
    valid = []
    for day in ("2026-11-30", "2026-12-01", "2026-12-02", "2026-12-03"):
        with given.day(day):
            valid.append(given_today(clinic, "birthday"))
    assert valid == [False, True, True, False]


def test_a_reason_has_one_code_for_ever(clinic):
    reason(clinic)
    answer = clinic.post("/v1/discount-reasons", BIRTHDAY)
    assert (answer.status_code, answer.get_json()["code"]) == (409, "discount_reason_taken")


def test_a_reason_ends_and_comes_back_and_its_documents_keep_it(clinic):
    quote = clinic.quote(line("CT-ABD-RP", discount_percent="1", discount_reason="repeat"))
    ended = made(changed(clinic, "repeat", valid_until=TODAY))
    assert ended["valid_until"] == TODAY
    assert not given_today(clinic, "repeat")
    assert made(clinic.get(f"/v1/quotes/{quote['id']}"))["lines"][0]["discount_reason"] == "repeat"
    made(changed(clinic, "repeat", valid_until=None))
    assert given_today(clinic, "repeat")


def test_the_days_that_are_over_stay_as_they_were(clinic):
    reason(clinic)
    with given.day("2026-11-25"):
        for wanted in ({"valid_from": "2026-11-22"}, {"valid_from": "2026-11-24"}, {"valid_from": "2026-11-26"}):
            assert faults(changed(clinic, "birthday", **wanted)) == [("/valid_from", "since_passed")]
        assert faults(changed(clinic, "birthday", valid_until="2026-11-24")) == [("/valid_until", "since_passed")]
        made(changed(clinic, "birthday", valid_until="2026-11-25"))
    with given.day("2026-11-26"):
        assert faults(changed(clinic, "birthday", valid_until=None)) == [("/valid_until", "since_passed")]
        made(changed(clinic, "birthday", name={"ru": "Праздник", "en": "Feast"}))
        past = {**BIRTHDAY, "code": "past", "valid_from": "2026-11-25"}
        assert faults(clinic.post("/v1/discount-reasons", past)) == [("/valid_from", "since_passed")]


def test_a_period_without_a_day_is_refused(clinic):
    empty = {**BIRTHDAY, "valid_from": "2026-12-01", "valid_until": "2026-12-01"}
    assert faults(clinic.post("/v1/discount-reasons", empty)) == [("/valid_until", "period_empty")]


def test_a_reason_that_was_changed_meanwhile_is_read_again(clinic):
    reason(clinic)
    path = "/v1/discount-reasons/birthday"
    seen = clinic.get(path).headers["ETag"]
    made(clinic.patch(path, {"valid_until": "2027-01-01"}, match=seen))
    assert clinic.patch(path, {"valid_until": None}, match=seen).status_code == 412
    assert clinic.patch(path, {"valid_until": None}).status_code == 428


def test_each_change_of_a_reason_is_one_event(clinic):
    reason(clinic)
    made(changed(clinic, "birthday", valid_until="2027-01-01"))
    one, other = clinic.events()[-2:]
    assert [one["type"], other["type"]] == ["discount_reason.created", "discount_reason.changed"]
    assert other["data"] == {"code": "birthday", "valid_from": TODAY, "valid_until": "2027-01-01"}


@pytest.mark.usefixtures("quick_passwords")
def test_the_desk_offers_the_reasons_of_today_alone(clinic):
    reason(clinic, valid_from="2026-12-01")
    made(changed(clinic, "repeat", valid_until=TODAY))
    person = Person(clinic.app, "reception")
    page = person.press(person.get("/desk"), "/desk", add="CT-ABD-RP")
    offered = [code for code in ("staff", "repeat", "birthday") if f'value="{code}"' in page.text]
    assert offered == ["staff"]


# ---- Ceilings ----


def ceilings(clinic: Caller) -> Any:
    return made(clinic.get("/v1/discount-ceilings"))


def set_ceilings(clinic: Caller, **wanted: str) -> Any:
    match = clinic.get("/v1/discount-ceilings").headers["ETag"]
    return clinic.put("/v1/discount-ceilings", wanted, match=match)


def test_every_role_has_a_ceiling(clinic):
    assert ceilings(clinic).keys() == ROLES.keys()
    assert ceilings(clinic)["senior_reception"] == "15.00"


def test_a_ceiling_that_is_set_leaves_the_others_and_is_one_event(clinic):
    before = ceilings(clinic)
    assert made(set_ceilings(clinic, reception="7.5", accountant="0")) == before | {"reception": "7.50"}
    assert ceilings(clinic) == before | {"reception": "7.50"}
    (event,) = [each for each in clinic.events() if each["type"] == "discount_ceiling.changed"]
    assert event["data"] == {"role": "reception", "old": "5.00", "new": "7.50"}


def test_of_two_who_set_ceilings_the_second_reads_again(clinic):
    seen = clinic.get("/v1/discount-ceilings").headers["ETag"]
    made(clinic.put("/v1/discount-ceilings", {"reception": "7"}, match=seen))
    assert clinic.put("/v1/discount-ceilings", {"reception": "8"}, match=seen).status_code == 412


@pytest.mark.parametrize("wrong", [{"reception": "101"}, {"reception": 5}, {"reception": "-1"}, {"cleaner": "5"}])
def test_what_is_no_ceiling_of_a_role_is_refused(clinic, wrong):
    assert set_ceilings(clinic, **wrong).status_code == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [("post", "/v1/discount-reasons"), ("get", "/v1/discount-ceilings"), ("put", "/v1/discount-ceilings")],
)
def test_only_an_administrator_sets_the_rules(clinic, method, path):
    other = given.caller(clinic.app, "quotes:read", "quotes:write", "discounts:approve")
    answer = other.get(path) if method == "get" else getattr(other, method)(path, {})
    assert (answer.status_code, answer.get_json()["scope"]) == (403, "admin")
