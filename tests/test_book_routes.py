"""The check of the books as a program asks for it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
import pytest

from clinic import branches, db, worker
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.worker import Worker
from tests import given
from tests.given import Caller

INVOICES = "SELECT count(*) FROM invoice"
QUOTES = "SELECT count(*) FROM quote_revision"


@pytest.fixture
def auditor(clinic: Caller) -> Caller:
    """Somebody who may read the audit and nothing else, in a clinic with an invoice of a second branch too."""
    with change(COMMAND_LINE) as made:
        branches.create(made, "north", "Север", "С")
    clinic.invoice(clinic.quote(("CT-ABD-RP", None)))
    clinic.invoice(clinic.quote(("CT-ABD-RP", None), branch="north"))
    return given.caller(clinic.app, "audit:read")


def checked(caller: Caller, urls: Any) -> Any:
    """The job after a worker has done it."""
    answer = caller.get("/v1/books/check")
    assert (answer.status_code, answer.get_json()["kind"]) == (202, "books_check")
    db.open_pool(urls.app, size=worker.CONNECTIONS, worker=True)
    with db.seeing(uuid4()):  # as in its process: no branch, until the job says whose it is
        Worker(urls.app).do_next()
    return caller.get(answer.headers["Location"]).get_json()


def test_the_books_of_all_branches_are_checked_by_a_worker(auditor, opened):
    job = checked(auditor, opened)
    assert (job["status"], job["problem"]) == ("done", None)
    assert job["result"]["whole"] and job["result"]["offenders"] == []
    with db.transaction() as conn:
        assert job["result"]["events"] == db.value(conn, "SELECT count(*) FROM journal")
        kept = sum(db.value(conn, query) for query in (INVOICES, QUOTES))
    assert job["result"]["documents"] >= kept == 4
    assert job["progress"]["done"] == job["progress"]["total"] > 1


def test_a_wrong_hand_is_named_in_the_result(auditor, opened):
    with psycopg.connect(opened.owner) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute("UPDATE invoice SET comment = 'x' WHERE number LIKE 'С%'")
    job = checked(auditor, opened)
    assert not job["result"]["whole"]
    assert {each["type"] for each in job["result"]["offenders"]} == {"invoice"}


def test_asked_twice_a_caller_gets_his_own_check_again(auditor, clinic):
    first, again, other = (who.get("/v1/books/check").get_json()["id"] for who in (auditor, auditor, clinic))
    assert first == again != other


def test_a_caller_kept_to_a_branch_checks_nothing(auditor):
    assert given.caller(auditor.app, "audit:read", branch="north").get("/v1/books/check").status_code == 403
    assert given.caller(auditor.app, "quotes:read").get("/v1/books/check").status_code == 403
