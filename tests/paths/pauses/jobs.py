"""One job on one path through its pauses, and the graphs that it runs."""

import json
import operator
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from pydantic import BaseModel

from sluice.domain.chat import Question
from sluice.domain.events import Done, Json
from sluice.domain.graph_state import Advanced, Pause, Resumption
from sluice.infrastructure.pipeline.savers.saver import Saver
from tests.paths.conftest import Path, Told, question


class State(TypedDict, total=False):
    message: str
    answer: str
    log: Annotated[list[str], operator.add]


def say(text: str) -> None:
    get_stream_writer()({"token": text})


class Job:
    """One job on one path, through its pauses; a new pipeline for each run, as after a restart."""

    def __init__(self, path: Path, build: Any, saver: Saver, **options: Any) -> None:
        self.path, self.build, self.options = path, build, {"saver": saver, **options}
        self.speaks = path.speaks
        self.told = Told()
        self.asked: Question = question("m")

    async def run(self) -> Any:
        pipeline = self.path.pipeline(self.build, **self.options)
        outcome = await pipeline.run(self.asked, self.told.events.append)
        if isinstance(outcome, Pause):
            return outcome
        done = outcome.done if isinstance(outcome, Advanced) else outcome
        self.told.events.append(done)
        if self.speaks:
            assert self.told.text == done.answer
        assert not [mark for mark in self.told.stages if mark.startswith("!")]
        started = [mark for mark in self.told.stages if mark.startswith("+")]
        assert sorted(started) == sorted(f"+{m[1:]}" for m in self.told.stages if m[0] == "-")
        return outcome

    async def pauses(self) -> Pause:
        outcome = await self.run()
        assert isinstance(outcome, Pause)
        return outcome

    async def goes_on(self, pause: Pause, *values: Json, **by_prompt: Json) -> Any:
        given = dict(zip([each.input_id for each in pause.requests], values, strict=False))
        given |= {
            each.input_id: by_prompt[str(each.prompt)] for each in pause.requests if by_prompt
        }
        said = through_json(pause.said)
        self.asked = replace(self.asked, resumption=Resumption(replace(pause, said=said), given))
        return await self.run()

    async def answers(self, pause: Pause, *values: Json, **by_prompt: Json) -> str:
        outcome = await self.goes_on(pause, *values, **by_prompt)
        assert isinstance(outcome, Done)
        return outcome.answer


def through_json(said: Mapping[str, Json]) -> Any:
    return json.loads(json.dumps(said))


def graph(**nodes: Any) -> StateGraph[Any]:
    """Nodes one after the other, all of them speaking."""
    built, last = StateGraph(State), START
    for name, node in nodes.items():
        built.add_node(name, node, metadata={"speaks": True})
        built.add_edge(last, name)
        last = name
    return built


class Form(BaseModel):
    amount: int
