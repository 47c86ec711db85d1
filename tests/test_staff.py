"""Accounts of people: opened, changed, disabled by administrators, who give no more than they have."""

from __future__ import annotations

import threading

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import errors as pg

from clinic import branches, db, sessions, staff
from clinic.auth import COMMAND_LINE, SCOPES
from clinic.command import change
from clinic.errors import Unauthorized
from clinic.staff_commands import people
from tests import given
from tests.browser import PASSWORD, Person, quick_passwords, text  # noqa: F401

pytestmark = pytest.mark.usefixtures("quick_passwords")
NEW = "a longer phrase of ours"


@pytest.fixture
def admin(app):
    return given.caller(app, "*")


def opened_account(admin, login="vera", role="reception", **more):
    return given.made(admin.post("/v1/staff", {"login": login, "role": role, **more}, key=""))


def etag(admin, account):
    return admin.get(f"/v1/staff/{account['id']}").headers["ETag"]


def patch(admin, account, **wanted):
    return admin.patch(f"/v1/staff/{account['id']}", wanted, match=etag(admin, account))


def account_of(admin, login):
    return next(each for each in admin.get("/v1/staff").get_json()["items"] if each["login"] == login)


def north():
    with change(COMMAND_LINE) as made:
        branches.create(made, "north", "north", "N")


# ---- Opening ----


def test_an_account_is_opened_with_a_password_for_once(app, admin):
    made = opened_account(admin, branch="main")
    assert (made["role"], made["branch"], made["active"], made["password"]) == ("reception", "main", True, "temporary")
    person = Person(app, login="vera")
    answer = person.sign_in(password=made["temporary_password"], next_="/desk")
    first = person.follow(answer)
    assert (first.status_code, first.headers["Location"]) == (303, "/account/password?next=%2Fdesk")
    assert person.client.post("/desk", data={}).status_code == 401, "nothing else can be done"
    form = person.follow(first)
    answer = person.press(form, "/account/password", old=made["temporary_password"], new=NEW, again=NEW)
    assert answer.headers["Location"] == "/desk"
    assert person.follow(answer).status_code == 200
    assert account_of(admin, "vera")["password"] == "own"
    with db.reading() as conn:
        assert made["temporary_password"] not in db.value(conn, "SELECT staff::text FROM staff WHERE login = 'vera'")


def test_before_the_password_is_changed_the_role_gives_no_right(app, admin):
    made = opened_account(admin, role="administrator")
    person = Person(app, login="vera")
    person.sign_in(password=made["temporary_password"])
    for path in ("/admin/keys", "/admin/staff", "/account", "/accounting"):
        assert person.get(path).headers["Location"].startswith("/account/password"), path
    assert "/admin/keys" not in person.get("/").text


def test_a_login_is_taken_once(admin):
    opened_account(admin)
    answer = admin.post("/v1/staff", {"login": "vera", "role": "accountant"}, key="")
    assert (answer.status_code, answer.get_json()["code"]) == (409, "login_taken")


@pytest.mark.parametrize("login", ["Vera", "vera smith", "-vera", "", "vera\n", "ве́ра", "v" * 65])
def test_a_login_has_one_form(admin, login):
    answer = admin.post("/v1/staff", {"login": login, "role": "reception"}, key="")
    assert given.faults(answer) == [("/login", "wrong_form")]


# ---- No more than one's own ----


def test_nobody_gives_a_role_that_may_do_more_than_he(app, admin):
    weak = given.caller(app, "admin", "catalog:read", "catalog:write", "prices:publish")
    opened_account(weak, "keeper", "price_keeper")
    for role in ("reception", "accountant", "administrator"):
        answer = weak.post("/v1/staff", {"login": f"new-{role}", "role": role}, key="")
        assert given.faults(answer) == [("/role", "role_above_own")]
    keeper = account_of(admin, "keeper")
    assert given.faults(patch(weak, keeper, role="accountant")) == [("/role", "role_above_own")]


@pytest.mark.parametrize("command", ["reset-password", "sign-out", "remove-second-factor"])
def test_nobody_has_an_account_in_hand_that_may_do_more_than_he(app, admin, command):
    weak = given.caller(app, *(set(SCOPES) - {"payments:refund"}))
    strong = opened_account(admin, role="senior_reception")
    answer = weak.post(f"/v1/staff/{strong['id']}/{command}")
    assert (answer.status_code, answer.get_json()["scope"]) == (403, "payments:refund")
    assert patch(weak, strong, active=False).status_code == 403


def test_accounts_of_another_branch_are_not_there(app, admin):
    north()
    own = given.caller(app, "*", branch="main")
    for foreign in (opened_account(admin, "far", branch="north"), opened_account(admin, "all")):
        assert own.get(f"/v1/staff/{foreign['id']}").status_code == 404
        assert own.patch(f"/v1/staff/{foreign['id']}", {"active": False}, match='"x"').status_code == 404
        assert own.post(f"/v1/staff/{foreign['id']}/reset-password").status_code == 404
    assert own.get("/v1/staff").get_json()["items"] == []
    assert given.faults(own.post("/v1/staff", {"login": "x", "role": "reception", "branch": "north"}, key="")) == [
        ("/branch", "unknown_branch")
    ]
    assert given.faults(own.post("/v1/staff", {"login": "x", "role": "reception"}, key="")) == [
        ("/branch", "branch_not_own")
    ]


# ---- Changing ----


@pytest.mark.parametrize("wanted", [{"role": "accountant"}, {"active": False}, {"branch": "main"}])
def test_s12_a_changed_account_is_signed_out(app, admin, wanted):
    person = Person(app, "reception")
    assert person.get("/desk").status_code == 200
    answer = patch(admin, account_of(admin, "anna"), **wanted)
    assert answer.status_code == 200
    assert person.get("/desk").headers["Location"].startswith("/sign-in")


def test_a_disabled_person_cannot_sign_in_until_he_is_enabled(app, admin):
    person = Person(app, "reception")
    anna = account_of(admin, "anna")
    patch(admin, anna, active=False)
    assert person.sign_in().status_code == 401
    patch(admin, anna, active=True)
    assert person.sign_in().status_code == 303


def test_s12_a_reset_password_ends_the_sessions_and_the_old_password(app, admin):
    person = Person(app, "reception")
    made = given.made(admin.post(f"/v1/staff/{account_of(admin, 'anna')['id']}/reset-password"))
    assert person.get("/desk").headers["Location"].startswith("/sign-in")
    assert person.sign_in().status_code == 401
    assert person.sign_in(password=made["temporary_password"]).status_code == 303


def test_signing_out_everywhere_ends_every_session(app, admin):
    one, other = Person(app, "reception"), Person(app)
    other.sign_in()
    admin.post(f"/v1/staff/{account_of(admin, 'anna')['id']}/sign-out")
    for each in (one, other):
        assert each.get("/desk").headers["Location"].startswith("/sign-in")


def test_a_change_needs_the_version_that_is_current(admin):
    account = opened_account(admin)
    old = etag(admin, account)
    assert patch(admin, account, role="accountant").status_code == 200
    assert admin.patch(f"/v1/staff/{account['id']}", {"role": "reception"}, match=old).status_code == 412
    assert admin.patch(f"/v1/staff/{account['id']}", {"role": "reception"}).status_code == 428


def test_each_change_is_an_event_without_the_login(app, admin):
    account = opened_account(admin)
    patch(admin, account, role="accountant", active=False)
    patch(admin, account, active=True)
    admin.post(f"/v1/staff/{account['id']}/reset-password")
    admin.post(f"/v1/staff/{account['id']}/sign-out")
    patch(admin, account, active=True)  # nothing changes
    of_account = [each for each in admin.events() if each["object"]["id"] == account["id"]]
    assert [(each["type"], each["data"]) for each in of_account] == [
        ("staff.created", {"role": "reception"}),
        ("staff.role_changed", {"old": "reception", "new": "accountant"}),
        ("staff.disabled", {}),
        ("staff.enabled", {}),
        ("staff.password_reset", {}),
        ("staff.signed_out", {}),
    ]
    assert "vera" not in str(of_account)


def test_a_session_that_was_being_opened_while_the_password_changed_is_not_opened(app):
    Person(app, "reception")
    with db.reading() as conn:
        staff_id = staff.called(conn, "anna")
        checked = db.value(conn, "SELECT password_hash FROM staff")
    with change(COMMAND_LINE) as made:
        staff.change_password(made, staff_id, "another hash")
    with db.transaction() as conn:
        assert sessions.open_(conn, staff_id, checked, "x") is None


# ---- The last administrator ----


def test_the_last_administrator_stays(app, admin):
    Person(app, "administrator")
    anna = account_of(admin, "anna")
    for wanted in ({"active": False}, {"role": "reception"}, {"branch": "main"}):
        answer = patch(admin, anna, **wanted)
        assert (answer.status_code, answer.get_json()["code"]) == (409, "last_administrator")
    local = opened_account(admin, "local", "administrator", branch="main")
    assert patch(admin, anna, active=False).status_code == 409, "one of a branch cannot open accounts of all branches"
    assert patch(admin, local, active=False).status_code == 200
    opened_account(admin, "second", "administrator")
    assert patch(admin, anna, active=False).status_code == 200


def test_the_database_keeps_the_last_administrator_whatever_the_application_does(app, opened):
    Person(app, "administrator")
    for wanted in ("active = false", "role = 'reception'", "branch_id = (SELECT id FROM branch)"):
        with psycopg.connect(opened.app) as conn, pytest.raises(pg.RestrictViolation, match="last administrator"):
            conn.execute(f"UPDATE staff SET {wanted}".encode())


def test_two_administrators_who_go_at_once_do_not_both_go(app, opened):
    """Each in a transaction of his own, neither of which sees the other's: one waits, looks again and is refused."""
    for turn in range(8):
        for login in ("one", "two"):
            with psycopg.connect(opened.owner) as owner:
                owner.execute(
                    """
                    INSERT INTO staff (id, login, password_hash, role, created_at)
                    VALUES (gen_random_uuid(), %s, 'x', 'administrator', now())
                    """,
                    (f"{login}-{turn}",),
                )
        outcomes = go_at_once(opened, [f"one-{turn}", f"two-{turn}"])
        assert sorted(outcomes) == ["gone", "stays"], outcomes
        with psycopg.connect(opened.owner) as owner:  # so that the next pair is alone
            owner.execute("ALTER TABLE staff DISABLE TRIGGER USER")
            owner.execute("UPDATE staff SET active = false")
            owner.execute("ALTER TABLE staff ENABLE TRIGGER USER")


def go_at_once(opened, logins):
    start, outcomes = threading.Barrier(len(logins)), []

    def go(login):
        with psycopg.connect(opened.app) as conn:
            start.wait()
            try:
                conn.execute("UPDATE staff SET active = false WHERE login = %s", (login,))
                start.wait()  # both have done their own before either commits, unless one has to wait
            except (pg.RestrictViolation, threading.BrokenBarrierError) as exc:
                outcomes.append("stays" if isinstance(exc, pg.RestrictViolation) else "gone")
                return
            outcomes.append("gone")

    threads = [threading.Thread(target=go, args=(login,)) for login in logins]
    for each in threads:
        each.start()
    threading.Timer(0.3, start.abort).start()
    for each in threads:
        each.join(10)
    return outcomes


# ---- One's own account ----


def test_a_password_is_changed_by_who_knows_the_old_one(app):
    person, other = Person(app, "reception"), Person(app)
    other.sign_in()
    before = person.cookie()
    answer = person.press(person.get("/account/password"), "/account/password", old=PASSWORD, new=NEW, again=NEW)
    assert answer.headers["Location"] == "/account"
    assert person.cookie() != before
    assert person.get("/account").status_code == 200
    assert other.get("/account").status_code == 303, "other sessions have ended"
    assert other.sign_in().status_code == 401
    assert other.sign_in(password=NEW).status_code == 303


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"old": "not the old one"}, {"old": "Прежний пароль неверен."}),
        ({"again": "another"}, {"again": "Пароли не совпадают."}),
        ({"new": "short", "again": "short"}, {"new": "Нужно не меньше 12 знаков."}),
        ({"new": PASSWORD, "again": PASSWORD}, {"new": "Это прежний пароль."}),
        ({"old": "", "new": "", "again": "x"}, {"old": "Прежний", "new": "не меньше", "again": "не совпадают"}),
    ],
)
def test_a_new_password_that_may_not_be_is_refused_beside_its_field(app, typed, said):
    person = Person(app, "reception")
    filled = {"old": PASSWORD, "new": NEW, "again": NEW} | typed
    page = person.press(person.get("/account/password"), "/account/password", **filled)
    assert page.status_code == 422
    for field, message in said.items():
        assert message in page.text.partition(f'id="{field}-fault">')[2].partition("<")[0]
    assert not any(f'value="{each}"' in page.text for each in filled.values() if each)


def test_old_passwords_cannot_be_tried_without_end(app):
    person = Person(app, "reception")
    form = person.get("/account/password")
    statuses = [
        person.press(form, "/account/password", old="wrong password 12", new=NEW, again=NEW).status_code
        for _ in range(11)
    ]
    assert statuses == [422] * 10 + [429]


def test_sessions_are_listed_and_ended_one_by_one_or_all(app):
    here, there, elsewhere = Person(app, "reception"), Person(app), Person(app)
    there.sign_in(**{"User-Agent": "Mozilla Firefox/140.0 (Windows NT)"})
    elsewhere.sign_in()
    page = here.get("/account")
    assert "Firefox, Windows" in text(page)
    assert page.text.count('/end"') == 3, "two others, and all of them"
    with db.reading() as conn:
        staff_id = staff.called(conn, "anna")
        firefox = next(each for each in sessions.of(conn, staff_id) if each.device.startswith("Firefox"))
    here.press(page, f"/account/sessions/{firefox.id}/end")
    assert there.get("/account").status_code == 303
    assert elsewhere.get("/account").status_code == 200
    here.press(here.get("/account"), "/account/sessions/end")
    assert elsewhere.get("/account").status_code == 303
    assert here.get("/account").status_code == 200


def test_a_session_of_somebody_else_cannot_be_ended(app):
    anna, boris = Person(app, "reception"), Person(app, "accountant", login="boris")
    with db.reading() as conn:
        session = sessions.of(conn, staff.called(conn, "boris"))[0]
    form = {"form_token": anna.get("/account").text.partition('name="form_token" value="')[2].partition('"')[0]}
    assert anna.client.post(f"/account/sessions/{session.id}/end", data=form).status_code == 404
    assert boris.get("/account").status_code == 200


# ---- Pages of administrators, commands ----


def test_an_account_is_opened_changed_and_reset_by_pages(app):
    boss = Person(app, "administrator")
    page = boss.press(boss.get("/admin/staff"), "/admin/staff", login=" Vera ", role="reception")
    password = page.text.partition('id="password">')[2].partition("<")[0]
    assert page.status_code == 200
    vera = Person(app, login="vera")
    assert vera.sign_in(password=password).status_code == 303
    with db.reading() as conn:
        address = f"/admin/staff/{staff.called(conn, 'vera')}"
    page = boss.follow(boss.press(boss.get(address), address, role="accountant", active="no"))
    assert "отключена" in text(boss.get("/admin/staff"))
    stale = boss.press(page, address, role="reception", version="1")
    assert stale.status_code == 412
    page = boss.press(boss.get(address), f"{address}/reset-password")
    assert page.text.partition('id="password">')[2].partition("<")[0] not in ("", password)
    page = boss.press(boss.get("/admin/staff"), "/admin/staff", login="Не латиница", role="reception")
    assert page.status_code == 422
    assert 'value="Не латиница"' in page.text


def test_the_page_says_who_is_the_last_administrator(app):
    boss = Person(app, "administrator")
    with db.reading() as conn:
        address = f"/admin/staff/{staff.called(conn, 'anna')}"
    page = boss.press(boss.get(address), address, active="no")
    assert page.status_code == 409
    assert "последний администратор" in text(page)


def test_a_lost_administrator_is_helped_by_commands(app, opened, monkeypatch):
    person = Person(app, "administrator")
    monkeypatch.setenv("DATABASE_URL", opened.owner)
    monkeypatch.setenv("CLINIC_SECRET_KEY", "k" * 32)

    def run(*words):
        done = CliRunner().invoke(people, [*words])
        db.open_pool(opened.app, size=2)
        return done

    password = run("reset-password", "anna").stdout.strip()
    assert person.sign_in().status_code == 401
    assert person.sign_in(password=password).status_code == 303
    once = run("create", "vera", "--role", "reception", "--once").stdout.strip()
    assert Person(app, login="vera").sign_in(password=once).status_code == 303
    assert "vera  reception  all branches  active" in run("list").stdout
    assert run("reset-password", "nobody").exit_code != 0


def test_a_session_token_is_not_in_the_database(app):
    person = Person(app, "reception")
    with db.reading() as conn:
        assert person.cookie() not in db.value(conn, "SELECT staff_session::text FROM staff_session")
    with pytest.raises(Unauthorized):
        sessions.find(person.cookie()[:-1])
