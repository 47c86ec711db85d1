"""A catalog to begin a test with: services, and orders that price them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from catalog import categories, price_orders, prices, publishing, services
from catalog.price_orders import Line, Order
from catalog.prices import Priced, Unpriced
from clinic import clock, db
from clinic.auth import COMMAND_LINE
from clinic.command import change

MRI = "mri"
MIGRATIONS = Path(__file__).parents[1] / "migrations"


def category(code: str = MRI, name: str = "МРТ", parent: str | None = None) -> None:
    with change(COMMAND_LINE) as made:
        categories.create(made, code, name, code.upper(), parent)


def service(article: str, **more: Any) -> None:
    """A service of the category `mri`, which is made with the first one."""
    name = {"ru": more.pop("ru", article), "en": more.pop("en", article)}
    with change(COMMAND_LINE) as made:
        if MRI not in {each.code for each in categories.every(made.conn)}:
            categories.create(made, MRI, "МРТ", "MRI")
        wanted = {"article": article, "name": name, "category": MRI, **more}
        services.create(made, services.ServiceIn().load(wanted))


def draft(*lines: Line, since: date | None = None, **more: Any) -> Order:
    with change(COMMAND_LINE) as made:
        first = since or made.today
        return price_orders.create(made, price_orders.Wanted(date=made.today, effective_from=first, **more), lines)


def published(*lines: Line, since: date | None = None, **more: Any) -> Order:
    """An order of these lines in force from `since`, by default today."""
    order = draft(*lines, since=since, **more)
    with change(COMMAND_LINE) as made:
        return publishing.publish(made, order.id)


def on(text: str) -> date:
    return date.fromisoformat(text)


def order_id(number: str) -> UUID:
    with db.reading() as conn:
        found: UUID = db.value(conn, "SELECT id FROM price_order WHERE number = %s::text", (number,))
    return found


def line(article: str, amount: str | None, rank: str | None = None, kind: str | None = None) -> Line:
    """Fixed when there is an amount, else withdrawn."""
    kind = kind or ("withdrawn" if amount is None else "fixed")
    return Line(article, rank, kind, None if amount is None else Decimal(amount))


def answer(article: str, rank: str | None = None, on: date | None = None, price_list: str = "base") -> Any:
    day = on or clock.today()
    with db.reading() as conn:
        return prices.on(conn, price_list, [prices.Wanted(article, rank, day, day)])[0]


def amount(article: str, rank: str | None = None, on: date | None = None, price_list: str = "base") -> str:
    """The amount, or the code of the reason why there is none."""
    found: Priced | Unpriced = answer(article, rank, on, price_list)
    return found.code if isinstance(found, Unpriced) else str(found.amount)
