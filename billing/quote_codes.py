"""The code printed on a quote: eight random characters and a check character, shown 7K3Q-92MT-F.

It proves that a paper is genuine and opens nothing to a stranger. Letters that are mistaken for digits are not used.
"""

from __future__ import annotations

import re
import secrets

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ON_PAPER = re.compile(r"([^/]*)(?:/([0-9]{1,5}))?", re.ASCII)
FORM = r"[0-9A-HJKMNP-TV-Z]{4}-?[0-9A-HJKMNP-TV-Z]{4}-?[0-9A-HJKMNP-TV-Z]"


def new() -> str:
    """Nine characters without hyphens."""
    while True:
        drawn = "".join(secrets.choice(_CROCKFORD) for _ in range(8))
        # I, L, O and U would be misread; the code is drawn again rather than shown with one of them.
        if (check := check_character(drawn)) in _CROCKFORD:
            return drawn + check


def check_character(text: str) -> str:
    """The check character of `text` by ISO 7064 mod 37,36: finds each single wrong and each swapped character."""
    product = 36
    for character in text:
        total = (product + _ALPHABET.index(character)) % 36 or 36
        product = total * 2 % 37
    return _ALPHABET[(37 - product) % 36]


def shown(code: str) -> str:
    """With hyphens, as people read it."""
    return f"{code[:4]}-{code[4:8]}-{code[8:]}"


def read(text: str) -> str | None:
    """The code somebody typed, in any case and with or without hyphens; None when it cannot be right."""
    code = text.strip().upper().replace("-", "")
    if not re.fullmatch(FORM, code) or check_character(code[:8]) != code[8]:
        return None
    return code


def read_paper(text: str) -> tuple[str, int | None] | None:
    """Code and revision as a paper has them, 7K3Q-92MT-F/2; the revision may be left out. None as for `read`."""
    parts = _ON_PAPER.fullmatch(text.strip())
    if parts is None or (code := read(parts[1])) is None:
        return None
    return code, int(parts[2]) if parts[2] else None
