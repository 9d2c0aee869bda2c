"""What is strange in an upstream or in a chat, and costs no answer, seen by a reader."""

from typing import Any

import pytest

from sluice.offline_model import Break, Gate, Reply
from tests.faults.conftest import Live, Start


async def answer(live: Live, message: str, chat: str | None = None) -> dict[str, Any]:
    """The last event's data."""
    end = (await live.service.told(message, session_id=chat))[-1]
    assert end.name == "done", end
    return dict(end.data)


@pytest.mark.parametrize("path", ["A1", "A2"])
async def test_an_intent_that_cannot_be_told_costs_no_answer(start: Start, path: str) -> None:
    """The model answers with prose until it is asked in the way it heeds, if there is one."""
    live = await start(path)  # of its own, for it learns what the model does not heed
    for heeded in (None, "response_format", "tools"):
        question = f"what is heeded: {heeded}?"

        def prose(body: Any, question: str = question, heeded: str | None = heeded) -> bool:
            return question in str(body["messages"][-1]) and heeded not in body

        live.model.script_when(prose, Reply(["Well, ", "hello."]))
        done = await answer(live, question)
        assert (done["answer"], done["intent"]) == ("Well, hello.", "how_to")
    await live.leaves_nothing()


async def test_an_answer_stopped_before_its_first_word_is_not_given_to_the_model(
    shared: Live,
) -> None:
    model, service = shared.model, shared.service
    chat, gate = f"stopped on {shared.path}", Gate()
    first, second = f"first on {shared.path}", f"second on {shared.path}"

    def spoken(body: Any, message: str) -> bool:
        return "response_format" not in body and body["messages"][-1]["content"] == message

    model.script_when(
        lambda body: spoken(body, first), Reply([Break.HANG], before_status=gate, role=False)
    )
    job = (await service.ask(first, chat))["job_id"]
    await gate.reached()
    assert await service.cancel(job) == 202
    async with service.stream(job) as stream:
        assert (await stream.all())[-1].event == "cancelled"
    gate.release()
    await answer(shared, second, chat)
    [asked] = [request.body for request in model.requests if spoken(request.body, second)]
    said = [
        (each["role"], each["content"]) for each in asked["messages"] if each["role"] != "system"
    ]
    assert said == [("user", first), ("user", second)]
    await shared.leaves_nothing()
