"""A second person approves what is above its author's ceiling: who may, what it is bound to, and what drops it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg
from werkzeug.test import TestResponse

from clinic import branches
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.embedded import Urls
from tests import given
from tests.given import Caller, line, made

HALF = line("CT-ABD-RP", discount_percent="50", discount_reason="goodwill")


@pytest.fixture
def author(clinic: Caller) -> Caller:
    """Somebody who may give 5 percent alone and, for what it is worth, approve."""
    return given.caller(clinic.app, "*", discount_ceiling=Decimal(5))


@pytest.fixture
def head(clinic: Caller) -> Caller:
    """Somebody who may give anything."""
    return given.caller(clinic.app, "*", discount_ceiling=Decimal(100))


@dataclass(frozen=True)
class Way:
    """A document with a discount, and what it is called."""

    path: str
    step: str

    def made(self, caller: Caller, *lines: dict[str, Any], **more: Any) -> Any:
        if self.path == "quotes":
            return caller.quote(*lines or [HALF], **more)
        return made(caller.post("/v1/invoices", {"lines": lines or [HALF], "payer": given.PAYER, **more}))

    def at(self, document: Any, what: str = "") -> str:
        return f"/v1/{self.path}/{document['id']}" + (f"/{what}" if what else "")

    def out(self, caller: Caller, document: Any) -> TestResponse:
        """Let the document go out."""
        return caller.post(self.at(document, self.step))


EACH = pytest.mark.parametrize("way", [Way("quotes", "send"), Way("invoices", "issue")], ids=["quote", "invoice"])


def refusal(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


# ---- Who may ----


@EACH
def test_a_discount_above_the_ceiling_goes_out_once_another_person_approves_it(author, head, way):
    document = way.made(author)
    assert document["approval"] == "required"
    assert refusal(way.out(author, document)) == (409, "discount_above_limit")
    approved = made(head.post(way.at(document, "approve"), {}))
    assert approved["approval"] == "granted"
    assert made(way.out(author, document))["approval"] == "granted"


@pytest.mark.parametrize("step", ["send", "accept", "invoice"])
def test_s05_a_quote_goes_no_way_out_before_the_approval_and_every_way_after_it(author, head, step):
    quote = author.quote(HALF)
    body = {"payer": given.PAYER, "issue": True} if step == "invoice" else {}
    path = f"/v1/quotes/{quote['id']}"
    assert refusal(author.post(f"{path}/{step}", body)) == (409, "discount_above_limit")
    made(head.post(f"{path}/approve", {"revision": 1}))
    done = made(author.post(f"{path}/{step}", body))
    assert (done["approval"], done["totals"]["total"]) == ("granted", "4420.00")


@EACH
def test_s05_nobody_approves_what_is_his_own_whatever_his_ceiling_has_become(opened, author, way):
    document = way.made(author)
    assert refusal(author.post(way.at(document, "approve"), {})) == (403, "own_discount")
    owner(opened, "UPDATE api_key SET discount_ceiling = 100")
    assert refusal(author.post(way.at(document, "approve"), {})) == (403, "own_discount")


@EACH
def test_s05_who_may_not_give_the_discount_himself_cannot_approve_it(clinic, author, way):
    senior = given.caller(clinic.app, "discounts:approve", discount_ceiling=Decimal(49))
    document = way.made(author)
    answer = senior.post(way.at(document, "approve"), {})
    assert refusal(answer) == (403, "above_own_limit")
    assert answer.get_json()["ceiling"] == "49.00"
    just_enough = given.caller(clinic.app, "discounts:approve", discount_ceiling=Decimal(50))
    assert made(just_enough.post(way.at(document, "approve"), {}))["approval"] == "granted"


@EACH
def test_approving_takes_its_scope(clinic, author, way):
    other = given.caller(clinic.app, "quotes:write", "invoices:write", discount_ceiling=Decimal(100))
    answer = other.post(way.at(way.made(author), "approve"), {})
    assert (refusal(answer), answer.get_json()["scope"]) == ((403, "forbidden"), "discounts:approve")


@EACH
def test_what_needs_no_approval_gets_none_and_none_is_given_twice(author, head, way):
    harmless = way.made(author, line("CT-ABD-RP", discount_percent="5", discount_reason="staff"))
    answer = head.post(way.at(harmless, "approve"), {})
    assert (refusal(answer), answer.get_json()["approval"]) == ((409, "no_discount_waiting"), "none")
    document = way.made(author)
    made(head.post(way.at(document, "approve"), {}))
    assert refusal(head.post(way.at(document, "approve"), {})) == (409, "no_discount_waiting")


@EACH
def test_a_document_of_another_branch_is_not_there_for_who_approves(clinic, author, way):
    with change(COMMAND_LINE) as opened:
        branches.create(opened, "north", "Север", "С")
    north = given.caller(clinic.app, "*", branch="north", discount_ceiling=Decimal(100))
    assert north.post(way.at(way.made(author), "approve"), {}).status_code == 404


def test_the_revision_that_was_looked_at_is_the_one_approved(author, head):
    quote = author.quote(HALF)
    answer = head.post(f"/v1/quotes/{quote['id']}/approve", {"revision": 2})
    assert refusal(answer) == (409, "quote_not_open")


@EACH
def test_an_approval_repeated_under_its_key_is_the_first_one(author, head, way):
    document = way.made(author)
    first = head.post(way.at(document, "approve"), {}, key="approve-1")
    again = head.post(way.at(document, "approve"), {}, key="approve-1")
    assert (again.headers["Idempotency-Replayed"], again.get_json()) == ("true", first.get_json())


# ---- What the author sees ----


@EACH
def test_a_refusal_has_a_reason_and_the_document_stays_where_it_is(author, head, way):
    document = way.made(author)
    assert given.faults(head.post(way.at(document, "refuse-discount"), {})) == [("/reason", "required")]
    refused = made(head.post(way.at(document, "refuse-discount"), {"reason": "Много"}))
    assert refused["approval"] == "required"
    (told,) = made(author.get(way.at(document, "approvals")))["items"]
    assert (told["decision"], told["reason"], told["highest"], told["ceiling"]) == (
        "refused",
        "Много",
        "50.00",
        "100.00",
    )
    assert refusal(way.out(author, document)) == (409, "discount_above_limit")
    assert refusal(author.post(way.at(document, "refuse-discount"), {"reason": "x"})) == (403, "own_discount")
    made(head.post(way.at(document, "approve"), {"reason": "Передумали"}))
    told = made(author.get(way.at(document, "approvals")))["items"]
    assert [each["decision"] for each in told] == ["granted", "refused"]
    assert made(way.out(author, document))


@EACH
def test_each_decision_is_one_event_without_its_words(author, head, way):
    document = way.made(author)
    made(head.post(way.at(document, "refuse-discount"), {"reason": "Много"}))
    made(head.post(way.at(document, "approve"), {}))
    kind = way.path[:-1]
    refused, approved = head.events()[-2:]
    assert [refused["type"], approved["type"]] == [f"{kind}.discount_refused", f"{kind}.discount_approved"]
    assert (approved["object"]["id"], approved["data"]["highest"]) == (document["id"], "50.00")
    assert "Много" not in str(refused)


# ---- What it is bound to ----


def test_s05_a_draft_invoice_that_is_edited_needs_approval_anew(author, head):
    way = Way("invoices", "issue")
    document = way.made(author)
    answer = head.post(way.at(document, "approve"), {})
    edited = author.patch(way.at(document), {"comment": "Другое"}, match=answer.headers["ETag"])
    assert made(edited)["approval"] == "required"
    assert refusal(way.out(author, document)) == (409, "discount_above_limit")
    made(head.post(way.at(document, "approve"), {}))
    assert made(way.out(author, document))["comment"] == "Другое"


def edited(caller: Caller, quote: Any, **wanted: Any) -> Any:
    """The quote with these members changed."""
    path = f"/v1/quotes/{quote['id']}"
    return made(caller.patch(path, wanted, match=caller.get(path).headers["ETag"]))


def test_s05_any_edit_of_an_approved_draft_drops_its_approval_and_the_way_back_does_not_bring_it(author, head):
    quote = author.quote(HALF)
    made(head.post(f"/v1/quotes/{quote['id']}/approve", {}))
    assert edited(author, quote, comment="Звонил")["approval"] == "required"
    made(head.post(f"/v1/quotes/{quote['id']}/approve", {}))
    for percent in ("40", "50"):
        assert edited(author, quote, lines=[HALF | {"discount_percent": percent}])["approval"] == "required"
        assert refusal(author.post(f"/v1/quotes/{quote['id']}/send")) == (409, "discount_above_limit")
    assert edited(author, quote, lines=[HALF | {"discount_percent": "5"}])["approval"] == "none"


def test_who_edits_a_quote_answers_for_its_discounts(author, head):
    quote = author.quote(HALF)
    assert edited(head, quote, comment="Пусть")["approval"] == "none"
    assert edited(author, quote, comment="И ещё")["approval"] == "required"
    made(head.post(f"/v1/quotes/{quote['id']}/approve", {}))
    assert made(author.post(f"/v1/quotes/{quote['id']}/send"))["approval"] == "granted"


def test_s05_a_further_revision_is_approved_anew(author, head):
    quote = author.quote(HALF)
    path = f"/v1/quotes/{quote['id']}"
    made(head.post(f"{path}/approve", {}))
    made(author.post(f"{path}/send"))
    revised = made(author.post(f"{path}/revise", {"comment": "Ещё раз"}))
    assert (revised["revision"], revised["approval"]) == (2, "required")
    assert refusal(author.post(f"{path}/accept")) == (409, "discount_above_limit")
    made(head.post(f"{path}/approve", {"revision": 2}))
    assert [each["revision"] for each in made(author.get(f"{path}/approvals"))["items"]] == [2, 1]
    assert author.invoice(revised)["approval"] == "granted"


@EACH
def test_s05_a_ceiling_that_was_lowered_since_counts_when_the_document_goes_out(clinic, opened, author, head, way):
    document = way.made(author, line("CT-ABD-RP", discount_percent="5", discount_reason="staff"))
    owner(opened, "UPDATE api_key SET discount_ceiling = 4 WHERE discount_ceiling = 5")
    assert refusal(way.out(author, document)) == (409, "discount_above_limit")
    made(head.post(way.at(document, "approve"), {}))
    assert made(way.out(author, document))


@EACH
def test_a_ceiling_that_was_raised_since_lets_the_document_out(opened, author, way):
    document = way.made(author)
    owner(opened, "UPDATE api_key SET discount_ceiling = 50 WHERE discount_ceiling = 5")
    assert made(way.out(author, document))["approval"] == "none"


@EACH
def test_s05_the_ceiling_of_who_wrote_it_counts_and_not_that_of_who_lets_it_out(author, head, way):
    document = way.made(author)
    assert refusal(way.out(head, document)) == (409, "discount_above_limit")
    own = way.made(head)
    assert own["approval"] == "none"
    assert made(way.out(author, own))["approval"] == "none"


def test_an_accepted_quote_is_judged_once_more_when_it_is_invoiced(opened, author, head):
    quote = author.quote(line("CT-ABD-RP", discount_percent="5", discount_reason="staff"))
    made(author.post(f"/v1/quotes/{quote['id']}/accept"))
    owner(opened, "UPDATE api_key SET discount_ceiling = 4 WHERE discount_ceiling = 5")
    wanted = {"payer": given.PAYER}
    answer = author.post(f"/v1/quotes/{quote['id']}/invoice", wanted)
    assert (refusal(answer), answer.get_json()["quote"]) == ((409, "discount_above_limit"), quote["id"])
    made(head.post(f"/v1/quotes/{quote['id']}/approve", {}))
    draft = made(author.post(f"/v1/quotes/{quote['id']}/invoice", wanted))
    assert draft["approval"] == "granted"
    made(author.patch(f"/v1/invoices/{draft['id']}", {"comment": "Для бухгалтерии"}, match=etag(author, draft)))
    assert made(author.post(f"/v1/invoices/{draft['id']}/issue"))["approval"] == "granted"


def etag(caller: Caller, invoice: Any) -> str:
    return caller.get(f"/v1/invoices/{invoice['id']}").headers["ETag"]


# ---- What of a line counts ----


@EACH
def test_s05_all_discounts_of_a_line_count_together(author, way):
    stacked = {"discount_percent": "3", "discount_reason": "staff"}
    three = way.made(author, line("CT-ABD-RP", **stacked))
    assert three["approval"] == "none"
    both = way.made(author, line("CT-ABD-RP", **stacked), **stacked)
    assert both["approval"] == "required"
    assert refusal(way.out(author, both)) == (409, "discount_above_limit")


def test_the_highest_line_counts_and_not_the_document_as_a_whole(author):
    quote = author.quote(line("HEP-DRAIN-PT"), line("CT-ABD-RP", discount_percent="5.01", discount_reason="staff"))
    assert quote["approval"] == "required"


@EACH
def test_the_rounding_of_a_kopeck_is_no_discount_above_the_ceiling(clinic, way):
    # 7.5 % of 3700.01 × 0.333 … each line's share is rounded to kopecks, some of them up.
    caller = given.caller(clinic.app, "*", discount_ceiling=Decimal("7.5"))
    odd = [line("CT-ABD-RP", quantity=each) for each in ("0.333", "0.111", "0.217", "1.003")]
    document = way.made(caller, *odd, discount_percent="7.5", discount_reason="repeat")
    assert document["approval"] == "none"
    assert made(way.out(caller, document))
    nothing = given.caller(clinic.app, "*", discount_ceiling=Decimal(0))
    kopeck = line("CT-ABD-RP", discount_amount="0.01", discount_reason="goodwill")
    assert way.made(nothing, kopeck)["approval"] == "required"


def test_packages_and_what_is_not_discountable_neither_take_nor_need_an_approval(clinic, author, head):
    given.package(clinic, "DAY")
    match = clinic.get("/v1/services/MRI-ABD-RP").headers["ETag"]
    made(clinic.patch("/v1/services/MRI-ABD-RP", {"discountable": False}, match=match))
    lines = [{"package": "DAY"}, line("MRI-ABD-RP"), line("CT-ABD-RP")]
    quote = author.quote(*lines, discount_percent="50", discount_reason="goodwill")
    assert [each["document_discount"] for each in quote["lines"]] == ["0.00", "0.00", "0.00", "4420.00"]
    assert quote["approval"] == "required"
    made(head.post(f"/v1/quotes/{quote['id']}/approve", {}))
    assert author.invoice(quote)["totals"] == quote["totals"]
    alone = author.quote({"package": "DAY"}, line("MRI-ABD-RP"))
    assert alone["approval"] == "none"
    assert author.invoice(alone)["approval"] == "none"


# ---- Raw SQL ----


def owner(urls: Urls, sql: str, params: Any = None) -> None:
    with psycopg.connect(urls.owner) as conn:
        conn.execute(sql.encode(), params)


DECIDE = """
INSERT INTO discount_approval (id, quote_id, revision, decision, decided_by, decided_at{columns})
SELECT gen_random_uuid(), quote_id, revision, 'granted', {by}, now(){values}
  FROM quote_revision WHERE quote_id = %(quote)s
"""
BY_HEAD = "(SELECT 'key:' || id FROM api_key WHERE discount_ceiling = 100 ORDER BY created_at DESC LIMIT 1)"
ADDED = """
INSERT INTO quote_line
SELECT added.* FROM quote_line AS line,
       jsonb_populate_record(NULL::quote_line, to_jsonb(line) || '{"position": 2, "article": "OTHER"}') AS added
 WHERE line.quote_id = %(quote)s
"""
ATTACKS: dict[str, tuple[type[Exception], str]] = {
    "granted by itself": (
        pg.RestrictViolation, "UPDATE quote_revision SET approval = 'granted' WHERE quote_id = %(quote)s"),
    "an invoice granted by itself": (
        pg.RestrictViolation, "UPDATE invoice SET approval = 'granted' WHERE id = %(invoice)s"),
    "out without an approval": (
        pg.CheckViolation, "UPDATE quote_revision SET status = 'sent' WHERE quote_id = %(quote)s"),
    "accepted as if nothing waited": (
        pg.CheckViolation,
        "UPDATE quote_revision SET status = 'accepted', approval = 'none' WHERE quote_id = %(quote)s"),
    "granted on the way out": (
        pg.RestrictViolation,
        "UPDATE quote_revision SET status = 'accepted', approval = 'granted' WHERE quote_id = %(quote)s"),
    "approved by its author": (pg.CheckViolation, DECIDE.format(by="edited_by", columns="", values="")),
    "approved by nobody known": (pg.CheckViolation, DECIDE.format(by="'staff:' || id_of", columns="", values="")
     .replace("id_of", "gen_random_uuid()")),
    "approved for content it has not": (
        pg.InsufficientPrivilege,
        DECIDE.format(by=BY_HEAD, columns=", content_sha256", values=", sha256('x')")),
    "approved with another ceiling": (
        pg.InsufficientPrivilege, DECIDE.format(by=BY_HEAD, columns=", ceiling", values=", 100")),
    "approved as somebody else's": (
        pg.InsufficientPrivilege, DECIDE.format(by="edited_by", columns=", author", values=", 'key:x'")),
    "a decision turned": (pg.InsufficientPrivilege, "UPDATE discount_approval SET decision = 'granted'"),
    "a decision moved to another document": (
        pg.InsufficientPrivilege, "UPDATE discount_approval SET quote_id = %(quote)s"),
    "a decision taken away": (pg.InsufficientPrivilege, "DELETE FROM discount_approval"),
    "a reason deleted": (pg.InsufficientPrivilege, "DELETE FROM discount_reason"),
    "a reason renamed": (pg.InsufficientPrivilege, "UPDATE discount_reason SET code = 'other'"),
    "born approved": (
        pg.RestrictViolation,
        """
        INSERT INTO quote_revision
        SELECT born.* FROM quote_revision AS old,
               jsonb_populate_record(NULL::quote_revision,
                                     to_jsonb(old) || '{"revision": 9, "newest": false, "approval": "granted"}') AS born
         WHERE old.quote_id = %(quote)s
        """),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_s05_the_application_cannot_approve_by_itself(opened, author, head, name):
    refused, attack = ATTACKS[name]
    ids = {"quote": author.quote(HALF)["id"], "invoice": Way("invoices", "issue").made(author)["id"]}
    made(head.post(f"/v1/quotes/{author.quote(HALF)['id']}/approve", {}))
    with psycopg.connect(opened.app, options="-c clinic.branch=*") as conn, pytest.raises(refused):
        conn.execute(attack.encode(), ids)


def test_not_even_the_owner_of_the_tables_changes_a_decision(opened, author, head):
    made(head.post(f"/v1/quotes/{author.quote(HALF)['id']}/approve", {}))
    for sql in ("UPDATE discount_approval SET reason = 'x'", "DELETE FROM discount_approval",
                "TRUNCATE discount_approval"):  # fmt: skip
        with pytest.raises(pg.RestrictViolation):
            owner(opened, sql)


LATER = {
    "another line": ADDED,
    "another comment": "UPDATE quote_revision SET comment = 'x' WHERE quote_id = %(quote)s",
    "another reason": "UPDATE quote_revision SET discount_reason = 'staff' WHERE quote_id = %(quote)s",
    "another editor": "UPDATE quote_revision SET edited_by = 'key:x' WHERE quote_id = %(quote)s",
    "no line": "DELETE FROM quote_line WHERE quote_id = %(quote)s",
}


@pytest.mark.parametrize("name", LATER)
def test_s05_whatever_changes_an_approved_draft_drops_its_approval(opened, author, head, name):
    quote = author.quote(HALF)
    made(head.post(f"/v1/quotes/{quote['id']}/approve", {}))
    with psycopg.connect(opened.owner) as conn:
        conn.execute(LATER[name].encode(), {"quote": quote["id"]})
        row = conn.execute("SELECT approval FROM quote_revision WHERE quote_id = %s", (quote["id"],)).fetchone()
        assert row is not None
        assert row[0] in ("required", "none")
        conn.rollback()


def test_lines_of_an_approved_draft_invoice_that_change_drop_its_approval(opened, author, head):
    document = Way("invoices", "issue").made(author)
    made(head.post(f"/v1/invoices/{document['id']}/approve", {}))
    with psycopg.connect(opened.owner) as conn:
        conn.execute("UPDATE invoice_line SET vat_rate = 22, vat_amount = 797.05")
        assert conn.execute("SELECT approval FROM invoice").fetchall() == [("granted",)]
        conn.execute("UPDATE invoice_line SET document_discount = 1, amount = amount - 1")
        assert conn.execute("SELECT approval FROM invoice").fetchall() == [("required",)]
        conn.rollback()
