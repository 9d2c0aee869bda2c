"""Chat front ends: whose question, in which chat, and their side calls."""

import asyncio
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from sluice.application.side_calls import AskModel
from sluice.domain.chat import Turn
from sluice.domain.errors import UpstreamUnavailable
from sluice.infrastructure.settings import read_settings
from sluice.interfaces.http.auth.identity import Forwarded
from sluice.interfaces.processes.identity import forwarded_of
from sluice.interfaces.protocols.side_calls import front_end_of
from sluice.testing import ScriptedLLM
from tests.http.protocols.openai.clients import ANSWER, ASKED, DONE, asking
from tests.http.who import LOOPBACK, bearer, by_secret
from tests.waiting import until

EXAMPLE = Path(__file__).parents[4] / "examples" / "frontends" / "openai" / "librechat.yaml"
USER, CHAT = "X-Front-User", "X-Front-Chat"
FORWARDED = Forwarded(USER, CHAT, LOOPBACK)
TITLE = "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history."


def asked(text: str, *before: str, **more: Any) -> dict[str, Any]:
    roles = ["user", "assistant"] * len(before)
    messages = [{"role": role, "content": said} for role, said in zip(roles, before, strict=False)]
    return {"model": "sluice", "messages": [*messages, {"role": "user", "content": text}], **more}


def headers(user: str | None, chat: str | None) -> Any:
    given = {USER: user, CHAT: chat}
    return {name: value for name, value in given.items() if value is not None}


def a_model(*replies: Any, **bounds: Any) -> tuple[ScriptedLLM, AskModel]:
    llm = ScriptedLLM(*replies)
    return llm, AskModel(llm, **{"calls": 9, "user_calls": None, "deadline": 5.0} | bounds)


async def test_a_front_ends_chat_is_a_chat_of_its_users_and_our_history_the_truth() -> None:
    async with asking(forwarded=FORWARDED) as (house, client):
        ann = client.with_options(default_headers=headers("ann", "c1"))
        await ann.chat.completions.create(**asked("One?"))
        await ann.chat.completions.create(**asked("Two?", "never", "said"))
        bob = client.with_options(default_headers=headers("bob", "c1"))
        await bob.chat.completions.create(**asked("Three?"))
        first, second, third = house.pipeline.asked
        assert first.job.chat_id == second.job.chat_id != third.job.chat_id
        assert second.history == [Turn("user", "One?"), Turn("assistant", ANSWER)]
        assert [one.job.user for one in house.pipeline.asked] == ["ann", "ann", "bob"]
        assert third.history == []


async def test_librechats_example_names_its_user_its_chat_and_a_model(no_settings: None) -> None:
    (endpoint,) = yaml.safe_load(EXAMPLE.read_text())["endpoints"]["custom"]
    ours = forwarded_of(read_settings(user_header="librechat", chat_header="librechat"))
    forwarded = Forwarded(ours.user_header, ours.chat_header, LOOPBACK)
    filled = {"{{LIBRECHAT_USER_ID}}": "ann", "{{LIBRECHAT_BODY_CONVERSATIONID}}": "c1"}
    async with asking(forwarded=forwarded) as (house, client):
        base = endpoint["baseURL"].replace("http://127.0.0.1:8000", house.url)
        sent = {name: filled[value] for name, value in endpoint["headers"].items()}
        front = client.with_options(base_url=base, api_key=endpoint["apiKey"], default_headers=sent)
        assert endpoint["titleModel"] in [model.id async for model in await front.models.list()]
        for model in endpoint["models"]["default"]:
            await front.chat.completions.create(**asked("One?") | {"model": model})
        await front.chat.completions.create(**asked("Two?"))
        *_, last = house.pipeline.asked
        assert last.job.user == "ann"
        assert last.history[-2:] == [Turn("user", "One?"), Turn("assistant", ANSWER)]


@pytest.mark.parametrize("chat", [None, "", "new", "{{LIBRECHAT_BODY_CONVERSATIONID}}"])
async def test_a_chat_that_is_not_named_is_none(chat: str | None) -> None:
    async with asking(forwarded=FORWARDED) as (house, client):
        given = client.with_options(default_headers=headers("ann", chat))
        await given.chat.completions.create(**asked("Two?", "One?", "1"))
        assert house.pipeline.asked[0].job.history == (Turn("user", "One?"), Turn("assistant", "1"))
        assert (await house.client.get("/api/v1/chat")).json()["items"] == []


async def test_the_headers_of_a_stranger_are_not_believed() -> None:
    strange = Forwarded(USER, CHAT, [ip_network("192.0.2.0/24")])
    async with asking(forwarded=strange) as (house, client):
        await client.with_options(default_headers=headers("ann", "c")).chat.completions.create(
            **ASKED
        )
        job = house.pipeline.asked[0].job
        assert (job.user, job.history) == ("anonymous", ())
    async with asking(forwarded=strange, identity=by_secret()) as (_, client):
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(default_headers=headers("ann", "c")).models.list()


async def test_a_named_user_needs_no_token_and_without_a_name_one_is_asked_for() -> None:
    async with asking(forwarded=FORWARDED, identity=by_secret()) as (house, client):
        await client.with_options(default_headers=headers("eve", None)).models.list()
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()
        await client.with_options(default_headers=bearer()).models.list()
        # The native routes believe a token and nothing else.
        native = await house.client.get("/api/v1/chat", headers=headers("eve", None))
        assert native.status_code == 401


async def test_a_page_of_an_allowed_origin_may_use_the_official_client() -> None:
    origin = "http://localhost:5173"
    async with asking(cors_origins=[origin]) as (house, client):
        sent: list[str] = []

        async def remember(request: Any) -> None:
            sent.extend(request.headers)

        client._client.event_hooks["request"].append(remember)
        await client.models.list()
        of_python = ("x-stainless-async", "x-stainless-read-timeout")  # in no browser
        ours = [name for name in sent if name.startswith(("x-", "auth")) and name not in of_python]
        assert "x-stainless-lang" in ours
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": ", ".join(ours),
        }
        answer = await house.client.options("/v1/chat/completions", headers=asked)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", [USER, CHAT])
async def test_two_names_at_once_are_none_to_be_believed(name: str) -> None:
    async with asking(forwarded=FORWARDED) as (house, _):
        twice = [(name, "ann"), (name, "bob")]
        answer = await house.client.post("/v1/chat/completions", json=ASKED, headers=twice)
        assert (answer.status_code, house.pipeline.asked) == (401, [])


async def test_a_failed_question_of_a_chat_is_not_asked_again_by_the_client() -> None:
    async with asking(UpstreamUnavailable(), forwarded=FORWARDED) as (house, client):
        ann = client.with_options(default_headers=headers("ann", "c"), max_retries=2)
        with pytest.raises(openai.InternalServerError):
            await ann.chat.completions.create(**ASKED)
        assert len(house.pipeline.asked) == 1


@pytest.mark.parametrize("api", ["completions", "responses"])
async def test_a_chats_question_is_not_asked_again_when_the_service_leaves(api: str) -> None:
    async with asking(asyncio.Event(), DONE, forwarded=FORWARDED) as (house, client):
        ann = client.with_options(default_headers=headers("ann", "c"), max_retries=2)
        calls: dict[str, Any] = {
            "completions": lambda: ann.chat.completions.create(**ASKED),
            "responses": lambda: ann.responses.create(model="sluice", input="Why?"),
        }
        waiting = asyncio.create_task(calls[api]())
        await until(lambda: house.log.awaited)
        house.log.hang_up()
        with pytest.raises(openai.InternalServerError) as left:
            await waiting
        assert left.value.status_code == 503
        assert len(house.log._logs) == 1


async def test_a_chats_answer_is_made_also_if_its_client_leaves() -> None:
    held = asyncio.Event()
    async with asking(held, DONE, forwarded=FORWARDED) as (house, client):
        ann = client.with_options(default_headers=headers(None, "c"), timeout=0.3)
        with pytest.raises(openai.APITimeoutError):
            await ann.chat.completions.create(**ASKED)
        held.set()
        job = house.pipeline.asked[0].job
        await until(lambda: house.log._logs[job.id].ended)
        chat = (await house.client.get(f"/api/v1/chat/{job.chat_id}")).json()
        assert [one["content"] for one in chat["items"]] == ["Why?", ANSWER]


LIBRECHAT = "Provide a concise, 5-word-or-less title for the conversation, using its language"


@pytest.mark.parametrize(
    ("text", "streamed", "tools", "front_end"),
    [
        (TITLE, False, (), "Open WebUI"),
        ("### Task:\nSuggest 3-5 relevant follow-up questions", False, (), "Open WebUI"),
        (TITLE, True, (), None),
        ("### Task:\nRespond to the user query using the provided context", False, (), None),
        (LIBRECHAT, False, (), "LibreChat"),
        (LIBRECHAT, True, (), "LibreChat"),
        ("Analyze this conversation and provide:\n1. The detected language of", False, (),
         "LibreChat"),
        ("Suggest what the user could say next.", True, ("copilotkitSuggest",), "CopilotKit"),
        ("Suggest what the user could say next.", True, (), None),
        ("What does ### Task: mean?", False, (), None),
        ("Why?", False, ("search",), None),
    ],
)  # fmt: skip
def test_each_front_ends_side_calls_are_known(
    text: str, streamed: bool, tools: tuple[str, ...], front_end: str | None
) -> None:
    assert front_end_of(text, streamed=streamed, tools=tools) == front_end


@pytest.mark.parametrize("stream", [False, True])
async def test_a_side_call_goes_to_the_model_and_leaves_no_trace(stream: bool) -> None:
    llm, ask = a_model("A title")
    text = "Provide a concise, 5-word-or-less title for the conversation"
    async with asking(ask_model=ask, forwarded=FORWARDED) as (house, client):
        ann = client.with_options(default_headers=headers("ann", "c1"))
        answer: Any = await ann.chat.completions.create(**asked(text, "One?", "1", stream=stream))
        if stream:
            pieces = [chunk.choices[0].delta.content or "" async for chunk in answer]
            assert "".join(pieces) == "A title"
        else:
            assert answer.choices[0].message.content == "A title"
        assert [turn["content"] for turn in llm.prompts[0][0]] == ["One?", "1", text]  # type: ignore[index]
        assert house.pipeline.asked == []
        assert await house.log.unfinished() == []
        assert (await house.client.get("/api/v1/chat")).json()["items"] == []


async def test_a_title_that_open_webui_asks_for_leaves_no_trace() -> None:
    _, ask = a_model("A title")
    async with asking(ask_model=ask, forwarded=FORWARDED) as (house, client):
        ann = client.with_options(default_headers=headers("ann", "c1"))
        answer = await ann.chat.completions.create(**asked(TITLE, "One?", "1"))
        assert answer.choices[0].message.content == "A title"
        assert (house.pipeline.asked, await house.log.unfinished()) == ([], [])
        assert (await house.client.get("/api/v1/chat")).json()["items"] == []


async def test_side_calls_are_refused_or_answered_by_the_pipeline_if_that_is_wanted() -> None:
    async with asking(side_calls="refuse") as (house, client):
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(**asked(TITLE))
        assert refused.value.code == "side_call"
        assert house.pipeline.asked == []
    async with asking(side_calls="pipeline") as (house, client):
        await client.chat.completions.create(**asked(TITLE))
        assert house.pipeline.asked[0].job.message == TITLE
    async with asking() as (_, client):  # a gateway whose upstream only the workers know
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(**asked(TITLE))


async def test_a_failed_side_call_is_an_error_and_side_calls_have_bounds() -> None:
    _, ask = a_model(UpstreamUnavailable())
    async with asking(ask_model=ask) as (_, client):
        with pytest.raises(openai.InternalServerError) as failed:
            await client.chat.completions.create(**asked(TITLE))
        assert failed.value.code == "upstream_unavailable"
    _, ask = a_model("A title", user_calls=0)
    async with asking(ask_model=ask) as (_, client):
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(**asked(TITLE))
    _, ask = a_model("A title", calls=0)
    async with asking(ask_model=ask) as (_, client):
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(**asked(TITLE))
