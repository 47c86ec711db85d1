"""The price question and the search in a large catalog, in parts of the cheapest question a database can be asked.

    .venv/bin/python -m bench.prices

20,000 services, each by three ranks, and five years of monthly orders, each of which prices a twelfth of them anew:
300,000 prices. The ceiling is one row by its primary key, over the same connection, in turn.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import psycopg

from bench import machine
from catalog import prices, search, services
from clinic import db
from clinic.embedded import Urls

SERVICES = 20_000
YEARS = 5
GOALS = {"question": 2.0, "search": 20.0}
"""Milliseconds: a price question, a search as somebody types."""
_LAST = date(2026, 12, 1)
_KINDS = (
    "МРТ",
    "МСКТ",
    "Ультразвуковое исследование",
    "Рентгенография",
    "Биопсия",
    "Пункция",
    "Дренирование",
    "Резекция",
)
_PLACES = (
    "печени", "почки", "селезёнки", "поджелудочной железы", "жёлчных протоков", "брюшной полости",
    "забрюшинного пространства", "грудной клетки", "головного мозга", "малого таза",
)  # fmt: skip
_WAYS = (
    "с внутривенным контрастированием", "без контрастирования", "с болюсным контрастированием", "под контролем УЗИ",
    "чрескожно", "эндоскопически", "с анестезиологическим пособием", "с морфологическим исследованием",
)  # fmt: skip
_TYPED = (
    ("one word", "печени"),
    ("three words", "мрт печени контрастированием"),
    ("ё written е", "желчных селезенки"),
    ("part of a word", "дренир"),
    ("an article", "SRV-01234"),
    ("a typing error", "дринирование протокв"),
    ("an error in a long word", "ультрозвуковое печини"),
    ("nothing alike", "шиномонтаж"),
)


@dataclass(frozen=True)
class _Timed:
    """Milliseconds of a kind of question, each asked beside the ceiling."""

    name: str
    ours: Sequence[float]
    ceiling: Sequence[float]
    goal: float

    def line(self) -> str:
        middle, late = statistics.median(self.ours), statistics.quantiles(self.ours, n=20)[-1]
        ratio = middle / statistics.median(self.ceiling)
        return f"{self.name:<32}{middle:>9.2f}{late:>9.2f}{ratio:>11.1f}   {self.goal:g}"


def main() -> None:
    wanted = _arguments()
    with machine.database(wanted.folder, fast=True) as urls:
        _fill(urls)
        db.open_pool(urls.owner, size=2, command_line=True)  # the application's deadline would end one long reading
        try:
            with db.reading() as conn:
                rows = [*_questions(conn, wanted.rounds), *_searches(conn, wanted.rounds)]
        finally:
            db.close_pool()
    print(f"{SERVICES} services × 3 ranks, {YEARS} years of monthly orders; {wanted.rounds} rounds; {machine.load()}")
    print(f"{'milliseconds':<32}{'median':>9}{'95 %':>9}{'× ceiling':>11}   goal")
    print("\n".join(row.line() for row in rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.prices", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the database lies")
    return parser.parse_args()


def _questions(conn: db.Connection, rounds: int) -> list[_Timed]:
    chance = random.Random(1)

    def wanted() -> prices.Wanted:
        day = _LAST - timedelta(days=chance.randrange(365 * (YEARS - 1)))
        return prices.Wanted(
            _article(chance.randrange(SERVICES)), chance.choice(("none", "candidate", "doctor")), day, day
        )

    def ask(count: int) -> None:
        answers = prices.on(conn, "base", [wanted() for _ in range(count)])
        if not all(isinstance(each, prices.Priced) for each in answers):
            raise SystemExit(f"a price is missing: {answers}")

    return [
        _timed(conn, name, rounds, GOALS["question"], lambda count=count: ask(count))  # type: ignore[misc]
        for name, count in (("one price", 1), ("five prices in one question", 5))
    ]


def _searches(conn: db.Connection, rounds: int) -> list[_Timed]:
    def find(words: str) -> None:
        services.listed(conn, found=search.understood(conn, words), limit=50)

    return [
        _timed(conn, f"search: {name}", rounds // 4, GOALS["search"], lambda words=words: find(words))  # type: ignore[misc]
        for name, words in _TYPED
    ]


def _timed(conn: db.Connection, name: str, rounds: int, goal: float, work: Callable[[], None]) -> _Timed:
    some = db.value(conn, "SELECT id FROM price LIMIT 1")
    ours: list[float] = []
    ceiling: list[float] = []
    for place in range(rounds + 20):
        for times, ask in (
            (ours, work),
            (ceiling, lambda: db.value(conn, "SELECT kind FROM price WHERE id = %(id)s", {"id": some})),
        ):
            begun = time.perf_counter()
            ask()
            if place >= 20:  # plans are made and pages are read by then
                times.append((time.perf_counter() - begun) * 1000)
    return _Timed(name, ours, ceiling, goal)


def _article(number: int) -> str:
    return f"SRV-{number:05d}"


def _fill(urls: Urls) -> None:
    """The catalog, by the owner's statements: five years of publishing would take as long as they did."""
    with psycopg.connect(urls.owner) as owner:
        owner.execute(
            "INSERT INTO category VALUES ('bench', gen_random_uuid(), 'Исследования', 'Examinations', NULL, 1, now())"
        )
        owner.execute(
            """
            INSERT INTO medical_service (id, article, name_ru, name_en, category, vat_category, priced_by_rank,
                                         created_at, updated_at)
            SELECT gen_random_uuid(), 'SRV-' || lpad(n::text, 5, '0'),
                   concat_ws(' ', kinds[1 + n %% 8], places[1 + n / 8 %% 10], ways[1 + n / 80 %% 8], 'вариант',
                             n / 640),
                   'Examination No. ' || n, 'bench', 'exempt_medical', true, now(), now()
              FROM generate_series(0, %(services)s - 1) AS n,
                   (SELECT %(kinds)s::text[] AS kinds, %(places)s::text[] AS places, %(ways)s::text[] AS ways) AS words
            """,
            {"services": SERVICES, "kinds": list(_KINDS), "places": list(_PLACES), "ways": list(_WAYS)},
        )
        owner.execute("ALTER TABLE price_order DISABLE TRIGGER price_order_begins")
        owner.execute(
            """
            INSERT INTO price_order (id, number, date, price_list, effective_from, status, author, published_by,
                                     published_at, created_at, updated_at)
            SELECT gen_random_uuid(), month::text, day, 'base', day, 'published', 'bench', 'bench', day, day, day
              FROM (SELECT month, (%(last)s::date - make_interval(months => month))::date AS day
                      FROM generate_series(0, %(years)s * 12 - 1) AS month) AS months
            """,
            {"last": _LAST, "years": YEARS},
        )
        owner.execute("ALTER TABLE price_order ENABLE TRIGGER price_order_begins")
        owner.execute(
            """
            INSERT INTO price (id, service_id, doctor_rank, price_list, kind, amount, valid, order_id)
            SELECT gen_random_uuid(), service.id, rank.code, 'base', 'fixed', 1000 + 500 * rank.position + 10 * year,
                   daterange(orders.date, (orders.date + interval '1 year')::date), orders.id
              FROM (SELECT id, row_number() OVER (ORDER BY article) AS place FROM medical_service) AS service
              JOIN doctor_rank AS rank ON rank.position <= 3
             CROSS JOIN generate_series(0, %(years)s - 1) AS year
              JOIN price_order AS orders ON orders.number = (service.place %% 12 + 12 * year)::text
            """,
            {"years": YEARS},
        )
        owner.commit()
        owner.autocommit = True
        owner.execute("VACUUM ANALYZE")


if __name__ == "__main__":
    main()
