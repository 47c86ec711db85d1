"""Packages (комплексные программы): services sold together at a price of their own.

A package belongs to one price list and is sold in no other, whatever that falls back to. What it is made of and what
it costs never changes; another one under the same code follows it. `composing` makes and changes packages,
`package_split` has their arithmetic and `package_offers` their prices; here they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import groupby
from uuid import UUID

from catalog.package_split import Package, PackageTerms, Part
from catalog.prices import Unpriced
from clinic import db, errors
from clinic.errors import NotFound

CODE = r"[A-Z0-9][A-Z0-9._-]{0,31}"

errors.describe(
    {
        "unknown_package": (
            "Программы {package} в этом прейскуранте нет.",
            "There is no package {package} in this price list.",
        ),
        "package_not_in_force": (
            "На {day} программа {package} не действует.",
            "The package {package} is not in force on {day}.",
        ),
    }
)


@dataclass(frozen=True)
class _Row(PackageTerms):
    article: str
    part_ru: str
    part_en: str
    doctor_rank: str
    rank_ru: str | None
    rank_en: str | None
    quantity: Decimal


_SELECT = """
SELECT package.id, package.code, package.price_list, package.name_ru, package.name_en, package.note, package.total,
       package.percent_off, lower(package.valid) AS valid_from, upper(package.valid) AS valid_until,
       package.withdrawn, package.row_version, package.created_at, package.updated_at,
       service.article, service.name_ru AS part_ru, service.name_en AS part_en, part.doctor_rank,
       CASE WHEN service.priced_by_rank THEN rank.name_ru END AS rank_ru,
       CASE WHEN service.priced_by_rank THEN rank.name_en END AS rank_en, part.quantity
  FROM package
  JOIN package_part AS part ON part.package_id = package.id
  JOIN medical_service AS service ON service.id = part.service_id
  JOIN doctor_rank AS rank ON rank.code = part.doctor_rank
"""
_ORDER = """
 ORDER BY package.price_list COLLATE "C", package.code COLLATE "C", lower(package.valid), package.id, part.position
"""


def _whole(rows: Iterable[_Row]) -> list[Package]:
    return [_package(list(of_one)) for _, of_one in groupby(rows, key=lambda row: row.id)]


def _package(rows: Sequence[_Row]) -> Package:
    said = {name: getattr(rows[0], name) for name in PackageTerms.__dataclass_fields__}
    return Package(
        **said,
        parts=tuple(
            Part(row.article, row.part_ru, row.part_en, row.doctor_rank, row.rank_ru, row.rank_en, row.quantity)
            for row in rows
        ),
    )


def get(conn: db.Connection, package_id: UUID) -> Package:
    """The package.

    Raises:
        NotFound: there is none.
    """
    found = _whole(
        db.many(conn, _Row, _SELECT + "WHERE package.id = %(id)s::uuid ORDER BY part.position", {"id": package_id})
    )
    if not found:
        raise NotFound()
    return found[0]


def locked(conn: db.Connection, package_id: UUID) -> Package:
    """The package, which nobody else changes until the transaction ends.

    Raises:
        NotFound: there is none.
    """
    conn.execute("SELECT FROM package WHERE id = %(id)s::uuid FOR NO KEY UPDATE", {"id": package_id})
    return get(conn, package_id)


def page(
    conn: db.Connection, on: date, price_list: str | None, behind: Sequence[str] | None, limit: int
) -> list[Package]:
    """Packages in force on a day, by list and code: up to `limit` behind the place [list, code]."""
    chosen = db.value(
        conn,
        """
        SELECT array_agg(id) FROM (
          SELECT id FROM package
           WHERE valid @> %(on)s::date AND NOT withdrawn
             AND (%(list)s::text IS NULL OR price_list = %(list)s::text)
             AND (%(behind_list)s::text IS NULL
                  OR (price_list COLLATE "C", code COLLATE "C") > (%(behind_list)s::text, %(behind_code)s::text))
           ORDER BY price_list COLLATE "C", code COLLATE "C"
           LIMIT %(limit)s::int) AS chosen
        """,
        {
            "on": on,
            "list": price_list,
            "behind_list": behind and behind[0],
            "behind_code": behind and behind[1],
            "limit": limit,
        },
    )
    return _whole(
        db.many(conn, _Row, _SELECT + "WHERE package.id = ANY (%(ids)s::uuid[])" + _ORDER, {"ids": chosen or []})
    )


def versions(conn: db.Connection, price_list: str, codes: Sequence[str]) -> dict[str, list[Package]]:
    """Every package of the list that ever had one of these codes, oldest first; a code nobody ever had is missing."""
    found: dict[str, list[Package]] = {}
    rows = db.many(
        conn,
        _Row,
        _SELECT + "WHERE package.price_list = %(list)s::text AND package.code = ANY (%(codes)s::text[])" + _ORDER,
        {"list": price_list, "codes": list(codes)},
    )
    for package in _whole(rows):
        found.setdefault(package.code, []).append(package)
    return found


def sold_on(versions: Sequence[Package] | None, code: str, day: date) -> Package | Unpriced:
    """Which of the packages of a code is sold on a day, or why none is."""
    if versions is None:
        return Unpriced("package", "unknown_package", (("package", code),))
    for package in versions:
        if package.in_force(day):
            return package
    return Unpriced("package", "package_not_in_force", (("package", code), ("day", day.isoformat())))


def public_on(conn: db.Connection, price_list: str, day: date) -> list[Package]:
    """The packages of a list in force on a day; of a list that is not public there are none."""
    return _whole(
        db.many(
            conn,
            _Row,
            _SELECT
            + """
              JOIN price_list AS list ON list.code = package.price_list AND list.public
             WHERE package.price_list = %(list)s::text AND package.valid @> %(day)s::date AND NOT package.withdrawn
            """
            + _ORDER,
            {"list": price_list, "day": day},
        )
    )
