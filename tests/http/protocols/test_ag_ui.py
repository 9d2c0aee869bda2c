"""AG-UI's and CopilotKit's routes, as any client may call them."""

import asyncio
import json
from typing import Any

import pytest

from sluice.domain.events import Done, Reset, Token
from sluice.domain.graph_state import Head, InputRequest, Pause
from tests.http.house import House, serving
from tests.http.who import bearer, by_secret
from tests.waiting import until

YES = Token("yes", "a"), Done("A2", "yes")


def asking(*texts: str, **fields: Any) -> dict[str, Any]:
    messages = [{"id": text, "role": "user", "content": text} for text in texts]
    return {"threadId": "t", "runId": "r", "messages": messages, "tools": [], **fields}


def events(body: str) -> list[tuple[str, Any]]:
    found = []
    for frame in body.split("\n\n")[:-1]:
        if frame.startswith("id: "):
            own, data = frame.split("\n")
            found.append((own.removeprefix("id: "), json.loads(data.removeprefix("data: "))))
    return found


async def told(house: House, body: Any, path: str = "/ag-ui", **headers: str) -> list[Any]:
    answer = await house.client.post(path, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return events(answer.text)


async def test_a_run_has_its_events_in_their_order_and_ids_to_go_on_from() -> None:
    async with serving(*YES) as house:
        run = await told(house, asking("Why?"))
        kinds = [(own, event["type"]) for own, event in run]
        assert kinds == [
            ("1-0.1", "RUN_STARTED"),
            ("1-0.2", "STEP_STARTED"),
            ("1-1", "STEP_FINISHED"),
            ("1-1.1", "TEXT_MESSAGE_START"),
            ("1-2", "TEXT_MESSAGE_CONTENT"),
            ("1-2.1", "TEXT_MESSAGE_END"),
            ("1-3", "RUN_FINISHED"),
        ]
        assert run[0][1] == {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
        for index, (own, _) in enumerate(run[:-1], 1):
            assert await told(house, asking("Why?"), **{"Last-Event-ID": own}) == run[index:]
        last = {"Last-Event-ID": run[-1][0]}
        over = await house.client.post("/ag-ui", json=asking("Why?"), headers=last)
        assert over.status_code == 204
        assert len(house.pipeline.asked) == 1


async def test_the_header_wins_over_the_query_and_an_unknown_id_gives_everything() -> None:
    async with serving(*YES) as house:
        await told(house, asking("Why?"))
        read, last = "/ag-ui?runId=r&offset=-1", {"Last-Event-ID": "1-2"}
        rest = await house.client.get(read, headers=last)
        assert [own for own, _ in events(rest.text)] == ["1-2.1", "1-3"]
        whole = await house.client.get(read, headers={"Last-Event-ID": "nonsense"})
        kinds = [event["type"] for _, event in events(whole.text)]
        assert kinds[:3] == ["RUN_STARTED", "MESSAGES_SNAPSHOT", "RUN_STARTED"]


async def test_equal_runs_at_once_are_one_job_and_an_id_is_one_within_its_thread() -> None:
    async with serving(*YES) as house:
        runs = await asyncio.gather(*(told(house, asking("Why?")) for _ in range(5)))
        assert runs == runs[:1] * 5
        assert len(house.pipeline.asked) == 1
        await told(house, asking("Why?", threadId="another"))
        assert len(house.pipeline.asked) == 2


async def test_a_thread_is_looked_at_while_its_run_goes_on_and_later() -> None:
    held = asyncio.Event()
    async with serving(Token("yes", "a"), held, Done("A2", "yes")) as house:
        nothing: dict[str, object] = {"messages": [], "activeRun": None, "interrupts": None}
        assert (await house.client.get("/ag-ui?threadId=t")).json() == nothing
        running = asyncio.create_task(told(house, asking("Why?")))
        await until(lambda: house.log.awaited)
        now = (await house.client.get("/ag-ui?threadId=t")).json()
        run_id = now["activeRun"]["runId"]
        assert [one["parts"][0]["content"] for one in now["messages"]] == ["Why?"]
        joining = asyncio.create_task(house.client.get(f"/ag-ui?offset=-1&runId={run_id}"))
        held.set()
        joined = [event for _, event in events((await joining).text)]
        assert joined[0] == {
            "type": "RUN_STARTED",
            "threadId": joined[0]["threadId"],
            "runId": run_id,
        }
        assert [event for _, event in await running][1:-1] == joined[1:-1]
        later = (await house.client.get("/ag-ui?threadId=t")).json()
        assert later["activeRun"] is None
        assert [one["role"] for one in later["messages"]] == ["user", "assistant"]
        assert later["messages"][1]["id"] == joined[3]["messageId"]


async def test_a_snapshot_keeps_what_was_before_the_draft() -> None:
    plays = [Token("wrong", "a"), Reset("revised"), Token("right", "a"), Done("A2", "right")]
    async with serving(*plays) as house:
        run = [event for _, event in await told(house, asking("Why?"))]
        (kept,) = [event["messages"] for event in run if event["type"] == "MESSAGES_SNAPSHOT"]
        assert kept == [{"id": "Why?", "role": "user", "content": "Why?"}]
        ids = [event["messageId"] for event in run if event["type"] == "TEXT_MESSAGE_START"]
        assert ids[1] == f"{ids[0]}-r1"
        job = house.pipeline.asked[0].job
        again = [e for _, e in events((await house.client.get("/ag-ui?runId=r")).text)]
        (ours,) = [event["messages"] for event in again if event["type"] == "MESSAGES_SNAPSHOT"]
        assert [one["content"] for one in ours] == [job.message]


async def test_who_sends_its_last_message_only_keeps_what_was_before_it() -> None:
    plays = [Token("wrong", "a"), Reset("revised"), Token("right", "a"), Done("A2", "right")]
    async with serving(*plays) as house:
        await told(house, asking("Why?"))
        for _ in range(2):  # the second time it reads what is there
            run = [event for _, event in await told(house, asking("And then?", runId="s"))]
            (kept,) = [event["messages"] for event in run if event["type"] == "MESSAGES_SNAPSHOT"]
            assert [one["content"] for one in kept] == ["Why?", "right", "And then?"]
            assert kept[-1]["id"] == "And then?"
        assert [question.job.message for question in house.pipeline.asked] == ["Why?", "And then?"]


async def test_an_answer_may_come_without_the_thread() -> None:
    ask = Pause(Head("chat", "1"), (InputRequest("i1", "May I?", "text"),))
    rest = Reset("revised"), Token("Yes.", "a"), Done("A2", "Yes.")
    async with serving(Token("Well. ", "a"), ask, *rest) as house:
        await told(house, asking("Why?"))
        resume = [{"interruptId": "i1", "status": "resolved", "payload": "yes"}]
        run = await told(house, asking(resume=resume) | {"runId": "r2"})
    (snapshot,) = [event for _, event in run if event["type"] == "MESSAGES_SNAPSHOT"]
    assert [one["content"] for one in snapshot["messages"]] == ["Why?"]
    assert run[-1][1]["outcome"] == {"type": "success"}


@pytest.mark.parametrize("path", ["/ag-ui", "/copilotkit/agent/default/run"])
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tools": [{"name": "weather"}]}, "tools"),
        ({"state": {"page": 1}}, "state"),
        ({"resume": [{"interruptId": 1}]}, "resume.0.interruptId"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages.0"),
        ({"threadId": "x" * 129}, "threadId"),
    ],
)
async def test_what_would_change_the_promise_is_refused_by_its_name(
    path: str, fields: dict[str, Any], named: str
) -> None:
    async with serving(*YES) as house:
        answer = await house.client.post(path, json=asking("Why?", **fields))
    assert answer.status_code == 422
    assert answer.json()["message"].startswith(f"{named}:")


async def test_what_is_nested_too_deeply_is_refused() -> None:
    deep: Any = []
    for _ in range(600):
        deep = [deep]
    said = [{"id": "q", "role": "user", "content": "Why?", "further": deep}]
    async with serving(*YES) as house:
        for fields in ({"messages": said}, {"context": deep}, {"forwardedProps": {"a": deep}}):
            answer = await house.client.post("/ag-ui", json=asking("Why?", **fields))
            assert answer.status_code == 422, fields


async def test_context_reaches_the_graph_and_text_parts_are_one_question() -> None:
    parts = [{"type": "text", "text": "Why"}, {"type": "text", "text": "?"}]
    said = [{"id": "q", "role": "user", "content": parts, "name": None}]
    context = [{"description": "page", "value": "prices"}]
    async with serving(*YES) as house:
        await told(house, asking(messages=said, context=context, state={}, forwardedProps={}))
        job = house.pipeline.asked[0].job
    assert (job.message, job.metadata) == ("Why?", {"context": context})


async def test_anothers_thread_and_run_are_as_if_they_were_not_there() -> None:
    async with serving(*YES, identity=by_secret()) as house:
        ann, bob = bearer(), bearer(sub="bob")
        await told(house, asking("Why?"), **ann)
        job = house.pipeline.asked[0].job.id
        get = house.client.get
        assert (await get("/ag-ui?threadId=t", headers=bob)).json()["messages"] == []
        for run_id in ("r", job, "never"):
            assert (await get(f"/ag-ui?runId={run_id}", headers=bob)).status_code == 404
        stop = "/copilotkit/agent/default/stop/t"
        assert (await house.client.post(stop, json={}, headers=bob)).status_code == 404
        assert (await get(f"/ag-ui?runId={job}&threadId=t", headers=ann)).status_code == 200
        assert (await get("/ag-ui", headers=ann)).status_code == 422


async def test_copilotkit_is_told_of_its_one_agent() -> None:
    async with serving(*YES) as house:
        assert list((await house.client.get("/copilotkit/info")).json()["agents"]) == ["default"]
        other = await house.client.post("/copilotkit/agent/other/run", json=asking("Why?"))
        assert other.status_code == 404


@pytest.mark.parametrize("route", ["/ag-ui", "/copilotkit/agent/default/run"])
async def test_a_runs_id_is_one_questions_and_no_earlier_message_is_written_anew(
    route: str,
) -> None:
    async with serving(Done("A2", "yes")) as house:

        async def ask(run: str, *messages: tuple[str, str]) -> int:
            said = [{"id": own, "role": "user", "content": text} for own, text in messages]
            body = {"threadId": "t", "runId": run, "messages": said}
            return (await house.client.post(route, json=body)).status_code

        assert await ask("r1", ("q1", "hello")) == 200
        assert await ask("r1", ("q1", "hello")) == 200
        assert await ask("r1", ("q9", "hi")) == 409
        assert await ask("r2", ("q2", "hi")) == 200
        assert await ask("r3", ("q1", "hello, once more")) == 409
        assert await ask("r3", ("q1", "hello")) == 409
        assert await ask("r3", ("q2", "hi!")) == 409
        shown = (await house.client.get("/ag-ui?threadId=t")).json()["messages"]
        joined = await house.client.get("/ag-ui?runId=r2&offset=-1")
        told_of = [event for _, event in events(joined.text) if "threadId" in event]
        assert {event["threadId"] for event in told_of} == {"t"}
        asked = [(one["id"], one["parts"]) for one in shown if one["role"] == "user"]
        assert [own for own, _ in asked] == ["q1", "q2"]


async def test_what_copilotkit_asks_for_suggestions_enters_no_chat() -> None:
    suggests = asking("Why?", tools=[{"name": "copilotkitSuggest"}])
    async with serving(*YES) as house:
        answer = await house.client.post("/copilotkit/agent/default/run", json=suggests)
        assert answer.status_code == 422
        assert (await house.client.get("/api/v1/chat")).json()["items"] == []
        assert house.pipeline.asked == []
