"""Commands of billing."""

from __future__ import annotations

import click

from billing import numbering
from clinic import cli, db, settings


@click.group("numbering")
def numbers() -> None:
    """Series of document numbers."""


@numbers.command("proof")
@click.pass_context
def proof(ctx: click.Context) -> None:
    """Show every series and whether its numbers are 1…n without a gap; status 1 when one is not."""
    with cli.open_database(settings.from_environment()), db.transaction() as conn:
        series = numbering.proof(conn)
    for each in series:
        span = f"{each.first}…{each.last}" if each.count else "no documents"
        verdict = "whole" if each.whole else "BROKEN"
        click.echo(f"{each.branch} {each.kind} {each.prefix}{each.year}: {span}, {each.count} documents, {verdict}")
    if not series:
        click.echo("No document has a number yet.")
    if not all(each.whole for each in series):
        ctx.exit(1)
