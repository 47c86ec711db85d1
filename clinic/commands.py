"""Commands of the clinic itself: branches, the worker."""

from __future__ import annotations

from pathlib import Path

import click
import marshmallow as ma

from clinic import (
    branches,
    cli,
    fields,
    settings,
    strict_json,
    worker,
)
from clinic.auth import COMMAND_LINE
from clinic.command import change


@click.group("branches")
def branch_commands() -> None:
    """Branches of the clinic."""


@branch_commands.command("create")
@click.argument("code")
@click.option("--name", required=True)
@click.option("--prefix", required=True, help="Up to four capital letters that begin the branch's numbers.")
def create_branch(code: str, name: str, prefix: str) -> None:
    """Open a branch."""
    with cli.open_database(settings.from_environment()), change(COMMAND_LINE) as made:
        try:
            branches.create(made, code, name, prefix)
        except ValueError as exc:
            raise click.BadParameter(str(exc)) from exc
    click.echo(f"Branch {code} is open; its numbers begin with {prefix}.", err=True)


@branch_commands.command("set")
@click.argument("code")
@click.option("--file", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
def set_requisites(code: str, file: Path) -> None:
    """Set a branch's requisites from a JSON file."""
    try:
        wanted = branches.RequisitesIn().load(strict_json.read(file.read_bytes()))
    except ma.ValidationError as exc:
        wrong = "; ".join(f"{fault.pointer}: {fault.message('en')}" for fault in fields.faults_in(exc.messages))
        raise click.ClickException(wrong) from exc
    with cli.open_database(settings.from_environment()), change(COMMAND_LINE) as made:
        branches.set_requisites(made, code, wanted)
    click.echo(f"The requisites of {code} are set.", err=True)


@click.command()
def work() -> None:
    """Do long work and the chores until stopped: what `serve` starts beside itself. Several may run."""
    with cli.beside_the_server(settings.from_environment(), connections=worker.CONNECTIONS) as urls:
        worker.run(urls.app)
