"""A service's prices over time: of every list for those who keep them, of the public list for everybody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from catalog import price_lists
from clinic import db, money


@dataclass(frozen=True)
class Past:
    """A price of a service at any time, and who ordered it.

    One that a later order of the same first day put right has that order in `corrected_by`.
    """

    price_list: str
    doctor_rank: str
    kind: str
    amount: Decimal | None
    valid_from: date
    valid_until: date | None
    order: str
    order_date: date
    order_id: UUID
    author: str
    published_by: str
    published_at: datetime
    corrected_by: UUID | None
    corrected_by_number: str | None
    corrected_by_date: date | None

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "amount": money.text_or_none(self.amount)}


def of_every_list(conn: db.Connection, service_id: UUID) -> list[Past]:
    """All prices of a service, past, present and ordered ahead, of every list and rank."""
    return db.many(
        conn,
        Past,
        """
        SELECT price.price_list, price.doctor_rank, price.kind, price.amount,
               lower(price.valid) AS valid_from, upper(price.valid) AS valid_until,
               price_order.number AS order, price_order.date AS order_date, price_order.id AS order_id,
               price_order.author, price_order.published_by, price_order.published_at,
               price.corrected_by, correction.number AS corrected_by_number, correction.date AS corrected_by_date
          FROM price
          JOIN price_order ON price_order.id = price.order_id
          LEFT JOIN price_order AS correction ON correction.id = price.corrected_by
          JOIN doctor_rank AS rank ON rank.code = price.doctor_rank
         WHERE price.service_id = %(service)s::uuid
         ORDER BY price.price_list <> 'base', price.price_list, rank.position, lower(price.valid),
                  price.corrected_by IS NULL, price_order.published_at, price_order.id
        """,
        {"service": service_id},
    )


@dataclass(frozen=True)
class PublicPast:
    """A price of the public list at any time. `valid_until` is exclusive.

    One that was put right before it could be charged has the order that did so as `corrected_by`.
    """

    doctor_rank: str
    rank_position: int
    rank_ru: str
    rank_en: str
    kind: str
    amount: Decimal | None
    valid_from: date
    valid_until: date | None
    order: str
    order_date: date
    corrected_by: str | None
    corrected_on: date | None


def public(conn: db.Connection, service_id: UUID) -> list[PublicPast]:
    """All prices that the public list had, has, or is ordered to have for a service; withdrawals among them.

    Empty when the service was never in the public list.
    """
    found = db.many(
        conn,
        PublicPast,
        """
        SELECT price.doctor_rank, rank.position AS rank_position, rank.name_ru AS rank_ru, rank.name_en AS rank_en,
               price.kind, price.amount, lower(price.valid) AS valid_from,
               least(upper(price.valid), service.inactive_since) AS valid_until,
               price_order.number AS order, price_order.date AS order_date,
               correcting.number AS corrected_by, correcting.date AS corrected_on
          FROM price
          JOIN price_list ON price_list.code = price.price_list AND price_list.public
          JOIN medical_service AS service ON service.id = price.service_id
          JOIN price_order ON price_order.id = price.order_id
          JOIN doctor_rank AS rank ON rank.code = price.doctor_rank
          LEFT JOIN price_order AS correcting ON correcting.id = price.corrected_by
         WHERE price.service_id = %(service)s::uuid AND price.price_list = %(list)s::text
           AND (lower(price.valid) < service.inactive_since) IS NOT FALSE
         ORDER BY rank.position, lower(price.valid), price.corrected_by IS NULL, price_order.published_at,
                  price_order.id
        """,
        {"service": service_id, "list": price_lists.BASE},
    )
    # A withdrawal of what never had a price says that the service exists, and nothing else.
    return found if any(each.kind != "withdrawn" for each in found) else []
