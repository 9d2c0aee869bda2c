"""What a graph asks, answered by a program, and by whoever sits at a terminal."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
from rich.console import Console
from typer import Exit

from sluice.client import Client, Done, NeedsInput, Refused
from sluice.domain.events import Json, StageCompleted, StageStarted, Token
from sluice.domain.graph_state import Head, InputRequest, Pause
from sluice.interfaces.cli.ask import answer
from sluice.interfaces.cli.asking import Questions, value_of
from sluice.interfaces.cli.display import Terminal, WholeAnswer
from tests.client.programs import KINDS, Kind, program
from tests.http.house import House, serving
from tests.http.test_answers import give, waiting
from tests.waiting import until

PAUSE = Pause(
    Head("chat", "1"),
    (
        InputRequest("send", "Send it?\x1b[2J", "approval", {"type": "boolean"}),
        InputRequest("who", {"to": "whom"}, "form", {"type": "object", "required": ["name"]}),
    ),
)
PLAYS = (
    *(StageStarted("ask", 0), Token("Well.\n", "ask"), PAUSE, Token("Sent.", "ask")),
    *(StageCompleted("ask", 100), Done("A2", "Well.\nSent.")),
)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with serving(*PLAYS) as house:
        yield house


@pytest.mark.parametrize("kind", KINDS)
async def test_a_program_answers_and_the_same_answer_again_changes_nothing(
    house: House, kind: Kind
) -> None:
    async with program(kind, house.url) as client:
        job = await client.submit()
        while (await client.job(job))["status"] != "waiting":  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        with pytest.raises(Refused) as refused:
            await client.give_input(job, "who", {})
        assert refused.value.status == 422
        for _ in range(2):
            await client.give_input(job, "send", True)
            await client.give_input(job, "who", {"name": "Ann"})
        assert (await client.answer(job)).answer == "Well.\nSent."
        asked = [one.event for one in await client.follow(job) if one.name == "needs_input"]
        assert [one.input_id for one in asked if isinstance(one, NeedsInput)] == ["send", "who"]


async def test_a_terminal_asks_until_the_answer_fits_and_goes_on(house: House) -> None:
    typed = iter(["maybe", "YES", "Ann", '{"nom": 1}', '{"name": "Ann"}'])
    shown = Console(file=io.StringIO(), force_terminal=True, width=80)

    def watch() -> None:
        with Client(house.url) as client, Terminal(shown) as display:
            questions = Questions(client, display, lambda _: next(typed, None), shown)
            for received in client.ask("Why?"):
                display.show(received)
                questions.take(received)
            assert display.trouble is None

    await asyncio.to_thread(watch)
    assert next(typed, None) is None
    output = told(shown)
    assert "Send it?[2J" in output
    assert "\x1b[2J" not in output
    assert "yes or no?" in output
    assert "'name' is a required property" in output
    assert output.index("yes or no?") < output.index("Sent.")
    given = house.pipeline.asked[-1].resumption
    assert given is not None
    assert given.answers == {"send": True, "who": {"name": "Ann"}}


async def test_who_comes_later_is_asked_what_waits_still() -> None:
    asks = [Pause(Head("chat", name), (InputRequest(name, "?", "text"),)) for name in ("a", "b")]
    shown = Console(file=io.StringIO(), width=200)

    def watch(url: str, job: str) -> None:
        with Client(url) as client, WholeAnswer() as display:
            questions = Questions(client, display, None, shown)
            for received in client.follow(job):
                questions.take(received)
                if "b VALUE" in told(shown):
                    break

    async with serving(*asks, Done("A2", "Sent."), ping=0.05) as house:
        job = await waiting(house)
        assert await give(house, job, input_id="a", value="A") == (202, {})
        await until(lambda: len(house.pipeline.asked) == 2)
        await asyncio.to_thread(watch, house.url, job)
    assert "b VALUE" in told(shown)
    assert "a VALUE" not in told(shown)


async def test_where_nobody_can_be_asked_it_says_how_to_answer(house: House) -> None:
    shown = Console(file=io.StringIO(), width=40)

    def watch() -> str:
        with Client(house.url) as client, WholeAnswer() as display:
            questions = Questions(client, display, None, shown)
            for received in client.ask("Why?"):
                questions.take(received)
                if "who VALUE" in told(shown):
                    break
        return received.job_id

    job = await asyncio.to_thread(watch)
    assert f"sluice answer {job} send VALUE" in told(shown)
    for given in (("send", "true"), ("who", '{"name": "Ann"}')):
        await asyncio.to_thread(answer, job, *given, house.url)
    assert [frame.event for frame in await house.read(job)][-1] == "done"
    with pytest.raises(Exit):
        await asyncio.to_thread(answer, job, "send", "no", house.url)


def told(console: Console) -> str:
    written: str = console.file.getvalue()  # type: ignore[attr-defined]
    return written


@pytest.mark.parametrize(
    ("kind", "schema", "line", "value"),
    [
        ("approval", None, "n", False),
        ("text", None, "yes", "yes"),
        ("form", {"type": "string"}, "1", "1"),
        ("form", None, "[1]", [1]),
        ("approval", {"type": "object"}, '{"type": "approve"}', {"type": "approve"}),
        ("approval", {"properties": {"type": {"enum": ["approve"]}}}, "no", {"type": "reject"}),
    ],
)
def test_what_is_typed_is_what_the_schema_asks_for(
    kind: Any, schema: Any, line: str, value: Json
) -> None:
    assert value_of(NeedsInput("x", "?", kind, "", schema), line) == value
