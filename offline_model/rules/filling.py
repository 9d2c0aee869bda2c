"""Fills any JSON schema from a message, deterministically."""

import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from math import inf
from typing import Any

from .choosing import best_member, members_that_fit
from .language import is_korean, says

Schema = Mapping[str, Any]
Path = tuple[str, ...]
"""The references followed to where we are."""

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
_QUOTED = re.compile(
    r"\"([^\"]{1,500})\"|(?<!\w)'([^']{1,500})'(?!\w)|“([^”]{1,500})”|「([^」]{1,500})」|`([^`]{1,500})`"
)
_PROPER = re.compile(r"(?<=\w )(?<![.!?] )([A-Z][\w-]+(?: [A-Z][\w-]+)*)")
_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "user@example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com/",
}
_WHOLE_MESSAGE = re.compile(
    "query|question|message|text|prompt|input|content|search", re.IGNORECASE
)
_DEEPEST = 12


def filled(schema: Schema, message: str, guide: str) -> Any:
    """A value of the schema; the guide is prompt text, see `choosing`."""
    return _Filling(schema, message, guide).value(schema, "", ())


@dataclass(slots=True)
class _Filling:
    """Numbers and quoted words of the message are used in their order, each once."""

    root: Schema
    message: str
    guide: str
    _numbers: Iterator[str] = field(init=False)
    _words: Iterator[str] = field(init=False)

    def __post_init__(self) -> None:
        self._numbers = iter(_NUMBER.findall(self.message))
        quoted = [next(filter(None, groups)) for groups in _QUOTED.findall(self.message)]
        self._words = iter(quoted or _PROPER.findall(self.message))

    def value(self, schema: Schema, name: str, path: Path) -> Any:
        schema, path = self._plain(schema, path)
        if len(path) > _DEEPEST:
            return None
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return best_member(self.message, schema["enum"], self._guide(schema))
        match _kind(schema):
            case "object":
                wanted = schema.get("properties", {})
                return {each: self.value(inner, each, path) for each, inner in wanted.items()}
            case "array":
                return self._array(schema, name, path)
            case "string":
                return self._string(schema, name)
            case "integer" | "number" as kind:
                return self._number(schema, whole=kind == "integer")
            case "boolean":
                return self._boolean(schema, name)
            case _:
                return None

    def _plain(self, schema: Schema, path: Path) -> tuple[Schema, Path]:
        """Without references and alternatives: of these the first that is neither null nor
        leads back to where we are."""
        while len(path) <= _DEEPEST:
            if "$ref" in schema:
                path = (*path, schema["$ref"])
                schema = {**self._at(schema["$ref"]), **_without(schema, "$ref")}
            elif choices := schema.get("anyOf") or schema.get("oneOf"):
                schema = min(
                    choices, key=lambda c: (c.get("$ref") in path, c.get("type") == "null")
                )
            elif "allOf" in schema:
                schema = reduce(operator.or_, map(dict, schema["allOf"]), _without(schema, "allOf"))
            else:
                break
        return schema, path

    def _at(self, reference: str) -> Schema:
        keys = filter(None, reference.removeprefix("#").split("/"))
        return reduce(operator.getitem, keys, self.root)

    def _guide(self, schema: Schema) -> str:
        return f"{self.guide}\n{schema.get('description', '')}"

    def _array(self, schema: Schema, name: str, path: Path) -> list[Any]:
        inner = schema.get("items", {})
        if inner.get("$ref") in path:
            return []
        items, _ = self._plain(inner, path)
        found: list[Any]
        if "enum" in items:
            guide = self._guide(schema) + self._guide(items)
            found = members_that_fit(self.message, items["enum"], guide)
        elif (kind := _kind(items)) in ("integer", "number"):
            whole = kind == "integer"
            found = [_bounded(items, float(each), whole=whole) for each in self._numbers]
        elif kind == "string":
            found = list(self._words) or [self.value(inner, name, path)]
        else:
            found = [self.value(inner, name, path)]
        while len(found) < schema.get("minItems", 0):
            found.append(self.value(inner, name, path))
        return found[: schema.get("maxItems")]

    def _string(self, schema: Schema, name: str) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        if re.fullmatch("lang(uage)?|locale", name, re.IGNORECASE):
            text = "ko" if is_korean(self.message) else "en"
        elif _WHOLE_MESSAGE.search(name):
            text = self.message
        else:
            text = next(self._words, None) or schema.get("default") or self.message
        return text.ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]

    def _number(self, schema: Schema, *, whole: bool) -> float:
        told = next(self._numbers, None)
        value = schema.get("default", 0) if told is None else float(told)
        return _bounded(schema, value or 0, whole=whole)

    def _boolean(self, schema: Schema, name: str) -> bool:
        words = [word for word in re.split(r"[\W_]+", name) if len(word) > 2]
        return any(says(self.message, word) for word in words) or schema.get("default") is True


def _kind(schema: Schema) -> str | None:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if kind is None:
        return "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind)


def _bounded(schema: Schema, value: float, *, whole: bool) -> float:
    step = 1 if whole else 0.5
    least = max(schema.get("minimum", -inf), schema.get("exclusiveMinimum", -inf) + step)
    most = min(schema.get("maximum", inf), schema.get("exclusiveMaximum", inf) - step)
    value = min(max(value, least), most)
    return int(value) if whole or value == int(value) else value


def _without(schema: Schema, key: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != key}
