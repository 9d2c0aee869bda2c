"""How the house is built: what import-linter's contracts cannot say."""

import ast
import importlib
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ("domain", "application", "infrastructure", "interfaces", "offline_model")
SOURCES = sorted(
    [
        *(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py")),
        *(ROOT / "sluice").glob("*.py"),
    ]
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))

CATCH_ALLS = {
    "application/background.py": "what is repeated goes on: nobody would see that its task ended",
    "application/process_chat.py": "the one of the use cases: whatever happens, the log ends",
    "application/relay.py": "no node sees an error of ours: it is raised where the run is awaited",
    "application/shadow.py": "whatever a shadow fails with is a figure, and nobody's else",
    "infrastructure/composition/user_graph.py": "a factory, and its import, is the user's code",
    "infrastructure/event_log/buffer.py": "no job ends by a fault in one reader's encoder",
    "infrastructure/event_log/sqlite/writer.py": "what cannot be written is told to who waits",
    "infrastructure/llm/body.py": "aiohttp's parser is no place for it: the task raises it",
    "infrastructure/pipeline/model_callers.py": "a user's object may raise when it is looked at",
    "infrastructure/pipeline/nodes.py": "a node must not end the process, whatever it raises",
    "infrastructure/pipeline/runs.py": "a node is the user's code: what it raises is PipelineError",
    "infrastructure/sqlite/group_commit.py": "what ends a transaction is told to who asked for it",
    "interfaces/http/middleware.py": "what crashed is answered; the server would print its text",
}
"""Who may catch everything, and why."""

NOT_USED = re.compile(r"manager|handler|processor|helper|util|_v2", re.IGNORECASE)
THEIR_WORDS = {"get_route_handler"}
"""Methods of FastAPI that are overridden."""


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            place = path.relative_to(ROOT).parts
            place = place if place[0] == "sluice" else ("sluice", *place)
            base = place[: -node.level] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            yield from (module, *(f"{module}.{alias.name}" for alias in node.names))


@pytest.mark.parametrize("layer", LAYERS)
def test_each_layer_is_found_inside_this_repository(layer: str) -> None:
    """One name is installed; the layers keep their folders at the top of the repository."""
    found = importlib.import_module(f"sluice.{layer}")
    assert [Path(place).resolve() for place in found.__path__] == [ROOT / layer]


def test_nobody_imports_a_layer_past_its_package() -> None:
    """It would be there twice, and could be a user's own `domain`."""
    past = {
        f"{name(path)}: {imported}"
        for top in (*LAYERS, "benchmarks", "docs", "examples", "tests")
        for path in (ROOT / top).rglob("*.py")
        for imported in imports(path)
        if imported.split(".")[0] in LAYERS
    }
    assert past == set()


@pytest.mark.parametrize(
    ("sources", "most"), [(SOURCES, 250), (TESTS, 447)], ids=["product", "tests"]
)
def test_no_file_is_longer_than_a_reader_can_hold(sources: list[Path], most: int) -> None:
    """Tests are read one by one, and one file may hold more of them."""
    lengths = {name(path): len(path.read_text().splitlines()) for path in sources}
    assert {path: lines for path, lines in lengths.items() if lines > most} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{name(path)}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {where: lines for where, lines in long.items() if lines > 50} == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name(path) for path in SOURCES if path.read_text() and not ast.get_docstring(tree(path))
    ]
    assert silent == []


def test_the_core_imports_nothing_but_the_standard_library() -> None:
    allowed = {*sys.stdlib_module_names, "sluice.domain", "sluice.application"}
    foreign = [
        f"{name(path)}: {imported}"
        for path in SOURCES
        if path.is_relative_to(ROOT / "domain") or path.is_relative_to(ROOT / "application")
        for imported in imports(path)
        if imported.split(".")[0] not in allowed
        and ".".join(imported.split(".")[:2]) not in allowed
    ]
    assert foreign == []


def test_everything_is_caught_only_where_the_reason_is_known() -> None:
    found = {
        name(path)
        for path in SOURCES
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.ExceptHandler) and catches_all(node))
        or (isinstance(node, ast.Call) and suppresses_all(node))
    }
    assert found == set(CATCH_ALLS)


def catches_all(node: ast.ExceptHandler) -> bool:
    """A block that ends by raising the same again only cleans up."""
    end = node.body[-1]
    if isinstance(end, ast.Raise) and end.exc is None:
        return False
    types = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return any(one is None or is_all(one) for one in types)


def suppresses_all(node: ast.Call) -> bool:
    return ast.unparse(node.func) in ("suppress", "contextlib.suppress") and any(
        map(is_all, node.args)
    )


def is_all(kind: ast.expr) -> bool:
    return isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")


def test_containers_declare_their_adapters_and_override_none() -> None:
    """But where a deployment's declarations are made those of what it inherits."""
    found = {
        name(path)
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in ("override", "override_providers")
    }
    assert found == {"infrastructure/composition/declaring.py"}


def test_words_that_say_nothing_name_nothing() -> None:
    found = [
        f"{name(path)}: {word}"
        for path in SOURCES
        for word in defined(path)
        if NOT_USED.search(word) and word not in THEIR_WORDS
    ]
    assert found == []


def defined(path: Path) -> Iterator[str]:
    """Modules, classes, functions and the names at the top of a module."""
    yield path.stem
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
    for node in tree(path).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            yield from (one.id for one in ast.walk(node) if isinstance(one, ast.Name))


def test_the_offline_models_rules_are_known_to_its_server_and_their_own_tests_only() -> None:
    """To the service the offline model is a base URL, and to everybody else."""
    rules = "sluice.offline_model.rules"
    knowing = {
        name(path)
        for top in (*LAYERS, "benchmarks", "docs", "examples", "tests")
        for path in (ROOT / top).rglob("*.py")
        if any(f"{imported}.".startswith(f"{rules}.") for imported in imports(path))
    }
    assert {path for path in knowing if "offline_model" not in path} == set()
    inside = {path for path in knowing if path.startswith("offline_model")}
    assert {path for path in inside if "/rules/" not in path} == {"offline_model/server.py"}


def without_imports(path: Path) -> list[str]:
    """Its lines; a list of imported names may well be another file's."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = ""
    return lines


def test_nothing_of_ten_lines_is_written_twice() -> None:
    places: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path in SOURCES:
        lines = [line for line in without_imports(path) if line and not line.startswith("#")]
        for start in range(len(lines) - 9):
            places[tuple(lines[start : start + 10])].append(name(path))
    assert {where[0]: where for where in map(tuple, places.values()) if len(where) > 1} == {}


def test_whatever_mutants_are_judged_by_is_there() -> None:
    table = tomllib.loads((ROOT / "tests/mutation/modules.toml").read_text())
    for module, arguments in table.items():
        assert (ROOT / module).is_file(), module
        for place, _, test in (each.partition("::") for each in arguments):
            if place.startswith("tests/"):
                assert (ROOT / place).exists(), place
                assert not test or f"def {test}(" in (ROOT / place).read_text(), test


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_pins_every_package_by_its_hashes_and_names_no_host(lock: str) -> None:
    lines = (ROOT / lock).read_text().splitlines()
    assert not [line for line in lines if "://" in line or line.startswith("-")]
    pins = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert pins
    assert not [line for line in pins if "==" not in line or not line.endswith("\\")]
