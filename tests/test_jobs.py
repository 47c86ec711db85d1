"""Long work is done once, in the name of whoever asked for it, whatever becomes of those who do it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors as pg

from clinic import branches, chores, db, ids, jobs, worker
from clinic.auth import COMMAND_LINE, Actor
from clinic.chores import Chore
from clinic.command import change
from clinic.errors import AlreadyExists, NotFound
from clinic.jobs import Job, Lost, Progress
from clinic.worker import Worker
from tests import given, running
from tests.running import soon

KIND = "open_branch"
NAME = "Иванова Анна"


def open_branch(made, task):
    """The work of these tests: its effect is a branch."""
    for code in task.progress.of(task.input["branches"]):
        branches.create(made, code, "x", prefix(code))
    return {"opened": len(task.input["branches"])}


def prefix(code: str) -> str:
    """A prefix for a branch called `b17`."""
    number = int(code[1:])
    return "АБВГДЕЖЗИК"[number // 10] + "АБВГДЕЖЗИК"[number % 10]


@pytest.fixture
def work(monkeypatch, opened) -> Callable[[Any], None]:
    """Says what the jobs of these tests do."""

    def becomes(function):
        monkeypatch.setitem(jobs._kinds, KIND, function)

    becomes(open_branch)
    db.open_pool(opened.app, size=worker.CONNECTIONS, worker=True)
    return becomes


@pytest.fixture
def clerk(work, opened) -> Worker:
    """A worker that does a job when it is told to."""
    return Worker(opened.app)


def asked(*codes: str, actor: Actor = COMMAND_LINE, file: bytes | None = None) -> UUID:
    """A job that opens these branches; its id."""
    with change(actor) as made:
        return jobs.enqueue(made, KIND, {"branches": codes}, file=file, lang="en", request="request-1").id


def seen(job_id: UUID, actor: Actor = COMMAND_LINE) -> Job:
    with db.reading() as conn:
        return jobs.get(conn, job_id, actor)


def opened_branches() -> list[str]:
    with db.reading() as conn:
        return [each.code for each in branches.every(conn, COMMAND_LINE)]


def of_row(urls, job_id: UUID, column: str) -> Any:
    with psycopg.connect(urls.owner) as owner:
        row = owner.execute(f"SELECT {column} FROM job WHERE id = %s".encode(), (job_id,)).fetchone()
        assert row
        return row[0]


def grow_old(urls, job_id: UUID) -> None:
    """Half a minute passes without a sign of life."""
    with psycopg.connect(urls.owner) as owner:
        owner.execute("UPDATE job SET heartbeat_at = heartbeat_at - interval '31 seconds' WHERE id = %s", (job_id,))


# ---- A job ----


def test_a_job_is_done_and_its_result_is_there(clerk, opened):
    job_id = asked("b1", "b2", file=b"bytes")
    assert (seen(job_id).status, seen(job_id).is_finished) == ("queued", False)
    assert clerk.do_next()
    job = seen(job_id)
    assert (job.status, job.result, job.problem, job.done, job.total) == ("done", {"opened": 2}, None, 2, 2)
    assert job.started_at and job.finished_at
    assert opened_branches() == ["b1", "b2"]
    assert of_row(opened, job_id, "file") is None
    assert not clerk.do_next()


def test_a_job_lives_and_dies_with_the_transaction_that_asks_for_it(clerk):
    with pytest.raises(ZeroDivisionError), change(COMMAND_LINE) as made:
        jobs.enqueue(made, KIND, {"branches": ["b1"]}, file=None, lang="en", request="request-1")
        raise ZeroDivisionError
    assert not clerk.do_next()


def test_the_work_is_done_in_the_name_of_whoever_asked(clerk, work):
    acting: list[Actor] = []

    def note(made, task):
        acting.append(made.actor)
        return {}

    work(note)
    actor = Actor(uuid4(), "staff", "somebody", frozenset({"catalog:write", "quotes:read"}), role="reception")
    asked(actor=actor)
    clerk.do_next()
    (acted,) = acting
    assert (acted.label, acted.scopes, acted.role) == (actor.label, actor.scopes, "reception")


def test_the_journal_names_who_asked_and_his_request(clerk, opened):
    actor = Actor(uuid4(), "key", "a program", frozenset({"*"}))
    asked("b1", actor=actor)
    clerk.do_next()
    with psycopg.connect(opened.owner) as owner:
        assert owner.execute("SELECT actor, request_id FROM journal").fetchall() == [(actor.label, "request-1")]


def test_a_refusal_is_the_jobs_problem_and_takes_the_effect_back(clerk, work):
    def refuse(made, task):
        open_branch(made, task)
        raise AlreadyExists(door="east")

    work(refuse)
    job_id = asked("b1")
    clerk.do_next()
    job = seen(job_id)
    assert (job.status, job.result) == ("failed", None)
    assert job.problem == {
        "type": "/problems/already_exists",
        "title": "Another document with this id, or with the same unique value, is already there",
        "status": 409,
        "code": "already_exists",
        "detail": "Read it, or send another id.",
        "request_id": "request-1",
        "door": "east",
    }
    assert opened_branches() == []


def test_a_defect_is_told_without_a_word_of_its_text(clerk, work, caplog):
    def break_down(made, task):
        raise RuntimeError(NAME)

    work(break_down)
    job_id = asked("b1")
    clerk.do_next()
    job = seen(job_id)
    assert job.problem
    assert (job.status, job.problem["code"], job.problem["request_id"]) == ("failed", "internal_error", "request-1")
    assert set(told_errors(caplog)) == {"RuntimeError"}
    assert str(job_id) in caplog.text
    assert NAME not in caplog.text + str(job.problem)


def test_a_job_of_an_unknown_kind_is_left_to_those_who_know_it(clerk, monkeypatch):
    job_id = asked("b1")
    monkeypatch.delitem(jobs._kinds, KIND)
    assert not clerk.do_next()
    assert seen(job_id).status == "queued"


def test_a_moment_that_the_database_refuses_is_tried_again(clerk, work):
    tried = []

    def unlucky(made, task):
        tried.append(1)
        if len(tried) == 1:
            made.conn.execute("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = 'serialization_failure'; END $$")
        return open_branch(made, task)

    work(unlucky)
    job_id = asked("b1")
    clerk.do_next()
    assert (seen(job_id).status, seen(job_id).done, opened_branches()) == ("done", 1, ["b1"])


# ---- Attempts ----


def test_an_attempt_that_lives_keeps_its_job(clerk):
    asked("b1")
    assert jobs.claim()
    assert not clerk.do_next()


def test_an_attempt_without_a_sign_of_life_loses_its_job(clerk, opened):
    job_id = asked("b1")
    assert jobs.claim()
    grow_old(opened, job_id)
    assert clerk.do_next()
    assert (seen(job_id).status, of_row(opened, job_id, "attempts")) == ("done", 2)


def test_an_attempt_given_up_for_dead_cannot_finish_the_job(clerk, opened):
    job_id = asked("b1")
    slow = jobs.claim()
    assert slow
    with pytest.raises(Lost), change(slow.caller) as made:
        branches.create(made, "b9", "of the slow one", prefix("b9"))
        grow_old(opened, job_id)
        assert clerk.do_next()
        jobs.finish(made.conn, slow, {}, Progress())
    assert (seen(job_id).result, opened_branches()) == ({"opened": 1}, ["b1"])
    with pytest.raises(Lost):
        jobs.fail(slow, AlreadyExists(), Progress())
    assert seen(job_id).status == "done"


def test_after_three_attempts_the_job_has_failed(clerk, opened):
    job_id = asked("b1")
    for _ in range(3):
        assert jobs.claim()
        grow_old(opened, job_id)
    assert clerk.do_next()
    job = seen(job_id)
    assert job.problem
    assert (job.status, job.problem["code"]) == ("failed", "job_abandoned")
    assert opened_branches() == []
    assert not clerk.do_next()


def test_two_workers_do_each_of_fifty_jobs_once(work, opened):
    def slowly(made, task):
        time.sleep(0.01)
        return open_branch(made, task)

    work(slowly)
    asked_for = [asked(f"b{number}") for number in range(50)]

    def all_there_are(_: int) -> int:
        clerk, count = Worker(opened.app), 0
        while clerk.do_next():
            count += 1
        return count

    counts = running.at_once(2, all_there_are)
    assert sum(counts) == 50
    assert min(counts) > 5
    assert sorted(opened_branches()) == sorted(f"b{number}" for number in range(50))
    assert {of_row(opened, job_id, "status || attempts") for job_id in asked_for} == {"done1"}


def test_progress_is_seen_going_up_while_the_work_goes_on(clerk, work, monkeypatch):
    monkeypatch.setattr(worker, "_BEAT", 0.02)
    values = []

    def watched(made, task):
        for _ in task.progress.of(range(10)):
            values.append(progress())
            time.sleep(0.03)
        return {}

    def progress():
        job = seen(job_id)
        return job.done, job.total

    work(watched)
    job_id = asked("b1")
    clerk.do_next()
    assert (values[0], values) == ((0, None), sorted(values, key=lambda each: each[0]))
    assert len({done for done, total in values if total == 10}) > 3


def test_the_work_ends_early_when_its_job_went_to_another_worker(clerk, work, opened, monkeypatch):
    monkeypatch.setattr(worker, "_BEAT", 0.02)

    def taken_away(made, task):
        for _ in task.progress.of(range(1000)):
            grow_old(opened, job_id)
            if taken is None:
                take()
            time.sleep(0.01)
        return {}

    taken: Any = None

    def take():
        nonlocal taken
        taken = jobs.claim()

    work(taken_away)
    job_id = asked("b1")
    began = time.monotonic()
    clerk.do_next()
    assert taken
    assert time.monotonic() - began < 5
    assert of_row(opened, job_id, "claim") == taken.claim


# ---- Being stopped ----


@contextmanager
def at_work(urls) -> Iterator[Worker]:
    """A worker that does what comes, on a thread."""
    clerk = Worker(urls.app)
    clerk.start()
    yield clerk
    clerk.stop()


def test_a_call_is_heard_at_once(work, opened):
    with at_work(opened):
        assert soon(lambda: running.is_listening(opened))
        time.sleep(0.2)  # what came before it listened it has seen
        began = time.monotonic()
        job_id = asked("b1")
        assert soon(lambda: seen(job_id).status == "done")
        assert time.monotonic() - began < worker._LOOK_AGAIN / 2


def test_a_job_whose_call_was_lost_is_found(work, opened, monkeypatch):
    monkeypatch.setattr(jobs, "CHANNEL", "elsewhere")
    with at_work(opened):
        assert soon(lambda: running.is_listening(opened))
        monkeypatch.setattr(jobs, "CHANNEL", "nowhere")
        time.sleep(0.2)  # what came before it listened it has seen
        job_id = asked("b1")
        assert soon(lambda: seen(job_id).status == "done", 6)


def test_stopping_waits_for_the_job_in_hand(work, opened):
    begun, go_on = threading.Event(), threading.Event()

    def held(made, task):
        begun.set()
        go_on.wait(5)
        return open_branch(made, task)

    work(held)
    first, second = asked("b1"), asked("b2")
    with at_work(opened):
        assert begun.wait(5)
        threading.Timer(0.3, go_on.set).start()
    assert (seen(first).status, seen(second).status) == ("done", "queued")


def test_a_job_that_takes_too_long_to_stop_for_is_handed_back(work, opened, monkeypatch):
    monkeypatch.setattr(worker, "_FINISH_WITHIN", 0.2)
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def held(made, task):
        begun.set()
        go_on.wait(5)
        try:
            return open_branch(made, task)
        finally:
            ended.set()

    work(held)
    job_id = asked("b1")
    with at_work(opened):
        assert begun.wait(5)
    assert (seen(job_id).status, of_row(opened, job_id, "attempts")) == ("queued", 0)
    go_on.set()
    assert ended.wait(5)
    # What the first attempt did is taken back; the next one does it.
    assert soon(lambda: not opened_branches())
    assert Worker(opened.app).do_next()
    assert (seen(job_id).status, opened_branches()) == ("done", ["b1"])


# ---- What the database holds ----


def test_only_jobs_finished_a_month_ago_are_forgotten(clerk, opened):
    ages = {31: asked("b1"), 29: asked("b2"), 0: asked("b3")}
    while clerk.do_next():
        pass
    waiting = asked("b4")
    with psycopg.connect(opened.owner) as owner:
        owner.execute("SET session_replication_role = replica")  # a finished job stays as it is, for the owner too
        for days, job_id in ages.items():
            owner.execute(
                "UPDATE job SET finished_at = now() - make_interval(days => %s) WHERE id = %s", (days, job_id)
            )
        owner.execute("UPDATE job SET created_at = now() - interval '99 days' WHERE id = %s", (waiting,))
    assert jobs.purge() == 1
    with pytest.raises(NotFound):
        seen(ages[31])
    assert [seen(each).status for each in (ages[29], ages[0], waiting)] == ["done", "done", "queued"]


@pytest.mark.parametrize(
    ("attack", "refusal"),
    [
        ("DELETE FROM job", pg.InsufficientPrivilege),
        ("TRUNCATE job", pg.InsufficientPrivilege),
        ("UPDATE job SET scopes = '{*}'", pg.InsufficientPrivilege),
        ("UPDATE job SET actor = 'command:00000000-0000-0000-0000-000000000000'", pg.InsufficientPrivilege),
        ("UPDATE job SET result = '{}'", pg.RestrictViolation),
        ("UPDATE job SET finished_at = finished_at - interval '99 days'", pg.RestrictViolation),
    ],
)
def test_the_application_cannot_change_what_is_finished_or_who_asked(clerk, attack, refusal):
    asked("b1")
    clerk.do_next()
    with pytest.raises(refusal), db.transaction() as conn:
        conn.execute(attack.encode())


# ---- Who sees a job ----


def test_a_job_is_shown_to_whoever_asked_and_to_administrators(work, clinic, app):
    job_id = given.job(clinic)
    nobody = given.caller(app, "quotes:read")
    own = given.job(importer := given.caller(app, "catalog:write"))
    assert importer.get(f"/v1/jobs/{own}").get_json()["status"] == "queued"
    assert given.caller(app, "admin").get(f"/v1/jobs/{own}").status_code == 200
    for caller, path in ((importer, job_id), (nobody, job_id), (nobody, own), (nobody, ids.new())):
        answer = caller.get(f"/v1/jobs/{path}")
        refused = answer.get_json()
        assert (answer.status_code, refused.pop("request_id") and refused) == (404, missing(nobody))
    assert app.test_client().get(f"/v1/jobs/{own}").status_code == 401


def missing(caller):
    refused = caller.get(f"/v1/jobs/{ids.new()}").get_json()
    del refused["request_id"]
    return refused


def test_an_administrator_of_a_branch_sees_the_jobs_of_that_branch(clinic, app):
    with change(COMMAND_LINE) as made:
        branches.create(made, "north", "Север", "С")
    of_all, of_main = given.job(clinic), given.job(given.caller(app, "catalog:write", branch="main"))
    north, main = (given.caller(app, "admin", branch=each) for each in ("north", "main"))
    shown = {
        (name, caller.get(f"/v1/jobs/{job_id}").status_code)
        for name, caller, job_id in (
            ("north, of all", north, of_all), ("north, of main", north, of_main),
            ("main, of all", main, of_all), ("main, of main", main, of_main),
        )
    }  # fmt: skip
    assert shown == {("north, of all", 404), ("north, of main", 404), ("main, of all", 404), ("main, of main", 200)}


def test_who_waits_is_told_when_to_ask_again(clinic, opened):
    job_id = given.job(clinic)
    waiting = clinic.get(f"/v1/jobs/{job_id}")
    assert (waiting.headers["Retry-After"], waiting.get_json()["progress"]) == ("1", {"done": 0, "total": None})
    Worker(opened.app).do_next()
    over = clinic.get(f"/v1/jobs/{job_id}")
    assert "Retry-After" not in over.headers
    assert over.get_json()["finished_at"].endswith("Z")


# ---- Chores ----


def test_a_chore_is_done_by_one_of_many(opened):
    ran = []

    def sweep():
        ran.append(1)
        time.sleep(0.3)

    chore = Chore("sweep", 3600, sweep)
    assert sorted(running.at_once(3, lambda _: chores.run_if_due(chore))) == [False, False, True]
    assert not chores.run_if_due(chore)
    assert len(ran) == 1


def test_a_chore_is_due_again_when_its_time_has_passed(opened):
    chore = Chore("sweep", 3600, lambda: None)
    assert chores.run_if_due(chore)
    with psycopg.connect(opened.owner) as owner:
        owner.execute("UPDATE chore SET ran_at = ran_at - interval '1 hour'")
    assert chores.run_if_due(chore)


def test_a_chore_that_fails_is_tried_again_and_told_without_its_text(opened, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)

    def stumble():
        tried.append(1)
        raise RuntimeError(NAME)

    tried: list[int] = []
    monkeypatch.setattr(chores, "registry", {"sweep": Chore("sweep", 1, stumble)})
    with at_work(opened):
        assert soon(lambda: len(tried) > 1)
    assert set(told_errors(caplog)) == {"RuntimeError"}
    assert "chore sweep" in caplog.text
    assert NAME not in caplog.text


def told_errors(caplog):
    """The types of failures that the log tells."""
    return [record.told["error"] for record in caplog.records if hasattr(record, "told")]


def test_the_worker_sweeps_keys_sessions_and_jobs(opened):
    with psycopg.connect(opened.owner) as owner:
        owner.execute(
            """
            INSERT INTO rate_limit (name, key, empty_at)
            VALUES ('x', 'old', now() - interval '1 hour'), ('x', 'new', now() + interval '1 hour');
            INSERT INTO idempotency (owner_id, key, fingerprint, created_at)
            VALUES (gen_random_uuid(), 'old-old-old', '', now() - interval '31 days'),
                   (gen_random_uuid(), 'new-new-new', '', now())
            """
        )
    with at_work(opened):
        assert soon(lambda: {"idempotency_purge", "sign_in_purge", "job_purge"} <= set(done_chores(opened)))
    with psycopg.connect(opened.owner) as owner:
        assert owner.execute("SELECT key FROM rate_limit").fetchall() == [("new",)]
        assert owner.execute("SELECT key FROM idempotency").fetchall() == [("new-new-new",)]


def done_chores(urls) -> list[str]:
    with psycopg.connect(urls.owner) as owner:
        return [name for (name,) in owner.execute("SELECT name FROM chore").fetchall()]
