"""The documentation and the service held against each other, with inputs nobody thought of."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from sluice.application.scheduling import Bounds
from sluice.domain.events import Done, Token
from sluice.domain.rollout import Share
from tests.http.house import House, serving

EXAMPLES = 8
# What a JSON schema cannot say: that no text may hold NUL.
GENERATION = GenerationConfig(allow_x00=False, deterministic=True)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
async def test_every_endpoint_answers_any_request_as_documented(mode: GenerationMode) -> None:
    plays = Token("a", "answer"), Done("A2", "a")
    # The page lists every chat that was opened here: bounds would only stop the questions.
    async with serving(
        *plays, models=None, bounds=Bounds(user_queued=None), share=Share(50), admins=None
    ) as house:
        document = (await house.client.get("/openapi.json")).json()
        config = SchemathesisConfig(
            projects=ProjectsConfig(default=ProjectConfig(generation=GENERATION))
        )
        schema = schemathesis.openapi.from_dict(document, config=config)
        for result in schema.get_all_operations():
            operation = result.ok()  # type: ignore[union-attr]
            known = await _known(house, operation.path)
            for parameters in [None, known] if known else [None]:
                strategy = operation.as_strategy(mode, path_parameters=parameters)
                await asyncio.to_thread(_check, strategy, house.url)


async def _known(house: House, path: str) -> dict[str, str]:
    """A chat and its job that are really there, if the path asks for one."""
    asked = await house.ask()
    await house.read(asked["job_id"])
    return {name: asked[name] for name in ("job_id", "chat_id") if name in path}


def _check(strategy: Any, url: str) -> None:
    @given(strategy)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case: schemathesis.Case[Any]) -> None:
        # Nor can it say which cursors and ETags were given.
        unknown = "cursor" in (case.query or {}) or case.method == "PUT"
        excluded: list[Any] = [positive_data_acceptance] if unknown else []
        case.call_and_validate(base_url=url, timeout=5, excluded_checks=excluded)

    with suppress(Unsatisfiable):  # there is an endpoint that takes anything
        check()
