"""Approvals in real threads against real processes: whatever comes first, nothing goes out that nobody approved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from tests import given, running
from tests.running import AGAIN, Answer, Desk, Service, at_once, made, seen

pytestmark = pytest.mark.xdist_group("server")
HALF = given.line("CT-ABD-RP", discount_percent="50", discount_reason="goodwill")
"""Of two callers one comes first: a few times, so that both orders are seen."""


@dataclass(frozen=True)
class Branch:
    """A program that may give nothing alone, and one that may give anything."""

    author: Desk
    head: Desk

    def quote(self) -> str:
        return f"/v1/quotes/{self.author.quote(HALF)['id']}"

    def draft(self) -> Answer:
        return self.author.post("/v1/invoices", {"lines": [HALF], "payer": given.PAYER})

    def happened(self, path: str) -> list[str]:
        """What became of the document at this address, in the order of commits, after it was made."""
        with psycopg.connect(self.head.urls.owner) as conn:
            rows = conn.execute(
                "SELECT type FROM journal WHERE object_id = %s::uuid ORDER BY position", (path.rpartition("/")[2],)
            )
            return [row[0].partition(".")[2] for row in rows][1:]

    def granted_without_approval(self) -> list[Any]:
        """Documents that say granted though nobody approved what they say."""
        with psycopg.connect(self.head.urls.owner) as conn:
            return conn.execute(
                """
                SELECT quote_id FROM quote_revision
                 WHERE approval = 'granted' AND NOT quote_is_approved(quote_revision)
                 UNION ALL
                SELECT id FROM invoice
                 WHERE approval = 'granted' AND quote_id IS NULL AND NOT invoice_is_approved(invoice)
                """
            ).fetchall()


@pytest.fixture
def branch(service: Service) -> Iterator[Branch]:
    head = service.branch()
    branch = Branch(service.another(head, discount_ceiling=0), head)
    yield branch
    assert branch.granted_without_approval() == []
    head.check_books()


def decisions(branch: Branch, path: str) -> list[str]:
    return [each["decision"] for each in made(branch.author.get(f"{path}/approvals"))["items"]]


@AGAIN
def test_of_eight_who_approve_one_does(branch, _):
    path = branch.quote()
    answers = at_once(8, lambda _: branch.head.post(f"{path}/approve", {}))
    assert seen(answers) == {"200": 1, "409 no_discount_waiting": 7}
    assert decisions(branch, path) == ["granted"]


@AGAIN
def test_a_quote_that_is_sent_while_it_is_approved_goes_out_approved_or_waits(branch, _):
    path = branch.quote()
    approved, sent = at_once(
        2, lambda n: branch.author.post(f"{path}/send", {}) if n else branch.head.post(f"{path}/approve", {})
    )
    assert str(approved) == "200"
    assert str(sent) in {"200", "409 discount_above_limit"}
    assert branch.happened(path) == ["discount_approved", "sent"][: 2 if sent.status == 200 else 1]


@AGAIN
def test_s05_a_quote_that_is_invoiced_while_it_is_approved_is_invoiced_approved_or_not_at_all(branch, _):
    path = branch.quote()
    invoice = running.ISSUED
    approved, invoiced = at_once(
        2, lambda n: branch.author.post(f"{path}/invoice", invoice) if n else branch.head.post(f"{path}/approve", {})
    )
    assert str(approved) == "200"
    assert str(invoiced) in {"201", "409 discount_above_limit"}
    assert branch.happened(path) == ["discount_approved", "accepted"][: 2 if invoiced.status == 201 else 1]
    assert branch.head.count("invoice") == (1 if invoiced.status == 201 else 0)


@AGAIN
def test_approved_and_refused_at_once_ends_as_the_last_word_says(branch, _):
    path = branch.quote()
    approved, refused = at_once(
        2,
        lambda n: (
            branch.head.post(f"{path}/refuse-discount", {"reason": "Много"})
            if n
            else branch.head.post(f"{path}/approve", {})
        ),
    )
    assert str(approved) == "200"
    assert str(refused) in {"200", "409 no_discount_waiting"}
    assert decisions(branch, path)[0] == "granted"
    assert made(branch.author.get(path))["approval"] == "granted"


@AGAIN
def test_a_quote_is_declined_or_approved_first_and_never_both_by_halves(branch, _):
    path = branch.quote()
    approved, declined = at_once(
        2, lambda n: branch.author.post(f"{path}/decline", {}) if n else branch.head.post(f"{path}/approve", {})
    )
    assert str(declined) == "200"
    assert str(approved) in {"200", "409 quote_not_open"}
    assert decisions(branch, path) == (["granted"] if approved.status == 200 else [])


@AGAIN
def test_s05_a_draft_that_is_edited_while_it_is_approved_is_approved_as_it_is_now_or_waits(branch, _):
    draft = branch.draft()
    path = f"/v1/invoices/{draft.json['id']}"

    def edit() -> Answer:
        answer: Answer
        etag = draft.headers["ETag"]
        while True:
            answer = branch.author.patch(path, {"payer": given.PAYER | {"ref": "P-2"}}, etag)
            if answer.status != 412:
                return answer
            etag = branch.author.get(path).headers["ETag"]

    approved, edited = at_once(2, lambda n: edit() if n else branch.head.post(f"{path}/approve", {}))
    assert (str(approved), str(edited)) == ("200", "200")
    now = made(branch.author.get(path))
    assert now["payer"]["ref"] == "P-2"
    issued = branch.author.post(f"{path}/issue", {})
    assert str(issued) == ("200" if now["approval"] == "granted" else "409 discount_above_limit")


@AGAIN
def test_a_quote_that_is_edited_while_it_is_approved_is_approved_as_it_is_now_or_waits(branch, _):
    path = branch.quote()
    seen_ = branch.author.get(path).headers["ETag"]
    wanted = {"lines": [HALF | {"discount_percent": "60"}]}
    approved, edited = at_once(
        2, lambda n: branch.author.patch(path, wanted, seen_) if n else branch.head.post(f"{path}/approve", {})
    )
    assert str(approved) == "200"
    assert str(edited) in {"200", "412 precondition_failed"}
    assert made(branch.author.get(path))["approval"] == "granted"
    (decision,) = made(branch.author.get(f"{path}/approvals"))["items"]
    assert decision["highest"] == ("60.00" if edited.status == 200 else "50.00")
    again = branch.author.patch(path, {"comment": "Ещё"}, branch.author.get(path).headers["ETag"])
    assert (made(again)["approval"], str(branch.author.post(f"{path}/send", {}))) == (
        "required",
        "409 discount_above_limit",
    )


@AGAIN
def test_a_draft_that_is_issued_while_it_is_approved_is_issued_approved_or_waits(branch, _):
    draft = branch.draft()
    path = f"/v1/invoices/{draft.json['id']}"
    approved, issued = at_once(
        2, lambda n: branch.author.post(f"{path}/issue", {}) if n else branch.head.post(f"{path}/approve", {})
    )
    assert str(approved) == "200"
    assert str(issued) in {"200", "409 discount_above_limit"}
    assert branch.happened(path) == ["discount_approved", "issued"][: 2 if issued.status == 200 else 1]
