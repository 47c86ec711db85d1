"""Rules about the code base, each with a sentence for a failure."""

import ast
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from clinic import settings
from clinic.auth import ROLES, SCOPES
from clinic.errors import FAULTS, Problem
from wsgi import create_app, gather_commands

ROOT = Path(__file__).parents[1]
ABOVE = {
    "clinic": {"catalog", "billing", "wsgi"},
    "catalog": {"billing", "wsgi"},
    "billing": {"wsgi"},
}
EDGES = ("routes", "pages", "commands")


def is_edge(module: str) -> bool:
    """Whether `catalog.order_routes` and the like: what stands between the nouns and the world."""
    package, _, inside = module.partition(".")
    name = inside.split(".")[0]
    return package in ABOVE and (name in EDGES or name.endswith(tuple(f"_{edge}" for edge in EDGES)))


@pytest.fixture(scope="module")
def app():
    gather_commands()  # the command line has refusals of its own
    return create_app(settings.Settings(secret_key="k" * 32))


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


def imported(path):
    tree = ast.parse(path.read_text())
    plain = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    froms = {
        f"{node.module}.{name.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for name in node.names
    }
    return plain | froms


@pytest.mark.parametrize("package", ABOVE)
def test_imports_point_down(package):
    for path in modules(package):
        tops = {name.split(".")[0] for name in imported(path)}
        assert not tops & ABOVE[package], f"{path.relative_to(ROOT)} imports from above"


@pytest.mark.parametrize("package", ABOVE)
def test_routes_pages_and_commands_are_called_by_nobody_but_wsgi(package):
    for path in modules(package):
        if path.name == "__init__.py":
            continue
        edges = {name for name in imported(path) if is_edge(name)}
        assert not edges, f"{path.relative_to(ROOT)} imports {sorted(edges)}"


def owners():
    owner: dict[str, str] = {}
    for path in sorted((ROOT / "migrations").glob("*.sql")):
        sql = path.read_text()
        package = re.match(r"-- (\w+): \S", sql)
        assert package, f"{path.name} does not begin with «-- package: why»"
        owner |= dict.fromkeys(re.findall(r"CREATE TABLE (\w+)", sql), package[1])
    return owner


@pytest.mark.parametrize("package", ABOVE)
def test_each_package_touches_only_its_own_tables(package):
    owner = owners()
    # The branch of a document, the names of its parties and what the journal says of it are read where the document is:
    # all three are of the clinic.
    shared = {"branch", "party", "journal"}
    for path in modules(package):
        for table in re.findall(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+([a-z_]+)", path.read_text()):
            belongs = owner.get(table, package)
            assert belongs == package or table in shared, f"{path.name} uses {belongs}'s {table}"


def test_migrations_are_numbered_without_gaps():
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "migrations").glob("*.sql"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_template_names_are_unique():
    names = [path.name for path in ROOT.glob("*/templates/*")]
    assert len(names) == len(set(names)), "Flask searches all packages' templates as one folder"


def test_every_route_says_who_may_call_it(app):
    for rule in app.url_map.iter_rules():
        if rule.endpoint == "static" or rule.endpoint.endswith(".static"):
            continue
        scope = getattr(app.view_functions[rule.endpoint], "scope", None)
        assert scope in {*SCOPES, "public", "signed_in"}, f"{rule} names no scope"


OPEN_TO_STRANGERS = {
    "/", "/docs", "/health/live", "/health/ready", "/metrics", "/prices", "/prices/<string:article>", "/prices/file",
    "/problems", "/problems/<code>", "/q/<string:token>", "/sign-in", "/sign-in/provider", "/sign-in/provider/back",
    "/v1/openapi.json", "/v1/prices",
}  # fmt: skip


def test_nothing_else_is_open_to_strangers(app):
    public = {
        str(rule)
        for rule in app.url_map.iter_rules()
        if getattr(app.view_functions[rule.endpoint], "scope", None) == "public"
    }
    assert public <= OPEN_TO_STRANGERS | {"/sign-out"}, sorted(public - OPEN_TO_STRANGERS)


def test_roles_are_made_of_scopes_that_exist():
    for role, scopes in ROLES.items():
        assert scopes <= {*SCOPES, "*"}, f"{role} has unknown scopes"


def test_every_setting_is_documented():
    text = (ROOT / "docs" / "settings.md").read_text()
    missing = [name for name in settings._names() if f"`{name}`" not in text]
    assert not missing, f"docs/settings.md does not mention {missing}"


def test_every_problem_speaks_both_languages_and_is_in_the_docs(app):
    text = (ROOT / "docs" / "problems.md").read_text()
    for code, problem in Problem.every().items():
        assert all(all(problem.words(lang)) for lang in ("ru", "en")), f"{code} lacks words"
        assert f"`{code}`" in text, f"docs/problems.md does not mention {code}"
    for code, words in FAULTS.items():
        assert all(words), f"{code} lacks words"
        assert f"`{code}`" in text, f"docs/problems.md does not mention {code}"


def recorded():
    """(type, name of its data or None) of all events the code records; where a type is put together it ends in *."""
    for path in (path for package in ABOVE for path in modules(package)):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "record":
                for type_ in types_in(node.args[0]):
                    yield type_, None
                    yield from ((type_, data.arg) for data in node.keywords if data.arg)


def types_in(node):
    if isinstance(node, ast.JoinedStr):
        return ["".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)]
    return [each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and "." in str(each.value)]


def test_every_event_is_documented_with_its_data():
    text = (ROOT / "docs" / "api.md").read_text()
    rows = re.findall(r"^\| (`[a-z_]+\.[^|]*) \|[^|]*\|([^\n]*)\|$", text.partition("## Events")[2], re.MULTILINE)
    documented = {type_: data for types, data in rows for type_ in re.findall(r"`([a-z_.]+)`", types)}
    found = list(recorded())
    assert len(found) > 50, "the code is not understood"
    for type_, name in found:
        rows_of_it = [data for each, data in documented.items() if fnmatch(each, type_)]
        assert rows_of_it, f"docs/api.md does not list the event {type_}"
        if name:
            assert any(f"`{name}`" in data for data in rows_of_it), f"docs/api.md: {type_} has `{name}`"


def test_only_the_clock_asks_the_time():
    asks = re.compile(r"datetime\.now|date\.today|time\.time\(|(?<!clock\.)\bnow\(\)|CURRENT_(DATE|TIMESTAMP)")
    for package in ("catalog", "billing"):
        for path in modules(package):
            assert not asks.search(path.read_text()), f"{path.relative_to(ROOT)} asks the time itself"
