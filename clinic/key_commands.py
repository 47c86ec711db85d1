"""Commands of programs' keys. Only a secret goes to standard output alone; all else is told on standard error."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import click
import marshmallow as ma

from clinic import api_keys, branches, cli, clock, db, fields, settings
from clinic.auth import COMMAND_LINE, EVERYTHING, SCOPES
from clinic.command import change

_MOST = 10_000
_SCOPE = click.Choice([*SCOPES, EVERYTHING])
_DAYS = click.IntRange(1, 36_500)


@click.group()
def keys() -> None:
    """Keys of programs."""


@keys.command("create")
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, required=True, type=_SCOPE,
    help="What the key may do; * is everything. Repeatable.",
)  # fmt: skip
@click.option("--branch", help="The only branch the key sees; without it, all.")
@click.option("--days", type=_DAYS, help="Days the key is good for; without it, no end.")
@click.option("--discount-ceiling", default="0", help="Percent of discount the key gives without approval.")
def create_key(name: str, scopes: tuple[str, ...], branch: str | None, days: int | None, discount_ceiling: str) -> None:
    """Make a key and print it, this once, alone on standard output."""
    ceiling = _percent(discount_ceiling)
    with cli.open_database(settings.from_environment()), change(COMMAND_LINE) as made:
        of = branches.id_of(made.conn, branch)
        issued = api_keys.create(made, name, list(scopes), branch_id=of, days=days, discount_ceiling=ceiling)
    click.echo(f"Key «{name}» for {', '.join(scopes)}, id {issued.key_id}; it is not shown again.", err=True)
    click.echo(issued.secret)


@keys.command("list")
def list_keys() -> None:
    """List the keys, the newest first: id, state, last use, secrets in use, branch, scopes, name."""
    with cli.open_database(settings.from_environment()), db.reading() as conn:
        for key in api_keys.page(conn, COMMAND_LINE, None, _MOST):
            used = f"used {_short(key.last_used_at)}" if key.last_used_at else "never used"
            prefixes = ",".join(each["prefix"] for each in key.secrets)
            click.echo(
                f"{key.id}  {_state(key)}  {used}  {prefixes}  {key.branch or 'all branches'}  "
                f"{','.join(key.scopes)}  {key.name}"
            )


@keys.command("rotate")
@click.argument("key")
@click.option(
    "--overlap-hours", type=click.IntRange(0, 720), default=24, show_default=True,
    help="Hours the secret in use works on; 0 ends it at once.",
)  # fmt: skip
@click.option("--days", type=_DAYS, help="Days the key is good for from now; without it, as before.")
def rotate_key(key: str, overlap_hours: int, days: int | None) -> None:
    """Give a key, named by its id or its first 11 characters, a new secret, and print it, this once."""
    with cli.open_database(settings.from_environment()), change(COMMAND_LINE) as made:
        issued = api_keys.rotate(made, api_keys.called(made.conn, key), timedelta(hours=overlap_hours), days)
    click.echo(f"The old secret works for {overlap_hours} more hours; the new one is not shown again.", err=True)
    click.echo(issued.secret)


@keys.command("revoke")
@click.argument("key")
def revoke_key(key: str) -> None:
    """Take a key, named by its id or its first 11 characters, back: at once and for ever."""
    with cli.open_database(settings.from_environment()), change(COMMAND_LINE) as made:
        api_keys.revoke(made, api_keys.called(made.conn, key))
    click.echo("The key is revoked.", err=True)


def _state(key: api_keys.Key) -> str:
    if key.revoked_at:
        return f"revoked {_short(key.revoked_at)}"
    if not key.expires_at:
        return "good without end"
    return f"{'good until' if key.is_good(clock.now()) else 'ended'} {_short(key.expires_at)}"


def _short(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%MZ}"


def _percent(text: str) -> Decimal:
    try:
        percent: Decimal = fields.Percent().deserialize(text)
        return percent
    except ma.ValidationError as exc:
        raise click.BadParameter("a percentage from 0 to 100 is needed", param_hint="--discount-ceiling") from exc
