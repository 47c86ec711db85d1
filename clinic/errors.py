"""What can go wrong, as nouns: each refusal is a class with a status and a stable code.

The first paragraph of a class's docstring is the English title a caller reads, the rest says what to do;
`ru` says both in Russian. Codes are the class names in snake case and never change.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


class Problem(Exception):
    """A refusal that the caller is told about as RFC 9457 problem details."""

    status: ClassVar[int] = 500
    ru: ClassVar[str] = ""
    headers: Mapping[str, str] = {}

    def __init__(self, detail: str | None = None, **members: Any) -> None:
        """`detail` says what is wrong this time; `members` are further members of the answer, for programs."""
        super().__init__(detail or self.code())
        self.detail = detail
        self.members = members

    @classmethod
    def code(cls) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @classmethod
    def words(cls, lang: str) -> tuple[str, str]:
        """Title and explanation in `ru` or `en`."""
        text = cls.ru if lang == "ru" else inspect.cleandoc(cls.__doc__ or "")
        title, _, explanation = text.partition("\n\n")
        return title.replace("\n", " ").rstrip("."), " ".join(explanation.split())

    def as_json(self, lang: str, request_id: str) -> dict[str, Any]:
        """RFC 9457 problem details in `ru` or `en`."""
        title, explanation = self.words(lang)
        return {
            "type": f"/problems/{self.code()}",
            "title": title,
            "status": self.status,
            "code": self.code(),
            "detail": self.detail or explanation,
            "request_id": request_id,
            **self.members,
        }

    @classmethod
    def every(cls) -> dict[str, type[Problem]]:
        """All problems by code, of all packages that are loaded."""
        found: dict[str, type[Problem]] = {}
        for child in cls.__subclasses__():
            if child.ru:
                found[child.code()] = child
            found |= child.every()
        return found


@dataclass(frozen=True)
class Fault:
    """One wrong place of a request: where (RFC 6901 pointer), a stable code, and what the text needs."""

    pointer: str
    code: str
    values: tuple[tuple[str, str], ...] = ()

    def message(self, lang: str) -> str:
        ru, en = FAULTS[self.code]
        return (ru if lang == "ru" else en).format(**dict(self.values))


# Fault codes with their texts, (ru, en). Packages above add theirs by `describe`.
FAULTS: dict[str, tuple[str, str]] = {
    "required": ("Поле обязательно.", "This field is required."),
    "null_not_allowed": ("Значение null здесь недопустимо.", "null is not allowed here."),
    "unknown_member": ("Такого поля нет.", "There is no such field."),
    "not_an_object": ("Нужен объект JSON.", "A JSON object is needed."),
    "not_a_list": ("Нужен список.", "A list is needed."),
    "wrong_count": ("Неподходящее число элементов.", "The number of items is not allowed."),
    "not_text": ("Нужна строка без управляющих символов.", "Text without control characters is needed."),
    "wrong_length": ("Неподходящая длина текста.", "The length of this text is not allowed."),
    "wrong_form": ("Значение не той формы.", "The value does not have the form needed."),
    "not_money": (
        "Нужна сумма в рублях строкой, например «1500.00», не больше двух знаков после точки.",
        'A sum in rubles is needed as a string such as "1500.00", at most two decimals.',
    ),
    "not_percent": (
        "Нужен процент строкой от 0 до 100, не больше двух знаков после точки.",
        "A percentage from 0 to 100 is needed as a string, at most two decimals.",
    ),
    "not_quantity": (
        "Нужно количество: строка не больше трёх знаков после точки или целое число.",
        "A quantity is needed: a string of at most three decimals, or a whole number.",
    ),
    "not_positive": ("Нужно число больше нуля.", "A number above zero is needed."),
    "not_whole": ("Нужно целое число в допустимых пределах.", "A whole number within bounds is needed."),
    "not_flag": ("Нужно true или false.", "true or false is needed."),
    "not_day": ("Нужна дата вида 2026-11-23.", "A day such as 2026-11-23 is needed."),
    "not_instant": ("Нужно время вида 2026-11-23T09:15:00Z.", "An instant such as 2026-11-23T09:15:00Z is needed."),
    "not_uuid": ("Нужен идентификатор UUID.", "A UUID is needed."),
    "not_a_file": ("Нужен файл.", "A file is needed."),
    "not_a_choice": ("Такого варианта нет.", "This is not one of the choices."),
    "wrong_inn": ("ИНН неверен.", "The INN is not valid."),
    "wrong_kpp": ("КПП неверен.", "The KPP is not valid."),
    "repeated_parameter": ("Параметр указан дважды.", "The parameter is given twice."),
    "wrong_idempotency_key": (
        "Ключ идемпотентности — от 8 до 255 печатных символов ASCII.",
        "An Idempotency-Key has 8 to 255 printable ASCII characters.",
    ),
    "unknown_branch": ("Такого филиала нет.", "There is no such branch."),
}  # fmt: skip


def describe(texts: dict[str, tuple[str, str]]) -> None:
    """Add fault codes of a package with their texts, (ru, en)."""
    if twice := FAULTS.keys() & texts.keys():
        raise ValueError(f"fault codes described twice: {sorted(twice)}")
    FAULTS.update(texts)


class BadRequest(Problem):
    status = 400


class Refused(Problem):
    status = 403


class NotFound(Problem):
    """There is no such thing here.

    It does not exist, or it belongs to a branch that this caller does not see."""

    status = 404
    ru = "Ничего не найдено\n\nТакого нет, или оно принадлежит филиалу, который вам не виден."


class Conflict(Problem):
    status = 409


class UnreadableJson(BadRequest):
    """The body is not readable JSON.

    Send one JSON text in UTF-8, without NaN, without numbers of more than 30 digits, at most 32 levels deep."""

    ru = (
        "Тело запроса не читается как JSON\n\n"
        "Нужен один текст JSON в UTF-8: без NaN, без чисел длиннее 30 цифр, глубиной до 32."
    )


class UnreadableRequest(BadRequest):
    """This is no request that can be read.

    It breaks the rules of HTTP/1.1, or its first line or its headers are too long; the status says which. Nothing was
    done. Send it by a common library for HTTP."""

    ru = (
        "Это не запрос, который можно прочесть\n\n"
        "Нарушены правила HTTP/1.1, или слишком длинны первая строка или заголовки: что именно, говорит код состояния. "
        "Ничего не сделано. Пошлите запрос обычной библиотекой для HTTP."
    )


class DuplicateMember(BadRequest):
    """A JSON object has the same member twice.

    Which of the two values is meant cannot be known; send one."""

    ru = "В объекте JSON поле указано дважды\n\nНельзя понять, какое из двух значений верно: оставьте одно."


class BadCursor(BadRequest):
    """The cursor is not one of this list.

    Cursors belong to one list, its filters and its reader; begin again without a cursor."""

    ru = "Курсор не от этого списка\n\nКурсор действует для одного списка с теми же фильтрами: начните без курсора."


class IdempotencyKeyRequired(BadRequest):
    """This call needs an Idempotency-Key header.

    It gives a number or moves money. Send 8 to 255 characters, new for every new intention, the same for a repeat."""

    ru = (
        "Нужен заголовок Idempotency-Key\n\n"
        "Вызов даёт номер или двигает деньги. Пошлите от 8 до 255 символов: новые для нового, те же для повтора."
    )


class Unauthorized(Problem):
    """Who you are is not known.

    Send `Authorization: Bearer cb_…` with a key that is neither revoked nor past its last day."""

    status = 401
    ru = "Неизвестно, кто вы\n\nПошлите `Authorization: Bearer cb_…` с действующим ключом."
    headers: Mapping[str, str] = {"WWW-Authenticate": "Bearer"}


class Forbidden(Refused):
    """This caller may not do that.

    The member `scope` names the right that is missing."""

    ru = "Недостаточно прав\n\nПоле `scope` называет недостающее право."


class MethodNotAllowed(Problem):
    """This address does not answer that method.

    The header Allow lists the methods it answers."""

    status = 405
    ru = "Этот метод здесь не разрешён\n\nЗаголовок Allow перечисляет разрешённые."


class WrongHost(Problem):
    """This service is not called that.

    The header Host names another one than the address the service is given to people under."""

    status = 400
    ru = "Сервис называется иначе\n\nЗаголовок Host называет не тот адрес, под которым сервис открывают люди."


class NotAcceptable(Problem):
    """No form of the answer is one that was asked for.

    Accept application/json."""

    status = 406
    ru = "Ответа в таком виде нет\n\nПримите application/json."


class InProgress(Conflict):
    """The first call with this Idempotency-Key is still running.

    Repeat the same request with the same key after the seconds given by Retry-After."""

    ru = (
        "Первый вызов с этим ключом ещё выполняется\n\n"
        "Повторите тот же запрос с тем же ключом через Retry-After секунд."
    )
    headers: Mapping[str, str] = {"Retry-After": "1"}


class AlreadyExists(Conflict):
    """Another document with this id, or with the same unique value, is already there.

    Read it, or send another id."""

    ru = "Такой уже есть\n\nПрочтите существующий или пошлите другой идентификатор."


class PreconditionFailed(Problem):
    """It has changed since you read it.

    Read it again, look at what is different, and send the new ETag as If-Match."""

    status = 412
    ru = "С тех пор, как вы читали, это изменилось\n\nПрочтите снова и пошлите новый ETag в If-Match."


class TooLarge(Problem):
    """The request is too large.

    A JSON body may have 256 KiB; where a file is taken, all parts together 20 MiB."""

    status = 413
    ru = "Запрос слишком велик\n\nТело JSON — не больше 256 КиБ; там, где принимают файл, все части вместе — 20 МиБ."


class UnsupportedMediaType(Problem):
    """The body has a type that is not read here.

    Send `Content-Type: application/json`, or `multipart/form-data` where a file is taken."""

    status = 415
    ru = (
        "Тело такого типа здесь не читается\n\n"
        "Пошлите `Content-Type: application/json`, а там, где принимают файл, — `multipart/form-data`."
    )


class InvalidInput(Problem):
    """Some fields are wrong.

    The list `errors` names every wrong place with a code; nothing was changed."""

    status = 422
    ru = "Некоторые поля неверны\n\nСписок `errors` называет каждое неверное место и код; ничего не изменено."

    def __init__(self, faults: list[Fault], valid: Any = None) -> None:
        super().__init__()
        self.faults = faults
        self.valid = valid

    def as_json(self, lang: str, request_id: str) -> dict[str, Any]:
        wrong = [{"pointer": each.pointer, "code": each.code, "message": each.message(lang)} for each in self.faults]
        return {**super().as_json(lang, request_id), "errors": wrong}


class IdempotencyKeyReused(Problem):
    """This Idempotency-Key was used for another request.

    The key belongs to its first method, address and body. Take a new key for a new intention."""

    status = 422
    ru = (
        "Этот ключ идемпотентности уже занят другим запросом\n\n"
        "Ключ принадлежит первому методу, адресу и телу. Для нового намерения возьмите новый."
    )


class PreconditionRequired(Problem):
    """This change needs If-Match.

    Read it, and send its ETag as If-Match, so that nobody's change is overwritten unseen."""

    status = 428
    ru = "Для изменения нужен If-Match\n\nПрочтите и пошлите ETag в If-Match, чтобы не затереть чужую правку."


class TooManyRequests(Problem):
    """Too many requests.

    Wait for the seconds given by Retry-After."""

    status = 429
    ru = "Слишком много запросов\n\nПодождите Retry-After секунд."
    headers: Mapping[str, str] = {"Retry-After": "5"}

    def __init__(self, retry_after: int | None = None) -> None:
        """`retry_after` in seconds, where it is known."""
        super().__init__()
        if retry_after is not None:
            self.headers = {"Retry-After": str(retry_after)}


class InternalError(Problem):
    """Something is broken on our side.

    The request changed nothing. Tell us the request_id."""

    status = 500
    ru = "Сбой на нашей стороне\n\nЗапрос ничего не изменил. Сообщите нам request_id."


class DatabaseAway(Problem):
    """The database does not answer now, or not in time.

    What became of a write is unknown: repeat the same request with the same
    Idempotency-Key until another answer comes."""

    status = 503
    ru = (
        "База данных сейчас не отвечает\n\n"
        "Судьба записи неизвестна: повторяйте тот же запрос с тем же ключом, пока не придёт другой ответ."
    )
    headers: Mapping[str, str] = {"Retry-After": "1"}
