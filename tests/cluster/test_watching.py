"""One job, watched at once by every client through gateways of which one is killed."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from langgraph_sdk.client import LangGraphClient

from sluice.client import AsyncClient, Done, Token
from sluice.offline_model import Gate, Reply
from tests.cluster.conftest import ANSWER, WORDS, working
from tests.frontends.packages import HERE, packages
from tests.live.service import Service
from tests.services import PostgresServer, RedisServer

__all__ = ["packages"]

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("packages")]

HELD = len(WORDS) // 2
SHORT = len("".join(WORDS[:HELD]))


@asynccontextmanager
async def in_front_of(*gateways: Service) -> AsyncIterator[str]:
    """The address of the first that lives; a connection to one that dies is reset."""
    writers = set[asyncio.StreamWriter]()

    async def passing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            pass

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        gateway = next(one for one in gateways if one.lives)
        with suppress(OSError):
            answers, asks = await asyncio.open_connection("127.0.0.1", gateway.port)
            both = passing(reader, asks), passing(answers, writer)
            tasks = [asyncio.create_task(each) for each in both]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            asks.close()
        writer.transport.abort()
        writers.discard(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def langgraph(url: str, job: str) -> str:
    async with httpx.AsyncClient(base_url=f"{url}/langgraph", trust_env=False, timeout=90) as http:
        runs = LangGraphClient(http).runs
        modes: Any = ["messages-tuple"]
        parts = [part async for part in runs.join_stream("t", job, stream_mode=modes)]
    return "".join(part.data[0]["content"] for part in parts if part.event == "messages")


async def responses(url: str, job: str) -> str:
    text, number = "", -1
    async with openai.AsyncOpenAI(api_key="none", base_url=f"{url}/v1") as client:
        while True:
            with suppress(openai.APIConnectionError):
                after: Any = {"starting_after": number} if number >= 0 else {}
                stream: Any = await client.responses.retrieve(job, stream=True, **after)
                async for event in stream:
                    number = event.sequence_number
                    if event.type == "response.output_text.delta":
                        text += event.delta
                    if event.type == "response.completed":
                        return text


async def ours(url: str, job: str) -> str:
    text = ""
    async with AsyncClient(url) as client, aclosing(client.follow(job)) as events:
        async for received in events:
            if isinstance(received.event, Token):
                text += received.event.content
            if isinstance(received.event, Done):
                assert received.event.answer == text
    return text


async def curl(url: str, job: str) -> str:
    """From the last whole frame on, wherever it was cut."""
    text, last = "", ""
    while True:
        events = f"{url}/api/v1/chat/{job}/events"
        process = await asyncio.create_subprocess_exec(
            *("curl", "-sN", events, "-H", f"Last-Event-ID: {last}"), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        *frames, _ = out.decode(errors="replace").split("\n\n")
        for frame in frames:
            fields = dict(line.split(": ", 1) for line in frame.split("\n"))
            last = fields.get("id", last)
            if fields.get("event") == "token":
                text += json.loads(fields["data"])["content"]
            if fields.get("event") == "done":
                assert process.returncode == 0
                return text


async def test_everybody_has_the_same_text_once_though_a_gateway_is_killed(
    own_redis: RedisServer, own_postgres: PostgresServer, tmp_path: Path
) -> None:
    async with (
        working(tmp_path, own_redis, own_postgres, workers=1, SLUICE_IDLE_TIMEOUT="120") as cluster,
        in_front_of(*cluster.gateways) as url,
    ):
        one, other = cluster.gateways
        gate = Gate()
        cluster.says("watched", Reply(WORDS, hold_after=HELD, gate=gate))
        job = (await one.ask("watched", "t"))["job_id"]
        # Of one protocol some clients are cut, and some read at the gateway that stays.
        watching = {
            "langgraph-sdk": asyncio.create_task(langgraph(url, job)),
            "openai": asyncio.create_task(responses(url, job)),
            "sluice.client": asyncio.create_task(ours(url, job)),
            "curl": asyncio.create_task(curl(url, job)),
            "curl elsewhere": asyncio.create_task(curl(other.url, job)),
        }
        given = {"url": url, "thread": "t", "job": job, "question": "watched"}
        lengths = {"length": len(ANSWER), "held": SHORT}
        process = await asyncio.create_subprocess_exec(
            *("node", HERE / "watch.mjs", "watch", json.dumps(given | lengths)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            while (line := await process.stdout.readline()) not in {b"held\n", b""}:
                pass
            assert line, (await process.stderr.read()).decode()[-4000:]
            one.tell(signal.SIGKILL)
            await one.gone()
            gate.release()
            out, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, errors.decode()[-4000:]
        seen = json.loads(out.decode().rstrip().rpartition("\n")[2])
        agent = seen.pop("agent")  # AG-UI's own client has no way back, and says so
        assert (agent["errors"], ANSWER.startswith(agent["text"])) == (1, True)
        assert all(seen[name]["errors"] for name in ("ai", "copilotkit", "responses"))
        assert {name: look["text"] for name, look in seen.items()} == dict.fromkeys(seen, ANSWER)
        assert [name for name, look in seen.items() if "failed" in look] == []
        texts = {name: await task for name, task in watching.items()}
        assert texts == dict.fromkeys(watching, ANSWER)
