"""Price lists for payers: on their days only, an insurer's for that insurer only, and what is sold stays sold."""

import psycopg
import pytest
from psycopg import errors as pg

from clinic import db
from tests import given, given_prices
from tests.given import faults, made
from tests.given_payers import ANOTHER_INSURER, INSURER, names, price_list
from tests.given_prices import line

SERVICE = "CT-ABD-RP"
BASE, AGREED = "8840.00", "7000.00"
PATH = "/v1/price-lists/dms"


@pytest.fixture
def dms(clinic):
    """An insurer's list under a contract from 2026-12-01 to 2026-12-31, with one price of its own."""
    with given.day("2026-11-23"):
        made = price_list(
            clinic, contract={"number": "ДМС-17", "valid_from": "2026-12-01", "valid_until": "2027-01-01"}
        )
        given_prices.published(line(SERVICE, AGREED), price_list="dms")
    return made


def edited(clinic, path=PATH, **wanted):
    return clinic.patch(path, wanted, match=clinic.get(path).headers["ETag"])


def previewed(clinic, *lines, code="dms"):
    return clinic.post("/v1/quotes/preview", {"lines": list(lines) or [{"article": SERVICE}], "price_list": code})


def problem(answer):
    return answer.status_code, answer.get_json()["code"]


# ---- The lists themselves ----


def test_a_list_is_made_read_and_listed(clinic):
    wanted = {
        "code": "foreign", "name": {"ru": "Иностранным гражданам", "en": "Foreign citizens"}, "kind": "foreign",
        "public": True, "fallback": "base", "contract": None, "insurer_inn": None,
    }  # fmt: skip
    answer = clinic.post("/v1/price-lists", wanted)
    open_ended = {"number": None, "valid_from": None, "valid_until": None}
    assert made(answer) == wanted | {"contract": open_ended}
    assert answer.headers["Location"] == "/v1/price-lists/foreign"
    read = clinic.get("/v1/price-lists/foreign")
    assert (made(read), read.headers["ETag"]) == (answer.get_json(), answer.headers["ETag"])
    base, listed = made(clinic.get("/v1/price-lists"))["items"]
    assert listed == answer.get_json()
    assert (base["code"], base["kind"], base["contract"], base["insurer_inn"]) == ("base", "base", open_ended, None)
    assert clinic.get("/v1/price-lists/none").status_code == 404
    event = clinic.events()[-1]
    assert (event["type"], event["data"]) == (
        "price_list.created", {"code": "foreign", "kind": "foreign", "fallback": "base"},
    )  # fmt: skip


INSURERS = {
    "code": "i",
    "name": names("i"),
    "kind": "insurer",
    "insurer_inn": "1234567894",
    "contract": {"number": "1"},
}


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"contract": None}, [("/contract", "insurer_needs_contract")]),
        ({"contract": {}}, [("/contract/number", "insurer_needs_contract")]),
        ({"insurer_inn": None}, [("/insurer_inn", "insurer_needs_inn")]),
        ({"insurer_inn": "500100732259"}, [("/insurer_inn", "insurer_needs_inn")]),
        ({"insurer_inn": "1234567890"}, [("/insurer_inn", "wrong_inn")]),
        ({"public": True}, [("/public", "not_public")]),
        ({"kind": "staff", "public": True, "insurer_inn": None}, [("/public", "not_public")]),
        ({"kind": "foreign"}, [("/insurer_inn", "only_for_insurers")]),
        ({"kind": "base"}, [("/kind", "not_a_choice")]),
        ({"fallback": "none"}, [("/fallback", "unknown_price_list")]),
        ({"fallback": "i"}, [("/fallback", "unknown_price_list")]),
        ({"fallback": "dms"}, [("/fallback", "fallback_to_insurer")]),
        (
            {"contract": {"number": "1", "valid_from": "2026-12-01", "valid_until": "2026-12-01"}},
            [("/contract/valid_until", "period_empty")],
        ),
        (
            {"public": True, "insurer_inn": None, "contract": None, "fallback": "dms", "name": {"ru": "x"}},
            [
                ("/contract", "insurer_needs_contract"),
                ("/fallback", "fallback_to_insurer"),
                ("/insurer_inn", "insurer_needs_inn"),
                ("/name/en", "required"),
                ("/public", "not_public"),
            ],
        ),
    ],
)
def test_what_is_wrong_with_a_new_list_has_a_name(clinic, dms, wrong, expected):
    assert faults(clinic.post("/v1/price-lists", INSURERS | wrong)) == expected
    assert clinic.get("/v1/price-lists/i").status_code == 404


def test_a_code_is_given_once(clinic, dms):
    assert problem(clinic.post("/v1/price-lists", INSURERS | {"code": "dms"})) == (409, "price_list_taken")
    assert problem(clinic.post("/v1/price-lists", INSURERS | {"code": "base"})) == (409, "price_list_taken")


def test_names_number_and_end_change_under_if_match(clinic, dms):
    assert clinic.patch(PATH, {}).status_code == 428
    stale = clinic.get(PATH).headers["ETag"]
    with given.day("2026-12-10"):
        after = made(edited(clinic, name=names("Новый"), contract={"number": "ДМС-18", "valid_until": "2026-12-20"}))
        assert (after["name"], after["contract"]) == (
            names("Новый"),
            {"number": "ДМС-18", "valid_from": "2026-12-01", "valid_until": "2026-12-20"},
        )
        assert clinic.patch(PATH, {"name": names("x")}, match=stale).status_code == 412
        assert clinic.events()[-1]["data"] == {"code": "dms", "changed": ["contract_number", "name", "valid_until"]}
        for contract, fault in (
            ({"valid_until": "2026-12-09"}, ("/contract/valid_until", "end_passed")),
            ({"number": None}, ("/contract/number", "insurer_needs_contract")),
            ({"valid_from": "2026-12-02"}, ("/contract/valid_from", "unknown_member")),
        ):
            assert faults(edited(clinic, contract=contract)) == [fault]
        for member in ("fallback", "kind", "public", "insurer_inn", "code"):
            assert faults(edited(clinic, **{member: "base"})) == [(f"/{member}", "unknown_member")]
        assert made(edited(clinic, contract={"valid_until": "2026-12-10"}))["contract"]["valid_until"] == "2026-12-10"
        assert made(edited(clinic, contract={"valid_until": None}))["contract"]["valid_until"] is None
    with given.day("2026-11-25"):
        assert faults(edited(clinic, contract={"valid_until": "2026-12-01"})) == [
            ("/contract/valid_until", "period_empty")
        ]


def test_the_base_list_has_no_end(clinic):
    for contract in ({"valid_until": "2030-01-01"}, {"number": "1"}):
        wrong = edited(clinic, "/v1/price-lists/base", contract=contract)
        assert faults(wrong) == [("/contract", "base_has_no_contract")]
    assert made(edited(clinic, "/v1/price-lists/base", name=names("Главный")))["name"] == names("Главный")


@pytest.mark.parametrize(
    "change",
    ["fallback = NULL", "kind = 'other', insurer_inn = NULL", "insurer_inn = '7707083893'", "public = true",
     "valid = '[2026-11-01,2027-01-01)'"],
)  # fmt: skip
def test_whose_a_list_is_and_where_it_falls_back_never_changes(dms, opened, change):
    with psycopg.connect(opened.owner) as owner, pytest.raises(pg.RestrictViolation):
        owner.execute(f"UPDATE price_list SET {change} WHERE code = 'dms'".encode())


# ---- Its days ----


@pytest.mark.parametrize(
    ("day", "at", "in_force"),
    [
        ("2026-11-30", "23:59", False),
        ("2026-12-01", "00:00", True),
        ("2026-12-31", "23:59", True),
        ("2027-01-01", "00:00", False),
    ],
)
def test_a_list_sells_on_the_days_of_its_contract_in_moscow(clinic, dms, day, at, in_force):
    with given.day(day, at):
        answer = previewed(clinic)
        direct = clinic.post("/v1/invoices", {"lines": [{"article": SERVICE}], "price_list": "dms", "payer": INSURER})
    if in_force:
        assert made(answer)["totals"]["total"] == AGREED
        assert made(direct)["totals"]["total"] == AGREED
    else:
        for each in (answer, direct):
            assert faults(each) == [("/price_list", "price_list_not_in_force")]
            (fault,) = each.get_json()["errors"]
            assert all(part in fault["message"] for part in (day, "2026-12-01", "2026-12-31", "dms"))


def test_a_line_with_a_day_of_its_own_is_told_at_its_day_and_the_document_once(clinic, dms):
    with given.day("2026-11-25"):
        lines = [
            {"article": SERVICE, "service_date": "2026-12-31"},
            {"article": SERVICE, "service_date": "2027-01-01"},
            {"article": SERVICE},
            {"article": SERVICE},
            {"article": "NO-SUCH"},
        ]
        expected = [
            ("/lines/1/service_date", "price_list_not_in_force"),
            ("/price_list", "price_list_not_in_force"),
            ("/lines/4/article", "unknown_article"),
        ]
        assert faults(previewed(clinic, *lines)) == expected
        worse = previewed(clinic, *lines, {"article": SERVICE, "quantity": "0"})
        assert faults(worse) == sorted([*expected, ("/lines/5/quantity", "not_positive")])


def test_a_list_that_is_not_in_force_gives_no_price_to_those_that_fall_back_to_it(clinic):
    with given.day("2026-11-23"):
        ended = {"number": None, "valid_from": "2026-12-01", "valid_until": "2027-01-01"}
        price_list(clinic, "foreign", "foreign", contract=ended)
        given_prices.published(line(SERVICE, "9999.00"), price_list="foreign")
        price_list(clinic, "staff", "staff", fallback="foreign")
    for day, amount, source in (("2026-12-31", "9999.00", "foreign"), ("2027-01-01", BASE, "base")):
        with given.day(day):
            (sold,) = made(previewed(clinic, code="staff"))["lines"]
            assert (sold["amount"], sold["price_source"]["price_list"], sold["price_source"]["fallback"]) == (
                amount, source, True,
            )  # fmt: skip


def test_a_list_without_bounds_sells_on_every_day(clinic):
    with given.day("2026-11-23"):
        price_list(clinic, "other", "other")
    for day in ("2026-11-23", "2099-12-31"):
        with given.day(day):
            assert made(previewed(clinic, code="other"))["totals"]["total"] == BASE


def test_an_end_that_was_set_changes_nothing_already_made(clinic, dms, opened):
    with given.day("2026-12-10"):
        quote = clinic.quote((SERVICE, None), price_list="dms")
        invoice = clinic.invoice(quote, payer=INSURER)
        open_quote = clinic.quote((SERVICE, None), price_list="dms")
        paths = [f"/v1/quotes/{quote['id']}", f"/v1/invoices/{invoice['id']}", f"/v1/quotes/{open_quote['id']}"]
        before = [clinic.get(path).data for path in paths]
        made(edited(clinic, name=names("Другой"), contract={"number": "Другой", "valid_until": "2026-12-10"}))
        assert faults(previewed(clinic)) == [("/price_list", "price_list_not_in_force")]
        assert [clinic.get(path).data for path in paths] == before
        assert clinic.invoice(open_quote, payer=INSURER)["totals"]["total"] == AGREED
    with psycopg.connect(opened.owner) as owner:
        assert owner.execute("SELECT bool_and(content_sha256 = invoice_digest(invoice)) FROM invoice").fetchone() == (
            True,
        )


def test_a_direct_draft_is_not_issued_after_the_lists_end(clinic, dms):
    with given.day("2026-12-31"):
        draft = clinic.draft((SERVICE, None), price_list="dms", payer=INSURER)
    with given.day("2027-01-01"):
        answer = clinic.post(f"/v1/invoices/{draft['id']}/issue", {})
        assert problem(answer) == (409, "price_changed")
        assert answer.get_json()["changes"] == [{"position": 1, "old": AGREED, "new": None}]


# ---- For whom ----

OTHERS = {"a person": given.PAYER, "an organisation of the same INN": given.ORGANISATION, "another": ANOTHER_INSURER}


@pytest.mark.parametrize("payer", OTHERS.values(), ids=OTHERS)
def test_an_insurers_list_is_billed_to_that_insurer_alone(clinic, dms, payer):
    refused = [("/payer", "price_list_not_for_payer")]
    with given.day("2026-12-10"):
        quote = clinic.quote((SERVICE, None), price_list="dms")
        path = f"/v1/quotes/{quote['id']}/invoice"
        for issue in (True, False):
            assert faults(clinic.post(path, {"payer": payer, "issue": issue})) == refused
        direct = {"lines": [{"article": SERVICE}], "price_list": "dms", "payer": payer}
        assert faults(clinic.post("/v1/invoices", direct)) == refused
        draft = clinic.draft((SERVICE, None), price_list="dms", payer=INSURER)
        assert faults(edited(clinic, f"/v1/invoices/{draft['id']}", payer=payer)) == refused
        assert made(clinic.get(f"/v1/quotes/{quote['id']}"))["status"] == "draft"
        # What was refused left nothing behind, and who has the contract is billed.
        assert made(clinic.post(f"/v1/invoices/{draft['id']}/issue", {}))["totals"]["total"] == AGREED
        assert clinic.invoice(quote, payer=INSURER)["payer"]["inn"] == INSURER["inn"]
        assert clinic.invoice(clinic.quote((SERVICE, None)), payer=payer)["totals"]["total"] == BASE


def test_a_wrong_payer_is_told_with_all_the_other_faults(clinic, dms):
    with given.day("2026-12-10"):
        wanted = {
            "lines": [{"article": "NO-SUCH"}],
            "price_list": "dms",
            "payer": given.PAYER,
            "due_date": "2026-12-09",
        }
        assert faults(clinic.post("/v1/invoices", wanted)) == [
            ("/lines/0/article", "unknown_article"),
            ("/payer", "price_list_not_for_payer"),
            ("/due_date", "before_date"),
        ]
        quote = clinic.quote((SERVICE, None), price_list="dms")
        answer = clinic.post(f"/v1/quotes/{quote['id']}/invoice", {"payer": given.PAYER, "due_date": "2026-12-09"})
        assert faults(answer) == [("/due_date", "before_date"), ("/payer", "price_list_not_for_payer")]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoice SET payer = payer || '{\"kind\": \"organisation\"}' WHERE price_list = 'dms'",
        "UPDATE invoice SET payer = payer || '{\"inn\": \"7707083893\"}' WHERE price_list = 'dms'",
        "UPDATE invoice SET payer = payer - 'inn' WHERE price_list = 'dms'",
        "UPDATE invoice SET price_list = 'dms' WHERE price_list = 'base'",
        """
        INSERT INTO invoice (id, branch_id, status, date, payer_party, payer_ref, payer, price_list, subtotal, discount,
                             total, created_at, created_by, updated_at)
        SELECT gen_random_uuid(), branch_id, 'draft', date, payer_party, payer_ref, payer, 'dms', 0, 0, 0, now(), 'x',
               now() FROM invoice WHERE price_list = 'base'
        """,
    ],
)
def test_the_database_bills_an_insurers_list_to_no_other_payer(clinic, dms, opened, statement):
    with given.day("2026-12-10"):
        clinic.draft((SERVICE, None), price_list="dms", payer=INSURER)
        clinic.draft((SERVICE, None))
    with psycopg.connect(opened.owner) as owner, pytest.raises(pg.RestrictViolation, match="another payer"):
        owner.execute(statement.encode())


def test_no_quote_at_another_list_ever_shows_an_insurers_price(clinic, dms):
    with given.day("2026-12-10"):
        price_list(clinic, "staff", "staff")
        given_prices.service("ONLY-DMS")
        given_prices.published(line("ONLY-DMS", "1.00"), price_list="dms")
        for code in ("base", "staff"):
            (sold,) = clinic.quote((SERVICE, None), price_list=code)["lines"]
            assert (sold["amount"], sold["price_source"]["price_list"]) == (BASE, "base")
            wrong = faults(previewed(clinic, {"article": "ONLY-DMS"}, code=code))
            assert wrong == [("/lines/0/article", "price_not_set")]


def test_strangers_see_neither_drafts_nor_the_prices_of_payers(clinic, dms):
    """Rule 9 of the domain."""
    with given.day("2026-12-10"):
        price_list(clinic, "open", "foreign", public=True)
        given_prices.service("ONLY-DMS")
        given_prices.published(line("ONLY-DMS", "1.00"), price_list="dms")
        given_prices.draft(line("MRI-ABD-RP", "2.00"))
        stranger = clinic.app.test_client()
        feed = stranger.get("/v1/prices").get_json()
        assert feed["price_list"]["code"] == "base"
        assert (feed["order"]["number"], feed["order"]["effective_from"]) == ("1", given.FIRST_DAY)
        amounts = {each["article"]: each["min"] for each in feed["items"]}
        assert (amounts[SERVICE], amounts["MRI-ABD-RP"]) == (BASE, "13700.00")
        assert "ONLY-DMS" not in amounts
        page = stranger.get("/prices").text
        assert "ONLY-DMS" not in page
        assert "dms" not in page
        assert stranger.get("/v1/price-lists").status_code == 401
        assert stranger.get("/v1/price-lists/dms").status_code == 401


# ---- Kinds of price ----


def test_a_price_from_or_on_request_needs_a_price_by_hand_and_its_author(clinic):
    """Rule 7 of the domain."""
    with given.day("2026-12-10"):
        given_prices.service("FROM")
        given_prices.published(line("FROM", "67200.00", kind="from"))
        on_request = {"article": "US-LIVER"}
        begins = {"article": "FROM", "price_reason": "объём"}
        for path in ("/v1/quotes", "/v1/invoices"):
            payer = {"payer": given.PAYER} if path == "/v1/invoices" else {}

            def asked(*lines, path=path, payer=payer):
                return clinic.post(path, {"lines": list(lines), **payer})

            assert faults(asked(on_request, begins | {"unit_price": "60000.00"})) == [
                ("/lines/0/unit_price", "price_on_request"),
                ("/lines/1/unit_price", "price_below_from"),
            ]
            (sold,) = made(asked(begins | {"unit_price": "70000.00"}))["lines"]
            assert (sold["amount"], sold["price_kind"], sold["price_reason"]) == ("70000.00", "from", "объём")
            assert sold["priced_by"].startswith("key:")
            (fixed,) = made(asked({"article": SERVICE}))["lines"]
            assert fixed["priced_by"] is None
        invoice = clinic.invoice(clinic.quote(begins | {"unit_price": "70000.00"}))
    with db.reading() as conn:
        author = db.value(conn, "SELECT priced_by FROM invoice_line WHERE invoice_id = %s::uuid", (invoice["id"],))
    assert author == invoice["lines"][0]["priced_by"] != None  # noqa: E711
