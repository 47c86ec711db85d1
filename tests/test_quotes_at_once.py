"""Two at once on one quote: real threads, real commits, two server processes. One comes first, the other is told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from billing import quote_validity
from tests import given, running
from tests.running import AGAIN, at_once, seen

pytestmark = pytest.mark.xdist_group("server")
CANCEL = {"reason": "Ошибка"}


def both(desk, quote, *calls):
    """The answers to these (move, body) of one quote, asked at the same moment."""
    path = f"/v1/quotes/{quote['id']}"
    return at_once(len(calls), lambda n: desk.post(f"{path}/{calls[n][0]}", calls[n][1]))


def states(desk, quote):
    """The states of all its revisions, newest first."""
    return [each["status"] for each in desk.get(f"/v1/quotes/{quote['id']}/revisions").json["items"]]


@AGAIN
def test_what_is_accepted_is_the_revision_that_was_meant(desk, _):
    quote = desk.quote()
    accepted, revised = both(desk, quote, ("accept", {"revision": 1}), ("revise", {"comment": "Другая"}))
    # Accepted first, it is revised all the same; revised first, the revision meant is no more.
    assert str(revised) == "200"
    assert str(accepted) in {"200", "409 quote_not_open"}
    assert accepted.json["revision"] == (1 if accepted.status == 200 else 2)
    assert states(desk, quote) == ["draft", "superseded"]


@AGAIN
def test_who_names_no_revision_accepts_the_newest_there_is(desk, _):
    quote = desk.quote()
    accepted, revised = both(desk, quote, ("accept", {}), ("revise", {"comment": "Другая"}))
    assert [str(accepted), str(revised)] == ["200", "200"]
    first = accepted.json["revision"] == 1
    assert states(desk, quote) == ["draft" if first else "accepted", "superseded"]


@AGAIN
def test_a_quote_is_accepted_and_then_cancelled_or_cancelled_alone(desk, _):
    quote = desk.quote()
    accepted, cancelled = both(desk, quote, ("accept", {}), ("cancel", CANCEL))
    assert str(cancelled) == "200"
    assert str(accepted) in {"200", "409 quote_not_open"}
    assert states(desk, quote) == ["cancelled"]


@AGAIN
@pytest.mark.parametrize("move", [("revise", {"revision": 1}), ("reprice", {"revision": 1}), ("cancel", CANCEL)])
def test_a_quote_is_invoiced_or_gone_never_both(desk, move, _):
    quote = desk.quote()
    invoice = ("invoice", {"payer": given.PAYER, "issue": True, "revision": 1})
    invoiced, moved = both(desk, quote, invoice, move)
    assert (str(invoiced), str(moved)) in {("201", "409 quote_on_invoices"), ("409 quote_not_open", "200")}
    if invoiced.status == 201:
        assert moved.json["invoices"] == [invoiced.json["id"]]
        assert states(desk, quote) == ["invoiced"]
    else:
        assert desk.count("invoice") == 0
        assert "accepted" not in states(desk, quote)


@AGAIN
@pytest.mark.parametrize("ways", [("revise", "revise"), ("revise", "reprice"), ("reprice", "reprice")])
def test_of_two_who_revise_the_same_revision_one_reads_it_again(desk, ways, _):
    quote = desk.quote()
    answers = both(desk, quote, *((way, {"revision": 1}) for way in ways))
    assert seen(answers) == {"200": 1, "409 quote_not_open": 1}
    assert states(desk, quote) == ["draft", "superseded"]


def test_of_many_who_revise_each_makes_a_revision_and_one_is_alive(desk):
    quote = desk.quote()
    answers = both(desk, quote, *[("revise", {})] * 8)
    assert seen(answers) == {"200": 8}
    assert sorted(each.json["revision"] for each in answers) == list(range(2, 10))
    assert states(desk, quote) == ["draft"] + ["superseded"] * 8


@AGAIN
def test_a_draft_is_edited_before_it_is_sent_or_not_at_all(desk, _):
    quote = desk.quote()
    path = f"/v1/quotes/{quote['id']}"
    etag = desk.get(path).headers["ETag"]
    lines = {"lines": [given.line("CT-ABD-RP", quantity="2"), given.line("MRI-ABD-RP")]}
    edited, sent = at_once(2, lambda n: desk.post(f"{path}/send", {}) if n else desk.patch(path, lines, etag))
    assert str(sent) == "200"
    assert str(edited) in {"200", "409 quote_not_open"}
    # What was handed out is what is there.
    expected = "31380.00" if edited.status == 200 else "5300.00"
    assert desk.get(path).json["totals"]["total"] == sent.json["totals"]["total"] == expected


@AGAIN
def test_of_two_who_edit_the_same_draft_one_reads_it_again(desk, _):
    quote = desk.quote()
    path = f"/v1/quotes/{quote['id']}"
    etag = desk.get(path).headers["ETag"]
    bodies = [{"lines": [given.line(article)]} for article in ("CT-ABD-RP", "MRI-ABD-RP")]
    answers = at_once(2, lambda n: desk.patch(path, bodies[n], etag))
    assert seen(answers) == {"200": 1, "412 precondition_failed": 1}
    (won,) = (each.json for each in answers if each.status == 200)
    assert desk.get(path).json["lines"] == won["lines"]


@AGAIN
def test_a_last_day_is_moved_once_to_the_same_day(desk, _):
    quote = desk.quote()
    longer = {"valid_until": "2199-01-01", "reason": "Отпуск"}
    assert seen(both(desk, quote, ("extend", longer), ("extend", longer))) == {"200": 1, "422 invalid_input": 1}
    assert len(desk.get(f"/v1/quotes/{quote['id']}/revisions").json["items"][0]["extensions"]) == 1


def test_while_quotes_are_accepted_those_that_are_over_are_called_expired(desk):
    """The chore beside callers: whatever it finds held is left alone, and what was accepted stays so."""
    quotes = [desk.quote() for _ in range(24)]
    over = quotes[::2]
    with psycopg.connect(desk.urls.owner, autocommit=True) as conn:
        conn.execute("ALTER TABLE quote_revision DISABLE TRIGGER USER")
        conn.execute(
            "UPDATE quote_revision SET date = date - 9, valid_until = date - 1 WHERE quote_id = ANY (%s)",
            ([each["id"] for each in over],),
        )
        conn.execute("ALTER TABLE quote_revision ENABLE TRIGGER USER")
    with running.opened(desk.urls), ThreadPoolExecutor(8) as callers:
        chores = [callers.submit(quote_validity.expire) for _ in range(2)]
        answers = list(callers.map(lambda each: desk.post(f"/v1/quotes/{each['id']}/accept", {}), quotes))
        expired = sum(each.result() for each in chores) + quote_validity.expire()
    assert seen(answers[1::2]) == {"200": 12}
    assert seen(answers[::2]) == {"409 quote_expired": 12}
    assert expired == 12
    assert [states(desk, each) for each in quotes[:2]] == [["expired"], ["accepted"]]
