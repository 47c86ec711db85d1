"""Price lists that programs send as files: answered at once when they are short, by a job when they are long."""

from __future__ import annotations

import io
from typing import Any

import pytest

from catalog import price_imports
from clinic import db, uploads, worker
from tests import given
from tests.given import FIRST_DAY, LATER, faults, made, price_file

PATH = "/v1/price-orders/imports"
RIGHT = price_file(3)
WRONG = RIGHT.replace(b"102,00", "бесплатно".encode())


def sent(clinic: given.Caller, file: bytes, path: str = PATH, **more: Any) -> Any:
    return clinic.upload(path, file=file, **{"effective_from": LATER, **more})


def orders() -> int:
    with db.reading() as conn:
        return int(db.value(conn, "SELECT count(*) FROM price_order"))


def lines(order: str) -> int:
    with db.reading() as conn:
        return int(db.value(conn, "SELECT count(*) FROM price_order_line WHERE order_id = %s::uuid", (order,)))


def asked_jobs() -> int:
    with db.reading() as conn:
        return int(db.value(conn, "SELECT count(*) FROM job"))


def done(clinic: given.Caller, answer: Any, opened: Any) -> Any:
    """The job that was answered, after a worker had its turn."""
    assert answer.status_code == 202, answer.get_json()
    db.open_pool(opened.app, size=worker.CONNECTIONS, worker=True)
    worker.Worker(opened.app).do_next()
    return made(clinic.get(answer.headers["Location"]))


# ---- A short file ----


def test_a_file_becomes_a_draft_order(clinic):
    answer = sent(clinic, RIGHT, number="77", date=FIRST_DAY, note="осень")
    report = answer.get_json()
    order = report.pop("order")
    assert answer.status_code == 201
    assert report == {"rows": 3, "accepted": 3, "refused": 0, "problems": [], "warnings": []}
    with db.reading() as conn:
        row = db.value(conn, "SELECT array[number, status, note] FROM price_order WHERE id = %s::uuid", (order,))
    assert (row, lines(order)) == (["77", "draft", "осень"], 3)
    (event,) = [each for each in clinic.events() if each["object"]["id"] == order]
    assert event["actor"].startswith("key:")


def test_a_dry_run_tells_the_same_and_makes_nothing(clinic):
    before = orders()
    answer = sent(clinic, RIGHT, f"{PATH}?dry_run=true")
    assert (answer.status_code, answer.get_json()["accepted"], answer.get_json()["order"]) == (200, 3, None)
    assert orders() == before
    assert clinic.get("/v1/services/MRI-1").status_code == 404


def test_a_wrong_row_refuses_the_whole_file_and_the_refusal_is_the_report(clinic):
    before = orders()
    refused = sent(clinic, WRONG).get_json()
    assert (refused["status"], refused["code"], refused["order"]) == (422, "rows_refused", None)
    assert (refused["rows"], refused["accepted"], refused["refused"]) == (3, 2, 1)
    (problem,) = refused["problems"]
    assert (problem["row"], problem["column"], problem["code"]) == (4, "price", "wrong_price")
    assert orders() == before


def test_a_dry_run_answers_with_what_would_be_refused(clinic):
    answer = sent(clinic, WRONG, f"{PATH}?dry_run=true&lang=en")
    assert answer.status_code == 200
    assert answer.get_json()["problems"][0]["message"] == "A price such as 67200,00 or 67 200,00 is needed."


def test_what_is_wrong_with_the_order_has_a_place_too(clinic):
    assert faults(sent(clinic, RIGHT, price_list="nobodys")) == [("/price_list", "unknown_price_list")]
    taken = sent(clinic, RIGHT, number="1", date=FIRST_DAY).get_json()
    assert (taken["status"], taken["code"]) == (409, "order_number_taken")


def test_it_takes_the_right_to_write_the_catalog(clinic, app):
    assert sent(given.caller(app, "catalog:read"), RIGHT).status_code == 403


# ---- What comes in ----


def test_all_that_is_missing_is_told_at_once(clinic):
    assert faults(clinic.upload(PATH, note="x")) == [("/effective_from", "required"), ("/file", "required")]


@pytest.mark.parametrize(
    ("parts", "wrong"),
    [
        ({"file": "article;price"}, [("/file", "not_a_file")]),
        ({"number": b"7"}, [("/number", "not_text")]),
        (
            {"effective_from": "23.11.2026", "corrects": "1"},
            [("/corrects", "not_uuid"), ("/effective_from", "not_day")],
        ),
        ({"publish": "true"}, [("/publish", "unknown_member")]),
        ({"number": ["7", "8"]}, [("/number", "repeated_parameter")]),
        ({"note": ""}, [("/note", "wrong_length")]),
        ({"note": "a\x00b"}, [("/note", "not_text")]),
    ],
)
def test_a_wrong_part_is_named(clinic, parts, wrong):
    assert faults(sent(clinic, **{"file": RIGHT, **parts})) == wrong


def test_text_that_is_no_utf_8_is_refused_and_not_garbled(clinic):
    answer = raw(clinic, part("effective_from", LATER) + part("number", "№7", "cp1251") + file_part(RIGHT))
    assert faults(answer) == [("/number", "not_text")]


def test_a_file_that_was_not_chosen_is_missing(clinic):
    answer = raw(clinic, part("effective_from", LATER) + file_part(b"", name=""))
    assert faults(answer) == [("/file", "required")]


@pytest.mark.parametrize("content_type", ["application/json", "text/csv", "application/x-www-form-urlencoded", ""])
def test_another_type_of_body_is_refused_by_name(clinic, content_type):
    refused = raw(clinic, RIGHT, content_type)
    assert (refused.status_code, refused.get_json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "body",
    [b"", b"--part", b"--part--\r\n", b"no parts at all", b"--part\r\n\r\n--part--\r\n", b"--part\r\n" * 2000],
)
def test_a_broken_body_is_refused(clinic, body):
    assert raw(clinic, body).status_code in (413, 422)


def test_more_than_twenty_mebibytes_are_refused_by_name(clinic):
    assert sent(clinic, b"x" * (uploads.LARGEST - 2000)).status_code == 202
    refused = sent(clinic, b"x" * uploads.LARGEST)
    assert (refused.status_code, refused.get_json()["code"]) == (413, "too_large")


def test_json_has_the_limit_it_had(clinic):
    assert clinic.post("/v1/quotes", {"comment": "a" * 300_000}).status_code == 413


def raw(clinic: given.Caller, body: bytes, content_type: str = "multipart/form-data; boundary=part") -> Any:
    return clinic.app.test_client().post(
        PATH, data=body, content_type=content_type, headers={"Authorization": f"Bearer {clinic.secret}"}
    )


def part(name: str, text: str, encoding: str = "utf-8") -> bytes:
    return f'--part\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode(encoding)


def file_part(content: bytes, name: str = "a.csv") -> bytes:
    head = f'--part\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n--part--\r\n"


# ---- Repeats ----


def test_a_repeat_gets_the_first_answer_again(clinic):
    first = sent(clinic, RIGHT, key="import-1")
    again = sent(clinic, RIGHT, key="import-1")
    assert (again.status_code, again.get_data()) == (201, first.get_data())
    assert again.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize(
    "other",
    [
        {"file": RIGHT.replace(b"102,00", b"103,00")},
        {"note": "x"},
        {"path": f"{PATH}?dry_run=true"},
    ],
    ids=["another file", "another field", "a dry run"],
)
def test_a_key_belongs_to_one_file_and_all_that_goes_with_it(clinic, other):
    assert sent(clinic, RIGHT, key="import-1").status_code == 201
    refused = sent(clinic, **{"file": RIGHT, **other}, key="import-1").get_json()
    assert refused["code"] == "idempotency_key_reused"


def test_the_language_of_the_answer_makes_no_other_request(clinic):
    assert sent(clinic, RIGHT, key="import-1").status_code == 201
    assert sent(clinic, RIGHT, f"{PATH}?lang=en", key="import-1").headers["Idempotency-Replayed"] == "true"


def test_a_dry_run_under_a_key_is_not_the_answer_to_the_real_one(clinic):
    tried = sent(clinic, RIGHT, f"{PATH}?dry_run=true", key="import-1")
    assert sent(clinic, RIGHT, f"{PATH}?dry_run=true", key="import-1").get_data() == tried.get_data()
    assert sent(clinic, RIGHT, key="import-1").get_json()["code"] == "idempotency_key_reused"


def test_a_repeat_of_a_long_one_asks_for_no_second_job(clinic):
    first = sent(clinic, price_file(2001), key="import-1")
    again = sent(clinic, price_file(2001), key="import-1")
    assert (again.status_code, again.get_data()) == (202, first.get_data())
    assert again.headers["Location"] == first.headers["Location"]
    assert asked_jobs() == 1


# ---- A long file ----


def test_two_thousand_rows_are_answered_at_once(clinic):
    assert sent(clinic, price_file(2000)).get_json()["accepted"] == 2000
    assert asked_jobs() == 0


def test_more_are_a_job_that_ends_with_the_report(clinic, opened):
    before = orders()
    answer = sent(clinic, price_file(5000), number="77")
    job = answer.get_json()
    assert (job["kind"], job["status"], job["result"], answer.headers["Retry-After"]) == (
        "price_import", "queued", None, "1",
    )  # fmt: skip
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert orders() == before
    job = done(clinic, answer, opened)
    assert (job["status"], job["progress"]) == ("done", {"done": 5000, "total": 5000})
    assert list(job["result"]) == ["rows", "accepted", "refused", "problems", "warnings", "order"]
    assert (job["result"]["accepted"], lines(job["result"]["order"])) == (5000, 5000)


def test_a_long_dry_run_makes_nothing(clinic, opened):
    before = orders()
    job = done(clinic, sent(clinic, price_file(2001), f"{PATH}?dry_run=true"), opened)
    assert (job["status"], job["result"]["accepted"], job["result"]["order"]) == ("done", 2001, None)
    assert orders() == before


def test_wrong_rows_of_a_long_file_are_the_jobs_problem(clinic, opened):
    job = done(clinic, sent(clinic, price_file(2001).replace(b";102,00", b";,"), f"{PATH}?lang=en"), opened)
    problem = job["problem"]
    assert (job["status"], problem["code"], problem["status"], problem["refused"]) == ("failed", "rows_refused", 422, 1)
    assert problem["problems"][0]["message"] == "A price such as 67200,00 or 67 200,00 is needed."


@pytest.mark.parametrize("order", [{"number": "1", "date": FIRST_DAY}, {"price_list": "nobodys"}])
def test_a_refusal_of_the_order_is_the_same_at_once_and_later(clinic, opened, order):
    at_once = sent(clinic, RIGHT, **order).get_json()
    later = done(clinic, sent(clinic, price_file(2001), **order), opened)["problem"]
    assert at_once | {"request_id": ""} == later | {"request_id": ""}


def test_a_file_of_many_bytes_is_a_job_without_being_looked_at(clinic):
    wide = RIGHT + b"\r\n" + b";" * price_imports.LARGEST_AT_ONCE
    assert sent(clinic, wide).status_code == 202


def test_rows_are_counted_as_they_are_read():
    rows = ["article;name_ru", *(f'A{each};"two\nlines"' for each in range(1999))]
    assert not price_imports.is_long("\n".join(rows).encode())
    assert price_imports.is_long("\r\n".join([*rows, *rows]).encode("utf-16"))


def test_files_stay_in_memory(clinic, monkeypatch):
    def refuse(*_: Any, **__: Any) -> io.BytesIO:
        raise AssertionError("a temporary file")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile", refuse)
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert sent(clinic, price_file(8000)).status_code == 202
