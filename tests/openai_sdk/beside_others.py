"""Run as a program, for some cannot be taken off again: each call beside one other, before it and
after it; prints what was heard.
"""

import asyncio
import json
import sys
from typing import Any

from openai import AsyncOpenAI

from sluice.infrastructure.openai_sdk.instrumentor import OpenAIInstrumentor
from sluice.offline_model import OfflineModel, Reply

from .conftest import PATIENT, Run

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}


def put_on(name: str, client: AsyncOpenAI) -> AsyncOpenAI:
    match name:
        case "openinference":
            from openinference.instrumentation.openai import OpenAIInstrumentor as Theirs
            from opentelemetry.sdk.trace import TracerProvider

            Theirs().instrument(tracer_provider=TracerProvider())
        case "langsmith":
            from langsmith.wrappers import wrap_openai

            return wrap_openai(client)
        case "langfuse":
            import langfuse.openai  # noqa: F401
    return client


async def ask(client: AsyncOpenAI, model: OfflineModel) -> None:
    completions = client.chat.completions
    model.script(*[Reply(pieces=["a", "b"])] * 4)
    async for _ in await completions.create(**ASKED, stream=True):
        pass
    async with completions.stream(**ASKED) as events:
        async for _ in events:
            pass
    async for _ in (await completions.with_raw_response.create(**ASKED, stream=True)).parse():
        pass
    await completions.create(**ASKED)


async def heard(client: AsyncOpenAI, model: OfflineModel) -> tuple[list[str], int]:
    with Run().entered() as run:
        await ask(client, model)
    return run.teller.said, len(run.teller.ends)


async def main(name: str) -> None:
    async with OfflineModel(pace=0) as model:
        client = AsyncOpenAI(base_url=model.base_url, api_key="x")
        instrumentor = OpenAIInstrumentor(PATIENT)
        instrumentor.instrument()
        wrapped = put_on(name, client)
        after = await heard(wrapped, model)
        await instrumentor.uninstrument()
        without = await heard(wrapped, model)
        instrumentor = OpenAIInstrumentor(PATIENT)
        instrumentor.instrument()
        before = await heard(wrapped, model)
        await instrumentor.uninstrument()
    print(json.dumps({"after": after, "without": without, "before": before}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
