"""Second factors: set up with a device, asked for at sign-in, each code good once, recovery for its loss."""

from __future__ import annotations

import re
import threading
from datetime import timedelta

import psycopg
import pyotp
import pytest
from psycopg import errors as pg

from clinic import clock, db, sealing, second_factor, sessions, staff
from clinic.auth import COMMAND_LINE, Actor
from clinic.command import change
from clinic.settings import Settings
from tests import given
from tests.browser import PASSWORD, Person, quick_passwords, text  # noqa: F401
from wsgi import create_app

pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def anna(app):
    return Person(app, "reception")


def shown_secret(page):
    return re.sub(r"\s", "", page.text.partition("<code>")[2].partition("</code>")[0])


def now_code(secret):
    return pyotp.TOTP(secret).at(clock.now())


def enrol(person):
    """The secret in the device, and the recovery codes."""
    page = person.press(person.get("/account/second-factor"), "/account/second-factor")
    page = person.follow(page)
    secret = shown_secret(page)
    done = person.press(page, "/account/second-factor/confirm", code=now_code(secret))
    assert done.status_code == 200, text(done)
    return secret, re.findall(r"<li><code>([a-z0-9-]+)</code>", done.text)


def later(seconds=31):
    """A moment at which the device shows another code."""
    return clock.frozen(clock.now() + timedelta(seconds=seconds))


def signs_in(person, code, **typed):
    """The answer to password and code."""
    page = person.follow(person.sign_in("/desk"))
    page = page if page.status_code == 200 else person.follow(page)
    return person.press(page, "/sign-in/code", code=code, **typed)


def test_a_second_factor_is_set_up_and_asked_for(anna):
    secret, codes = enrol(anna)
    assert len(codes) == len(set(codes)) == 10
    with later():
        first = anna.follow(anna.sign_in("/desk"))
        assert (first.status_code, first.headers["Location"]) == (303, "/sign-in/code?next=%2Fdesk")
        answer = anna.press(anna.follow(first), "/sign-in/code", code=now_code(secret))
        assert answer.headers["Location"] == "/desk"
        assert anna.follow(answer).status_code == 200


def test_with_the_password_alone_nothing_is_open(anna):
    enrol(anna)
    anna.sign_in()
    token = anna.cookie()
    for path in ("/desk", "/account", "/account/password", "/account/second-factor", "/account/second-factor.svg"):
        assert anna.get(path).headers["Location"].startswith("/sign-in/code"), path
    for path in ("/desk", "/account/password", "/account/second-factor/remove", "/account/sessions/end"):
        assert anna.client.post(path, data={"form_token": sessions.form_token(token)}).status_code == 401, path
    assert sessions.find(token).actor.scopes == frozenset()


def test_the_session_is_another_one_after_the_code(anna):
    secret, _ = enrol(anna)
    with later():
        anna.sign_in()
        waiting = anna.cookie()
        anna.press(anna.get("/sign-in/code"), "/sign-in/code", code=now_code(secret))
        assert anna.cookie() != waiting
        anna.client.set_cookie("session", waiting)
        assert anna.get("/account").headers["Location"].startswith("/sign-in?")


def test_who_waits_with_the_code_begins_again(anna):
    secret, _ = enrol(anna)
    with later():
        anna.sign_in()
        page = anna.get("/sign-in/code")
        with later(601):
            assert anna.press(page, "/sign-in/code", code=now_code(secret)).status_code == 401


def test_codes_of_the_half_minutes_beside_are_right_and_others_are_not(anna):
    secret, _ = enrol(anna)
    with later(300):
        for steps, status in ((-2, 401), (2, 401), (-1, 303), (0, 303), (1, 303)):
            code = pyotp.TOTP(secret).at(clock.now() + timedelta(seconds=30 * steps))
            assert signs_in(anna, code).status_code == status, steps


def test_no_code_is_good_twice(anna):
    secret, _ = enrol(anna)
    with later():
        code = now_code(secret)
        assert signs_in(anna, code).status_code == 303
        answer = signs_in(anna, code)
        assert (answer.status_code, "Код неверен" in text(answer)) == (401, True)


def test_the_code_of_the_setting_up_is_used_too(anna):
    page = anna.follow(anna.press(anna.get("/account/second-factor"), "/account/second-factor"))
    code = now_code(shown_secret(page))
    with clock.frozen(clock.now()):
        anna.press(page, "/account/second-factor/confirm", code=code)
        assert signs_in(anna, code).status_code == 401


def test_of_two_who_bring_the_same_code_at_once_one_comes_in(anna):
    secret, _ = enrol(anna)
    with db.reading() as conn:
        staff_id = staff.called(conn, "anna")
    who = Actor(staff_id, "staff", "anna", frozenset())
    outcomes: list[str] = []
    with later():
        code, start = now_code(secret), threading.Barrier(3)

        def bring():
            start.wait()
            try:
                with change(who) as made:
                    second_factor.verify(made, staff_id, code)
                outcomes.append("in")
            except second_factor.WrongCode:
                outcomes.append("out")

        threads = [threading.Thread(target=bring) for _ in range(3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert sorted(outcomes) == ["in", "out", "out"]


def test_the_database_lets_no_code_go_back(anna, opened):
    _, codes = enrol(anna)
    signs_in(anna, codes[0])
    with psycopg.connect(opened.app) as conn, pytest.raises(pg.RestrictViolation):
        conn.execute("UPDATE second_factor SET last_step = last_step - 1")
    with psycopg.connect(opened.app) as conn, pytest.raises(pg.RestrictViolation):
        conn.execute("UPDATE recovery_code SET used_at = NULL WHERE used_at IS NOT NULL")


@pytest.mark.parametrize("wrong", ["", "000000", "12345", "ёжик", "１２３４５６", "aaaa-aaaa-aaaa-aaaa", "x" * 500])
def test_a_wrong_code_is_refused_whatever_it_is(anna, wrong):
    enrol(anna)
    assert signs_in(anna, wrong).status_code == 401


def test_codes_cannot_be_tried_without_end(anna):
    secret, _ = enrol(anna)
    with later(3600):
        anna.sign_in()
        page = anna.get("/sign-in/code")
        statuses = [anna.press(page, "/sign-in/code", code="000000").status_code for _ in range(10)]
        assert statuses == [401] * 10
        answer = anna.press(page, "/sign-in/code", code=now_code(secret))
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "90")


def test_each_recovery_code_stands_in_once(anna):
    _, codes = enrol(anna)
    assert signs_in(anna, codes[3].upper().replace("-", " ")).status_code == 303
    assert "9" in text(anna.get("/account"))
    assert signs_in(anna, codes[3]).status_code == 401
    assert signs_in(anna, codes[4]).status_code == 303


def test_neither_the_secret_nor_a_recovery_code_is_in_the_database_or_the_journal(anna, opened):
    secret, codes = enrol(anna)
    signs_in(anna, codes[0])
    with psycopg.connect(opened.owner) as owner:
        for table in ("second_factor", "recovery_code", "journal", "access_log", "staff_session"):
            rows = str(owner.execute(f"SELECT x::text FROM {table} AS x".encode()).fetchall())
            assert not any(each.replace("-", "") in rows or each in rows for each in (secret, *codes)), table
        sealed = owner.execute("SELECT sealed, staff_id FROM second_factor").fetchone()
    assert sealed is not None
    with pytest.raises(sealing.SealBroken):
        sealing.opened("second_factor:another", sealed[0])
    assert sealing.opened(f"second_factor:{sealed[1]}", sealed[0]).decode() == secret


def test_a_confirmed_secret_is_shown_to_nobody_again(anna):
    secret, _ = enrol(anna)
    assert secret[:4] not in anna.get("/account/second-factor").text
    assert anna.get("/account/second-factor.svg").status_code == 404


def test_the_picture_is_ours_and_kept_by_no_cache(anna):
    anna.press(anna.get("/account/second-factor"), "/account/second-factor")
    page = anna.get("/account/second-factor")
    assert '<img src="/account/second-factor.svg"' in page.text, "no data: address, which the policy would refuse"
    picture = anna.get("/account/second-factor.svg")
    assert (picture.mimetype, picture.headers["Cache-Control"]) == ("image/svg+xml", "no-store")
    assert picture.data.startswith(b"<svg ")
    assert b"script" not in picture.data
    assert Person(anna.client.application).get("/account/second-factor.svg").status_code == 303


def test_setting_up_ends_the_sessions_opened_without_it(anna):
    other = Person(anna.client.application)
    other.sign_in()
    enrol(anna)
    assert other.get("/account").status_code == 303
    assert anna.get("/account").status_code == 200


def test_setting_up_begun_twice_keeps_the_secret_and_done_twice_is_refused(anna):
    anna.press(anna.get("/account/second-factor"), "/account/second-factor")
    first = anna.get("/account/second-factor")
    form = {"form_token": sessions.form_token(anna.cookie())}
    anna.client.post("/account/second-factor", data=form)
    assert shown_secret(anna.get("/account/second-factor")) == shown_secret(first)
    anna.press(first, "/account/second-factor/confirm", code=now_code(shown_secret(first)))
    form = {"form_token": sessions.form_token(anna.cookie())}
    assert anna.client.post("/account/second-factor", data=form).status_code == 409
    answer = anna.client.post("/account/second-factor/confirm", data=form | {"code": "123456"})
    assert answer.status_code == 409


def test_it_is_removed_by_a_code_and_no_one_else(anna):
    secret, _ = enrol(anna)
    with later():
        page = anna.get("/account/second-factor")
        assert anna.press(page, "/account/second-factor/remove", code="000000").status_code == 401
        assert anna.press(page, "/account/second-factor/remove", code=now_code(secret)).status_code == 303
    assert anna.sign_in("/desk").headers["Location"] == "/desk"
    assert anna.follow(anna.sign_in("/desk")).status_code == 200


def test_an_administrator_helps_who_has_lost_everything(app, anna):
    enrol(anna)
    boss = Person(app, "administrator", login="boss")
    with db.reading() as conn:
        address = f"/admin/staff/{staff.called(conn, 'anna')}"
    boss.press(boss.get(address), f"{address}/remove-second-factor")
    assert anna.follow(anna.sign_in("/desk")).status_code == 200


def test_it_is_told_in_the_journal(app, anna):
    _, codes = enrol(anna)
    signs_in(anna, codes[0])
    caller = given.caller(app, "*")
    types = [each["type"] for each in caller.events() if each["type"].startswith("staff.")]
    assert types == ["staff.created", "staff.second_factor_set", "staff.recovery_code_used"]


# ---- Roles that must have one ----


@pytest.fixture
def strict(opened):
    given.main_branch()
    yield create_app(Settings(secret_key="k" * 32, require_second_factor=frozenset({"administrator"})))
    create_app(Settings(secret_key="k" * 32))


def test_a_role_that_must_have_one_sets_it_up_before_all_else(strict):
    boss = Person(strict, "administrator")
    first = boss.get("/admin/keys")
    assert first.headers["Location"] == "/account/second-factor?next=%2Fadmin%2Fkeys"
    assert "/admin/keys" not in boss.get("/").text
    enrol(boss)
    assert boss.get("/admin/keys").status_code == 200


def test_a_role_that_must_have_one_cannot_remove_it(strict):
    boss = Person(strict, "administrator")
    secret, _ = enrol(boss)
    with later():
        form = {"form_token": sessions.form_token(boss.cookie()), "code": now_code(secret)}
        answer = boss.client.post("/account/second-factor/remove", data=form)
    assert answer.status_code == 409
    assert "обязателен" in text(answer)


def test_other_roles_need_none(strict):
    assert Person(strict, "reception").get("/desk").status_code == 200


def test_a_password_for_once_is_changed_before_the_second_factor(strict):
    with change(COMMAND_LINE) as made:
        staff.create(made, "boss", "administrator", PASSWORD, temporary=True)
    boss = Person(strict, login="boss")
    boss.sign_in()
    assert boss.get("/admin/keys").headers["Location"].startswith("/account/password")
    page = boss.get("/account/password")
    boss.press(page, "/account/password", old=PASSWORD, new="a longer phrase of ours", again="a longer phrase of ours")
    assert boss.get("/admin/keys").headers["Location"].startswith("/account/second-factor")
