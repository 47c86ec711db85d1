"""The only place that asks what time it is, so that tomorrow's behaviour can be tested today."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

_zone = ZoneInfo("Europe/Moscow")
_frozen: datetime | None = None


def use_zone(name: str) -> None:
    """Take business dates in this IANA time zone from now on."""
    global _zone
    _zone = ZoneInfo(name)


def now() -> datetime:
    """This instant, in UTC."""
    return _frozen or datetime.now(UTC)


def today() -> date:
    """The clinic's calendar day. Ask once per transaction and pass the answer on."""
    return day_of(now())


def day_of(instant: datetime) -> date:
    """The clinic's calendar day at `instant`: 21:30 UTC in November is already tomorrow in Moscow."""
    return instant.astimezone(_zone).date()


def local(instant: datetime) -> datetime:
    """`instant` as the clinic's clocks show it."""
    return instant.astimezone(_zone)


def midnight_after(instant: datetime) -> datetime:
    """The instant in UTC at which the clinic's next day begins."""
    return beginning_of(date.fromordinal(day_of(instant).toordinal() + 1))


def beginning_of(day: date) -> datetime:
    """The instant in UTC at which the clinic's day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=_zone).astimezone(UTC)


@contextmanager
def frozen(instant: datetime) -> Iterator[None]:
    """Stop the clock of this process at `instant`; for tests."""
    global _frozen
    before, _frozen = _frozen, instant.astimezone(UTC)
    try:
        yield
    finally:
        _frozen = before
