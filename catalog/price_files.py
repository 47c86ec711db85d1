"""Price lists from files: a file becomes the draft of a price order, whole or not at all.

Services that the file names and the catalog does not have are created. Those it has keep their names: a difference
is a warning, not a change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from catalog import categories, nomenclature, price_lists, price_orders, price_rows, publishing, ranks, services
from catalog.price_columns import RANKS, word
from catalog.price_orders import Line
from catalog.price_rows import Finding, Row, Sheet
from catalog.search import folded
from catalog.services import Service
from clinic import db, errors, ids
from clinic.command import Change

_ONE_FOR_ALL = ("name_ru", "name_en", "category_ru", "nomenclature_codes", "unit", "vat_category", "tax_deduction_code")
"""What all rows of an article must agree on, as far as they say it."""
_NEW_NEEDS = ("name_en", "category_ru")
"""What a file need not say of a service that exists."""
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
        "repeated_row": (
            "{article} с этим званием уже есть в строке {first}.",
            "Row {first} has {article} for this rank already.",
        ),
        "needed_for_new": (
            "Услуги {article} в каталоге нет; чтобы её завести, нужен столбец {column}.",
            "{article} is not in the catalog; to make it, the column {column} is needed.",
        ),
        "article_was_number": (
            "Артикул {article} прочитан из числовой ячейки: нули в его начале пропали бы.",
            "The article {article} was read from a cell with a number: zeros before it would be lost.",
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
    header_row: int = 1

    @property
    def refused(self) -> int:
        """Rows with a problem; all of them when the file or its header is wrong."""
        wrong = {each.row for each in self.problems}
        return self.rows if any(row <= self.header_row for row in wrong) else len(wrong)

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
    first: dict[str, Row] = field(default_factory=dict)
    new: dict[str, Row] = field(default_factory=dict)
    known: dict[str, Service] = field(default_factory=dict)
    problems: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)


def load(
    change: Change,
    raw: bytes | Sheet,
    order: price_orders.Wanted,
    *,
    publish: bool = False,
    dry_run: bool = False,
    watch: price_rows.Watch = iter,
) -> Report:
    """Make a draft order, or with `publish` a published one, of a file; with `dry_run` only say what would be.

    `raw` is the file, or what `price_rows.read` has made of it before the transaction began.

    Raises:
        InvalidInput, OrderNumberTaken, PricesOverlap: what is wrong is the order, not a row of the file.
    """
    # Before the lock: a large file takes seconds, and other orders need not wait for it.
    sheet = price_rows.read(raw, watch) if isinstance(raw, bytes) else raw
    price_lists.lock(change.conn, order.price_list)
    checked = _checked(sheet.rows, _catalog(change.conn, sheet.rows))
    checked.warnings += _of_nomenclature(change, checked)
    problems = sorted(sheet.problems + checked.problems, key=lambda each: each.row)
    warnings = sorted(sheet.warnings + checked.warnings, key=lambda each: each.row)
    if problems:
        return Report(sheet.count, problems, warnings, header_row=sheet.header_row)
    noted = len(change.events)
    # A dry run does all the work and takes it back, so it cannot be of another opinion than the real one.
    with change.conn.transaction(force_rollback=dry_run):
        order_id = _make(change, checked, order, publish=publish)
    if dry_run:
        del change.events[noted:]
    return Report(sheet.count, [], warnings, None if dry_run else order_id, sheet.header_row)


def _catalog(conn: db.Connection, rows: Sequence[Row]) -> _Catalog:
    known_ranks = ranks.every(conn)
    return _Catalog(
        categories.by_russian_name(conn),
        # A rank may be written by its code, as on the door («к.м.н.») or in full.
        {
            word(text): each.code
            for each in known_ranks
            for text in (*RANKS.get(each.code, ()), each.name_en, each.name_ru, each.code)
        },
        services.known(conn, sorted({row.article for row in rows})),
    )


def _make(change: Change, checked: _Checked, order: price_orders.Wanted, *, publish: bool) -> UUID:
    category_of = categories.by_russian_name(change.conn)
    new = [(row, category_of[folded(row.category_ru or "")]) for row in checked.new.values()]
    services.add(change, [_service(change, row, category) for row, category in new])
    lines = [Line(row.article, row.doctor_rank, row.kind, row.amount) for row in checked.rows]
    made = price_orders.create(change, order, lines)
    if publish:
        publishing.publish(change, made.id)
    return made.id


def _service(change: Change, row: Row, category: str) -> Service:
    return Service(
        ids.new(), row.article, row.name_ru, row.name_en or "", category, row.nomenclature_codes or [],
        row.unit or services.UNIT, row.vat_category or "exempt_medical", row.tax_deduction_code or "1",
        priced_by_rank=row.doctor_rank is not None, discountable=True, active=True, note=None,
        row_version=1, created_at=change.at, updated_at=change.at,
    )  # fmt: skip


def _checked(rows: Sequence[Row], catalog: _Catalog) -> _Checked:
    """The rows with their ranks as codes, and what the catalog and the other rows have against them."""
    checked = _Checked([])
    first: dict[str, Row] = {}
    seen: dict[tuple[str, str | None], int] = {}
    for written in rows:
        row = _with_rank_code(written, catalog)
        if row.article not in first:
            first[row.article] = row
            checked.warnings += _warnings(row, catalog)
            checked.problems += _missing(row, catalog)
        checked.problems += _problems(row, first[row.article], catalog)
        earlier = seen.setdefault((row.article, row.doctor_rank), row.number)
        if earlier != row.number:
            checked.problems.append(_finding(row, "doctor_rank", "repeated_row", first=str(earlier)))
        checked.rows.append(row)
    checked.first = first
    checked.known = catalog.services
    checked.new = {article: row for article, row in first.items() if article not in catalog.services}
    return checked


def _with_rank_code(row: Row, catalog: _Catalog) -> Row:
    if row.doctor_rank is None:
        return row
    return replace(row, doctor_rank=catalog.ranks.get(word(row.doctor_rank), row.doctor_rank))


def _warnings(row: Row, catalog: _Catalog) -> Iterator[Finding]:
    service = catalog.services.get(row.article)
    if service is None:
        if row.article_was_number:
            yield _finding(row, "article", "article_was_number")
        return
    category = catalog.categories.get(folded(row.category_ru or ""))
    if category not in (None, service.category):
        yield Finding(row.number, "category_ru", "catalog_differs", (("value", service.category),))
    for column in _KEPT:
        said, kept = getattr(row, column), getattr(service, column)
        if said is not None and said != (" ".join(kept.split()) if isinstance(kept, str) else kept):
            code = "name_differs" if column in ("name_ru", "name_en") else "catalog_differs"
            shown = ", ".join(kept) if isinstance(kept, list) else kept
            yield Finding(row.number, column, code, (("value", shown),))


def _of_nomenclature(change: Change, checked: _Checked) -> Iterator[Finding]:
    """What the register says of the codes that the services have, or will have."""
    codes = {article: row.nomenclature_codes or [] for article, row in checked.first.items()}
    kept = {article: service.nomenclature_codes for article, service in checked.known.items()}
    for article, told in nomenclature.warnings(change.conn, change.today, codes | kept).items():
        for fault in told:
            yield Finding(checked.first[article].number, "nomenclature_codes", fault.code, fault.values)


def _missing(row: Row, catalog: _Catalog) -> Iterator[Finding]:
    if row.article not in catalog.services:
        for column in _NEW_NEEDS:
            if getattr(row, column) is None:
                values = (("article", row.article), ("column", column))
                yield Finding(row.number, column, "needed_for_new", values)


def _problems(row: Row, first: Row, catalog: _Catalog) -> Iterator[Finding]:
    for column in _ONE_FOR_ALL:
        said = getattr(row, column)
        if said is not None and said != getattr(first, column):
            yield _finding(row, column, "rows_disagree", first=str(first.number))
    if row.category_ru is not None and folded(row.category_ru) not in catalog.categories:
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
