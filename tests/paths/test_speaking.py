"""On both paths: which nodes and which calls speak, and which stay silent."""

from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler

from sluice.domain.events import Token
from sluice.domain.ports import LLMClientPort
from sluice.offline_model.faults import CANARY, Fault
from sluice.offline_model.replies import Reply
from tests.paths import graphs
from tests.paths.conftest import Path
from tests.paths.graphs import SPEAKS, State


async def test_a_speaking_node_is_heard_and_the_answer_is_the_same(path: Path) -> None:
    path.model.script(Reply(pieces=["무색 ", "페트", "병은 ", "👩‍👩‍👧"]))
    told = await path.tell(graphs.answering)
    assert told.done.answer == "무색 페트병은 👩‍👩‍👧"
    assert told.done.path == path.name[:2]
    assert told.done.finish_reason == "stop"
    assert told.stages == ["+answer", "-answer"]
    if path.speaks:
        assert told.tokens == [Token(t, "answer") for t in ["무색 ", "페트", "병은 ", "👩‍👩‍👧"]]


async def test_classifiers_structured_output_and_tool_arguments_are_silent(path: Path) -> None:
    path.model.script(
        Reply(pieces=["secret", " label"]),
        Reply(pieces=['{"label":', '"secret"}']),
        Reply.calling("look", {"where": "secret"}),
        Reply(pieces=["the ", "answer"], finish_reason="length"),
    )
    told = await path.tell(graphs.silent_calls)
    assert told.done.answer == "the answer"
    assert told.done.finish_reason == "length"
    assert {token.node for token in told.tokens} <= {"answer"}


async def test_a_model_called_directly_speaks_in_speaking_nodes_only(path: Path) -> None:
    path.model.script(Reply(pieces=["hidden"]), Reply(pieces=["shown"]))
    told = await path.tell(graphs.called_directly(path.chat_model(), {}))
    assert told.done.answer == "shown"
    path.model.script(Reply(pieces=["first. "]), Reply(pieces=["second"]))
    told = await path.tell(graphs.called_directly(path.chat_model(), SPEAKS))
    assert told.done.answer == "second"
    if path.speaks:  # what was said before the answer is taken back
        assert [t.content for t in told.tokens] == ["first. ", "second", "second"]


async def test_structured_output_of_a_model_in_a_speaking_node_is_silent(path: Path) -> None:
    path.model.script(Reply(pieces=['{"label":', '"x"}']), Reply(pieces=["shown"]))
    model = path.chat_model().with_structured_output(graphs.Verdict)

    def build(llm: LLMClientPort) -> Any:
        async def judge(state: State) -> dict[str, list[str]]:
            return {"notes": [str(await model.ainvoke("judge"))]}

        return graphs.chain(("judge", judge, SPEAKS), ("answer", graphs.streaming(llm), SPEAKS))

    assert (await path.tell(build)).done.answer == "shown"


async def test_structured_output_that_would_not_be_strict_is_refused(path: Path) -> None:
    model = path.chat_model()
    with pytest.raises(NotImplementedError, match="a Pydantic model"):
        model.with_structured_output({"title": "verdict", "type": "object"})
    with pytest.raises(NotImplementedError, match="no options"):
        model.with_structured_output(graphs.Verdict, include_raw=True)


async def test_a_call_tagged_nostream_is_silent(path: Path) -> None:
    path.model.script(Reply(pieces=["hidden"]), Reply(pieces=["shown"]))
    model = path.chat_model().with_config(tags=["nostream"])
    told = await path.tell(graphs.called_directly(model, SPEAKS))
    assert [t.content for t in told.tokens] == ["shown"] * path.speaks


@pytest.mark.parametrize("given", ["to the model", "to the call", "by with_config"])
async def test_a_model_with_callbacks_of_its_own_is_heard_if_it_was_built_with_them(
    path: Path, given: str
) -> None:
    """Callbacks of a call replace the run's in LangChain, so LangGraph does not hear it either."""
    path.model.script(Reply(pieces=["to", "ld"]))

    def build(llm: LLMClientPort) -> Any:
        own: Any = {"callbacks": [BaseCallbackHandler()]}
        model: Any = path.chat_model()
        if given == "to the model":
            model = model.model_copy(update=own)
        elif given == "by with_config":
            model = model.with_config(**own)

        async def answer(state: State) -> dict[str, str]:
            said = await model.ainvoke("x", own if given == "to the call" else None)
            return {"answer": str(said.text)}

        return graphs.chain(("answer", answer, SPEAKS))

    told = await path.tell(build)
    heard = ["to", "ld"] if given == "to the model" else ["told"]
    assert [t.content for t in told.tokens] == heard * path.speaks


async def test_tool_and_reasoning_deltas_are_not_tokens(path: Path) -> None:
    for fault in (Fault.TOOL_CALL_DELTAS, Fault.REASONING_DELTAS):
        path.model.script(Reply(pieces=["the ", "answer", " is", " here"], fault=fault))
        told = await path.tell(graphs.answering)
        assert told.done.answer == "the answer is here"
        assert CANARY not in str(told.events)


async def test_generators_three_deep_in_a_task_of_their_own_are_heard(path: Path) -> None:
    path.model.script(Reply(pieces=["a", "b", "c"]))
    told = await path.tell(graphs.nested)
    assert told.done.answer == "abc"
    assert len(told.tokens) == 3 * path.speaks


async def test_a_graph_that_a_speaking_node_runs_itself_speaks_for_it(path: Path) -> None:
    path.model.script(Reply(pieces=["an", "swer"]))
    told = await path.tell(graphs.own_graph)
    assert told.done.answer == "answer"
    assert [t.content for t in told.tokens] == ["an", "swer"] * path.speaks


async def test_a_graph_that_cannot_be_changed_speaks_by_setting(path: Path) -> None:
    path.model.script(Reply(pieces=["a", "b"]))

    def build(llm: LLMClientPort) -> Any:
        return graphs.chain(("answer", graphs.streaming(llm), {})).compile()

    told = await path.tell(build, speaking=frozenset({"answer"}))
    assert len(told.tokens) == 2 * path.speaks


async def test_an_unknown_speaking_node_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="nobody"):
        path.pipeline(graphs.answering, speaking=frozenset({"nobody"}))
    with pytest.raises(TypeError, match="StateGraph"):
        path.pipeline(lambda llm: None)


async def test_of_a_subgraph_that_is_known_all_nodes_are(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        inner = graphs.chain(("draft", graphs.streaming(llm), {})).compile()
        return graphs.chain(("writer", inner, {}), ("answer", graphs.streaming(llm), {}))

    path.pipeline(build, speaking=frozenset({"writer/draft", "answer/of/its/own"}))
    for unknown in ("writer/nobody", "writer/nobody/either", "nobody/draft"):
        with pytest.raises(ValueError, match=unknown):
            path.pipeline(build, speaking=frozenset({"writer/draft", unknown}))
