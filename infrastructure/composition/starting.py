"""What a container is asked for before its process runs a job."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sluice.domain.chat import ExecutionPath
from sluice.infrastructure.composition.base import Base

logger = logging.getLogger(__name__)


@asynccontextmanager
async def instrumented(container: Base) -> AsyncGenerator[None, None]:
    """Users' own clients are heard: from before their graph is built, until jobs have ended."""
    instrumentor = container.instrumentor()
    instrumentor.instrument()
    try:
        yield
    finally:
        await instrumentor.uninstrument()


def build_every_path(container: Base) -> None:
    """Raises WrongSetting now rather than at the first question."""
    paths: tuple[ExecutionPath, ...] = ("A1", "A2")
    for path in paths:
        container.pipeline(path)
        if container.settings().shadow.percent:
            container.shadow_pipeline(path)
    for notice in container.wrapped_graph().notices:
        logger.info("%s", notice)
