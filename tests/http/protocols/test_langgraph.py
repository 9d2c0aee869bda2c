"""LangGraph's wire, version 1, as `langgraph-sdk` for Python speaks it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import ConflictError, UnprocessableEntityError
from langgraph_sdk.schema import StreamMode

from sluice.domain.errors import UpstreamTimeout
from sluice.domain.events import Done, Reasoning, Reset, StageCompleted, StageStarted, Token
from tests.http.house import House, serving
from tests.http.who import by_secret, token
from tests.waiting import until

WORDS = [Token(word, "answer") for word in ("무색 ", "페트병\u2028", "은", " a\x85b")]
ANSWER = "".join(word.content for word in WORDS)
TOLD = (StageStarted("answer", 10), *WORDS, StageCompleted("answer", 100), Done("A2", ANSWER))
MODES: list[StreamMode] = ["values", "messages-tuple", "custom"]


def asking(text: str = "Why?", **fields: Any) -> dict[str, Any]:
    return {"messages": [{"type": "human", "content": text, **fields}]}


@asynccontextmanager
async def clients(house: House | str, **headers: str) -> AsyncIterator[LangGraphClient]:
    """The SDK's client, whose own constructor would read this machine's settings."""
    url = house if isinstance(house, str) else house.url
    async with httpx.AsyncClient(
        base_url=f"{url}/langgraph", headers=headers, trust_env=False, timeout=20, verify=False
    ) as http:
        yield LangGraphClient(http)


async def run(client: LangGraphClient, thread: str, **fields: Any) -> list[Any]:
    given: dict[str, Any] = {"input": asking(), "stream_mode": MODES} | fields
    return [part async for part in client.runs.stream(thread, "agent", **given)]


def said(parts: list[Any]) -> dict[str, str]:
    """The text of each message's chunks, by its id."""
    found: dict[str, str] = {}
    for part in parts:
        if part.event == "messages":
            chunk = part.data[0]
            found[chunk["id"]] = found.get(chunk["id"], "") + chunk["content"]
    return found


async def test_a_run_is_told_in_order_and_the_question_keeps_its_id() -> None:
    async with serving(*TOLD) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        parts = await run(client, thread, input=asking(id="h1"))
        job = parts[0].data["run_id"]
        question = {"type": "human", "id": "h1", "content": "Why?"}
        answer = {"type": "ai", "id": f"msg_{job}", "content": ANSWER}
        assert [part.event for part in parts if part.event not in {"messages", "custom"}] == [
            "metadata", "values", "values", "end",
        ]  # fmt: skip
        assert [part.data for part in parts if part.event == "values"] == [
            {"messages": [question]},
            {"messages": [question, answer]},
        ]
        assert said(parts) == {f"msg_{job}": ANSWER}
        stages = [part.data for part in parts if part.event == "custom"]
        assert [(each["stage"], each["status"]) for each in stages] == [
            ("queued", "completed"), ("answer", "started"), ("answer", "completed"),
        ]  # fmt: skip
        state = await client.threads.get_state(thread)
        assert state["values"] == {"messages": [question, answer]}
        assert state["next"] == []
        assert (await client.threads.get_history(thread))[0]["values"] == state["values"]
        assert (await client.runs.get(thread, job))["status"] == "success"
        assert await client.runs.join(thread, job) == {"messages": [question, answer]}


async def test_only_what_was_asked_for_is_sent_and_a_way_back_remembers_it() -> None:
    async with serving(*TOLD) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        parts = await run(client, thread, stream_mode="values")
        assert {part.event for part in parts} == {"metadata", "values", "end"}
        job = parts[0].data["run_id"]
        path = f"/langgraph/threads/{thread}/runs/{job}/stream"
        again = (await house.client.get(path, headers={"Last-Event-ID": "-1"})).text
        assert "event: values" in again
        assert "event: messages" not in again
        named = (await house.client.get(path, params={"stream_mode": "messages"})).text
        assert "event: messages" in named
        assert "event: values" not in named


async def test_the_way_back_is_named_from_the_clients_own_address() -> None:
    async with serving(*TOLD) as house:
        body = {"assistant_id": "agent", "input": asking(), "if_not_exists": "create"}
        answer = await house.client.post(
            "/langgraph/threads/my%20thread/runs/stream",
            json={**body, "stream_mode": ["values", "messages-tuple"]},
        )
        job = answer.headers["x-sluice-job"]
        run_path = f"/threads/my%20thread/runs/{job}"
        assert answer.headers["content-location"] == run_path
        location = answer.headers["location"]
        assert location == f"{run_path}/stream?stream_mode=messages&stream_mode=values"
        whole = answer.content.partition(b"event: ")
        ids = [line[4:] for line in answer.text.split("\n") if line.startswith("id: ")]
        assert ids[:2] == ["1-0.1", "1-1"]
        for frame_id in ids[:-1]:
            rest = await house.client.get(
                f"/langgraph{location}", headers={"Last-Event-ID": frame_id}
            )
            assert whole[2].endswith(rest.content.partition(b"event: ")[2])
        over = await house.client.get(f"/langgraph{location}", headers={"Last-Event-ID": ids[-1]})
        assert over.text == "event: end\ndata: null\n\n"


async def test_text_that_is_taken_back_goes_on_under_another_id() -> None:
    new = Token("better", "answer")
    plays = (WORDS[0], Reset("revised"), new, Done("A2", "better"))
    async with serving(*plays) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        parts = await run(client, thread)
        job = parts[0].data["run_id"]
        assert said(parts) == {f"msg_{job}": WORDS[0].content, f"msg_{job}-r1": "better"}
        values = [part.data["messages"] for part in parts if part.event == "values"]
        assert [len(messages) for messages in values] == [1, 1, 2]
        assert values[-1][1] == {"type": "ai", "id": f"msg_{job}-r1", "content": "better"}
        state: Any = await client.threads.get_state(thread)
        assert state["values"] == {"messages": values[-1]}


async def test_a_failure_is_an_error_and_a_cancelled_run_just_ends() -> None:
    held = asyncio.Event()
    async with serving(WORDS[0], UpstreamTimeout()) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        parts = await run(client, thread)
        assert parts[-1].event == "error"
        assert parts[-1].data == {"error": "upstream_timeout", "message": UpstreamTimeout.public}
        job = parts[0].data["run_id"]
        assert (await client.runs.get(thread, job))["status"] == "error"
        assert (await client.threads.get(thread))["status"] == "error"
        state: Any = await client.threads.get_state(thread)
        assert state["values"]["messages"][1]["content"] == WORDS[0].content
        joined: Any = await client.runs.join(thread, job)
        assert joined["__error__"]["error"] == "upstream_timeout"
    async with serving(WORDS[0], held, Done("A2", "")) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        parts = []
        async for part in client.runs.stream(
            thread, "agent", input=asking(), stream_mode=["messages-tuple"]
        ):
            parts.append(part)
            if part.event == "messages":
                await client.runs.cancel(thread, parts[0].data["run_id"])
        assert [part.event for part in parts] == ["metadata", "messages", "end"]
        run_now = await client.runs.get(thread, parts[0].data["run_id"])
        assert run_now["status"] == "interrupted"


@pytest.mark.parametrize(
    ("last", "status"), [(UpstreamTimeout(), "error"), (Done("A2", ""), "idle")]
)
async def test_a_run_without_an_answer_is_told_by_its_thread_all_the_same(
    last: Any, status: str
) -> None:
    async with serving(Reasoning("Hm.", "answer"), last) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        parts = await run(client, thread)
        found: Any = await client.threads.get(thread)
        assert found["status"] == status
        messages = found["values"]["messages"]
        assert [one["type"] for one in messages] == ["human", "ai"]
        assert messages[1]["content"][0]["reasoning"] == "Hm."
        thought = next(part.data[0] for part in parts if part.event == "messages")
        assert messages[1]["id"] == thought["id"]


async def test_a_running_answer_is_in_the_history_and_not_in_the_state() -> None:
    held = asyncio.Event()
    async with serving(WORDS[0], held, Done("A2", "")) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        made = await client.runs.create(thread, "agent", input=asking(), stream_mode="values")
        job = made["run_id"]

        reading = asyncio.create_task(client.runs.join(thread, job))
        await until(lambda: house.log.awaited)
        state: Any = await client.threads.get_state(thread)
        history: Any = await client.threads.get_history(thread)
        assert [one["type"] for one in state["values"]["messages"]] == ["human"]
        assert state["next"] == ["answer"]
        draft = history[0]["values"]["messages"][1]
        assert draft == {"type": "ai", "id": f"msg_{job}", "content": WORDS[0].content}
        assert (await client.threads.get(thread))["status"] == "busy"
        held.set()
        await reading


async def test_two_readers_of_one_run_get_the_same() -> None:
    async with serving(*TOLD) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        made = await client.runs.create(thread, "agent", input=asking(), stream_mode=MODES)

        async def read() -> list[Any]:
            return [part async for part in client.runs.join_stream(thread, made["run_id"])]

        one, other = await asyncio.gather(read(), read())
        assert said(one) == said(other) == {f"msg_{made['run_id']}": ANSWER}
        assert one[-1].event == other[-1].event == "end"


async def test_the_next_question_is_told_with_what_was_said_before() -> None:
    async with serving(*TOLD) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        first = await run(client, thread)
        second = await run(client, thread, input=asking("And?"))
        values = [part.data["messages"] for part in second if part.event == "values"]
        assert [[one["content"] for one in messages] for messages in values] == [
            ["Why?", ANSWER, "And?"],
            ["Why?", ANSWER, "And?", ANSWER],
        ]
        assert values[0][:2] == first[-2].data["messages"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_question_that_waits_for_its_turn_is_told_with_the_answer_before_it(
    mode: StreamMode,
) -> None:
    held = asyncio.Event()
    plays = (WORDS[0], held, Done("A2", WORDS[0].content))
    async with serving(*plays) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        await client.runs.create(thread, "agent", input=asking("One?"))
        parts = list[Any]()
        async for part in client.runs.stream(
            thread, "agent", input=asking("Two?"), stream_mode=["values", mode]
        ):
            parts.append(part)
            held.set()  # not before something was told
        assert [part.event for part in parts][:2] == ["metadata", "values"]
        values = [part.data["messages"] for part in parts if part.event == "values"]
        said_before = ["One?", WORDS[0].content, "Two?"]
        assert [[one["content"] for one in messages] for messages in values] == [
            said_before,
            [*said_before, WORDS[0].content],
        ]


async def test_a_thread_is_the_chat_of_a_session_and_the_other_way_round() -> None:
    async with serving(*TOLD) as house, clients(house) as client:
        await client.threads.create(thread_id="mine")
        await run(client, "mine")
        asked = await house.ask("And?", session_id="mine")
        await house.read(asked["job_id"])
        state: Any = await client.threads.get_state("mine")
        assert [one["content"] for one in state["values"]["messages"]] == [
            "Why?", ANSWER, "And?", ANSWER,
        ]  # fmt: skip
        assert (await client.threads.get_state(asked["chat_id"]))["values"] == state["values"]
        found = await client.threads.search()
        assert [each["thread_id"] for each in found] == ["mine"]
        with pytest.raises(ConflictError):
            await client.threads.create(thread_id="mine")
        again = await client.threads.create(thread_id="mine", if_exists="do_nothing")
        assert again["values"] == state["values"]


async def test_threads_are_renamed_searched_and_deleted() -> None:
    async with serving(*TOLD) as house, clients(house) as client:
        first = (await client.threads.create(metadata={"title": "One"}))["thread_id"]
        second = (await client.threads.create())["thread_id"]
        assert [each["thread_id"] for each in await client.threads.search()] == [second, first]
        assert [each["thread_id"] for each in await client.threads.search(offset=1)] == [first]
        for by in ({"status": "busy"}, {"ids": ["other"]}, {"values": {"a": 1}}):
            with pytest.raises(UnprocessableEntityError, match="cannot be searched by"):
                await client.threads.search(**by)
        await client.threads.update(first, metadata={"title": "Two"})
        assert (await client.threads.get(first))["metadata"] == {"title": "Two"}
        await client.threads.delete(first)
        for path in ("", "/state"):
            gone = await house.client.get(f"/langgraph/threads/{first}{path}")
            assert gone.status_code == 404


async def test_a_question_is_asked_without_a_thread() -> None:
    async with serving(*TOLD) as house, clients(house) as client:
        parts = [
            part
            async for part in client.runs.stream(
                None, "agent", input=asking(), stream_mode="messages-tuple"
            )
        ]
        assert said(parts) == {f"msg_{parts[0].data['run_id']}": ANSWER}


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"input": {**asking(), "documents": []}}, 422, "input.documents"),
    ({"input": None}, 422, "input.messages"),
    ({"input": {"messages": []}}, 422, "input.messages"),
    ({"input": {"messages": [{"type": ["human"], "content": "a"}]}}, 422, "input.messages"),
    ({"input": {"messages": [{"type": "ai", "content": "a"}]}}, 422, "input.messages"),
    ({"input": asking("  ")}, 422, "input.messages.0.content"),
    ({"input": {"messages": [["human", 7]]}}, 422, "input.messages.0.content"),
    (
        {"input": {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}},
        422,
        "input.messages.0.content.0",
    ),
    ({"input": asking(id=7)}, 422, "input.messages.0.id"),
    ({"interrupt_before": ["answer"]}, 422, "interrupt_before"),
    ({"webhook": "https://example.org"}, 422, "webhook"),
    ({"multitask_strategy": "rollback"}, 422, "multitask_strategy"),
    ({"assistant_id": "sluice:other"}, 422, "model"),
    ({"assistant_id": None}, 422, "assistant_id"),
    ({"command": {"resume": "yes"}}, 422, ""),
    ({"command": {"goto": "answer"}, "input": None}, 422, "command"),
    ({"checkpoint": {"checkpoint_id": "older"}}, 409, ""),
]


@pytest.mark.parametrize(("fields", "status", "named"), REFUSED)
async def test_what_cannot_be_kept_to_is_refused_by_its_name(
    fields: dict[str, Any], status: int, named: str
) -> None:
    async with serving(*TOLD) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        body = {"assistant_id": "agent", "input": asking()} | fields
        for path in (f"threads/{thread}/runs/stream", f"threads/{thread}/runs", "runs/stream"):
            if path == "runs/stream" and "checkpoint" in fields:
                continue
            answer = await house.client.post(f"/langgraph/{path}", json=body)
            assert answer.status_code == status, answer.text
            assert answer.json()["detail"].startswith(named)
        assert house.pipeline.asked == []


async def test_an_answer_that_nothing_waits_for_is_a_conflict() -> None:
    async with serving(*TOLD) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        for _ in range(2):
            with pytest.raises(ConflictError):
                await run(client, thread, input=None, command={"resume": "yes"})
            await run(client, thread)
        assert len(house.pipeline.asked) == 2


@pytest.mark.parametrize(
    "content", ["Why?", [{"type": "text", "text": "Wh"}, {"type": "text", "text": "y?"}]]
)
@pytest.mark.parametrize("of", ["type", "role", "pair", "bare", "alone"])
async def test_a_question_may_have_any_form_of_a_human_message(content: Any, of: str) -> None:
    message: Any = {"type": "human", "content": content}
    if of == "role":
        message = {"role": "user", "content": content}
    elif of == "pair":
        message = ["human", content]
    elif of == "bare":
        message = "Why?"
    messages = message if of == "alone" else [{"type": "ai", "content": "not believed"}, message]
    async with serving(*TOLD) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        parts = await run(client, thread, input={"messages": messages})
        assert parts[-1].event == "end"
        assert [asked.job.message for asked in house.pipeline.asked] == ["Why?"]
        assert house.pipeline.asked[0].history == []


async def test_an_earlier_question_cannot_be_asked_anew() -> None:
    async with serving(*TOLD) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        await run(client, thread, input=asking(id="h1"))
        with pytest.raises(ConflictError):
            await run(client, thread, input=asking("Edited?", id="h1"))
        head: Any = (await client.threads.get_state(thread))["checkpoint"]
        parts = await run(client, thread, checkpoint=head)
        assert parts[-1].event == "end"


async def test_a_busy_thread_is_refused_to_who_asks_for_that() -> None:
    held = asyncio.Event()
    async with serving(held, Done("A2", "")) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        await client.runs.create(thread, "agent", input=asking())
        with pytest.raises(ConflictError):
            await run(client, thread, multitask_strategy="reject")
        held.set()


async def test_what_there_is_not_is_told_in_their_shape() -> None:
    async with serving(*TOLD) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        other = (await client.threads.create())["thread_id"]
        job = (await run(client, thread))[0].data["run_id"]
        assert (await client.assistants.search())[0]["assistant_id"] == "sluice"
        for method, path in [
            ("POST", "assistants"), ("POST", "store/items/search"), ("POST", "runs/crons"),
            ("GET", "threads/nobodys"), ("GET", "threads/nobodys/state"),
            ("POST", "threads/nobodys/history"), ("POST", "threads/nobodys/runs/stream"),
            ("GET", f"threads/{other}/runs/{job}"), ("GET", f"threads/{other}/runs/{job}/stream"),
            ("GET", f"threads/{other}/runs/{job}/join"),
            ("POST", f"threads/{other}/runs/{job}/cancel"),
        ]:  # fmt: skip
            body = {"assistant_id": "a", "input": asking()} if method == "POST" else None
            answer = await house.client.request(method, f"/langgraph/{path}", json=body)
            assert answer.status_code in {404, 405}, (path, answer.text)
            assert isinstance(answer.json()["detail"], str)


async def test_an_api_key_is_the_token_and_threads_are_their_users_own() -> None:
    async with (
        serving(*TOLD, identity=by_secret()) as house,
        clients(house, **{"x-api-key": token()}) as ann,
        clients(house, **{"x-api-key": token(sub="bob")}) as bob,
    ):
        await ann.threads.create(thread_id="same")
        await bob.threads.create(thread_id="same")
        job = (await run(ann, "same"))[0].data["run_id"]
        assert (await bob.threads.get_state("same"))["values"] == {"messages": []}
        for path in (f"same/runs/{job}", f"same/runs/{job}/stream"):
            answer = await house.client.get(
                f"/langgraph/threads/{path}", headers={"x-api-key": token(sub="bob")}
            )
            assert answer.status_code == 404
        assert (await house.client.get("/langgraph/info")).status_code == 401
        wrong = await house.client.get("/langgraph/info", headers={"x-api-key": "no"})
        assert wrong.status_code == 401


async def test_an_unfinished_run_is_cut_and_gone_on_with_by_the_client_itself() -> None:
    """The SDK finds the way back by itself: no word is lost, none comes twice."""
    held = asyncio.Event()
    plays = (*WORDS[:2], held, *WORDS[2:], Done("A2", ANSWER))
    async with serving(*plays) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        reading = asyncio.create_task(run(client, thread))
        await until(lambda: house.log.awaited and house.streams.open)
        connections: list[Any] = list(house.state.connections)
        for connection in connections:
            if connection.cycle and not connection.cycle.response_complete:
                connection.transport.abort()
        held.set()
        parts = await asyncio.wait_for(reading, 10)
        assert "".join(said(parts).values()) == ANSWER
        assert parts[-1].event == "end"
