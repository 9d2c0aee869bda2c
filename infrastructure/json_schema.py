"""Holding a value to a JSON Schema that a user's graph gave: nothing is fetched for that.

The library is imported by the first answer to a human's question: most services never have one.
"""

import logging
from collections.abc import Mapping

from sluice.domain.errors import Refused
from sluice.domain.events import Json

logger = logging.getLogger(__name__)


def check_value(schema: Mapping[str, Json], value: Json) -> None:
    """Raises Refused, which names the first field that does not fit.

    A schema that is none, or that leads outside of itself, is met by anything.
    """
    from jsonschema import exceptions, validators
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    try:
        kind.check_schema(schema)
        wrong = exceptions.best_match(kind(schema, registry=Registry()).iter_errors(value))
    except (exceptions.SchemaError, Unresolvable, RecursionError) as error:
        logger.warning("a graph asks by a schema that cannot be used: %s", type(error).__name__)
        return
    if wrong is not None:
        raise Refused(".".join(map(str, wrong.absolute_path)), wrong.message)
