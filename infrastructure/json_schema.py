"""Holding a value to a JSON Schema that a user's graph gave: nothing is fetched for that.

The library is imported by the first answer to a human's question: most services never have one.
"""

import logging
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from sluice.application.pause_json import canonical
from sluice.domain.errors import Refused
from sluice.domain.events import Json

logger = logging.getLogger(__name__)

_LOOKED_AT = 100
"""Of what does not fit: the best of it is told, and a list may have tens of thousands."""


def check_value(schema: Mapping[str, Json], value: Json) -> None:
    """Raises Refused, which names the first field that does not fit.

    A schema that is none, or that leads outside of itself, is met by anything. What is nested too
    deeply to be held to a schema does not fit it.
    """
    from jsonschema import exceptions, validators
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    try:
        kind.check_schema(schema)
        checks = validators.extend(kind, {"uniqueItems": _unique})
        errors = checks(schema, registry=Registry()).iter_errors(value)
        wrong = exceptions.best_match(islice(errors, _LOOKED_AT))
    except RecursionError:
        raise Refused("", "is nested too deeply") from None
    except (exceptions.SchemaError, Unresolvable) as error:
        logger.warning("a graph asks by a schema that cannot be used: %s", type(error).__name__)
        return
    if wrong is not None:
        raise Refused(".".join(map(str, wrong.absolute_path)), wrong.message)


def _unique(_validator: Any, wanted: Json, value: Json, _schema: Any) -> Iterator[Any]:
    """The library compares each item with each where they cannot be sorted: for hours."""
    from jsonschema.exceptions import ValidationError

    if wanted and isinstance(value, list) and len({*map(canonical, value)}) < len(value):
        yield ValidationError("has an item twice")
