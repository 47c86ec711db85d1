"""Price lists as files: a file becomes the draft of a price order, whole or not at all, and a list becomes a file.

Services that the file names and the catalog does not have are created. Those it has keep their names: a difference
is a warning, not a change.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from catalog import categories, price_lists, price_orders, price_rows, publishing, ranks, services
from catalog.price_orders import Line
from catalog.price_rows import Finding, Row
from catalog.search import folded
from catalog.services import Service
from clinic import db, errors, ids
from clinic.command import Change

_HEADER = (
    "article", "name_ru", "name_en", "category_ru", "category_en", "nomenclature_codes", "doctor_rank", "price_kind",
    "price", "vat_category", "tax_deduction_code", "unit",
)  # fmt: skip
_ONE_FOR_ALL = ("name_ru", "name_en", "category_ru", "nomenclature_codes", "unit", "vat_category", "tax_deduction_code")
"""What all rows of an article must agree on."""
_KEPT = ("name_ru", "name_en", "nomenclature_codes", "unit", "vat_category", "tax_deduction_code")
"""What a file does not change of a service that exists."""

errors.describe(
    {
        "rows_disagree": (
            "Не так, как в строке {first}, хотя артикул тот же: {article}.",
            "Not as in row {first}, though the article is the same: {article}.",
        ),
        "rank_mixed": (
            "У артикула {article} звание врача в одних строках указано, в других нет.",
            "Some rows of {article} name a doctor's rank and some do not.",
        ),
        "name_differs": (
            "Название не такое, как в каталоге; там осталось прежнее: {value}.",
            "The name is not the catalog's, which stays: {value}.",
        ),
        "catalog_differs": (
            "В каталоге иначе, и там ничего не изменено: {value}.",
            "The catalog says otherwise, and stays as it is: {value}.",
        ),
    }
)


@dataclass(frozen=True)
class Report:
    """What became of a file. With any problem nothing was made; `order` is the order that was."""

    rows: int
    problems: Sequence[Finding]
    warnings: Sequence[Finding] = ()
    order: UUID | None = None

    @property
    def refused(self) -> int:
        """Rows with a problem; all of them when the header is wrong."""
        wrong = {each.row for each in self.problems}
        return self.rows if 1 in wrong else len(wrong)

    def as_json(self, lang: str) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "accepted": self.rows - self.refused,
            "refused": self.refused,
            "problems": [each.as_json(lang) for each in self.problems],
            "warnings": [each.as_json(lang) for each in self.warnings],
            "order": self.order,
        }


@dataclass
class _Catalog:
    """What the file is checked against."""

    categories: dict[str, str]
    ranks: dict[str, str]
    services: dict[str, Service]


@dataclass
class _Checked:
    rows: list[Row]
    new: dict[str, Row] = field(default_factory=dict)
    problems: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)


def load(
    change: Change,
    raw: bytes,
    order: price_orders.Wanted,
    *,
    publish: bool = False,
    dry_run: bool = False,
    watch: price_rows.Watch = iter,
) -> Report:
    """Make a draft order, or with `publish` a published one, of a CSV file; with `dry_run` only say what would be.

    Raises:
        InvalidInput, OrderNumberTaken, PricesOverlap: what is wrong is the order, not a row of the file.
    """
    price_lists.lock(change.conn, order.price_list)
    sheet = price_rows.read(raw, watch)
    checked = _checked(sheet.rows, _catalog(change.conn, sheet.rows))
    problems = sorted(sheet.problems + checked.problems, key=lambda each: each.row)
    if problems:
        return Report(sheet.count, problems, checked.warnings)
    noted = len(change.events)
    # A dry run does all the work and takes it back, so it cannot be of another opinion than the real one.
    with change.conn.transaction(force_rollback=dry_run):
        order_id = _make(change, checked, order, publish=publish)
    if dry_run:
        del change.events[noted:]
    return Report(sheet.count, [], checked.warnings, None if dry_run else order_id)


def _catalog(conn: db.Connection, rows: Sequence[Row]) -> _Catalog:
    known_ranks = ranks.every(conn)
    return _Catalog(
        categories.by_russian_name(conn),
        # A rank may be written by its code or as on the door: «к.м.н.».
        {folded(word): each.code for each in known_ranks for word in (each.name_ru, each.code)},
        services.known(conn, sorted({row.article for row in rows})),
    )


def _make(change: Change, checked: _Checked, order: price_orders.Wanted, *, publish: bool) -> UUID:
    category_of = categories.by_russian_name(change.conn)
    services.add(change, [_service(change, row, category_of[folded(row.category_ru)]) for row in checked.new.values()])
    lines = [Line(row.article, row.doctor_rank, row.kind, row.amount) for row in checked.rows]
    made = price_orders.create(change, order, lines)
    if publish:
        publishing.publish(change, made.id)
    return made.id


def _service(change: Change, row: Row, category: str) -> Service:
    return Service(
        ids.new(), row.article, row.name_ru, row.name_en, category, row.nomenclature_codes, row.unit, row.vat_category,
        row.tax_deduction_code, priced_by_rank=row.doctor_rank is not None, discountable=True, active=True, note=None,
        row_version=1, created_at=change.at, updated_at=change.at,
    )  # fmt: skip


def _checked(rows: Sequence[Row], catalog: _Catalog) -> _Checked:
    """The rows with their ranks as codes, and what the catalog and the other rows have against them."""
    checked = _Checked([])
    first: dict[str, Row] = {}
    seen: set[tuple[str, str | None]] = set()
    for written in rows:
        row = _with_rank_code(written, catalog)
        if row.article not in first:
            first[row.article] = row
            checked.warnings += _warnings(row, catalog)
        checked.problems += _problems(row, first[row.article], catalog)
        if (row.article, row.doctor_rank) in seen:
            checked.problems.append(_finding(row, "doctor_rank", "duplicate_line"))
        seen.add((row.article, row.doctor_rank))
        checked.rows.append(row)
    checked.new = {article: row for article, row in first.items() if article not in catalog.services}
    return checked


def _with_rank_code(row: Row, catalog: _Catalog) -> Row:
    if row.doctor_rank is None:
        return row
    code = catalog.ranks.get(folded(row.doctor_rank), row.doctor_rank)
    return Row(**{**vars(row), "doctor_rank": code})


def _warnings(row: Row, catalog: _Catalog) -> Iterator[Finding]:
    if not row.nomenclature_codes:
        yield Finding(row.number, "nomenclature_codes", "code_missing")
    if service := catalog.services.get(row.article):
        category = catalog.categories.get(folded(row.category_ru))
        if category not in (None, service.category):
            yield Finding(row.number, "category_ru", "catalog_differs", (("value", service.category),))
        for column in _KEPT:
            if getattr(row, column) != (kept := getattr(service, column)):
                code = "name_differs" if column in ("name_ru", "name_en") else "catalog_differs"
                shown = ", ".join(kept) if isinstance(kept, list) else kept
                yield Finding(row.number, column, code, (("value", shown),))


def _problems(row: Row, first: Row, catalog: _Catalog) -> Iterator[Finding]:
    for column in _ONE_FOR_ALL:
        if getattr(row, column) != getattr(first, column):
            yield _finding(row, column, "rows_disagree", first=str(first.number))
    if folded(row.category_ru) not in catalog.categories:
        yield _finding(row, "category_ru", "unknown_category")
    if row.doctor_rank is not None and row.doctor_rank not in catalog.ranks.values():
        yield _finding(row, "doctor_rank", "unknown_rank", doctor_rank=row.doctor_rank)
    by_rank = row.doctor_rank is not None
    service = catalog.services.get(row.article)
    if service and service.priced_by_rank != by_rank:
        yield _finding(row, "doctor_rank", "rank_required" if service.priced_by_rank else "rank_not_applicable")
    elif by_rank != (first.doctor_rank is not None):
        yield _finding(row, "doctor_rank", "rank_mixed")


def _finding(row: Row, column: str, code: str, **values: str) -> Finding:
    return Finding(row.number, column, code, (("article", row.article), *values.items()))


@dataclass(frozen=True)
class _Exported:
    article: str
    name_ru: str
    name_en: str
    category_ru: str
    category_en: str
    nomenclature_codes: list[str]
    doctor_rank: str | None
    kind: str
    amount: Decimal | None
    vat_category: str
    tax_deduction_code: str
    unit: str


def export(conn: db.Connection, day: date, price_list: str = price_lists.BASE) -> str:
    """The prices of a list on `day` as a file that `load` reads."""
    rows = db.many(
        conn,
        _Exported,
        """
        SELECT service.article, service.name_ru, service.name_en, category.name_ru AS category_ru,
               category.name_en AS category_en, service.nomenclature_codes,
               CASE WHEN service.priced_by_rank THEN price.doctor_rank END AS doctor_rank, price.kind, price.amount,
               service.vat_category, service.tax_deduction_code, service.unit
          FROM price
          JOIN medical_service AS service ON service.id = price.service_id
          JOIN category ON category.code = service.category
          JOIN doctor_rank AS rank ON rank.code = price.doctor_rank
         WHERE price.price_list = %(list)s::text
           AND price.valid @> %(day)s::date
           AND price.corrected_by IS NULL
           AND price.kind <> 'withdrawn'
           AND service.active
         ORDER BY category.position, service.article COLLATE "C", rank.position
        """,
        {"list": price_list, "day": day},
    )
    return _as_csv([_HEADER, *map(_cells, rows)])


def _cells(row: _Exported) -> Sequence[str]:
    amount = "" if row.amount is None else f"{row.amount:.2f}".replace(".", ",")
    return (
        row.article, row.name_ru, row.name_en, row.category_ru, row.category_en, ",".join(row.nomenclature_codes),
        row.doctor_rank or "", row.kind, amount, row.vat_category, row.tax_deduction_code, row.unit,
    )  # fmt: skip


def _as_csv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    # As spreadsheets of this country read it: marked UTF-8, semicolons, CRLF.
    text.write("\ufeff")
    csv.writer(text, delimiter=";").writerows([price_rows.guarded(cell) for cell in row] for row in rows)
    return text.getvalue()
