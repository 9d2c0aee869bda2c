"""In a job, the caller gets what it would get from the SDK alone: held side by side."""

from typing import Any
from uuid import UUID

import httpx2
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from openai import AsyncOpenAI, OpenAI

from sluice.infrastructure.openai_sdk.instrumentor import OpenAIInstrumentor

from .conftest import Run, chat_model
from .scripted import ScriptedServer, chunk, sse, texts
from .shapes import COMPLETE, WRONG

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # odd on purpose

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}
BODIES = {**COMPLETE, **WRONG}


@pytest.fixture(params=BODIES)
def body(request: pytest.FixtureRequest, server: ScriptedServer) -> bytes:
    server.plays(BODIES[request.param])
    return BODIES[request.param]


def seen(chunks: list[Any], error: Exception | None) -> Any:
    """All that can be told of objects and of an error, but which fields were given."""
    dumped = [(type(c), repr(c), c.model_dump(), c.to_dict(), c.model_extra) for c in chunks]
    return dumped, type(error), str(error), getattr(error, "body", None)


async def read(stream: Any) -> Any:
    chunks: list[Any] = []
    try:
        async for one in await stream:
            chunks.append(one)
    except Exception as error:  # noqa: BLE001 - whatever it is, it has to be the same
        return seen(chunks, error)
    return seen(chunks, None)


async def test_raw_chunks_are_the_sdks(
    body: bytes, server: ScriptedServer, instrumented: OpenAIInstrumentor
) -> None:
    async with AsyncOpenAI(base_url=server.base_url, api_key="x") as client:
        alone = await read(client.chat.completions.create(**ASKED, stream=True))
        with Run().entered():
            heard = await read(client.chat.completions.create(**ASKED, stream=True))
    assert heard == alone


async def test_raw_chunks_of_a_synchronous_client_are_the_sdks(sync_bodies: "SyncBodies") -> None:
    for name, body in BODIES.items():
        assert sync_bodies.heard(body) == sync_bodies.alone(body), name


class SyncBodies:
    """Reads a body by a client whose transport plays it."""

    def alone(self, body: bytes) -> Any:
        kind = {"content-type": "text/event-stream"}
        transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=body, headers=kind))
        http = httpx2.Client(transport=transport)
        chunks: list[Any] = []
        with OpenAI(base_url="http://upstream/v1", api_key="x", http_client=http) as client:
            try:
                chunks.extend(client.chat.completions.create(**ASKED, stream=True))
            except Exception as error:  # noqa: BLE001 - whatever it is, it has to be the same
                return seen(chunks, error)
        return seen(chunks, None)

    def heard(self, body: bytes) -> Any:
        with Run().entered():
            return self.alone(body)


@pytest.fixture
def sync_bodies(instrumented: OpenAIInstrumentor) -> SyncBodies:
    return SyncBodies()


class Callbacks(BaseCallbackHandler):
    """All that a listener of a user's learns of a model, without what is new in every run."""

    run_inline = True

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.texts: list[str] = []

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **_: Any) -> None:
        self.texts.append(chunk.message.text if chunk else token)
        self.told.append((token, plain(chunk.message) if chunk else None))

    def on_llm_end(self, response: Any, **_: Any) -> None:
        self.told.append(plain(response.generations[0][0].message))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self.told.append((type(error), str(error)))


def plain(message: BaseMessage) -> Any:
    return type(message), {**message.model_dump(), "id": None}


async def langchain(server: ScriptedServer, callbacks: "Callbacks", *, how: str) -> Any:
    options: dict[str, Any] = {} if how == "astream" else {"streaming": True}
    if how == "v1":
        options["output_version"] = "v1"
    # Usage is asked for here: where it is not, the job asks for it, and knows more.
    model = chat_model(server.base_url, stream_usage=True, **options)
    config: Any = {"callbacks": [callbacks]}
    try:
        if how == "astream":
            chunks = [one async for one in model.astream("Why?", config)]
            return [plain(one) for one in chunks], callbacks.told
        return plain(await model.ainvoke("Why?", config)), callbacks.told
    except Exception as error:  # noqa: BLE001 - whatever it is, it has to be the same
        return type(error), str(error), callbacks.told


@pytest.mark.parametrize("how", ["astream", "ainvoke", "v1"])
async def test_messages_and_callbacks_are_langchains(
    body: bytes, server: ScriptedServer, how: str, instrumented: OpenAIInstrumentor
) -> None:
    alone = await langchain(server, Callbacks(), how=how)
    with Run().entered():
        heard = await langchain(server, Callbacks(), how=how)
    assert heard == alone


@pytest.mark.parametrize("how", ["ainvoke", "v1"])
async def test_a_message_whose_tokens_were_told_below_langchain_is_the_same(
    body: bytes, server: ScriptedServer, how: str, instrumented: OpenAIInstrumentor
) -> None:
    callbacks = Callbacks()
    alone = await langchain(server, callbacks, how=how)
    with Run(takes=True).entered() as run:
        heard = await langchain(server, Callbacks(), how=how)
    assert run.taken
    if isinstance(alone[0], type) and issubclass(alone[0], Exception):
        assert heard[:2] == alone[:2]
        return
    assert heard[0] == alone[0]
    assert heard[1][-1] == alone[1][-1]
    assert run.text == "".join(callbacks.texts).replace("\ud800", "")  # which nobody can be told


async def test_text_comes_in_one_chunk_where_it_was_told_below_langchain(
    server: ScriptedServer, instrumented: OpenAIInstrumentor
) -> None:
    server.plays(sse(*texts("a", "b", "c"), chunk({}, "stop")))
    with Run(takes=True).entered() as run:
        _, told = await langchain(server, Callbacks(), how="ainvoke")
    assert [token for token, _ in told[:-1]] == ["abc", ""]
    assert run.teller.said == ["a", "b", "c"]
