"""What commands that read files show: how far they are, and what they found."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

import click

from catalog.price_rows import Finding

_Row = tuple[int, list[str]]


def shown(rows: list[_Row]) -> Iterator[_Row]:
    """The rows, passing; a terminal shows how far they are."""
    with click.progressbar(rows, label="Reading", file=sys.stderr) as passing:
        yield from passing


def print_findings(problems: Sequence[Finding], warnings: Sequence[Finding]) -> None:
    lang = language()
    for kind, findings in (("problem", problems), ("warning", warnings)):
        for each in (finding.as_json(lang) for finding in findings):
            place = f"row {each['row']}" + (f", {each['column']}" if each["column"] else "")
            click.echo(f"{kind}: {place}: {each['message']} ({each['code']})")


def language() -> str:
    """The language of the terminal: ru or en."""
    spoken = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "ru" if spoken.startswith("ru") else "en"
