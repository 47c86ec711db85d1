"""Doctor ranks: in an order, `none` first, and made room for."""

import pytest

from tests import given, given_payers
from tests.given import faults, made
from tests.given_payers import names


def order(clinic):
    items = made(clinic.get("/v1/doctor-ranks"))["items"]
    assert [each["position"] for each in items] == list(range(1, len(items) + 1))
    return [each["code"] for each in items]


def added(clinic, code="academician", **more):
    return clinic.post("/v1/doctor-ranks", {"code": code, "name": names(code), **more})


def edited(clinic, code, **wanted):
    path = f"/v1/doctor-ranks/{code}"
    return clinic.patch(path, wanted, match=clinic.get(path).headers["ETag"])


def test_a_new_rank_is_the_last_one_or_the_others_make_room(clinic):
    assert order(clinic) == ["none", "candidate", "doctor", "professor"]
    answer = added(clinic)
    assert made(answer) == {"code": "academician", "name": names("academician"), "position": 5}
    assert made(clinic.get(answer.headers["Location"])) == answer.get_json()
    assert made(added(clinic, "category_2", position=2))["position"] == 2
    assert order(clinic) == ["none", "category_2", "candidate", "doctor", "professor", "academician"]
    assert [each["data"] for each in clinic.events() if each["type"] == "doctor_rank.created"] == [
        {"code": "academician", "position": 5},
        {"code": "category_2", "position": 2},
    ]


@pytest.mark.parametrize(
    ("code", "to", "expected"),
    [
        ("professor", 2, ["none", "professor", "candidate", "doctor"]),
        ("candidate", 4, ["none", "doctor", "professor", "candidate"]),
        ("doctor", 3, ["none", "candidate", "doctor", "professor"]),
    ],
)
def test_a_rank_moves_and_the_others_make_room(clinic, code, to, expected):
    assert made(edited(clinic, code, position=to))["position"] == to
    assert order(clinic) == expected


def test_none_stays_the_first_and_places_have_no_gaps(clinic):
    for answer in (
        edited(clinic, "none", position=2),
        edited(clinic, "doctor", position=1),
        edited(clinic, "doctor", position=5),
        added(clinic, position=1),
        added(clinic, position=6),
    ):
        assert faults(answer) == [("/position", "wrong_position")]
    assert faults(added(clinic, position=0)) == [("/position", "not_whole")]
    assert faults(added(clinic, "Ы", position=6)) == [("/code", "wrong_form"), ("/position", "wrong_position")]
    assert made(edited(clinic, "none", name=names("доктор")))["position"] == 1
    assert order(clinic) == ["none", "candidate", "doctor", "professor"]


def test_a_code_is_given_once(clinic):
    taken = added(clinic, "professor", position=2)
    assert (taken.status_code, taken.get_json()["code"]) == (409, "rank_taken")
    assert order(clinic) == ["none", "candidate", "doctor", "professor"]


def test_a_rank_is_edited_by_who_has_read_it_and_what_moved_it_counts(clinic):
    path = "/v1/doctor-ranks/candidate"
    assert clinic.patch(path, {"position": 3}).status_code == 428
    assert clinic.patch("/v1/doctor-ranks/healer", {}, match='"x"').status_code == 404
    stale = clinic.get(path).headers["ETag"]
    made(edited(clinic, "professor", position=2))
    assert clinic.patch(path, {"position": 2}, match=stale).status_code == 412


def test_documents_keep_the_name_a_rank_had(clinic):
    doctor = given_payers.doctor(clinic)
    quote = clinic.quote({"article": "ONC-CONS-1", "doctor": doctor["id"]}, ("ONC-CONS-1", "doctor"))
    made(edited(clinic, "candidate", name={"ru": "канд. мед. наук", "en": "PhD"}, position=4))
    path = f"/v1/quotes/{quote['id']}"
    assert made(clinic.get(path)) == quote
    (line,) = clinic.quote(("ONC-CONS-1", "candidate"))["lines"]
    assert line["rank_name"] == {"ru": "канд. мед. наук", "en": "PhD"}


def test_the_feed_lists_ranks_in_their_order_at_once(clinic):
    made(edited(clinic, "doctor", position=2))
    with given.day("2026-12-10"):
        feed = made(clinic.get("/v1/prices?q=ONC-CONS-1"))
    ranks = [
        each["doctor_rank"] for item in feed["items"] if item["article"] == "ONC-CONS-1" for each in item["prices"]
    ]
    assert ranks == ["none", "doctor", "candidate"]
