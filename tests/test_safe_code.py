"""What no line of the program does: compare secrets as texts, glue SQL, run what came from outside (S8, S18–S20)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

import psycopg

ROOT = Path(__file__).parents[1]
Kind = TypeVar("Kind", bound=ast.AST)
MODULES = [
    *(path for package in ("clinic", "catalog", "billing") for path in sorted((ROOT / package).rglob("*.py"))),
    ROOT / "wsgi.py",
    ROOT / "run.py",
]
TEMPLATES = [path for package in ("clinic", "catalog", "billing") for path in (ROOT / package).rglob("*.html")]
PAPERS = [path for package in ("clinic", "catalog", "billing") for path in (ROOT / package).rglob("*.typ")]


@cache
def walked(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text())))


def nodes(kind: type[Kind]) -> Iterator[tuple[Path, Kind]]:
    for path in MODULES:
        yield from ((path, node) for node in walked(path) if isinstance(node, kind))


@cache
def name(node: ast.Call) -> str:
    """What is called."""
    return ast.unparse(node.func)


def at(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)} {ast.unparse(node)[:100]}"


# ---- S8: secrets ----

SECRET = re.compile(
    r"secret|token|sha256|digest|hash|password|signature|\bstate\b|nonce|verifier|sealed|recovery|\bmac\b"
)
NO_SECRETS = {
    "found == head.sha256": "a head is published: there is nothing to guess",
    "done[path.name] != digest": "a migration's text is no secret",
    "each.asked_sha256 != asked": "what was asked before, of a payment its caller may read",
}
"""Comparisons that look like one of secrets, and why they are none."""


def compared(node: ast.Compare) -> list[ast.expr]:
    sides = [node.left, *node.comparators]
    return [each for each in sides if not isinstance(each, ast.Constant | ast.Tuple | ast.Set | ast.List)]


def is_secret(node: ast.expr) -> bool:
    return isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and bool(SECRET.search(ast.unparse(node).lower()))


def test_s08_no_secret_is_compared_by_equality():
    found = []
    for path, node in nodes(ast.Compare):
        plain = any(isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in node.ops)
        sides = compared(node)
        # Beside a word of ours there is nothing to find out.
        if plain and len(sides) > 1 and any(map(is_secret, sides)) and ast.unparse(node) not in NO_SECRETS:
            found.append(at(path, node))
    assert found == []


def test_s08_secrets_are_compared_in_constant_time():
    places = {str(path.relative_to(ROOT)) for path, node in nodes(ast.Call) if name(node) == "hmac.compare_digest"}
    assert places == {
        "clinic/html.py", "clinic/provider_sign_in.py", "clinic/lists.py", "clinic/metrics_routes.py",
        "clinic/second_factor.py",
    }  # fmt: skip


KEPT = {
    "api_key_secret.sha256", "journal.sha256", "journal_head.sha256", "recovery_code.sha256",
    "staff_session.token_sha256", "quote_link.token_sha256", "payment.asked_sha256",
    "invoice.content_sha256", "act.content_sha256", "credit_note.content_sha256", "discount_approval.content_sha256",
    "party.digest", "party.salt", "staff.password_hash", "staff.password_is_temporary", "second_factor.sealed",
    "webhook.secret", "webhook.old_secret", "webhook.old_secret_until", "schema_migration.sha256",
}  # fmt: skip
"""Columns of what is secret or made of it: hashes, and what `sealing` encrypts. None of them opens a door."""


def test_s08_a_secret_is_kept_as_its_hash_or_sealed(database_url):
    with psycopg.connect(database_url.owner) as conn:
        rows = conn.execute(
            """
            SELECT table_name || '.' || column_name, data_type
              FROM information_schema.columns
             WHERE table_schema = 'public' AND column_name ~ 'secret|token|password|sealed|recovery|sha256|digest|salt'
            """
        ).fetchall()
    found: dict[str, str] = dict(rows)
    assert found.keys() == KEPT
    readable = {name for name, type_ in found.items() if type_ == "text"}
    assert readable == {"staff.password_hash", "schema_migration.sha256"}


# ---- S18: SQL ----

WRITTEN = {"execute": 0, "executemany": 0, "copy": 0, "stream": 0}
"""Methods of connections and cursors, and where their statement stands."""
PASSED_ON = {"db.value": 1, "db.find": 2, "db.many": 2, "db.filtered": 2, "numbering.taken": 1, "Check": 2}
"""Functions of ours that pass a statement on, and where it stands among what they are given."""
GIVEN = {
    "clinic/db.py sql": "what its callers give, who are looked at here",
    "billing/numbering.py statement": "the same",
    "billing/books.py check.sql": "the same",
    "clinic/pool.py self._setup": "the settings of a connection, put together by psycopg.sql",
    "clinic/migrate.py script": "a file of migrations/",
}
"""Statements that are no literal where they are run, and what they are."""


@cache
def literals(path: Path) -> frozenset[str]:
    """The names that a module gives nothing but literals to."""
    assigned: dict[str, list[ast.expr | None]] = {}
    for node in walked(path):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                assigned.setdefault(ast.unparse(target), []).append(node.value)
        elif isinstance(node, ast.AnnAssign):
            assigned.setdefault(ast.unparse(node.target), []).append(node.value)
        elif isinstance(node, ast.AugAssign | ast.For | ast.NamedExpr):
            assigned.setdefault(ast.unparse(node.target), []).append(None)
        elif isinstance(node, ast.arg):
            assigned.setdefault(node.arg, []).append(None)
        elif isinstance(node, ast.ImportFrom):
            for each in node.names:
                whole = ROOT / f"{(node.module or '').replace('.', '/')}.py"
                known = whole.exists() and each.name in literals(whole)
                assigned.setdefault(each.asname or each.name, []).append(ast.Constant("") if known else None)
    found: frozenset[str] = frozenset()
    while True:
        more = frozenset(
            each for each, values in assigned.items() if all(value and is_literal(value, found) for value in values)
        )
        if more == found:
            return found
        found = more


def is_literal(node: ast.expr, names: frozenset[str]) -> bool:
    match node:
        case ast.Constant(value=str() | bytes()):
            return True
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return is_literal(left, names) and is_literal(right, names)
        case ast.JoinedStr(values=values):
            return all(
                is_literal(each.value if isinstance(each, ast.FormattedValue) else each, names) for each in values
            )
        case ast.Name(id=variable):
            return variable in names
        case ast.Attribute(value=ast.Name(id=module), attr=constant) if constant.isupper():
            return any(constant in literals(path) for path in MODULES if path.stem == module)
        # psycopg's own composition: whatever is no identifier becomes a literal of SQL.
        case ast.Call(func=ast.Attribute(value=template, attr="format")) if is_composed(template):
            return is_literal(template.args[0], names)  # type: ignore[attr-defined]
        case ast.Call() if is_composed(node):
            return is_literal(node.args[0], names)
    return False


def is_composed(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and name(node) in {"SQL", "sql.SQL"}


def statements() -> Iterator[tuple[Path, ast.Call, ast.expr]]:
    for path, node in nodes(ast.Call):
        place = PASSED_ON.get(name(node))
        if place is None and isinstance(node.func, ast.Attribute):
            place = WRITTEN.get(node.func.attr)
        if place is not None and len(node.args) > place:
            yield path, node, node.args[place]


def test_s18_every_statement_is_a_literal():
    found = list(statements())
    assert len(found) > 300, "the code is not understood"
    glued = {
        f"{path.relative_to(ROOT)} {ast.unparse(sql)[:80]}": at(path, node)
        for path, node, sql in found
        if not is_literal(sql, literals(path))
    }
    assert glued.keys() == GIVEN.keys(), [place for each, place in glued.items() if each not in GIVEN]


# ---- S20: spreadsheets ----

SPREADSHEETS = {
    "billing/exports.py csv.writer", "catalog/feed_csv.py csv.writer", "catalog/price_writing.py csv.writer",
    "catalog/price_writing.py xlsxwriter.Workbook",
}  # fmt: skip
"""What writes files for spreadsheets; for each a test of this row has formulas in its texts."""


def test_s20_whatever_writes_for_spreadsheets_is_known():
    writes = re.compile(r"csv\.(writer|DictWriter)|.*\bWorkbook|.*\.to_(csv|excel)")
    found = {(path, node) for path, node in nodes(ast.Call) if writes.fullmatch(name(node))}
    assert {f"{path.relative_to(ROOT)} {name(node)}" for path, node in found} == SPREADSHEETS
    for _, node in found:
        if "Workbook" in name(node):
            options = ast.literal_eval(node.args[1])
            assert (
                options["strings_to_formulas"] is options["strings_to_urls"] is options["strings_to_numbers"] is False
            )


# ---- S19: programs ----

RUNNING = re.compile(
    r"(builtins\.)?(eval|exec|compile|__import__)"
    r"|os\.(system|popen|spawn\w+|posix_spawn\w*)|(pickle|marshal|shelve|dill)\.\w+|yaml\.\w*load\w*|runpy\.\w+"
    r"|subprocess\.(getoutput|getstatusoutput)|(flask\.)?render_template_string|\w+\.from_string|(jinja2\.)?Template"
    r"|typst\.\w*eval\w*",
)
"""Calls that run text as a program, or make a template of it."""
BY_NAME = {
    "wsgi.py import_module(module)": "one of the lists above it",
}
MARKED_UP = {"clinic/html.py", "catalog/linked_data.py"}
"""Where text is called safe for HTML, which is escaped in the same line."""


def test_s19_no_text_is_run_as_a_program():
    assert [at(path, node) for path, node in nodes(ast.Call) if RUNNING.fullmatch(name(node))] == []
    imports = {
        f"{path.relative_to(ROOT)} {ast.unparse(node)}"
        for path, node in nodes(ast.Call)
        if name(node).endswith("import_module")
    }
    assert imports == BY_NAME.keys()


def test_s19_no_shell_is_started():
    for path, node in nodes(ast.Call):
        for each in node.keywords:
            assert each.arg != "shell", at(path, node)
        if name(node).startswith("subprocess.") and node.args:
            assert isinstance(node.args[0], ast.List | ast.Name | ast.BinOp), at(path, node)


def test_s19_pages_and_papers_take_data_as_data():
    marked = {str(path.relative_to(ROOT)) for path, node in nodes(ast.Call) if name(node) == "Markup"}
    assert marked == MARKED_UP
    for path in TEMPLATES:
        assert not re.search(r"\|\s*safe\b|autoescape|\bMarkup\b", path.read_text()), path
    assert PAPERS
    for path in PAPERS:
        # `json` reads the one thing it is given; whatever else reads files, packages or programs has no place here.
        assert not re.search(
            r"#?\b(eval|read|import|include|plugin|yaml|toml|xml|csv|cbor)\b *[(\"@]", path.read_text()
        ), path
