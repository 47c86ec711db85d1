"""Commands of webhooks."""

from __future__ import annotations

import click

from clinic import addresses, cli, deliverer, settings
from clinic import webhooks as endpoints
from clinic.auth import COMMAND_LINE
from clinic.command import change


@click.group("webhooks")
def webhooks() -> None:
    """Calls to other systems with what happens."""


@webhooks.command()
def deliver() -> None:
    """Call webhooks until stopped: what `serve` starts beside itself. Several may run."""
    chosen = settings.from_environment()
    with cli.beside_the_server(chosen, connections=deliverer.CONNECTIONS):
        deliverer.run(addresses.allowed(chosen.webhooks_allow))


@webhooks.command()
def reseal() -> None:
    """Seal the webhooks' secrets anew under CLINIC_SECRET_KEY, once CLINIC_SECRET_KEY_BEFORE has opened them."""
    with cli.open_database(settings.from_environment()), change(COMMAND_LINE) as made:
        count = endpoints.reseal(made)
    click.echo(f"The secrets of {count} webhooks are sealed anew.", err=True)
