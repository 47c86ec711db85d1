"""The price feed over HTTP, in parts of what a bare Flask route reaches that answers the very same bytes.

    .venv/bin/python -m bench.feed

A thousand services, a quarter of them priced by three ranks; whole, packed with gzip and with brotli, and unchanged
(304). Both sides run under gunicorn with the service's own settings and are asked by the same callers, in turn.
"""

from __future__ import annotations

import argparse
import csv
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import bare, load, machine
from bench.machine import Compared
from catalog import categories, price_files
from catalog.price_orders import Wanted
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.embedded import Urls

GOAL = 1.2
SERVICES = 1000
_COLUMNS = ("article", "name_ru", "name_en", "category_ru", "nomenclature_codes", "doctor_rank", "price")
_CATEGORIES = ("Консультации", "МРТ", "УЗИ", "Хирургия")
_RANKS = ("none", "candidate", "doctor")


@dataclass(frozen=True)
class _Case:
    """One kind of request, as the service and as the bare application get it."""

    name: str
    status: int
    ours: bytes
    bare: bytes


def main() -> None:
    wanted = _arguments()
    with machine.database(wanted.folder, fast=False) as urls:
        with machine.application(urls):
            _fill()
        with _both(urls) as (ours, ceiling, cases), load.Crowd(2, wanted.connections) as crowd:
            own = 0.0
            rows = []
            for case in cases:
                crowd.ask(ours, case.status, case.ours, 0.5)  # each process makes its answers once
                crowd.ask(ceiling, case.status, case.bare, 0.5)
                pairs = []
                for _ in range(wanted.rounds):
                    service = crowd.ask(ours, case.status, case.ours, wanted.seconds)
                    beside = crowd.ask(ceiling, case.status, case.bare, wanted.seconds)
                    pairs.append((service.rate, beside.rate))
                    own = max(own, service.own / service.answers, beside.own / beside.answers)
                rows.append(Compared(case.name, pairs))
    print(f"{wanted.connections} connections, {wanted.rounds} rounds of {wanted.seconds:g} s each; {machine.load()}")
    print(
        f"the generator's processor time for a request was {own * 1e6:.0f} µs at most: {1 / own:.0f} a second on a core"
    )
    print(machine.table("bare Flask", rows))
    print(f"goal: ratios of at least {GOAL:.2f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.feed", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a round")
    parser.add_argument("--connections", type=int, default=16, help="more than 8, or they may all land on one process")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the database lies")
    return parser.parse_args()


def _fill() -> None:
    """The catalog, by a price list as an accountant would send it."""
    text = io.StringIO()
    sheet = csv.writer(text, delimiter=";")
    sheet.writerow(_COLUMNS)
    for number in range(SERVICES):
        name = f"Исследование № {number} с внутривенным контрастированием", f"Examination No. {number} with contrast"
        category = _CATEGORIES[number % len(_CATEGORIES)]
        for place, rank in enumerate(_RANKS if number % 4 == 0 else ("",)):
            price = f"{1000 + number * 7 + place * 1500}.00"
            sheet.writerow((f"SRV-{number:04d}", *name, category, f"A06.30.005.{number % 1000:03d}", rank, price))
    with change(COMMAND_LINE) as made:
        for place, named in enumerate(_CATEGORIES):
            categories.create(made, f"category_{place}", named, f"Category {place}")
        order = Wanted(date=made.today, effective_from=made.today)
        report = price_files.load(made, text.getvalue().encode(), order, publish=True)
        if report.problems:
            raise SystemExit(f"the price list was refused: {report.as_json('en')}")


@contextmanager
def _both(urls: Urls) -> Iterator[tuple[load.Address, load.Address, list[_Case]]]:
    """The service, the bare application with the service's own bytes, and what they are asked."""
    with machine.serving("wsgi:app", urls, "/health/ready") as ours, tempfile.TemporaryDirectory() as folder:
        etag = _take(ours, Path(folder))
        with machine.serving("bench.bare:create_app()", urls, "/plain", env={bare.FOLDER: folder}) as ceiling:
            yield (
                ours,
                ceiling,
                [
                    _case("whole", 200, "/plain"),
                    _case("packed with gzip", 200, "/gzip", Accept_Encoding="gzip"),
                    _case("packed with brotli", 200, "/br", Accept_Encoding="br"),
                    _case("unchanged", 304, "/unchanged", Accept_Encoding="br", If_None_Match=etag),
                ],
            )


def _case(name: str, status: int, path: str, **headers: str) -> _Case:
    ours, ceiling = (load.request("GET", each, b"", **headers) for each in ("/v1/prices", path))
    return _Case(name, status, ours, ceiling)


def _take(address: load.Address, folder: Path) -> str:
    """Keep what the service answers for the bare application; returns the ETag of the answer packed with brotli."""
    for name, encoding in (("plain", "identity"), ("gzip", "gzip"), ("br", "br")):
        status, headers, body = machine.fetch(address, "/v1/prices", Accept_Encoding=encoding)
        packed = headers.get("content-encoding", "identity")
        if status != 200 or packed != encoding:
            raise SystemExit(f"the service answered {status}, packed: {packed}, to Accept-Encoding: {encoding}")
        (folder / name).write_bytes(body)
        (folder / "etag").write_text(headers["etag"])
        print(f"{SERVICES} services, {name}: {len(body)} bytes")
    return headers["etag"]


if __name__ == "__main__":
    main()
