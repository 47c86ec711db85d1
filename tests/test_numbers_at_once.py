"""Numbers under fire: sixteen callers issue two hundred invoices each on three series, while connections of the service
are ended at random and transactions fail with the number in their hands."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from clinic.embedded import Urls
from tests.running import Desk, at_once, made, surely

pytestmark = pytest.mark.xdist_group("server")
CALLERS, EACH, SERIES = 16, 200, 3


def test_three_series_have_no_gap_whatever_is_rolled_back_and_terminated(service):
    desks = [service.branch() for _ in range(SERIES)]
    drafts = [copies(desk, CALLERS * EACH // SERIES + 1) for desk in desks]
    told: Counter[str] = Counter()
    lock = threading.Lock()

    def note(what: str) -> None:
        with lock:
            told[what] += 1

    def work(caller: int) -> dict[str, tuple[int, str]]:
        """The ledger of one caller: invoice -> its series and its number."""
        issued = {}
        for place in range(caller, CALLERS * EACH, CALLERS):
            of, id_ = place % SERIES, drafts[place % SERIES][place // SERIES]
            issued[id_] = of, surely(desks[of], f"/v1/invoices/{id_}/issue", {}, note)["number"]
            if place % 10 == 0:
                note(str(desks[of].post(f"/v1/invoices/{id_}/issue", {})))
        return issued

    with failing_with_the_number_in_hand(service.urls) as failed, terminating(service.urls) as terminated:
        ledgers = at_once(CALLERS, work)
        times = failed()
    acknowledged = {id_: found for ledger in ledgers for id_, found in ledger.items()}
    assert len(acknowledged) == CALLERS * EACH
    for of, desk in enumerate(desks):
        mine = {id_: number for id_, (series, number) in acknowledged.items() if series == of}
        assert desk.invoices() == mine
        assert list(desk.invoices().values()) == desk.numbers(len(mine))
        assert desk.dates() == sorted(desk.dates())
        (series,) = desk.get("/v1/numbering/proof").json["series"]
        assert (series["count"], series["whole"]) == (len(mine), True)
    desks[0].check_books()
    # It was no peace: transactions failed after they took a number, and connections died in the middle of work.
    assert times >= 50, told
    assert len(terminated) >= 5, told
    assert told["503 database_away"] >= 10, told
    assert told.keys() <= {"200", "409 invoice_not_draft", "409 in_progress", "503 database_away", "cut"}, told


def copies(desk: Desk, count: int) -> list[str]:
    """So many drafts like one that the service made, written and told to the journal as the service does."""
    draft = made(desk.draft())
    with psycopg.connect(desk.urls.owner) as conn:
        rows = conn.execute(
            """
            WITH made AS (
              INSERT INTO invoice
              SELECT copy.* FROM invoice, generate_series(2, %(count)s) AS n,
                     jsonb_populate_record(invoice, jsonb_build_object('id', md5(n || %(id)s::text)::uuid)) AS copy
               WHERE invoice.id = %(id)s::uuid
              RETURNING *),
            filled AS (
              INSERT INTO invoice_line
              SELECT copy.* FROM made JOIN invoice_line AS line ON line.invoice_id = %(id)s::uuid,
                     jsonb_populate_record(line, jsonb_build_object('invoice_id', made.id)) AS copy),
            told AS (
              SELECT journal_append(jsonb_agg(jsonb_build_object(
                       'id', gen_random_uuid(), 'type', 'invoice.created', 'version', 1, 'branch_id', branch_id,
                       'object_type', 'invoice', 'object_id', id, 'data', jsonb_build_object('total', total::text))),
                     now(), 'copies', NULL)
                FROM made)
            SELECT id::text FROM made, told
            """,
            {"count": count, "id": draft["id"]},
        ).fetchall()
    return [draft["id"], *(row[0] for row in rows)]


@contextmanager
def failing_with_the_number_in_hand(urls: Urls) -> Iterator[Callable[[], int]]:
    """Of a hundred transactions that take a number two serialize badly, one waits in vain, one loses its connection."""
    with psycopg.connect(urls.owner, autocommit=True) as conn:
        # A sequence counts what is rolled back, too.
        conn.execute(
            """
            CREATE SEQUENCE misfortune;
            CREATE FUNCTION misfortune() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
            DECLARE
              fate float := random();
            BEGIN
              IF fate < 0.04 THEN
                PERFORM nextval('misfortune');
              END IF;
              IF fate < 0.02 THEN
                RAISE EXCEPTION 'bad luck' USING ERRCODE = 'serialization_failure';
              ELSIF fate < 0.03 THEN
                RAISE EXCEPTION 'bad luck' USING ERRCODE = 'lock_not_available';
              ELSIF fate < 0.04 THEN
                PERFORM pg_terminate_backend(pg_backend_pid());
              END IF;
              RETURN NULL;
            END $$;
            CREATE TRIGGER zz_misfortune AFTER UPDATE ON number_series FOR EACH ROW EXECUTE FUNCTION misfortune()
            """
        )
        yield lambda: conn.execute("SELECT last_value FROM misfortune").fetchall()[0][0]
        conn.execute("DROP FUNCTION misfortune CASCADE")


@contextmanager
def terminating(urls: Urls) -> Iterator[list[int]]:
    """Every now and then a connection of the service is ended, whatever it is doing; the list says which."""
    ended: list[int] = []
    over = threading.Event()

    def work() -> None:
        with psycopg.connect(urls.owner, autocommit=True) as conn:
            while not over.wait(random.uniform(0.1, 0.4)):
                found = conn.execute(
                    """
                    SELECT pid FROM pg_stat_activity
                     WHERE datname = current_database() AND application_name = 'clinic' AND state <> 'idle'
                     ORDER BY random() LIMIT 1
                    """
                ).fetchone()
                if found and conn.execute("SELECT pg_terminate_backend(%s)", found).fetchone() == (True,):
                    ended.append(found[0])

    killer = threading.Thread(target=work)
    killer.start()
    try:
        yield ended
    finally:
        over.set()
        killer.join()
