"""A route function's arguments, found by a plan that is made once.

FastAPI looks at each parameter again for each request, and opens two exit stacks around them: a
third of what its layers cost. Most of our routes ask for nothing that needs that: the request,
plain values of path, query and headers, one JSON body, and functions of all of these but a body.
For these the same Pydantic types are asked in the same order, and refuse with the same errors. A
function that asks for more has no plan, and is left to FastAPI, which describes all of them.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends, Header, Param, Path, Query
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

_SOURCES: Mapping[type[Param], str] = {Path: "path", Query: "query", Header: "header"}
_READ_FROM = {"path": "path_params", "query": "query_params", "header": "headers"}
_ORDER = (*_READ_FROM, "body")
"""FastAPI's; the first error is the one that is told."""
_PLAIN = (str, int, float, bool, NoneType)
_MISSING = {"type": "missing", "msg": "Field required", "input": None}
_NOT_GIVEN = inspect.Parameter.empty
NO_BODY = object()


class _NoPlan(Exception):
    """A parameter is of a kind that is not known here."""


@dataclass(frozen=True, slots=True)
class _Value:
    """What one parameter is given, by `name`."""

    name: str
    source: str
    alias: str
    default: Any
    adapter: TypeAdapter[Any]

    def find(self, given: Any, found: dict[str, Any], errors: list[Any]) -> None:
        """`given` of NO_BODY is none."""
        if given is NO_BODY:
            if self.default is _NOT_GIVEN:
                errors.append({**_MISSING, "loc": self._where})
            else:
                found[self.name] = self.default
            return
        try:
            found[self.name] = self.adapter.validate_python(given, from_attributes=True)
        except ValidationError as error:
            told = error.errors(include_url=False)
            errors.extend({**one, "loc": (*self._where, *one["loc"])} for one in told)

    @property
    def _where(self) -> tuple[str, ...]:
        return (self.source,) if self.source == "body" else (self.source, self.alias)


class Call:
    """A function with where its arguments are. Raises RequestValidationError when called."""

    def __init__(self, function: Callable[..., Any], path: str) -> None:
        """`path`: with the names of its parameters. Raises _NoPlan."""
        self._function = function
        self._waits = inspect.iscoroutinefunction(function)
        self._request: str | None = None
        self._dependencies: list[tuple[str, Call]] = []
        values = []
        hinted = function.__init__ if inspect.isclass(function) else function
        hints = get_type_hints(hinted, include_extras=True)
        for name, parameter in inspect.signature(function).parameters.items():
            hint: Any = hints.get(name)
            marks = hint.__metadata__ if get_origin(hint) is Annotated else ()
            depends = next((mark for mark in marks if isinstance(mark, Depends)), None)
            if hint is Request:
                self._request = name
            elif depends is not None:
                self._dependencies.append((name, _dependency(depends, path)))
            else:
                values.append(_value(parameter, hint, marks, path))
        by_source = {at: [each for each in values if each.source == at] for at in _ORDER}
        bodies = by_source.pop("body")
        if len(bodies) > 1:
            raise _NoPlan
        self._read = [(_READ_FROM[at], found) for at, found in by_source.items() if found]
        self._body = bodies[0] if bodies else None
        self.wants_body = bool(bodies)
        self._asks_request_alone = self._request is not None and not (values or self._dependencies)

    async def __call__(self, request: Request, body: Any) -> Any:
        errors: list[Any] = []
        found = await self._find(request, errors, body)
        if errors:
            raise RequestValidationError(errors)
        return await self._function(**found)

    async def _find(
        self, request: Request, errors: list[Any], body: Any = NO_BODY
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._request is not None:
            found[self._request] = request
        for name, call in self._dependencies:
            if call._asks_request_alone:
                made = call._function(request)
            else:
                wrong = len(errors)
                given = await call._find(request, errors)
                if len(errors) > wrong:
                    continue
                made = call._function(**given)
            found[name] = await made if call._waits else made
        for where, values in self._read:
            source: Mapping[str, Any] = getattr(request, where)
            for value in values:
                value.find(source.get(value.alias, NO_BODY), found, errors)
        if self._body is not None:
            self._body.find(body, found, errors)
        return found


def plan_of(function: Callable[..., Any], path: str) -> Call | None:
    """None for a function that wants more than is known here, or makes no response by itself."""
    try:
        made = get_type_hints(function).get("return")
        if not inspect.isclass(made) or not issubclass(made, Response):
            return None
        return Call(function, path)
    except _NoPlan:
        return None


def _dependency(depends: Depends, path: str) -> Call:
    function = depends.dependency
    plain = depends == Depends(function)
    if not plain or function is None or inspect.isgeneratorfunction(function):
        raise _NoPlan
    if inspect.isasyncgenfunction(function):
        raise _NoPlan
    call = Call(function, path)
    if call.wants_body:
        raise _NoPlan
    return call


def _value(parameter: inspect.Parameter, hint: Any, marks: Any, path: str) -> _Value:
    """Raises _NoPlan."""
    name, mark = parameter.name, next((one for one in marks if isinstance(one, Param)), None)
    if mark is None and _leaves(hint, BaseModel):
        return _Value(name, "body", name, parameter.default, TypeAdapter(hint))
    if not _leaves(hint, *_PLAIN) or not isinstance(parameter.default, (*_PLAIN, type)):
        raise _NoPlan  # lists, and defaults that are markers themselves
    if mark is None:
        source = "path" if f"{{{name}}}" in path else "query"
    elif type(mark) in _SOURCES and mark.alias is not None:
        source = _SOURCES[type(mark)]
    else:
        raise _NoPlan
    alias = (mark and mark.alias) or name
    return _Value(name, source, alias, parameter.default, TypeAdapter(hint))


def _leaves(hint: Any, *kinds: type) -> bool:
    """Whether the type, or each that may stand in its place, is of these kinds, or None."""
    match get_origin(hint):
        case None:
            return inspect.isclass(hint) and issubclass(hint, (*kinds, NoneType))
        case origin if origin is Annotated:
            return _leaves(get_args(hint)[0], *kinds)
        case origin if origin in (Union, UnionType):
            return all(_leaves(each, *kinds) for each in get_args(hint))
        case origin if origin is Literal:
            return str in kinds
    return False
