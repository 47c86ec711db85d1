"""Days as people read them, in Russian and in English."""

from __future__ import annotations

from datetime import date, datetime

_GENITIVE = ("января", "февраля", "марта", "апреля", "мая", "июня", "июля", "августа", "сентября", "октября",
             "ноября", "декабря")  # fmt: skip
_ENGLISH = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
            "November", "December")  # fmt: skip


def short(day: date, lang: str) -> str:
    """«23.11.2026», or "23 November 2026": 11/12/2026 would be two different days to two English readers."""
    return f"{day:%d.%m.%Y}" if lang == "ru" else long(day, lang)


def moment(local: datetime, lang: str) -> str:
    """A day with the time of day: «23.11.2026, 12:15»."""
    return f"{short(local.date(), lang)}, {local:%H:%M}"


def long(day: date, lang: str = "ru") -> str:
    """«23 ноября 2026 г.», as documents are dated, or "23 November 2026"."""
    if lang == "ru":
        return f"{day.day} {_GENITIVE[day.month - 1]} {day.year} г."
    return f"{day.day} {_ENGLISH[day.month - 1]} {day.year}"
