"""Variants side by side: what the one costs, what the other, and nothing is kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from uuid import UUID

import pytest

from billing import comparing, quotes
from clinic import db
from clinic.auth import COMMAND_LINE
from tests import given
from tests.given import faults, line, made

CONSULTATION, CONTRAST, PLAIN, MRI = "ONC-CONS-1", "CT-ABD-RP-BOLUS", "CT-ABD-RP", "MRI-ABD-RP"


def compared(clinic, *variants):
    return made(clinic.post("/v1/quotes/compare", {"variants": list(variants)}, key=""))


def beside(clinic, quote, *variants):
    return made(clinic.post(f"/v1/quotes/{quote['id']}/compare", {"variants": list(variants)}, key=""))


def of(*lines, **more):
    return {"lines": [each if isinstance(each, dict) else line(*each) for each in lines], **more}


def table(found):
    """The rows: what each column has there."""
    return [[cell and (cell["article"], cell["amount"]) for cell in row["cells"]] for row in found["rows"]]


def totals(found):
    return [(each["totals"]["total"], each["difference"]) for each in found["variants"]]


@pytest.fixture
def quote(clinic):
    return clinic.quote((CONSULTATION, "none"), (CONTRAST, None), patient={"id": "P-7", "name": "Иванова"})


# ---- Of nothing that is kept ----


def test_variants_are_priced_as_previews_are_and_nothing_is_kept(clinic):
    variants = [of((CONSULTATION, rank), (CONTRAST, None), name=rank) for rank in ("none", "candidate", "doctor")]
    found = compared(clinic, *variants)
    for variant, column in zip(variants, found["variants"], strict=True):
        preview = made(clinic.post("/v1/quotes/preview", {"lines": variant["lines"]}, key=""))
        assert {name: column[name] for name in preview} == preview
        assert (column["name"], column["quote"]) == (variant["name"], None)
    assert totals(found) == [("17700.00", "0.00"), ("19300.00", "1600.00"), ("22500.00", "4800.00")]
    assert table(found) == [
        [(CONSULTATION, "3700.00"), (CONSULTATION, "5300.00"), (CONSULTATION, "8500.00")],
        [(CONTRAST, "14000.00")] * 3,
    ]
    assert [row["differs"] for row in found["rows"]] == [True, False]
    assert [cell["difference"] for cell in found["rows"][0]["cells"]] == ["0.00", "1600.00", "4800.00"]
    assert made(clinic.get("/v1/quotes"))["items"] == []


def test_every_fault_of_every_variant_comes_at_once(clinic):
    wrong = [
        of((CONSULTATION, None), ("NONE-SUCH", None)),
        of((PLAIN, None)),
        of(line(PLAIN, quantity="0"), (CONSULTATION, "general"), colour="red"),
    ]
    assert faults(clinic.post("/v1/quotes/compare", {"variants": wrong}, key="")) == [
        ("/variants/0/lines/0/doctor_rank", "rank_required"),
        ("/variants/0/lines/1/article", "unknown_article"),
        ("/variants/2/colour", "unknown_member"),
        ("/variants/2/lines/0/quantity", "not_positive"),
        ("/variants/2/lines/1/doctor_rank", "unknown_rank"),
    ]
    only_priced = [of((CONSULTATION, None)), of(("NONE-SUCH", None), price_list="nosuch")]
    assert faults(clinic.post("/v1/quotes/compare", {"variants": only_priced}, key=""))[0] == (
        "/variants/0/lines/0/doctor_rank",
        "rank_required",
    )


@pytest.mark.parametrize("count", [0, 1, 6])
def test_two_to_five_are_compared(clinic, count):
    answer = clinic.post("/v1/quotes/compare", {"variants": [of((PLAIN, None))] * count}, key="")
    assert faults(answer) == [("/variants", "wrong_count")]


# ---- Beside a quote that is kept ----


def test_a_quote_keeps_its_prices_and_its_variants_have_those_of_today(clinic, quote):
    given.price(PLAIN, "9999.00", date.fromisoformat(quote["date"]))
    found = beside(clinic, quote, {}, {"replace": {CONTRAST: PLAIN}, "name": "Без контраста"})
    first, same, other = found["variants"]
    assert first["quote"] == {"id": quote["id"], "code": quote["code"], "revision": 1, "status": "draft"}
    assert first["lines"] == quote["lines"]
    assert first["patient"] == {"id": "P-7", "name": "Иванова"}
    assert (same["quote"], same["patient"], other["name"]) == (None, None, "Без контраста")
    assert totals(found) == [("17700.00", "0.00"), ("17700.00", "0.00"), ("13699.00", "-4001.00")]


def test_another_rank_is_for_all_lines_priced_by_rank_and_for_no_other(clinic, quote):
    found = beside(clinic, quote, {"doctor_rank": "candidate"}, {"doctor_rank": "doctor"})
    assert totals(found) == [("17700.00", "0.00"), ("19300.00", "1600.00"), ("22500.00", "4800.00")]
    assert [each["lines"][0]["doctor_rank"] for each in found["variants"]] == ["none", "candidate", "doctor"]
    assert [each["lines"][1]["doctor_rank"] for each in found["variants"]] == ["none"] * 3


def test_lines_in_another_order_and_by_another_rank_stand_in_the_rows_of_their_services(clinic):
    first = of((CONSULTATION, "none"), (CONSULTATION, "doctor"), (PLAIN, None))
    found = compared(clinic, first, of((PLAIN, None), (CONSULTATION, "doctor"), (CONSULTATION, "candidate")))
    assert table(found) == [
        [(CONSULTATION, "3700.00"), (CONSULTATION, "5300.00")],
        [(CONSULTATION, "8500.00"), (CONSULTATION, "8500.00")],
        [(PLAIN, "8840.00"), (PLAIN, "8840.00")],
    ]


def test_a_study_without_contrast_stands_in_the_row_of_the_one_with_it(clinic, quote):
    found = beside(clinic, quote, {"replace": {CONTRAST: PLAIN}})
    assert table(found) == [
        [(CONSULTATION, "3700.00"), (CONSULTATION, "3700.00")],
        [(CONTRAST, "14000.00"), (PLAIN, "8840.00")],
    ]
    assert found["rows"][1]["cells"][1]["difference"] == "-5160.00"


def test_a_line_is_left_out(clinic, quote):
    found = beside(clinic, quote, {"without": [CONSULTATION]})
    assert table(found) == [[(CONSULTATION, "3700.00"), None], [(CONTRAST, "14000.00")] * 2]
    assert totals(found) == [("17700.00", "0.00"), ("14000.00", "-3700.00")]


def test_changes_go_together(clinic, quote):
    found = beside(clinic, quote, {"doctor_rank": "doctor", "replace": {CONTRAST: MRI}})
    assert totals(found)[1] == ("22200.00", "4500.00")


def test_a_service_whose_price_depends_on_the_rank_takes_the_rank_that_is_there(clinic):
    quote = clinic.quote((CONSULTATION, "candidate"), (PLAIN, None))
    same_rank = beside(clinic, quote, {"replace": {CONSULTATION: CONSULTATION}})
    assert totals(same_rank)[1] == ("14140.00", "0.00")
    refused = clinic.post(f"/v1/quotes/{quote['id']}/compare", {"variants": [{"replace": {PLAIN: CONSULTATION}}]})
    assert faults(refused) == [(f"/variants/0/replace/{PLAIN}", "rank_required")]
    named = beside(clinic, quote, {"replace": {PLAIN: CONSULTATION}, "doctor_rank": "doctor"})
    assert totals(named)[1] == ("17000.00", "2860.00")


def test_other_lines_altogether(clinic, quote):
    found = beside(clinic, quote, of((MRI, None), (CONSULTATION, "none")))
    assert table(found) == [
        [None, (MRI, "13700.00")],
        [(CONSULTATION, "3700.00")] * 2,
        [(CONTRAST, "14000.00"), None],
    ]


def test_discounts_and_quantities_of_the_quote_go_over_to_its_variants(clinic):
    dear = given.caller(clinic.app, "*", discount_ceiling=100)
    quote = dear.quote(
        line(CONTRAST, quantity="2", discount_percent="10", discount_reason="staff"),
        discount_amount="100.00", discount_reason="goodwill",
    )  # fmt: skip
    found = beside(dear, quote, {}, {"replace": {CONTRAST: PLAIN}})
    assert totals(found) == [("25100.00", "0.00"), ("25100.00", "0.00"), ("15812.00", "-9288.00")]


def test_a_package_is_left_out_whole_and_its_parts_stay_together(clinic):
    quote = clinic.quote({"package": "CT-MRI-DAY"}, (CONSULTATION, "none"))
    found = beside(clinic, quote, {"without": ["CT-MRI-DAY"]}, {"doctor_rank": "doctor"})
    assert totals(found) == [("28630.00", "0.00"), ("3700.00", "-24930.00"), ("33430.00", "4800.00")]
    refused = clinic.post(f"/v1/quotes/{quote['id']}/compare", {"variants": [{"without": [MRI]}]})
    assert faults(refused) == [("/variants/0/without/0", "part_of_package")]


def test_what_the_quote_has_not_is_told_where_it_was_named_all_at_once(clinic, quote):
    variants = [
        {"without": [CONSULTATION, "NONE"], "replace": {MRI: PLAIN}},
        {"replace": {CONTRAST: "NONE-SUCH"}, "doctor_rank": "general"},
        {"without": [CONSULTATION, CONTRAST]},
        of((CONSULTATION, None)),
    ]
    assert faults(clinic.post(f"/v1/quotes/{quote['id']}/compare", {"variants": variants})) == [
        ("/variants/0/without/1", "not_in_quote"),
        (f"/variants/0/replace/{MRI}", "not_in_quote"),
        ("/variants/1/doctor_rank", "unknown_rank"),
        (f"/variants/1/replace/{CONTRAST}", "unknown_article"),
        ("/variants/2/without", "no_lines_left"),
        ("/variants/3/lines/0/doctor_rank", "rank_required"),
    ]
    scans = clinic.quote((CONTRAST, None))
    assert faults(clinic.post(f"/v1/quotes/{scans['id']}/compare", {"variants": [{"doctor_rank": "doctor"}]})) == [
        ("/variants/0/doctor_rank", "nothing_by_rank")
    ]


@pytest.mark.parametrize(
    ("variant", "where", "code"),
    [
        ({"replace": {"x": PLAIN}}, "/variants/0/replace", "wrong_form"),
        ({"replace": {CONTRAST: 1}}, "/variants/0/replace", "wrong_form"),
        ({"replace": [CONTRAST]}, "/variants/0/replace", "not_an_object"),
        ({"replace": None}, "/variants/0/replace", "null_not_allowed"),
        ({"without": "x"}, "/variants/0/without", "not_a_list"),
        ({"lines": []}, "/variants/0/lines", "wrong_count"),
        ({"lines": [{"article": PLAIN}], "without": [PLAIN]}, "/variants/0/without", "not_with_lines"),
    ],
)
def test_a_variant_that_cannot_be_read_is_refused_by_place(clinic, quote, variant, where, code):
    assert faults(clinic.post(f"/v1/quotes/{quote['id']}/compare", {"variants": [variant]})) == [(where, code)]


def test_another_branch_compares_no_quote_of_ours_and_reading_it_is_noted(clinic, quote):
    made(clinic.post("/v1/branches", {"code": "north", "name": "Север", "prefix": "С"}))
    north = given.caller(clinic.app, "*", branch="north")
    assert north.post(f"/v1/quotes/{quote['id']}/compare", {"variants": [{}]}).status_code == 404
    beside(clinic, quote, {})
    with db.reading() as conn:
        assert conn.execute("SELECT action, object_id::text FROM access_log").fetchall() == [("read", quote["id"])]


# ---- Rows ----


@pytest.fixture
def some_line(quote):
    with db.transaction() as conn:
        kept = quotes.get(conn, COMMAND_LINE, UUID(quote["id"]))
        return quotes.lines_of(conn, [kept])[kept.id][0]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("AB", "BA"), ["AA", "BB"]),
        (("ABC", "BD"), ["A.", "BB", "CD"]),
        (("AB", "AXB"), ["AA", ".X", "BB"]),
        (("AA", "A"), ["AA", "A."]),
        (("A", "B", "C"), ["ABC"]),
        (("AB", "B", "XB"), ["A.X", "BBB"]),
        (("A", "AX", "AXY"), ["AAA", ".XX", "..Y"]),
        (("AB", "XAB", "AB"), [".X.", "AAA", "BBB"]),
    ],
)
def test_lines_stand_in_the_row_of_their_service_or_of_what_they_replace(some_line, columns, expected):
    lines = [[replace(some_line, article=name, position=at) for at, name in enumerate(names, 1)] for names in columns]
    found = ["".join(cell.article if cell else "." for cell in row.cells) for row in comparing.rows(lines)]
    assert found == expected
