"""Which nodes of a graph can call a model, found without calling anything.

What a node's code names is followed: closures, globals, attributes, runnables and their parts,
graphs that it runs by itself. A model that code fetches by a name at run time stays unseen.
"""

import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from sysconfig import get_paths
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langgraph.pregel import Pregel

_DEEPEST = 12
"""Steps; with fewer, the workers of a prebuilt supervisor are not found."""
_MOST = 20_000
"""Objects looked at for one node."""
_CLIENTS = frozenset({"openai", "anthropic", "mistralai", "groq", "cohere", "together", "ollama"})
"""Packages whose clients call a model."""
_CLIENT = re.compile(
    "(Client(V2)?|OpenAI|Groq|Together"
    "|(Anthropic|Mistral)(AWS|Azure|Bedrock(Mantle)?|Foundry|GCP|GoogleCloud|Vertex)?)$"
)
"""How their classes' names end, whether they are asynchronous or not."""
_BY_NAME = frozenset(
    {"init_chat_model", "OpenAI", "AsyncOpenAI", "AzureOpenAI", "AsyncAzureOpenAI"}
)
_LLM = ("stream", "complete", "structured", "call_tool")
_FRAMEWORK = ("langchain", "langgraph")
_INSTALLED = tuple(get_paths()[name] for name in ("purelib", "platlib", "stdlib"))
_MODEL_NODES = frozenset(
    {
        ("langchain.agents.factory", "model_node"),
        ("langgraph.prebuilt.chat_agent_executor", "call_model"),
    }
)


def model_callers(graph: Pregel[Any, Any, Any, Any], above: str = "") -> Iterator[str]:
    """Paths (`outer/inner`) of the nodes that can call a model."""
    for name, node in graph.nodes.items():
        inner = node.bound
        if isinstance(inner, Pregel):
            yield from model_callers(inner, f"{above}{name}/")
        elif not name.startswith("__") and reaches(inner, _is_model):
            yield above + name


def agent_node(graph: Pregel[Any, Any, Any, Any]) -> str | None:
    """The node of a prebuilt agent that asks its model, if the graph is such an agent."""
    for name, node in graph.nodes.items():
        match getattr(node.bound, "func", None):
            case FunctionType(__module__=module, __name__=kind) if (module, kind) in _MODEL_NODES:
                return name
    return None


def reaches(node: object, wanted: Callable[[object], bool]) -> bool:
    """Whether what a node's code names leads to something `wanted`."""
    seen: set[int] = set()
    level: list[Any] = [node]
    kept = [node]  # what is made while looking keeps its id for as long
    for _ in range(_DEEPEST):
        following: list[Any] = []
        for each in level:
            if id(each) in seen:
                continue
            seen.add(id(each))
            is_wanted, parts = _look(each, wanted)
            if is_wanted:
                return True
            following += parts
        kept += following
        if not following or len(kept) > _MOST:
            return False
        level = following
    return False


def names_in(function: object, name: str) -> bool:
    """Whether the code of a node's function names `name`."""
    code = getattr(function, "__code__", None)
    return isinstance(code, CodeType) and name in set(_names(code))


def _look(found: object, wanted: Callable[[object], bool]) -> tuple[bool, list[Any]]:
    """Whether it is wanted, and what it holds."""
    try:
        return wanted(found), list(_parts(found))
    except Exception:  # noqa: BLE001 - the user's object, which may raise when looked at
        return False, []


def _is_model(found: object) -> bool:
    kind = found if isinstance(found, type) else type(found)
    if issubclass(kind, BaseLanguageModel):
        return True
    package = kind.__module__.partition(".")[0]
    if package in _CLIENTS and _CLIENT.search(kind.__name__):
        return True
    if isinstance(found, FunctionType):
        return found.__name__ == "init_chat_model" and found.__module__.startswith("langchain")
    return not isinstance(found, type) and all(hasattr(kind, name) for name in _LLM)


def _parts(found: Any) -> Iterator[Any]:
    match found:
        case FunctionType():
            yield from _parts_of_function(found)
        case MethodType():
            yield from _parts_of_method(found)
        case partial():
            yield from (found.func, *found.args, *found.keywords.values())
        case dict():
            yield from found.values()
        case list() | tuple() | set() | frozenset():
            yield from found
        case Pregel():
            yield from (node.bound for node in found.nodes.values())
        case type() | ModuleType() | CodeType() | str() | bytes() | int() | float() | None:
            return
        case _:
            yield from _parts_of_object(found)


def _parts_of_function(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    if (wrapped := getattr(function, "__wrapped__", None)) is not None:
        yield wrapped
    if _is_installed(function.__code__.co_filename):
        return
    names = list(_names(function.__code__))
    for name in names:
        if name in function.__globals__:
            yield from _named(function.__globals__[name], names)
        elif name in sys.modules:  # imported in the function
            yield from _named(sys.modules[name], names)
        elif name in _BY_NAME:
            yield BaseLanguageModel


def _named(found: Any, names: list[str]) -> Iterator[Any]:
    """Of a module or a user's object, only what is named with it."""
    if isinstance(found, ModuleType):
        yield from (vars(found)[name] for name in names if name in vars(found))
    else:
        yield found


def _parts_of_method(method: MethodType) -> Iterator[Any]:
    yield method.__func__
    owner = method.__self__
    if _is_model(owner) or _is_of_clients(owner):
        yield BaseLanguageModel
        return
    code = getattr(method.__func__, "__code__", None)
    held = getattr(owner, "__dict__", {})
    for name in _names(code) if isinstance(code, CodeType) else ():
        if name in held:
            yield held[name]
        elif isinstance(theirs := getattr(type(owner), name, None), FunctionType):
            yield MethodType(theirs, owner)


def _parts_of_object(found: Any) -> Iterator[Any]:
    kind = type(found)
    if _is_of_clients(found):
        yield BaseLanguageModel
    elif kind.__module__.startswith(_FRAMEWORK):
        yield from vars(found).values()
    elif isinstance(call := getattr(kind, "__call__", None), FunctionType):  # noqa: B004
        yield MethodType(call, found)
    else:
        module = sys.modules.get(kind.__module__)
        if not _is_installed(str(getattr(module, "__file__", None))):
            yield from vars(found).values()


def _is_of_clients(found: object) -> bool:
    """`client.chat.completions`, say."""
    package, _, inside = type(found).__module__.partition(".")
    return package in _CLIENTS and inside.startswith("resources")


def _is_installed(file: str) -> bool:
    return file.startswith(("<frozen", *_INSTALLED)) or "site-packages" in file


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
