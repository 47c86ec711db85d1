"""Commands for a person's data: give it out, forget it."""

from __future__ import annotations

import re

import click
import orjson

from billing import privacy
from clinic import cli, db, ids, parties, settings
from clinic.auth import COMMAND_LINE
from clinic.command import change


class _Ref(click.ParamType[str]):
    name = "patient"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(parties.REF, value):
            self.fail("an identifier as documents have it is needed: P-000017", param, ctx)
        return value


@click.group("privacy")
def privacy_commands() -> None:
    """A person's data."""


@privacy_commands.command("export")
@click.argument("patient", type=_Ref())
def export(patient: str) -> None:
    """Print all that is kept about PATIENT, as patient or payer, as JSON. Each document is noted as exported."""
    with cli.open_database(settings.from_environment()), db.transaction() as conn:
        found = privacy.export(conn, patient, f"command-{ids.new().hex[:12]}")
    click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode())


@privacy_commands.command("erase")
@click.argument("patient", type=_Ref())
def erase(patient: str) -> None:
    """Forget PATIENT's names and contacts; those the law keeps are forgotten after the term, and the request waits."""
    chosen = settings.from_environment()
    with cli.open_database(chosen), change(COMMAND_LINE) as made:
        outcome = privacy.erase(made, patient, chosen.retention_years)
    click.echo(orjson.dumps(outcome.as_json(), option=orjson.OPT_INDENT_2).decode())
