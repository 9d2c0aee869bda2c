"""What a node's code leads to, found without calling anything: what it names is followed."""

import sys
from functools import partial, wraps
from types import FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda

from sluice.infrastructure.pipeline import model_callers as module
from sluice.infrastructure.pipeline.model_callers import (
    names_in,
    reaches,
)
from tests.unit.small_graphs import chain


class Wanted:
    pass


WANTED = Wanted()
OTHER: Any = SimpleNamespace(wanted=WANTED)
HOLDER = ModuleType("holder")
HOLDER.wanted = WANTED  # type: ignore[attr-defined]
HOLDER.other = [1]  # type: ignore[attr-defined]


def leads(found: object) -> bool:
    return reaches(found, lambda each: each is WANTED)


def by_name() -> Any:
    return WANTED


def takes_one(_: Any) -> Any:
    return WANTED


def without() -> Any:
    return HOLDER


def of_a_module() -> Any:
    return HOLDER.wanted


def of_a_modules_other() -> Any:
    return HOLDER.other


def in_a_function_inside() -> Any:
    return lambda: WANTED


def through() -> Any:
    return by_name()


def closed_over(value: Any) -> Any:
    return lambda: value


def a_default(value: Any = WANTED) -> Any:
    return value


def a_keyword(*, value: Any = WANTED) -> Any:
    return value


@wraps(by_name)
def wrapping() -> None:
    return None


def unfilled() -> Any:
    def inner() -> Any:
        return earlier, first

    first = WANTED
    if not first:
        earlier = 1
    return inner


def imports_it() -> Any:
    import holder  # type: ignore[import-not-found]

    return holder.wanted


class Owner:
    def __init__(self) -> None:
        self.kept, self.another = WANTED, 1

    def uses(self) -> Any:
        return self.kept

    def calls_another(self) -> Any:
        return self.uses()

    def nothing(self) -> Any:
        return self.another


class CallsItself:
    def __init__(self) -> None:
        self.kept, self.another = WANTED, 1

    def __call__(self) -> Any:
        return self.kept


class CallsNothing(CallsItself):
    def __call__(self) -> Any:
        return self.another


class Slotted:
    __slots__ = ()

    def uses(self) -> Any:
        return WANTED


class Raising:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError


LEADING: dict[str, Any] = {
    "itself": WANTED,
    "a global": by_name,
    "a module's name": of_a_module,
    "a function inside": in_a_function_inside,
    "another function": through,
    "a closure": closed_over(WANTED),
    "a closure that is half filled": unfilled(),
    "a default": a_default,
    "a keyword's default": a_keyword,
    "what is wrapped": wrapping,
    "a partial's function": partial(by_name),
    "a partial's argument": partial(print, WANTED),
    "a partial's keyword": partial(print, end=WANTED),
    "a dict": {"a": {"b": WANTED}},
    "a list": [1, WANTED],
    "a tuple": (1, WANTED),
    "a set": {1, WANTED},
    "a frozen set": frozenset({WANTED}),
    "a method": Owner().uses,
    "a method of its own": Owner().calls_another,
    "a method of what has no attributes": Slotted().uses,
    "a method that is no function": MethodType(CallsItself(), 1),
    "a call": CallsItself(),
    "an object": Owner(),
    "a runnable's part": RunnableLambda(takes_one),
    "a graph": chain(a=by_name).compile(),
    "behind what raises": [Raising(), WANTED],
}


@pytest.mark.parametrize("way", LEADING)
def test_a_way_that_leads_there(way: str) -> None:
    assert leads(LEADING[way])


@pytest.mark.parametrize(
    "found",
    [
        *(None, 1, 1.5, "WANTED", b"x", Wanted, HOLDER, by_name.__code__, [Raising()]),
        *(without, of_a_modules_other, Owner().nothing, CallsNothing(), closed_over(1)),
        chain(a=without).compile(),
    ],
)
def test_what_is_not_named_is_not_found(found: object) -> None:
    assert not leads(found)


def test_what_a_function_imports_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not leads(imports_it)
    monkeypatch.setitem(sys.modules, "holder", HOLDER)
    assert leads(imports_it)


def nested(levels: int) -> Any:
    found: Any = WANTED
    for _ in range(levels):
        found = [found]
    return found


def test_only_so_many_steps_are_taken() -> None:
    assert leads(nested(11))
    assert not leads(nested(12))


def test_a_graph_inside_graphs_is_not_too_deep() -> None:
    """As an agent is that an agent's tool runs."""
    found: Any = WANTED
    for _ in range(3):
        found = chain(a=closed_over(found)).compile()
    assert leads(closed_over(found))


def test_only_so_much_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 5)
    assert leads([[1, 2, WANTED]])
    assert not leads([[1, 2, 3, WANTED]])


def test_what_leads_to_itself_is_looked_at_once() -> None:
    ring: list[Any] = []
    ring.append(ring)
    looks: list[object] = []

    def look(each: object) -> bool:
        looks.append(each)
        return False

    assert not reaches(ring, look)
    assert looks == [ring]


def test_installed_code_is_not_read_by_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_INSTALLED", (by_name.__code__.co_filename,))
    assert not leads(by_name)
    assert leads(a_default)
    assert leads(closed_over(WANTED))
    assert not leads(Owner())


@pytest.mark.parametrize(
    ("file", "is_read"),
    [("/app/graph.py", True), ("<frozen os>", False), ("/opt/site-packages/theirs.py", False)],
)
def test_where_code_comes_from_says_whether_it_is_read(file: str, is_read: bool) -> None:
    code = by_name.__code__.replace(co_filename=file)
    assert leads(FunctionType(code, globals())) is is_read


def test_names_are_those_of_the_code_and_of_code_inside() -> None:
    assert names_in(in_a_function_inside, "WANTED")
    assert not names_in(in_a_function_inside, "OTHER")
    assert not names_in("WANTED", "WANTED")
