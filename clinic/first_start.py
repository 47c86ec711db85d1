"""What a new clinic begins with: the branch `main`, sample data, an administrator's key and password."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import psycopg

from clinic import migrate
from clinic.settings import Settings


def prepare(
    settings: Settings,
    owner_url: str,
    say: Callable[[str], None],
    *,
    sample: bool,
    load_sample: Callable[..., bool],
) -> list[str]:
    """Set up what is missing; safe to repeat and to run twice at once.

    `load_sample` fills an empty catalog; it is not called in production. Returns the lines to show once: the
    administrator's key and password, which are stored nowhere.
    """
    wanted = sample and not settings.production
    # The advisory lock of the migrations: of two first starts one does the work and the other finds it done.
    with psycopg.connect(owner_url, autocommit=True) as held:
        held.execute("SELECT pg_advisory_lock(%s::bigint)", (migrate.LOCK,))
        if _settled(held, wanted):
            return []
        # Imported only now: a usual start needs none of it and must be quick.
        from clinic import db

        db.open_pool(owner_url, size=1, command_line=True)
        try:
            return _set_up(say, load_sample if wanted else None)
        finally:
            db.close_pool()


def _settled(conn: psycopg.Connection, sample: bool) -> bool:
    row = conn.execute(
        """
        SELECT EXISTS (SELECT FROM api_key) AND EXISTS (SELECT FROM staff)
           AND (NOT %s OR EXISTS (SELECT FROM journal WHERE type = 'price_order.published'))
        """,
        (sample,),
    ).fetchone()
    return bool(row and row[0])


def _set_up(say: Callable[[str], None], load_sample: Callable[..., bool] | None) -> list[str]:
    from clinic import api_keys, branches, db, staff
    from clinic.auth import COMMAND_LINE, EVERYTHING
    from clinic.command import change

    shown: list[str] = []
    with change(COMMAND_LINE) as made:
        if not db.value(made.conn, "SELECT true FROM branch LIMIT 1"):
            branches.create(made, branches.MAIN, "Клиника", "")
        if load_sample is not None and load_sample(made):
            say("Loaded the sample price list as order No. 1")
        if not db.value(made.conn, "SELECT true FROM api_key LIMIT 1"):
            key = api_keys.create(made, "administrator", [EVERYTHING], discount_ceiling=COMMAND_LINE.discount_ceiling)
            shown.append(f"Administrator's API key, shown this once: {key.secret}")
        if not db.value(made.conn, "SELECT true FROM staff LIMIT 1"):
            password = secrets.token_urlsafe(12)
            staff.create(made, "admin", "administrator", password)
            shown.append(f"Administrator's login, shown this once: admin, password {password}")
    return shown
