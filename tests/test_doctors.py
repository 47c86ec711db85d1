"""Doctors: picking one picks the rank of the day, and what changes of him later changes no document."""

from uuid import uuid4

import psycopg
import pytest
from psycopg import errors as pg

from clinic import db
from tests import given, given_payers, given_prices
from tests.given import faults, made
from tests.given_payers import names, promotion

CONSULTATION = "ONC-CONS-1"
RUBLES = {"none": "3700.00", "candidate": "5300.00", "doctor": "8500.00"}


@pytest.fixture
def doctor(clinic):
    with given.day("2026-11-23"):
        return given_payers.doctor(clinic)


def by(doctor, article=CONSULTATION, **more):
    return {"article": article, "doctor": doctor["id"], **more}


def read(clinic, doctor):
    return made(clinic.get(f"/v1/doctors/{doctor['id']}"))


def edited(clinic, doctor, **wanted):
    path = f"/v1/doctors/{doctor['id']}"
    return clinic.patch(path, wanted, match=clinic.get(path).headers["ETag"])


def total(clinic, *lines, **more):
    preview = made(clinic.post("/v1/quotes/preview", {"lines": list(lines), **more}))
    return preview["totals"]["total"]


# ---- Doctors and their ranks ----


def test_a_doctor_has_the_first_rank_on_every_day(clinic, doctor):
    assert (doctor["doctor_rank"], doctor["external_id"], doctor["active"]) == ("candidate", None, True)
    assert [(each["doctor_rank"], each["since"]) for each in doctor["promotions"]] == [("candidate", "2000-01-01")]
    assert read(clinic, doctor) == doctor


def test_a_promotion_counts_from_its_day_on(clinic, doctor):
    with given.day("2026-11-25"):
        after = promotion(clinic, doctor, "doctor", "2026-12-01")
        assert after["doctor_rank"] == "candidate"
        assert [each["since"] for each in after["promotions"]] == ["2000-01-01", "2026-12-01"]
    for day, at, rank in (
        ("2026-11-30", "23:59", "candidate"),
        ("2026-12-01", "00:00", "doctor"),
        ("2026-12-02", "12:00", "doctor"),
    ):
        with given.day(day, at):
            assert read(clinic, doctor)["doctor_rank"] == rank
            assert total(clinic, by(doctor)) == RUBLES[rank]
            (found,) = made(clinic.get(f"/v1/doctors?doctor_rank={rank}"))["items"]
            assert found["id"] == doctor["id"]


def test_a_promotion_begins_tomorrow_unless_a_day_is_given_and_never_in_the_past(clinic, doctor):
    path = f"/v1/doctors/{doctor['id']}/promotions"
    with given.day("2026-12-10"):
        after = promotion(clinic, doctor, "doctor")
        assert after["promotions"][-1]["since"] == "2026-12-11"
        assert promotion(clinic, doctor, "professor", "2026-12-10")["doctor_rank"] == "professor"
        assert faults(clinic.post(path, {"doctor_rank": "doctor", "since": "2026-12-09"})) == [
            ("/since", "since_passed")
        ]
        assert faults(clinic.post(path, {"doctor_rank": "healer", "since": "2026-12-09"})) == [
            ("/since", "since_passed"),
            ("/doctor_rank", "unknown_rank"),
        ]
        assert faults(clinic.post(path, {"doctor_rank": "Ы", "since": "2026-12-09"})) == [
            ("/doctor_rank", "wrong_form"),
            ("/since", "since_passed"),
        ]
        assert faults(clinic.post(path, {"doctor_rank": "healer"})) == [("/doctor_rank", "unknown_rank")]


def test_of_several_promotions_of_one_day_the_last_one_counts(clinic, doctor):
    with given.day("2026-12-10"):
        for rank in ("doctor", "none", "candidate", "doctor", "none"):
            assert promotion(clinic, doctor, rank, "2026-12-10")["doctor_rank"] == rank
            assert total(clinic, by(doctor)) == RUBLES[rank]


def test_what_is_recorded_of_ranks_is_never_rewritten(clinic, doctor, opened):
    for statement in (
        "UPDATE doctor_promotion SET doctor_rank = 'none'",
        "DELETE FROM doctor_promotion",
        "DELETE FROM doctor",
        "TRUNCATE doctor CASCADE",
    ):
        with psycopg.connect(opened.owner) as owner, pytest.raises(pg.RestrictViolation):
            owner.execute(statement)
        with pytest.raises((pg.InsufficientPrivilege, pg.RestrictViolation)), db.transaction() as conn:
            conn.execute(statement)
        assert read(clinic, doctor) == doctor


def test_all_but_the_rank_is_edited_by_who_has_read_it(clinic, doctor):
    path = f"/v1/doctors/{doctor['id']}"
    assert clinic.patch(path, {"active": False}).status_code == 428
    stale = clinic.get(path).headers["ETag"]
    after = made(edited(clinic, doctor, name=names("Новая"), external_id="D-1", active=False))
    assert (after["name"], after["external_id"], after["active"]) == (names("Новая"), "D-1", False)
    assert after["specialty"] == doctor["specialty"]
    assert clinic.patch(path, {"active": True}, match=stale).status_code == 412
    assert faults(edited(clinic, doctor, doctor_rank="professor")) == [("/doctor_rank", "unknown_member")]
    # A promotion is a change too: who did not see it reads again.
    stale = clinic.get(path).headers["ETag"]
    promotion(clinic, doctor, "doctor")
    assert clinic.patch(path, {"active": True}, match=stale).status_code == 412


def test_an_external_id_belongs_to_one_doctor(clinic, doctor):
    made(edited(clinic, doctor, external_id="D-1"))
    wanted = {"name": names("Б"), "specialty": names("хирург"), "doctor_rank": "none", "external_id": "D-1"}
    taken = clinic.post("/v1/doctors", wanted)
    assert (taken.status_code, taken.get_json()["code"]) == (409, "external_id_taken")
    other = made(clinic.post("/v1/doctors", wanted | {"external_id": None}))
    taken = edited(clinic, other, external_id="D-1")
    assert (taken.status_code, taken.get_json()["code"]) == (409, "external_id_taken")
    again = clinic.post("/v1/doctors", wanted | {"external_id": None, "id": other["id"]})
    assert (again.status_code, again.get_json()["code"]) == (409, "already_exists")


def test_all_that_is_wrong_with_a_new_doctor_is_said_at_once(clinic):
    wrong = {"name": {"ru": "А"}, "specialty": names("х"), "doctor_rank": "healer", "external_id": "№ 1"}
    assert faults(clinic.post("/v1/doctors", wrong)) == [
        ("/doctor_rank", "unknown_rank"),
        ("/external_id", "wrong_form"),
        ("/name/en", "required"),
    ]


def test_doctors_are_found_by_words_and_listed_page_by_page(clinic):
    for name, specialty in (("Ёлкин", "хирург"), ("Березин", "онколог"), ("Ёлкин", "онколог"), ("Сосна", "хирург")):
        given_payers.doctor(clinic, name=name, specialty=names(specialty))
    gone = given_payers.doctor(clinic, name="Ель")
    made(edited(clinic, gone, active=False))

    def found(query):
        items = made(clinic.get(f"/v1/doctors?{query}"))["items"]
        return [(each["name"]["ru"], each["specialty"]["ru"]) for each in items]

    assert sorted(found("q=елкин")) == [("Ёлкин", "онколог"), ("Ёлкин", "хирург")]
    assert found("q=онколог ёлк") == [("Ёлкин", "онколог")]
    assert found("q=100%25") == []
    assert ("Ель", "онколог") not in found("active=true")
    assert found("active=false") == [("Ель", "онколог")]
    whole, cursor, pages = found(""), "", []
    while cursor is not None:
        page = made(clinic.get("/v1/doctors?limit=2" + (f"&cursor={cursor}" if cursor else "")))
        pages += [(each["name"]["ru"], each["specialty"]["ru"]) for each in page["items"]]
        cursor = page["next_cursor"]
    assert pages == whole
    assert len(whole) == 5


def test_neither_journal_nor_a_cursor_holds_a_doctors_name(clinic, doctor, opened):
    made(edited(clinic, doctor, name=names("Тайнов"), specialty=names("тайнолог")))
    promotion(clinic, doctor, "doctor")
    clinic.invoice(clinic.quote(by(doctor)))
    types = [each["type"] for each in clinic.events()]
    assert {"doctor.created", "doctor.changed", "doctor.promoted"} <= set(types)
    with psycopg.connect(opened.owner) as owner:
        told = str(owner.execute("SELECT array_agg(journal::text) FROM journal").fetchall())
    assert "Тайнов" not in told
    assert "Врачов" not in told
    assert "тайнолог" not in told


# ---- On documents ----


def test_a_doctor_picks_the_rank_and_stands_on_the_line(clinic, doctor):
    quote = clinic.quote(by(doctor), by(doctor, "CT-ABD-RP"))
    consultation, tomography = quote["lines"]
    named = {"id": doctor["id"], "name": {"ru": "Врачов Илья", "en": "Ilya Vrachov"}}
    assert (consultation["doctor_rank"], consultation["doctor"]) == ("candidate", named)
    assert (consultation["unit_price"], consultation["rank_name"]["ru"]) == (RUBLES["candidate"], "к.м.н.")
    # Not priced by rank: the doctor is kept, the rank is none.
    assert (tomography["doctor_rank"], tomography["rank_name"], tomography["doctor"]) == ("none", None, named)
    invoice = clinic.invoice(quote)
    direct = clinic.draft((CONSULTATION, "none"))
    assert [each["doctor"] for each in invoice["lines"]] == [named, named]
    assert [each["doctor"] for each in direct["lines"]] == [None]
    assert made(clinic.get(f"/v1/invoices/{invoice['id']}"))["lines"] == invoice["lines"]


@pytest.mark.parametrize("path", ["/v1/quotes", "/v1/quotes/preview", "/v1/invoices"])
def test_all_faults_of_doctors_come_at_once_with_the_others(clinic, doctor, path):
    gone = given_payers.doctor(clinic, active=False)
    lines = [
        by(doctor, doctor_rank="candidate"),
        by({"id": str(uuid4())}),
        by({"id": str(uuid4())}, "NO-SUCH"),
        by(gone, "CT-ABD-RP"),
        by(doctor, "NO-SUCH"),
        by({"id": "nobody"}),
    ]
    wanted = {"lines": lines, **({"payer": given.PAYER} if path == "/v1/invoices" else {})}
    shape = [("/lines/0/doctor", "one_of_doctor_and_rank"), ("/lines/5/doctor", "not_uuid")]
    catalog = [
        ("/lines/1/doctor", "unknown_doctor"),
        ("/lines/2/article", "unknown_article"),
        ("/lines/2/doctor", "unknown_doctor"),
        ("/lines/3/doctor", "doctor_inactive"),
        ("/lines/4/article", "unknown_article"),
    ]
    assert faults(clinic.post(path, wanted)) == sorted(shape + catalog)
    wanted["lines"] = [{"article": "CT-ABD-RP"}, *lines[1:5]]
    assert faults(clinic.post(path, wanted)) == catalog


def test_who_has_left_may_be_named_for_a_day_before_today_only(clinic, doctor):
    made(edited(clinic, doctor, active=False))
    with given.day("2026-12-10"):
        assert total(clinic, by(doctor, service_date="2026-12-09")) == RUBLES["candidate"]
        for line in (by(doctor), by(doctor, service_date="2026-12-10")):
            wrong = faults(clinic.post("/v1/quotes/preview", {"lines": [line]}))
            assert wrong == [("/lines/0/doctor", "doctor_inactive")]


def test_the_rank_is_that_of_the_day_of_service(clinic, doctor):
    with given.day("2026-11-25"):
        promotion(clinic, doctor, "doctor", "2026-12-01")
        assert total(clinic, by(doctor, service_date="2026-11-30")) == RUBLES["candidate"]
        assert total(clinic, by(doctor, service_date="2026-12-01")) == RUBLES["doctor"]


def test_a_doctor_without_a_price_for_his_rank_is_priced_by_no_other(clinic, doctor):
    with given.day("2026-11-25"):
        promotion(clinic, doctor, "professor", "2026-11-25")
        answer = clinic.post("/v1/quotes/preview", {"lines": [by(doctor)]})
        assert faults(answer) == [("/lines/0/article", "price_not_set")]


def test_a_promotion_changes_tomorrows_quotes_and_no_document_already_made(clinic, doctor, opened):
    with given.day("2026-11-25"):
        quote = clinic.quote(by(doctor), by(doctor, "CT-ABD-RP"))
        invoice = clinic.invoice(clinic.quote(by(doctor)))
        part = clinic.quote(by(doctor))
        before = documents(clinic, quote, invoice)
        promotion(clinic, doctor, "doctor")
        made(edited(clinic, doctor, name=names("Другая"), active=False))
        assert documents(clinic, quote, invoice) == before
    with given.day("2026-11-26"):
        assert documents(clinic, quote, invoice) == before
        assert digests(opened) == [(invoice["number"], True, 3)]
        made(edited(clinic, doctor, active=True))
        assert clinic.quote(by(doctor))["totals"]["total"] == RUBLES["doctor"]
        # What was quoted is invoiced as it was quoted.
        (line,) = clinic.invoice(part)["lines"]
        assert (line["amount"], line["doctor_rank"]) == (RUBLES["candidate"], "candidate")
        assert line["doctor"]["name"]["ru"] == "Врачов Илья"


def documents(clinic, quote, invoice):
    return [clinic.get(f"/v1/{path}").get_data() for path in (f"quotes/{quote['id']}", f"invoices/{invoice['id']}")]


def digests(opened):
    with psycopg.connect(opened.owner) as owner:
        return owner.execute(
            "SELECT number, content_sha256 = invoice_digest(invoice), content_version FROM invoice"
            " WHERE number IS NOT NULL"
        ).fetchall()


def test_a_direct_draft_is_priced_again_at_issue_by_the_doctors_rank_of_that_day(clinic, doctor):
    with given.day("2026-11-25"):
        draft = made(clinic.post("/v1/invoices", {"lines": [by(doctor)], "payer": given.PAYER}))
        same = made(
            clinic.post("/v1/invoices", {"lines": [by(doctor, service_date="2026-11-25")], "payer": given.PAYER})
        )
        promotion(clinic, doctor, "doctor")
    with given.day("2026-11-26"):
        made(edited(clinic, doctor, active=False))
        changed = clinic.post(f"/v1/invoices/{draft['id']}/issue", {})
        assert (changed.status_code, changed.get_json()["code"]) == (409, "price_changed")
        assert changed.get_json()["changes"] == [{"position": 1, "old": RUBLES["candidate"], "new": RUBLES["doctor"]}]
        # Rendered yesterday, by one who has left today.
        assert made(clinic.post(f"/v1/invoices/{same['id']}/issue", {}))["totals"]["total"] == RUBLES["candidate"]


# ---- The hash ----


def test_the_hash_is_over_the_doctor_and_documents_of_version_1_hash_as_before(clinic, doctor, opened):
    invoice = clinic.invoice(clinic.quote(by(doctor)))
    with psycopg.connect(opened.owner) as owner:
        assert digests(opened) == [(invoice["number"], True, 3)]
        owner.execute("ALTER TABLE invoice_line DISABLE TRIGGER USER")
        for column in ("doctor_id = gen_random_uuid()", "doctor_name_ru = 'x'", "doctor_name_en = 'x'"):
            owner.execute(f"UPDATE invoice_line SET {column}".encode())
            hashes = owner.execute("SELECT content_sha256 = invoice_digest(invoice) FROM invoice").fetchall()
            assert hashes == [(False,)], column
            owner.rollback()
            owner.execute("ALTER TABLE invoice_line DISABLE TRIGGER USER")
        owner.execute(VERSION_1)
        owner.execute("ALTER TABLE invoice DISABLE TRIGGER USER; UPDATE invoice SET content_version = 1")
        assert owner.execute("SELECT invoice_content(invoice) = content_1(invoice) FROM invoice").fetchall() == [
            (True,)
        ]
        owner.rollback()


def first_version():
    """The function as migration 0003 made it, under another name."""
    sql = (given_prices.MIGRATIONS / "0003_billing.sql").read_text()
    begin = sql.index("CREATE FUNCTION invoice_content(")
    return sql[begin : sql.index("$$;", begin) + 3].replace("invoice_content(", "content_1(", 1)


VERSION_1 = first_version()


def test_no_line_has_half_a_doctor(clinic, doctor, opened):
    clinic.invoice(clinic.quote(by(doctor)))
    for table in ("quote_line", "invoice_line"):
        with psycopg.connect(opened.owner) as owner, pytest.raises(pg.CheckViolation):
            owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
            owner.execute(f"UPDATE {table} SET doctor_name_en = NULL".encode())
