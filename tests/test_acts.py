"""Acts of rendered services: what was done of an invoice, never more than it has, at the VAT of its day (rule 17)."""

from __future__ import annotations

import re
import threading
from decimal import Decimal

import psycopg
import pytest
from hypothesis import given as each_of
from hypothesis import settings
from hypothesis import strategies as st
from psycopg import errors as pg

from billing import totals
from tests import given, given_prices
from tests.browser import Person, quick_passwords, text  # noqa: F401
from tests.given import faults, made


def rendered(clinic, invoice, *lines, **more):
    """A new act of these lines, or of all that is left, as JSON."""
    return made(clinic.post(f"/v1/invoices/{invoice['id']}/acts", ({"lines": list(lines)} if lines else {}) | more))


def code(response):
    return response.status_code, response.get_json()["code"]


@pytest.fixture
def invoice(clinic):
    return clinic.invoice(clinic.quote(("ONC-CONS-1", "candidate"), {"article": "CT-ABD-RP", "quantity": "3"}))


def test_an_act_of_all_that_is_left_closes_the_invoice(clinic, invoice):
    act = rendered(clinic, invoice)
    assert (act["number"], act["status"]) == (f"А-{act['date'][:4]}-000001", "issued")
    assert act["totals"]["total"] == invoice["totals"]["total"]
    assert act["totals"]["in_words"] == invoice["totals"]["in_words"]
    assert [line["amount"] for line in act["lines"]] == ["5300.00", "26520.00"]
    again = clinic.post(f"/v1/invoices/{invoice['id']}/acts", {})
    assert code(again) == (409, "nothing_to_render")
    assert [each["type"] for each in clinic.events()][-1] == "act.issued"


def test_a_line_is_rendered_in_pieces_never_above_the_invoice(clinic, invoice):
    rendered(clinic, invoice, {"position": 2, "quantity": "2"})
    refused = clinic.post(f"/v1/invoices/{invoice['id']}/acts", {"lines": [{"position": 2, "quantity": "2"}]})
    assert faults(refused) == [("/lines/0/quantity", "quantity_exceeds_invoice")]
    assert rendered(clinic, invoice, {"position": 2})["lines"][0]["quantity"] == "1"


def test_one_act_may_render_a_line_on_several_days(clinic, invoice):
    days = [invoice["date"]] * 2
    act = rendered(clinic, invoice, *[{"position": 2, "quantity": "1", "service_date": day} for day in days])
    assert [line["amount"] for line in act["lines"]] == ["8840.00", "8840.00"]


def test_every_fault_comes_at_once(clinic):
    with given.day("2026-11-23"):
        caller = given.caller(clinic.app, "*")
        invoice = caller.invoice(caller.quote(("CT-ABD-RP", None)))
        wanted = [{"position": 9}, {"position": 1, "quantity": "2", "service_date": "2026-11-24"}]
        refused = caller.post(f"/v1/invoices/{invoice['id']}/acts", {"lines": wanted, "date": "2026-11-23"})
    assert faults(refused) == [
        ("/lines/0/position", "unknown_position"),
        ("/lines/1/quantity", "quantity_exceeds_invoice"),
        ("/lines/1/service_date", "after_the_act"),
    ]


def test_an_act_has_no_date_to_come(clinic):
    with given.day("2026-11-23"):
        caller = given.caller(clinic.app, "*")
        invoice = caller.invoice(caller.quote(("CT-ABD-RP", None)))
        refused = caller.post(f"/v1/invoices/{invoice['id']}/acts", {"date": "2026-11-24"})
    assert faults(refused) == [("/date", "in_the_future")]


def test_a_past_date_takes_the_right_to_it(clinic, invoice):
    desk = given.caller(clinic.app, "invoices:issue")
    refused = desk.post(f"/v1/invoices/{invoice['id']}/acts", {"date": "2026-01-01"})
    assert code(refused) == (403, "forbidden")


def test_vat_is_that_of_the_day_of_the_service(clinic):
    with given.day("2025-12-31"):
        given_prices.service("COPY", vat_category="standard")
        given_prices.published(given_prices.line("COPY", "1220.00"))
        caller = given.caller(clinic.app, "*")
        invoice = caller.invoice(caller.quote({"article": "COPY", "quantity": "2"}))
    with given.day("2026-01-10"):
        caller = given.caller(clinic.app, "*")
        lines = [{"position": 1, "quantity": "1", "service_date": day} for day in ("2025-12-31", "2026-01-01")]
        act = rendered(caller, invoice, *lines)
    assert [(line["vat"]["rate"], line["vat"]["amount"]) for line in act["lines"]] == [
        ("20", "203.33"),
        ("22", "220.00"),
    ]


def test_only_an_issued_invoice_is_rendered(clinic):
    draft = clinic.draft(("CT-ABD-RP", None))
    assert code(clinic.post(f"/v1/invoices/{draft['id']}/acts", {})) == (409, "invoice_not_issued")


def test_an_invoice_with_acts_is_not_cancelled_until_they_are(clinic, invoice):
    act = rendered(clinic, invoice, {"position": 1})
    refused = clinic.post(f"/v1/invoices/{invoice['id']}/cancel", {"reason": "Ошибка"})
    assert code(refused) == (409, "invoice_rendered")
    assert refused.get_json()["acts"] == [act["number"]]
    taken_back = made(clinic.post(f"/v1/acts/{act['id']}/cancel", {"reason": "Ошибка"}))
    assert (taken_back["status"], taken_back["number"]) == ("cancelled", act["number"])
    assert code(clinic.post(f"/v1/acts/{act['id']}/cancel", {"reason": "Ошибка"})) == (409, "act_cancelled")
    assert made(clinic.post(f"/v1/invoices/{invoice['id']}/cancel", {"reason": "Ошибка"}))["status"] == "cancelled"


def test_what_a_cancelled_act_had_can_be_rendered_again(clinic, invoice):
    act = rendered(clinic, invoice)
    made(clinic.post(f"/v1/acts/{act['id']}/cancel", {"reason": "Ошибка"}))
    assert rendered(clinic, invoice)["sequence"] == act["sequence"] + 1


def test_acts_are_listed_and_read_where_the_reader_may(clinic, invoice):
    act = rendered(clinic, invoice)
    listed = made(clinic.get(f"/v1/acts?invoice={invoice['id']}&status=issued"))
    assert [each["id"] for each in listed["items"]] == [act["id"]]
    assert made(clinic.get(f"/v1/acts/{act['id']}")) == act
    made(clinic.post("/v1/branches", {"code": "second", "name": "Вторая", "prefix": "В"}))
    stranger = given.caller(clinic.app, "*", branch="second")
    assert stranger.get(f"/v1/acts/{act['id']}").status_code == 404
    assert made(stranger.get("/v1/acts"))["items"] == []


def test_the_proof_counts_acts(clinic, invoice):
    rendered(clinic, invoice)
    series = {each["kind"]: each for each in made(clinic.get("/v1/numbering/proof"))["series"]}
    assert (series["act"]["count"], series["act"]["whole"]) == (1, True)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@each_of(st.decimals("0", "99999", places=2), st.lists(st.decimals("0.001", "9", places=3), min_size=1, max_size=8))
def test_the_pieces_of_a_line_come_to_the_line(amount, quantities):
    whole = sum(quantities, Decimal(0))
    done = taken = Decimal(0)
    for quantity in quantities:
        done += quantity
        piece = totals.part(amount, taken, quantity, whole, last=done == whole)
        assert piece >= 0
        taken += piece
    assert taken == amount


def test_two_acts_at_once_render_a_service_once(clinic, invoice):
    """Without the lock of the invoice the database refuses three of them all the same, but without a name."""
    answers: list[tuple[int, str | None]] = []
    begin = threading.Barrier(4)

    def render() -> None:
        begin.wait()
        answer = clinic.post(f"/v1/invoices/{invoice['id']}/acts", {})
        answers.append((answer.status_code, answer.get_json().get("code")))

    threads = [threading.Thread(target=render) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers, key=str) == [(201, None), *[(409, "nothing_to_render")] * 3]


@pytest.mark.usefixtures("quick_passwords")
class TestThePages:
    @pytest.fixture
    def desk(self, clinic):
        return Person(clinic.app, "reception")

    def test_a_part_is_marked_as_rendered_and_printed(self, desk, invoice):
        address = f"/desk/invoices/{invoice['id']}"
        assert address + "/acts" in desk.get(address).text
        page = desk.get(address + "/acts")
        page = desk.follow(desk.press(page, address + "/acts", done__1=None, quantity__2="2"))
        assert "17 680,00" in text(page).replace("\xa0", " ")
        (link,) = re.findall(r"/desk/acts/[0-9a-f-]+/print", page.text)
        paper = text(desk.get(link)).replace("\xa0", " ")
        assert "Акт об оказании услуг № А-" in paper
        assert "Семнадцать тысяч шестьсот восемьдесят рублей 00 копеек" in paper

    def test_nothing_typed_is_lost_when_a_quantity_is_wrong(self, desk, invoice):
        address = f"/desk/invoices/{invoice['id']}/acts"
        answer = desk.press(desk.get(address), address, quantity__2="7")
        assert answer.status_code == 422
        assert 'value="7"' in answer.text
        assert "Не оказано ещё 3" in text(answer)

    def test_a_refused_cancellation_is_said_on_the_page(self, clinic, invoice):
        senior = Person(clinic.app, "senior_reception", login="vera")
        act = rendered(clinic, invoice)
        cancel = f"/desk/acts/{act['id']}/cancel"
        page = senior.get(f"/desk/invoices/{invoice['id']}/acts")
        for reason in ("", "х" * 501):
            wrong = senior.press(page, cancel, reason=reason)
            assert wrong.status_code == 422 and f'value="{reason}"' in wrong.text
            assert f'id="reason-{act["id"]}-fault"' in wrong.text and "<details open>" in wrong.text
        senior.follow(senior.press(wrong, cancel, reason="По ошибке"))
        late = senior.press(page, cancel, reason="По ошибке")
        assert late.status_code == 409
        assert "Акт уже аннулирован" in text(late) and "Акты по счёту" in text(late)


ATTACKS = {
    "another sum": (pg.RestrictViolation, "UPDATE act SET total = 1"),
    "back to draft": (pg.RestrictViolation, "UPDATE act SET status = 'draft'"),
    "another number": (pg.RestrictViolation, "UPDATE act SET number = 'X'"),
    "gone": (pg.RestrictViolation, "DELETE FROM act"),
    "emptied": (pg.RestrictViolation, "TRUNCATE act, act_line"),
    "another line": (pg.RestrictViolation, "UPDATE act_line SET amount = 1"),
    "a line less": (pg.RestrictViolation, "DELETE FROM act_line"),
    "a line more": (
        pg.CheckViolation,
        """
        INSERT INTO act_line (act_id, position, invoice_id, invoice_position, quantity, service_date, amount)
        SELECT act_id, 99, invoice_id, invoice_position, 1, service_date, 1 FROM act_line LIMIT 1
        """,
    ),
    "the invoice cancelled under it": (pg.RestrictViolation, "UPDATE invoice SET status = 'cancelled'"),
    "an act left a draft": (
        pg.CheckViolation,
        """
        INSERT INTO act (id, invoice_id, branch_id, status, date, total, issued_at, issued_by)
        SELECT gen_random_uuid(), id, branch_id, 'draft', date, 0, now(), 'x' FROM invoice
        """,
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_not_even_the_owner_changes_an_act(clinic, invoice, opened, attack):
    rendered(clinic, invoice)
    refusal, statement = ATTACKS[attack]
    with psycopg.connect(opened.owner, autocommit=True) as owner, pytest.raises(refusal):
        owner.execute(statement)
