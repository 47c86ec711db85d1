"""Credit notes: by services, by money, whole; never above the invoice, and to the kopeck down to nothing."""

from __future__ import annotations

import random
import re
from decimal import Decimal

import psycopg
import pytest
from psycopg import errors as pg

from clinic import db
from tests import given, given_money, given_prices
from tests.browser import Person, forms, quick_passwords, text  # noqa: F401 — a fixture
from tests.given import faults, line, made
from tests.given_money import costing, must_tie, payment

SEVENTY = {"position": 1, "amount": "70.00"}


def credited(clinic, invoice, *lines, **more):
    """The answer to a credit note of these lines."""
    body = {"lines": list(lines), "reason": "Ошибка", **more}
    return clinic.post(f"/v1/invoices/{invoice['id']}/credit-notes", body)


def approved(clinic, quote):
    """The quote, with its discount approved by a second person."""
    second = given.caller(clinic.app, "*", discount_ceiling=100)
    return made(second.post(f"/v1/quotes/{quote['id']}/approve", {}))


def read(clinic, invoice):
    return made(clinic.get(f"/v1/invoices/{invoice['id']}"))


def cancelled(clinic, invoice):
    return clinic.post(f"/v1/invoices/{invoice['id']}/cancel", {"reason": "Ошибка"})


def code(answer):
    return answer.status_code, answer.get_json()["code"]


@pytest.fixture
def three(clinic):
    """An invoice of three scans and a consultation, made of a quote."""
    return clinic.invoice(clinic.quote({"article": "CT-ABD-RP", "quantity": "3"}, ("ONC-CONS-1", "candidate")))


def test_services_go_back_with_their_money_under_a_number_of_their_own(clinic, three):
    answer = credited(clinic, three, {"position": 1, "quantity": "1"})
    note = made(answer)
    assert answer.headers["Location"] == f"/v1/credit-notes/{note['id']}"
    assert (note["number"], note["cancels"]) == (f"К-{note['date'][:4]}-000001", False)
    assert note["invoice"] == {name: three[name] for name in ("id", "number", "date")}
    (row,) = note["lines"]
    assert (row["invoice_position"], row["quantity"], row["amount"]) == (1, "1", "8840.00")
    assert note["totals"]["total"] == "8840.00"
    after = read(clinic, three)
    assert (after["status"], after["credited"], after["payment_status"]) == ("issued", "8840.00", "unpaid")
    assert [(each["credited_quantity"], each["credited_amount"]) for each in after["lines"]] == [
        ("1", "8840.00"),
        ("0", "0.00"),
    ]
    assert after["content_sha256"] == three["content_sha256"]
    assert [each["type"] for each in clinic.events()][-1] == "credit_note.issued"
    must_tie()


def test_a_line_without_quantity_or_amount_goes_back_whole(clinic, three):
    made(credited(clinic, three, {"position": 1, "quantity": "1"}))
    note = made(credited(clinic, three, {"position": 2}, {"position": 1}))
    assert [(each["quantity"], each["amount"]) for each in note["lines"]] == [("1", "5300.00"), ("2", "17680.00")]
    after = read(clinic, three)
    assert (after["status"], after["balance"], after["payment_status"]) == ("issued", "0.00", "settled")
    assert code(cancelled(clinic, three)) == (409, "nothing_to_credit")


def test_every_fault_comes_at_once(clinic, three):
    made(credited(clinic, three, {"position": 1, "quantity": "1"}))
    wrong = [
        {"position": 9},
        {"position": 1, "quantity": "2.001"},
        {"position": 1, "quantity": "1"},
        {"position": 2, "amount": "5300.01"},
    ]
    assert faults(credited(clinic, three, *wrong)) == [
        ("/lines/0/position", "unknown_position"),
        ("/lines/1/quantity", "quantity_not_creditable"),
        ("/lines/2/position", "repeated_position"),
        ("/lines/3/amount", "amount_not_creditable"),
    ]
    both = {"position": 1, "quantity": "1", "amount": "1.00"}
    assert faults(credited(clinic, three, both)) == [("/lines/0/amount", "quantity_or_amount")]
    assert faults(credited(clinic, three)) == [("/lines", "wrong_count")]


def test_only_an_issued_invoice_is_credited(clinic, three):
    assert code(credited(clinic, clinic.draft(("CT-ABD-RP", None)), SEVENTY)) == (409, "invoice_not_issued")
    made(cancelled(clinic, three))
    assert code(credited(clinic, three, SEVENTY)) == (409, "invoice_not_issued")


def test_a_key_is_needed_and_answers_the_same(clinic, three):
    body = {"lines": [SEVENTY], "reason": "Ошибка"}
    path = f"/v1/invoices/{three['id']}/credit-notes"
    assert code(clinic.post(path, body, key="")) == (400, "idempotency_key_required")
    first, again = (clinic.post(path, body, key="credit-once") for _ in range(2))
    assert made(again) == made(first)
    assert read(clinic, three)["credited"] == "70.00"


# ---- Money ----


def test_what_is_too_much_on_the_invoice_becomes_an_advance_what_came_last_first(clinic):
    owed = given_money.invoice(clinic)
    first, second = payment(clinic, "60.00", owed), payment(clinic, "40.00", owed)
    made(credited(clinic, owed, {"position": 1, "amount": "50.00"}))
    after = read(clinic, owed)
    assert (after["paid"], after["credited"], after["balance"]) == ("50.00", "50.00", "0.00")
    left = [made(clinic.get(f"/v1/payments/{each['id']}"))["advance"] for each in (first, second)]
    assert left == ["10.00", "40.00"]
    assert made(given_money.refunded(clinic, second, "40.00"))["advance"] == "0.00"
    must_tie()


def test_only_what_is_too_much_is_released(clinic):
    owed = given_money.invoice(clinic)
    came = payment(clinic, "60.00", owed)
    made(credited(clinic, owed, {"position": 1, "amount": "30.00"}))
    assert made(clinic.get(f"/v1/payments/{came['id']}"))["advance"] == "0.00"
    assert read(clinic, owed)["balance"] == "10.00"
    made(credited(clinic, owed, {"position": 1, "amount": "20.00"}))
    assert made(clinic.get(f"/v1/payments/{came['id']}"))["advance"] == "10.00"
    assert read(clinic, owed)["payment_status"] == "settled"
    must_tie()


def test_cancelling_takes_the_rest_after_partial_credits(clinic, three):
    came = payment(clinic, "31820.00", three)
    made(credited(clinic, three, {"position": 1, "quantity": "1"}, {"position": 2, "amount": "300.00"}))
    after = made(cancelled(clinic, three))
    assert (after["status"], after["credited"], after["paid"]) == ("cancelled", "31820.00", "0.00")
    newest, before = made(clinic.get(f"/v1/invoices/{three['id']}/credit-notes"))["items"]
    assert (newest["cancels"], before["cancels"]) == (True, False)
    assert [(each["quantity"], each["amount"]) for each in newest["lines"]] == [("2", "17680.00"), ("1", "5000.00")]
    assert made(clinic.get(f"/v1/payments/{came['id']}"))["advance"] == "31820.00"
    assert code(cancelled(clinic, three)) == (409, "invoice_not_issued")
    must_tie()


def test_what_money_took_to_nothing_can_still_be_cancelled(clinic):
    """The services stand on the invoice, and the quote gets them back."""
    quote = clinic.quote(costing("100.00"))
    invoice = clinic.invoice(quote)
    made(credited(clinic, invoice, {"position": 1, "amount": "100.00"}))
    made(cancelled(clinic, invoice))
    note = made(clinic.get(f"/v1/credit-notes?invoice={invoice['id']}&cancels=true"))["items"][0]
    assert (note["totals"]["total"], note["lines"][0]["quantity"]) == ("0.00", "1")
    assert clinic.invoice(quote)["totals"]["total"] == "100.00"


# ---- What came from a quote ----


def test_services_of_a_quote_can_be_invoiced_once_more_to_the_kopeck(clinic):
    """A third of 89.99 is 30.00; what is invoiced again is that, whatever other pieces are."""
    wanted = costing("33.33") | {"quantity": "3"}
    quote = approved(clinic, clinic.quote(wanted, discount_amount="10.00", discount_reason="goodwill"))
    invoice = clinic.invoice(quote)
    assert invoice["totals"]["total"] == "89.99"
    made(credited(clinic, invoice, {"position": 1, "quantity": "1"}))
    assert made(clinic.get(f"/v1/quotes/{quote['id']}"))["lines"][0]["invoiced_quantity"] == "2"
    again = clinic.invoice(quote)
    assert again["lines"][0]["quantity"] == "1"
    net = Decimal(read(clinic, invoice)["balance"]) + Decimal(again["balance"])
    assert net == Decimal("89.99")
    full = clinic.post(f"/v1/quotes/{quote['id']}/invoice", {"payer": given.PAYER})
    assert code(full) == (409, "quote_already_invoiced")
    made(cancelled(clinic, invoice))
    assert clinic.invoice(quote)["lines"][0]["quantity"] == "2"


def test_money_gives_nothing_back_to_the_quote(clinic):
    quote = clinic.quote(costing("100.00"))
    invoice = clinic.invoice(quote)
    made(credited(clinic, invoice, SEVENTY))
    refused = clinic.post(f"/v1/quotes/{quote['id']}/invoice", {"payer": given.PAYER})
    assert code(refused) == (409, "quote_already_invoiced")


# ---- What was rendered ----


def rendered(clinic, invoice, **line_):
    return made(clinic.post(f"/v1/invoices/{invoice['id']}/acts", {"lines": [line_]}))


def test_what_was_rendered_does_not_go_back_but_its_price_may_be_put_right(clinic, three):
    rendered(clinic, three, position=1, quantity="2")
    refused = credited(clinic, three, {"position": 1, "quantity": "2"})
    assert faults(refused) == [("/lines/0/quantity", "quantity_not_creditable")]
    made(credited(clinic, three, {"position": 1}))
    assert read(clinic, three)["lines"][0]["credited_quantity"] == "1"
    assert faults(credited(clinic, three, {"position": 1})) == [("/lines/0/quantity", "quantity_not_creditable")]
    made(credited(clinic, three, {"position": 1, "amount": "680.00"}))
    assert read(clinic, three)["lines"][0]["credited_amount"] == "9520.00"


def test_what_went_back_is_not_rendered(clinic, three):
    made(credited(clinic, three, {"position": 1, "quantity": "2"}, {"position": 2, "amount": "300.00"}))
    path = f"/v1/invoices/{three['id']}/acts"
    refused = clinic.post(path, {"lines": [{"position": 1, "quantity": "2"}]})
    assert faults(refused) == [("/lines/0/quantity", "quantity_exceeds_invoice")]
    act = made(clinic.post(path, {}))
    assert [(each["quantity"], each["amount"]) for each in act["lines"]] == [("1", "8840.00"), ("1", "5000.00")]
    assert act["totals"]["total"] == read(clinic, three)["balance"]


# ---- VAT and kopecks ----


@pytest.mark.parametrize("seed", range(12))
def test_random_credits_end_at_exactly_nothing_and_never_below(clinic, seed):
    draw = random.Random(seed)
    given_prices.service("COPY", vat_category="standard")
    given_prices.published(given_prices.line("COPY", "33.35"))
    wanted = [
        line("COPY", quantity=str(draw.randint(1, 9))),
        costing(f"{draw.randint(1, 300)}.{draw.randint(0, 99):02}") | {"quantity": str(draw.randint(1, 7))},
        line("COPY", quantity="2.333"),
    ]
    percent = {"discount_percent": str(draw.randint(1, 30)), "discount_reason": "goodwill"}
    invoice = clinic.invoice(approved(clinic, clinic.quote(*wanted, **percent)))
    if draw.random() < 0.5:
        payment(clinic, invoice["totals"]["total"], invoice)
    for _ in range(40):
        now = read(clinic, invoice)
        open_ = [each for each in now["lines"] if each["credited_quantity"] != each["quantity"]]
        if not open_ or draw.random() < 0.05:
            break
        at = draw.choice(open_)
        made(credited(clinic, invoice, piece(draw, at)))
        must_tie()
    after = read(clinic, invoice)
    if any(each["credited_quantity"] != each["quantity"] for each in after["lines"]):
        after = made(cancelled(clinic, invoice))
    assert (after["credited"], after["paid"], after["balance"]) == (after["totals"]["total"], "0.00", "0.00")
    assert {each["credited_quantity"] == each["quantity"] for each in after["lines"]} == {True}
    with db.reading() as conn:
        rows = conn.execute(
            """
            SELECT line.position, line.amount - sum(note.amount), coalesce(line.vat_amount - sum(note.vat_amount), 0),
                   line.gross - sum(note.gross), line.discount - sum(note.discount),
                   line.document_discount - sum(note.document_discount), min(note.amount),
                   bool_and(coalesce(note.vat_amount, 0) <= note.amount)
              FROM invoice_line AS line JOIN credit_note_line AS note
                ON note.invoice_id = line.invoice_id AND note.invoice_position = line.position
             GROUP BY line.invoice_id, line.position
            """
        ).fetchall()
    assert len(rows) == 3
    for _, *left, least, vat_inside in rows:
        assert left == [0, 0, 0, 0, 0]
        assert least >= 0 and vat_inside


def piece(draw, at):
    """Some services, some money, or all that is left of the line."""
    left = Decimal(at["quantity"]) - Decimal(at["credited_quantity"])
    money = Decimal(at["amount"]) - Decimal(at["credited_amount"])
    kind = draw.choice(["quantity", "amount", "rest"] if money else ["quantity", "rest"])
    if kind == "amount":
        return {"position": at["position"], "amount": str(Decimal(draw.randint(1, int(money * 100))) / 100)}
    if kind == "quantity":
        thousandths = draw.randint(1, int(left * 1000))
        return {"position": at["position"], "quantity": str(Decimal(thousandths) / 1000)}
    return {"position": at["position"]}


def test_small_pieces_keep_their_own_vat(clinic):
    given_prices.service("COPY", vat_category="standard")
    given_prices.published(given_prices.line("COPY", "1.22"))
    invoice = clinic.invoice(clinic.quote(line("COPY")))
    taken = [made(credited(clinic, invoice, {"position": 1, "amount": "0.02"})) for _ in range(61)]
    vat = [Decimal(each["lines"][0]["vat"]["amount"]) for each in taken]
    assert sum(vat) == Decimal("0.22")
    assert max(vat) == Decimal("0.01")


# ---- The time to think better of it ----


@pytest.fixture
def desk(clinic):
    scopes = ("quotes:read", "quotes:write", "invoices:read", "invoices:write", "invoices:issue")
    return given.caller(clinic.app, *scopes)


def test_whoever_issued_it_cancels_it_within_half_an_hour(clinic):
    scopes = ("quotes:write", "invoices:write", "invoices:issue")
    with given.day("2026-11-25", at="12:00"):
        desk, other = given.caller(clinic.app, *scopes), given.caller(clinic.app, *scopes)
        first, second = (desk.invoice(desk.quote(("CT-ABD-RP", None))) for _ in range(2))
    with given.day("2026-11-25", at="12:30"):
        refused = cancelled(other, first)
        assert (code(refused), refused.get_json()["scope"]) == ((403, "forbidden"), "invoices:cancel")
        assert made(cancelled(desk, first))["status"] == "cancelled"
    with given.day("2026-11-25", at="12:31"):
        assert code(cancelled(desk, second)) == (403, "forbidden")
        assert made(cancelled(given.caller(clinic.app, "invoices:cancel"), second))["status"] == "cancelled"


def test_the_time_is_for_cancelling_alone(clinic, desk):
    invoice = desk.invoice(desk.quote(("CT-ABD-RP", None)))
    assert code(credited(desk, invoice, SEVENTY)) == (403, "forbidden")
    reader = given.caller(clinic.app, "invoices:read")
    assert code(cancelled(reader, invoice)) == (403, "forbidden")


# ---- Read ----


def test_notes_are_listed_and_read_where_the_reader_may(clinic, three):
    first = made(credited(clinic, three, SEVENTY))
    second = made(credited(clinic, three, SEVENTY))

    def listed(query=""):
        return [each["id"] for each in made(clinic.get(f"/v1/credit-notes?{query}"))["items"]]

    assert listed() == [second["id"], first["id"]]
    assert listed("payer=P-1&cancels=false") == listed(f"invoice={three['id']}") == listed()
    assert listed("cancels=true") == listed("payer=P-9") == []
    assert listed(f"number={first['number']}&since={first['date']}&until={first['date']}") == [first["id"]]
    page = made(clinic.get("/v1/credit-notes?limit=1"))
    assert [each["id"] for each in page["items"]] == [second["id"]]
    assert listed(f"limit=1&cursor={page['next_cursor']}") == [first["id"]]
    assert made(clinic.get(f"/v1/credit-notes/{first['id']}")) == first
    made(clinic.post("/v1/branches", {"code": "second", "name": "Вторая", "prefix": "В"}))
    stranger = given.caller(clinic.app, "*", branch="second")
    for path in (f"/v1/credit-notes/{first['id']}", f"/v1/invoices/{three['id']}/credit-notes"):
        assert stranger.get(path).status_code == 404
    assert made(stranger.get("/v1/credit-notes"))["items"] == []
    assert credited(stranger, three, SEVENTY).status_code == 404


def test_the_proof_counts_credit_notes(clinic, three):
    for _ in range(3):
        made(credited(clinic, three, SEVENTY))
    series = {each["kind"]: each for each in made(clinic.get("/v1/numbering/proof"))["series"]}
    assert (series["credit_note"]["count"], series["credit_note"]["whole"]) == (3, True)


# ---- Pages ----


@pytest.mark.usefixtures("quick_passwords")
class TestThePages:
    def test_a_part_goes_back_after_it_was_looked_at_and_is_printed(self, clinic, three):
        payment(clinic, "31820.00", three)
        desk = Person(clinic.app, "administrator")
        address = f"/desk/invoices/{three['id']}"
        assert address + "/credit-notes" in desk.get(address).text
        page = desk.get(address + "/credit-notes")
        typed = {"quantity__1": "1", "amount__2": "300,00", "reason": "Не состоялось"}
        shown = desk.press(page, address + "/credit-notes", **typed, do="preview")
        words = text(shown).replace("\xa0", " ")
        assert "Вернётся 9 140,00 ₽ Останется по счёту 22 680,00 ₽ Станет авансом плательщика 9 140,00 ₽" in words
        assert read(clinic, three)["credited"] == "0.00"
        done = desk.follow(desk.press(shown, address + "/credit-notes", do="issue"))
        (link,) = re.findall(r"/desk/credit-notes/[0-9a-f-]+/print", done.text)
        paper = text(desk.get(link)).replace("\xa0", " ")
        assert "Корректировочный документ (кредит-нота) № К-" in paper
        assert f"К счёту № {three['number']}" in paper
        assert "Девять тысяч сто сорок рублей 00 копеек" in paper
        assert "Credit note No. К-" in text(desk.get(link + "?lang=en"))

    def test_nothing_typed_is_lost_when_something_is_wrong(self, clinic, three):
        desk = Person(clinic.app, "administrator")
        address = f"/desk/invoices/{three['id']}/credit-notes"
        answer = desk.press(desk.get(address), address, quantity__1="7", amount__2="x", do="issue")
        assert answer.status_code == 422
        assert 'value="7"' in answer.text
        assert 'value="x"' in answer.text
        for said in ("Нужна сумма в рублях", "Укажите причину"):
            assert said in text(answer)
        answer = desk.press(answer, address, quantity__1="7", amount__2="", reason="Ошибка", do="preview")
        assert "Можно вернуть не больше 3" in text(answer)
        answer = desk.press(answer, address, quantity__1="", do="preview")
        assert "Укажите, что вернуть" in text(answer)

    def test_a_receptionist_cancels_what_he_has_just_issued(self, clinic, three):
        desk = Person(clinic.app, "reception")
        quote = clinic.quote(("CT-ABD-RP", None))
        page = desk.get(f"/desk/quotes/{quote['id']}")
        form = {"payer__name": "Иванова Анна"}
        page = desk.follow(desk.press(page, f"/desk/quotes/{quote['id']}/invoice", **form))
        address = re.findall(r"/desk/invoices/[0-9a-f-]+", page.text)[0]
        page = desk.get(address + "/credit-notes")
        assert address + "/credit-notes" not in [to for to, _ in forms(page)]
        refused = desk.press(page, address + "/cancel", reason="")
        assert (refused.status_code, "Укажите причину" in text(refused)) == (422, True)
        refused = desk.press(page, address + "/cancel", reason="х" * 501)
        assert (refused.status_code, f'value="{"х" * 501}"' in refused.text) == (422, True)
        done = desk.follow(desk.press(page, address + "/cancel", reason="Не тот плательщик"))
        assert "отмена счёта" in text(done)
        # Another one's invoice shows him no button, and is refused to whoever sends the form all the same.
        other = f"/desk/invoices/{three['id']}"
        assert other + "/cancel" not in [to for to, _ in forms(desk.get(other + "/credit-notes"))]
        answer = desk.client.post(other + "/cancel", data={"reason": "x", "form_token": token(page)})
        assert answer.status_code == 403
        assert read(clinic, three)["status"] == "issued"

    def test_why_an_invoice_cannot_be_cancelled_is_said_with_the_acts(self, clinic, three):
        desk, address = Person(clinic.app, "administrator"), f"/desk/invoices/{three['id']}"
        page = desk.get(address + "/credit-notes")
        act = made(clinic.post(f"/v1/invoices/{three['id']}/acts", {}))
        for lang, told in (("ru", "Так говорят акты"), ("en", "These acts say so:")):
            desk.get(f"/?lang={lang}")
            refused = desk.press(page, address + "/cancel", reason="Не тот плательщик")
            assert refused.status_code == 409 and f"{told} {act['number']}" in text(refused)


def token(page):
    return next(fields["form_token"] for _, fields in forms(page) if "form_token" in fields)


# ---- Raw SQL ----

REFUSED, BROKEN, DENIED = pg.RestrictViolation, pg.CheckViolation, pg.InsufficientPrivilege
LINE = """
INSERT INTO credit_note_line (credit_note_id, position, invoice_id, invoice_position, amount)
SELECT note.id, 9, {invoice}, {position}, {amount} FROM credit_note AS note WHERE status = {status}
"""
DRAFT = """
INSERT INTO credit_note (id, invoice_id, branch_id, cancels, status, date, amount, reason, created_at, created_by)
SELECT gen_random_uuid(), id, branch_id, {cancels}, '{status}', date, {amount}, 'x', now(), 'x'
  FROM invoice WHERE id = %(invoice)s;
"""
NUMBERED = """
UPDATE credit_note SET status = 'issued', number = 'X', sequence = 99, supplier = '{}',
       series_id = (SELECT series_id FROM credit_note WHERE series_id IS NOT NULL LIMIT 1) WHERE status = 'draft';
"""


def draft_of(amount, cancels="false", status="draft"):
    return DRAFT.format(amount=amount, cancels=cancels, status=status)


def line_of(amount, invoice="note.invoice_id", position="2", status="'draft'"):
    return LINE.format(amount=amount, invoice=invoice, position=position, status=status) + ";"


ATTACKS = {
    "a line more": (REFUSED, line_of(1, position=1, status="'issued'")),
    "born issued": (REFUSED, draft_of(1, status="issued")),
    "left a draft": (BROKEN, draft_of(1) + line_of(1)),
    "more than the line": (BROKEN, draft_of(5300.01) + line_of(5300.01) + NUMBERED),
    "less than nothing": (BROKEN, draft_of(-1) + line_of(-1)),
    "without lines": (BROKEN, draft_of(0) + NUMBERED),
    "another sum than its lines": (BROKEN, draft_of(2) + line_of(1) + NUMBERED),
    "another invoice's line": (pg.ForeignKeyViolation, draft_of(1) + line_of(1, invoice="%(other)s::uuid", position=1)),
    "of a cancelled invoice": (REFUSED, draft_of(1).replace("%(invoice)s", "%(gone)s") + line_of(1, position=1)),
    "a cancellation that leaves something": (BROKEN, draft_of(1, cancels="true") + line_of(1) + NUMBERED),
    "cancelled without a note": (BROKEN, "UPDATE invoice SET status = 'cancelled' WHERE id = %(invoice)s"),
    "another sum": (DENIED, "UPDATE credit_note SET amount = 1"),
    "another reason": (DENIED, "UPDATE credit_note SET reason = 'x'"),
    "another number": (REFUSED, "UPDATE credit_note SET number = 'X'"),
    "a draft again": (REFUSED, "UPDATE credit_note SET status = 'draft'"),
    "gone": (DENIED, "DELETE FROM credit_note"),
    "emptied": (DENIED, "TRUNCATE credit_note, credit_note_line"),
    "another line": (DENIED, "UPDATE credit_note_line SET amount = 1"),
    "a line less": (DENIED, "DELETE FROM credit_note_line"),
    "credited by a word": (DENIED, "UPDATE invoice SET credited = 0"),
    "a line credited by a word": (DENIED, "UPDATE invoice_line SET credited_amount = 0"),
    "another issuer": (REFUSED, "UPDATE invoice SET issued_by = 'x' WHERE id = %(invoice)s"),
}
OWNERS = {name: each for name, each in ATTACKS.items() if each[0] is not DENIED} | {
    "credited by a word": (BROKEN, "UPDATE invoice SET credited = credited - 1 WHERE id = %(invoice)s"),
    "a line credited by a word": (
        BROKEN,
        "UPDATE invoice_line SET credited_amount = credited_amount - 1 WHERE invoice_id = %(invoice)s AND position = 1",
    ),
    "gone": (REFUSED, "DELETE FROM credit_note"),
    "emptied": (REFUSED, "TRUNCATE credit_note, credit_note_line"),
    "another line": (REFUSED, "UPDATE credit_note_line SET amount = 1"),
    "a line less": (REFUSED, "DELETE FROM credit_note_line"),
    "another sum": (REFUSED, "UPDATE credit_note SET amount = 1"),
    "rows that moved nothing": (
        BROKEN,
        "ALTER TABLE credit_note_line DISABLE TRIGGER credit_moves_money;" + draft_of(1) + line_of(1) + NUMBERED,
    ),
}


@pytest.fixture
def attacked(clinic, three):
    """The ids that attacks name: an invoice that is credited in part, another one, one that is cancelled."""
    made(credited(clinic, three, {"position": 1, "amount": "5.00"}))
    other, gone = (clinic.invoice(clinic.quote(("CT-ABD-RP", None))) for _ in range(2))
    made(cancelled(clinic, gone))
    return {"invoice": three["id"], "other": other["id"], "gone": gone["id"]}


def attack(url, statement, ids):
    with psycopg.connect(url, options="-c clinic.branch=*") as conn:
        cursor = psycopg.ClientCursor(conn)
        cursor.execute(statement.encode(), ids)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        conn.rollback()


def test_the_application_cannot(attacked, opened):
    for name, (refusal, statement) in ATTACKS.items():
        with pytest.raises(refusal):
            attack(opened.app, statement, attacked)
            pytest.fail(name)


def test_not_even_the_owner_can(attacked, opened):
    for name, (refusal, statement) in OWNERS.items():
        with pytest.raises(refusal):
            attack(opened.owner, statement, attacked)
            pytest.fail(name)


def test_rendered_services_do_not_go_back_by_raw_rows(clinic, three, opened):
    made(credited(clinic, three, {"position": 1, "amount": "5.00"}))
    rendered(clinic, three, position=2)
    services = """
    INSERT INTO credit_note_line (credit_note_id, position, invoice_id, invoice_position, quantity, gross, discount,
                                  document_discount, amount)
    SELECT note.id, 1, note.invoice_id, 2, 1, 5300, 0, 0, 5300 FROM credit_note AS note WHERE status = 'draft';
    """
    with pytest.raises(BROKEN, match="rendered"):
        attack(opened.app, draft_of(5300) + services + NUMBERED, {"invoice": three["id"]})
