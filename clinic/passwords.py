"""Passwords of people: what a new one must be, and how it is kept and checked.

Kept as argon2id with the library's parameters (64 MiB, 3 passes, 4 lanes: RFC 9106, the second recommended option).
"""

from __future__ import annotations

import base64
import secrets
import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from clinic import errors
from clinic.errors import TooManyRequests

SHORTEST = 12
LONGEST = 1024
_PATIENCE = 3.0

errors.describe(
    {
        "password_too_short": ("Нужно не меньше 12 знаков.", "At least 12 characters are needed."),
        "password_too_long": ("Не больше 1024 знаков.", "At most 1024 characters."),
        "password_is_login": ("Пароль слишком похож на имя для входа.", "The password is too much like the login."),
        "password_is_common": (
            "Такой пароль угадают одним из первых. Возьмите несколько не связанных слов.",
            "This password is among the first to be guessed. Take several words that have nothing in common.",
        ),
        "password_is_the_old_one": ("Это прежний пароль.", "This is the old password."),
        "wrong_password": ("Прежний пароль неверен.", "The old password is not right."),
        "passwords_differ": ("Пароли не совпадают.", "The two passwords differ."),
    }
)

_hasher = PasswordHasher()
# 64 MiB each: a crowd at the sign-in page must not take all the memory there is.
_hashing = threading.Semaphore(2)


def _of_nobody() -> str:
    """A hash that no password has: random bytes in place of what takes long to make, checked as slowly as any other."""
    salt, outcome = (
        base64.b64encode(secrets.token_bytes(length)).decode().rstrip("=")
        for length in (_hasher.salt_len, _hasher.hash_len)
    )
    costs = f"m={_hasher.memory_cost},t={_hasher.time_cost},p={_hasher.parallelism}"
    return f"$argon2id$v=19${costs}${salt}${outcome}"


_NOBODY = _of_nobody()

# Rows of keyboards and orders of letters that passwords are made of; any piece of them, in either direction, is common.
_ROWS = (
    "1234567890", "01234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertyuiopasdfghjklzxcvbnm",
    "1q2w3e4r5t6y7u8i9o0p", "1qaz2wsx3edc4rfv5tgb6yhn7ujm", "qazwsxedcrfvtgbyhnujm", "йцукенгшщзхъ", "фывапролджэ",
    "ячсмитьбю", "йцукенгшщзхъфывапролджэячсмитьбю", "abcdefghijklmnopqrstuvwxyz",
    "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
)  # fmt: skip
_WORDS = (
    "password", "passw0rd", "p@ssw0rd", "пароль", "gfhjkm", "admin", "administrator", "администратор", "root", "user",
    "welcome", "letmein", "iloveyou", "login", "master", "secret", "секрет", "clinic", "клиника", "billing", "doctor",
    "доктор", "врач", "hospital", "больница", "reception", "регистратура", "medicine", "медицина", "monkey", "dragon",
    "football", "baseball", "superman", "princess", "sunshine", "qwerty", "qwertz", "azerty", "йцукен", "test", "guest",
    "changeme", "default", "moscow", "москва", "russia", "россия", "привет", "hello", "любовь", "love", "samsung",
    "spartak", "спартак", "zenit", "natasha", "наташа", "marina", "марина", "alexander", "александр",
)  # fmt: skip


def faults(password: str, login: str) -> list[str]:
    """Codes of what is wrong with a new password of this login; it may consist of any characters."""
    if len(password) > LONGEST:
        return ["password_too_long"]
    found = ["password_too_short"] if len(password) < SHORTEST else []
    bare = "".join(character for character in password.casefold() if character.isalnum())
    name = "".join(character for character in login.casefold() if character.isalnum())
    if name and len(bare.replace(name, "").replace(name[::-1], "")) < 4:
        found.append("password_is_login")
    elif _is_common(bare):
        found.append("password_is_common")
    return found


def _is_common(bare: str) -> bool:
    """Whether nothing of weight is left without the best known words, rows of keys, digits at the end, repetitions."""
    if _is_of_rows(bare.rstrip("0123456789") or bare):
        return True
    rest = bare
    for word in sorted(_WORDS, key=len, reverse=True):
        rest = rest.replace(word, " ")
    rest = "".join(piece for piece in rest.split() if not piece.isdecimal() or piece == bare)
    return len(rest) < 4 or len(set(rest)) < 4 or _is_of_rows(rest) or _repeats(rest)


def _is_of_rows(text: str) -> bool:
    both = [way for row in _ROWS for way in (row + row, (row + row)[::-1])]
    while text:
        longest = max((n for n in range(len(text), 2, -1) if any(text[:n] in row for row in both)), default=0)
        if not longest:
            return False
        text = text[longest:]
    return True


def _repeats(text: str) -> bool:
    return any(text == (text[:n] * len(text))[: len(text)] for n in range(1, min(5, len(text) // 2) + 1))


def hashed(password: str) -> str:
    """The password as it is kept.

    Raises:
        TooManyRequests: too many are being hashed at this moment.
    """
    with _Turn():
        return _hasher.hash(_normal(password))


def matches(password_hash: str | None, password: str) -> bool:
    """Whether this is the password. Without a hash it is not, and the answer takes as long.

    Raises:
        TooManyRequests: too many are being checked at this moment.
    """
    with _Turn():
        try:
            right = _hasher.verify(password_hash or _NOBODY, _normal(password))
        except (VerifyMismatchError, InvalidHashError):
            return False
    return right and password_hash is not None


def temporary() -> str:
    """A password for once, as people copy it from paper: 80 bits, without characters that look alike."""
    drawn = "".join(secrets.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(16))
    return "-".join(drawn[n : n + 4] for n in range(0, 16, 4))


def _normal(password: str) -> str:
    # The same letters may come composed or not, as the keyboard has it.
    return unicodedata.normalize("NFKC", password)


class _Turn:
    """One of the few who hash at a time; whoever waits long holds up a thread that others need."""

    def __enter__(self) -> None:
        if not _hashing.acquire(timeout=_PATIENCE):
            raise TooManyRequests(1)

    def __exit__(self, *_: object) -> None:
        _hashing.release()
