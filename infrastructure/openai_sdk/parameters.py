"""What `create` is given, past the SDK's search for what it would have to rename or to format.

The SDK holds each value of a body against every type that it may have, which takes longer than to
send it, and finds nothing where no type has an alias and all is JSON already. Whether one has is
seen once for each type, and any other value than JSON's own is left to the SDK.
"""

import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from typing import Annotated, Any, get_args, get_origin

from openai import NotGiven, Omit
from openai import _utils as sdk
from openai._compat import is_typeddict
from openai._utils._transform import get_type_hints

from sluice.application.model_calls import current_node

Transform = Callable[[Any, Any], Awaitable[Any]]

_NAME = "async_maybe_transform"
_PLACES = ("openai.resources.chat.completions.completions", "openai.resources.responses.responses")
_THEIRS: Transform = getattr(sdk, _NAME)
_LEFT_OUT = (NotGiven, Omit)
_PLAIN = (str, int, float, bool, type(None))


class Parameters:
    """`instrument` puts ours where the SDK's `create` looks for it, `uninstrument` theirs. The SDK
    imports the place with a first call, so it has to be asked again.
    """

    def instrument(self) -> None:
        self._put(_THEIRS, _transformed)

    def uninstrument(self) -> None:
        self._put(_transformed, _THEIRS)

    def _put(self, before: Transform, after: Transform) -> None:
        for module in filter(None, map(sys.modules.get, _PLACES)):
            if vars(module).get(_NAME) is before:
                setattr(module, _NAME, after)


async def _transformed(data: Any, expected: Any) -> Any:
    if current_node.get() is not None and type(data) is dict and not _renames(expected):
        given = {key: value for key, value in data.items() if type(value) not in _LEFT_OUT}
        if _is_json(given):
            return given
    return await _THEIRS(data, expected)


def _is_json(value: Any) -> bool:
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind is dict:
        return all(map(_is_json, value.values()))
    return kind is list and all(map(_is_json, value))


@cache
def _renames(expected: Any) -> bool:
    """Whether a name of the API is another than that of its parameter, however deep inside."""
    seen: set[Any] = set()
    rest = [expected]
    while rest:
        kind = rest.pop()
        if kind in seen:
            continue
        seen.add(kind)
        if get_origin(kind) is Annotated:
            kind, *told = get_args(kind)
            rest.append(kind)
            if any(getattr(one, "alias", None) is not None for one in told):
                return True
        else:
            rest += _parts(kind)
    return False


def _parts(kind: Any) -> Iterator[Any]:
    if is_typeddict(kind):
        yield from get_type_hints(kind, include_extras=True).values()
    yield from (part for part in get_args(kind) if isinstance(part, type) or get_origin(part))
