"""OpenAI's API in front of several gateways and workers."""

import asyncio
import json
import signal
from typing import Any

import pytest

from sluice.offline_model import Reply
from tests.cluster.conftest import ANSWER, WORDS
from tests.live.cluster import Cluster
from tests.live.service import Service

pytestmark = pytest.mark.timeout(120)


async def events(gateway: Service, job: str) -> bytes:
    url = f"{gateway.url}/v1/responses/{job}?stream=true"
    async with asyncio.timeout(60):
        answer = await gateway.client.get(url, timeout=60)
    assert answer.status_code == 200
    return answer.content


async def test_a_response_is_the_same_at_any_gateway_also_if_its_worker_dies(
    cluster: Cluster,
) -> None:
    one, other = cluster.gateways
    cluster.says("a response", Reply(WORDS, pace=0.02))
    asked = [{"role": "user", "content": "One?"}, {"role": "user", "content": "a response"}]
    body = {"model": "sluice", "input": asked, "background": True}
    job = (await one.client.post(f"{one.url}/v1/responses", json=body)).json()["id"]
    live = [asyncio.create_task(events(gateway, job)) for gateway in (one, other)]
    async with other.stream(job) as stream:
        await stream.until("token", count=5)
        (await cluster.worker_of(job)).tell(signal.SIGKILL)
        await stream.all(60)
    for seen in await asyncio.gather(*live):
        assert_whole(seen)
    late = [await events(gateway, job) for gateway in (one, other)]
    assert late[0] == late[1]
    assert_whole(late[0])


def assert_whole(body: bytes) -> None:
    data = [line[6:] for line in body.decode().split("\n") if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    told: list[Any] = [json.loads(each) for each in data]
    numbers = [event["sequence_number"] for event in told]
    assert numbers == sorted(set(numbers))
    texts: dict[int, str] = {}
    for event in told:
        if event["type"] == "response.output_text.delta":
            index = event["output_index"]
            texts[index] = texts.get(index, "") + event["delta"]
    assert texts[max(texts)] == ANSWER
    assert told[-1]["type"] == "response.completed"
    (item,) = told[-1]["response"]["output"]
    assert item["content"][0]["text"] == ANSWER


async def test_a_side_call_is_answered_by_the_gateway_itself(cluster: Cluster) -> None:
    text = "### Task:\nGenerate a title"
    cluster.says(text, Reply(["A ", "title"]))
    body = {"model": "sluice", "messages": [{"role": "user", "content": text}]}
    gateway = cluster.gateways[0]
    answer = await gateway.client.post(f"{gateway.url}/v1/chat/completions", json=body)
    assert answer.json()["choices"][0]["message"]["content"] == "A title"
    assert "x-sluice-job" not in answer.headers
