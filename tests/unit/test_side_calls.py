"""What a chat front end asks the model beside a chat: within bounds of its own."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from sluice.application.model_calls import current_node
from sluice.application.side_calls import AskModel, SideAnswer
from sluice.domain.chat import Turn
from sluice.domain.errors import DeadlineExceeded, LimitReached, UpstreamAuth
from sluice.domain.events import Usage
from sluice.domain.ports import Prompt
from sluice.testing import ScriptedLLM

pytestmark = pytest.mark.usefixtures("no_task_left")

TURNS = [Turn("system", "Be short."), Turn("user", "A title?")]
USAGE = Usage(1, 2, 3)


class HeldLLM(ScriptedLLM):
    """Answers when `may_answer`, and counts the call as a client does."""

    def __init__(self, *replies: Any) -> None:
        super().__init__(*replies)
        self.may_answer = asyncio.Event()
        self.asked_for: list[tuple[str | None, str, bool]] = []

    async def complete(self, prompt: Prompt, *, system: str | None = None) -> str:
        node = current_node.get()
        assert node is not None
        self.asked_for.append((node.calls.model, node.path, node.speaks))
        await self.may_answer.wait()
        text = await super().complete(prompt, system=system)
        node.calls.ended(USAGE, "stop", spoken=False)
        return text


async def opened(ask: AskModel, *users: str) -> list[asyncio.Task[SideAnswer]]:
    """Calls that wait for the model."""
    tasks = [asyncio.create_task(ask(user, TURNS, None)) for user in users]
    await asyncio.sleep(0)
    return tasks


async def refused(ask: AskModel, user: str) -> tuple[bool, str]:
    with pytest.raises(LimitReached) as refusal:
        await ask(user, TURNS, None)
    return refusal.value.per_user, str(refusal.value)


async def test_a_call_has_its_turns_its_model_and_its_cost_and_speaks_to_nobody() -> None:
    llm = HeldLLM("A title")
    llm.may_answer.set()
    ask = AskModel(llm, calls=1, user_calls=1, deadline=5)
    assert await ask("ann", TURNS, "m") == SideAnswer("A title", USAGE)
    prompt = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "A title?"}]
    assert llm.prompts == [(prompt, None)]
    assert llm.asked_for == [("m", "", False)]
    assert current_node.get() is None


async def test_beyond_all_calls_the_service_is_busy_until_one_ends() -> None:
    llm = HeldLLM(*"abcd")
    ask = AskModel(llm, calls=2, user_calls=None, deadline=5)
    tasks = await opened(ask, "ann", "ann")
    assert await refused(ask, "bob") == (False, "the service is busy")
    llm.may_answer.set()
    await asyncio.wait(tasks)
    assert (await ask("bob", TURNS, None)).text == "c"


async def test_beyond_a_users_calls_that_user_is_refused_and_no_other() -> None:
    llm = HeldLLM(*"abcd")
    ask = AskModel(llm, calls=9, user_calls=2, deadline=5)
    tasks = await opened(ask, "ann", "ann", "bob")
    assert await refused(ask, "ann") == (True, "too many calls at once")
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    tasks += await opened(ask, "ann")  # one has ended, and not both
    assert (await refused(ask, "ann"))[0]
    llm.may_answer.set()
    assert [(await task).text for task in tasks[1:]] == ["a", "b", "c"]


async def test_a_call_has_its_deadline_and_gives_its_place_back() -> None:
    llm = HeldLLM("a")
    ask = AskModel(llm, calls=1, user_calls=1, deadline=0)
    for _ in range(2):
        with pytest.raises(DeadlineExceeded):
            await ask("ann", TURNS, None)
    assert llm.prompts == []


async def test_a_call_that_fails_gives_its_place_back() -> None:
    llm = HeldLLM(UpstreamAuth(), UpstreamAuth())
    llm.may_answer.set()
    ask = AskModel(llm, calls=1, user_calls=1, deadline=5)
    for _ in range(2):
        with pytest.raises(UpstreamAuth):
            await ask("ann", TURNS, None)
    assert current_node.get() is None


async def test_nothing_is_kept_of_a_user_without_a_call() -> None:
    class Name(str):
        """Can be referred to weakly."""

    llm = HeldLLM("a")
    llm.may_answer.set()
    ask, user = AskModel(llm, calls=1, user_calls=1, deadline=5), Name("ann")
    await ask(user, TURNS, None)
    kept = weakref.ref(user)
    del user
    gc.collect()
    assert kept() is None
