"""How long a quote is valid: extensions by a permitted hand, and the word «expired» that changes nothing."""

import psycopg
import pytest
from psycopg import errors as pg

from billing import quote_validity
from clinic import chores, db
from tests import given
from tests.given import faults, made
from tests.test_quote_revisions import MSCT, events, post, prices_rise, read, refused

LAST_DAY, DAY_AFTER = "2027-03-11", "2027-03-12"


@pytest.fixture
def quoted(clinic):
    """A caller and a quote of 2027-03-10 that is valid until the next day."""
    with given.day("2027-03-10"):
        caller = given.caller(clinic.app, "*")
        yield caller, caller.quote((MSCT, None), valid_until=LAST_DAY)


def extend(caller, quote, until="2027-03-31", **more):
    return post(caller, quote, "extend", valid_until=until, **({"reason": "Отпуск пациентки Петровой"} | more))


# ---- Extensions ----


@pytest.mark.parametrize("moves", [(), ("send",)])
@pytest.mark.parametrize("today", [LAST_DAY, DAY_AFTER])
@pytest.mark.parametrize("labelled", [False, True])
def test_a_quote_is_extended_at_its_prices_and_is_what_it_was(quoted, moves, today, labelled):
    caller, quote = quoted
    for move in moves:
        made(post(caller, quote, move))
    before = read(caller, quote)
    with given.day(today) as day:
        prices_rise(caller, day)
        if labelled:
            quote_validity.expire()
        extended = made(extend(caller, quote))
        assert extended == before | {"valid_until": "2027-03-31", "updated_at": extended["updated_at"]}
    with given.day("2027-03-31"):
        assert made(post(caller, quote, "accept"))["totals"]["total"] == "8840.00"


def test_an_extension_needs_a_right_of_its_own(quoted):
    caller, quote = quoted
    for scopes in (("quotes:write",), ("quotes:read", "quotes:write", "discounts:approve")):
        answer = extend(given.caller(caller.app, *scopes), quote)
        assert (answer.status_code, answer.get_json()["scope"]) == (403, "quotes:extend")
    assert extend(given.caller(caller.app, "quotes:extend"), quote).status_code == 200


def test_a_last_day_only_moves_forward(quoted):
    caller, quote = quoted
    for day in (LAST_DAY, "2027-03-10"):
        assert faults(extend(caller, quote, day)) == [("/valid_until", "not_an_extension")]
    with given.day("2027-03-20"):
        assert faults(extend(caller, quote, "2027-03-19")) == [("/valid_until", "not_an_extension")]
        made(extend(caller, quote, "2027-03-20"))
    assert faults(post(caller, quote, "extend")) == [("/reason", "required"), ("/valid_until", "required")]


def test_the_reason_is_kept_but_not_in_the_journal(quoted):
    caller, quote = quoted
    made(extend(caller, quote))
    (event,) = (each for each in caller.events() if each["type"] == "quote.extended")
    assert event["data"] == {
        "revision": 1, "total": "8840.00", "valid_until": "2027-03-31", "valid_until_before": LAST_DAY,
    }  # fmt: skip
    (kept,) = made(caller.get(f"/v1/quotes/{quote['id']}/revisions"))["items"]
    (extension,) = kept["extensions"]
    assert extension["reason"] == "Отпуск пациентки Петровой"
    assert extension["by"].startswith("key:")


def test_an_approval_outlives_an_extension(quoted):
    caller, _ = quoted
    author = given.caller(caller.app, "quotes:write")
    quote = author.quote({"article": MSCT, "discount_percent": "20", "discount_reason": "goodwill"})
    made(post(given.caller(caller.app, "*", discount_ceiling=50), quote, "approve"))
    assert made(extend(caller, quote, "2027-06-01"))["approval"] == "granted"
    made(post(author, quote, "accept"))


@pytest.mark.parametrize("move", ["accept", "decline", "cancel"])
def test_what_is_accepted_or_over_is_not_extended(quoted, move):
    caller, quote = quoted
    made(post(caller, quote, move, **({"reason": "x"} if move == "cancel" else {})))
    refused(extend(caller, quote), "quote_not_open")


@pytest.mark.parametrize(
    "attack",
    [
        # An extension from a day that is not the last one, or to another day than is kept.
        """
        INSERT INTO quote_extension SELECT quote_id, revision, valid_until + 1, valid_until + 9, 'x', 'x', updated_at
          FROM quote_revision;
        UPDATE quote_revision SET valid_until = valid_until + 9
        """,
        """
        INSERT INTO quote_extension SELECT quote_id, revision, valid_until, valid_until + 9, 'x', 'x', updated_at
          FROM quote_revision;
        UPDATE quote_revision SET valid_until = valid_until + 8
        """,
        # An expired one brought back without an extension, or as what it was not.
        """
        UPDATE quote_revision SET status = 'expired';
        UPDATE quote_revision SET status = 'sent'
        """,
        """
        UPDATE quote_revision SET status = 'expired';
        INSERT INTO quote_extension SELECT quote_id, revision, valid_until, valid_until + 9, 'x', 'x', updated_at
          FROM quote_revision;
        UPDATE quote_revision SET valid_until = valid_until + 9, status = 'draft'
        """,
        # A former revision made the newest again.
        """
        UPDATE quote_revision SET newest = false;
        UPDATE quote_revision SET newest = true
        """,
    ],
)
def test_nothing_else_moves_a_last_day_or_a_revision(quoted, opened, attack):
    caller, quote = quoted
    made(post(caller, quote, "send"))
    with psycopg.connect(opened.app, options="-c clinic.branch=*") as conn, pytest.raises(pg.RestrictViolation):
        conn.execute(attack)


def test_two_revisions_are_never_alive(quoted, opened):
    with (
        psycopg.connect(opened.app, options="-c clinic.branch=*") as conn,
        pytest.raises(pg.UniqueViolation, match="quote_one_live_revision"),
    ):
        conn.execute(
            """
            UPDATE quote_revision SET newest = false;
            INSERT INTO quote_revision
                   (quote_id, revision, branch_id, status, kind, date, valid_until, price_list, approval, edited_by,
                    subtotal, discount, total, created_at, updated_at)
            SELECT quote_id, 2, branch_id, status, kind, date, valid_until, price_list, approval, edited_by,
                   subtotal, discount, total, created_at, updated_at
              FROM quote_revision
            """
        )


# ---- What is over ----


def test_what_is_over_is_called_so_once(clinic):
    with given.day("2027-03-10"):
        caller = given.caller(clinic.app, "*")
        over = [caller.quote((MSCT, None), valid_until=LAST_DAY) for _ in range(3)]
        still = caller.quote((MSCT, None), valid_until=DAY_AFTER)
        accepted = caller.quote((MSCT, None), valid_until=LAST_DAY)
        made(post(caller, over[0], "send"))
        made(post(caller, accepted, "accept"))
    with given.day(LAST_DAY):
        assert quote_validity.expire() == 0
    with given.day(DAY_AFTER, at="00:00"):
        assert (quote_validity.expire(), quote_validity.expire()) == (3, 0)
    assert {read(caller, each)["status"] for each in over} == {"expired"}
    assert (read(caller, still)["status"], read(caller, accepted)["status"]) == ("draft", "accepted")
    assert [events(caller, each)[-1] for each in over] == [("expired", 1)] * 3
    assert len(made(caller.get("/v1/quotes?status=expired"))["items"]) == 3


def test_many_are_called_so_in_small_batches(clinic, monkeypatch):
    monkeypatch.setattr(quote_validity, "BATCH", 2)
    with given.day("2027-03-10"):
        caller = given.caller(clinic.app, "*")
        for _ in range(5):
            caller.quote((MSCT, None), valid_until=LAST_DAY)
    with given.day(DAY_AFTER):
        assert quote_validity.expire() == 5
    with db.reading() as conn:
        rows = conn.execute("SELECT count(*) FROM journal WHERE type = 'quote.expired' GROUP BY at").fetchall()
    assert len(rows) in (1, 3)  # the clock stands still: three transactions may share their instant


def test_the_chore_is_done_by_the_worker():
    assert chores.registry["quote_expiry"].work is quote_validity.expire


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize(
    ("move", "body", "answer"),
    [
        ("send", {}, "quote_expired"),
        ("accept", {}, "quote_expired"),
        ("invoice", {"payer": given.PAYER}, "quote_expired"),
        ("cancel", {"reason": "x"}, "quote_expired"),
        ("approve", {}, "quote_expired"),
        ("decline", {}, "declined"),
        ("revise", {}, "draft"),
        ("reprice", {}, "draft"),
        ("extend", {"valid_until": "2027-04-01", "reason": "x"}, None),
    ],
)
def test_a_late_chore_changes_nothing(clinic, move, body, answer, sent):
    done = []
    for labelled in (False, True):
        with given.day("2027-03-10"):
            caller = given.caller(clinic.app, "*")
            quote = caller.quote((MSCT, None), valid_until=LAST_DAY)
            if sent:
                made(post(caller, quote, "send"))
        with given.day(DAY_AFTER):
            if labelled:
                assert quote_validity.expire()
            got = post(caller, quote, move, **body).get_json()
            revisions = made(caller.get(f"/v1/quotes/{quote['id']}/revisions"))["items"]
        said = got.get("code") if "title" in got else got["status"]
        states = [] if "title" in got else [each["status"] for each in revisions]
        done.append((said, states, [each for each in events(caller, quote) if each[0] != "expired"]))
    assert done[0] == done[1]
    assert done[0][0] == (answer or ("sent" if sent else "draft"))
