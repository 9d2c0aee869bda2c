"""One suite for both paths: what speaks, what does not, when stages start, what the answer is."""

import asyncio
from contextlib import aclosing
from typing import Annotated, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AnyMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, RetryPolicy, Send
from pydantic import BaseModel

from sluice.domain.chat import Turn
from sluice.domain.errors import ChatError, PipelineError, UpstreamTruncated
from sluice.domain.events import Event, StageCompleted, StageStarted, Token, Usage
from sluice.domain.ports import LLMClientPort
from sluice.offline_model.faults import CANARY, Fault
from sluice.offline_model.replies import Gate, Reply
from tests.paths import graphs
from tests.paths.conftest import Path, question
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


async def test_usage_is_the_sum_over_all_calls(path: Path) -> None:
    from sluice.offline_model.replies import Usage as Counted

    path.model.script(
        Reply(pieces=["note"], usage=Counted(3, 1)), Reply(pieces=["answer"], usage=Counted(5, 2))
    )

    def build(llm: LLMClientPort) -> Any:
        return graphs.chain(
            ("note", graphs.noting(llm, "n"), {}), ("answer", graphs.streaming(llm), SPEAKS)
        )

    assert (await path.tell(build)).done.usage == Usage(8, 3, 11)


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


@pytest.mark.parametrize("how", ["streamed", "rebuilt", "rebuilt chunk", "canned"])
async def test_a_returned_message_is_told_once(path: Path, how: str) -> None:
    path.model.script(Reply(pieces=["to", "ld"]))
    told = await path.tell(graphs.returning(path.chat_model(), how))
    expected = ["a canned answer"] if how == "canned" else ["to", "ld"]
    assert told.done.answer == "".join(expected)
    assert [t.content for t in told.tokens] == expected * path.speaks


async def test_generators_three_deep_in_a_task_of_their_own_are_heard(path: Path) -> None:
    path.model.script(Reply(pieces=["a", "b", "c"]))
    told = await path.tell(graphs.nested)
    assert told.done.answer == "abc"
    assert len(told.tokens) == 3 * path.speaks


async def test_a_subgraphs_nodes_have_paths_and_voices_of_their_own(path: Path) -> None:
    path.model.script(Reply(pieces=["thought"]), Reply(pieces=["sa", "id"]))
    told = await path.tell(graphs.subgraph)
    assert told.done.answer == "said"
    assert {t.node for t in told.tokens} == ({"outer/say"} if path.speaks else set())
    assert told.stages == [
        "+outer", "+outer/think", "-outer/think", "+outer/say", "-outer/say", "-outer",
    ]  # fmt: skip


async def test_a_graph_that_a_speaking_node_runs_itself_speaks_for_it(path: Path) -> None:
    path.model.script(Reply(pieces=["an", "swer"]))
    told = await path.tell(graphs.own_graph)
    assert told.done.answer == "answer"
    assert [t.content for t in told.tokens] == ["an", "swer"] * path.speaks


async def test_the_stream_writer_names_its_node_and_side_by_side_do_not_mix(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        graph = graphs.writing(llm)

        async def answer(state: State) -> dict[str, str]:
            return {"answer": "".join(state["notes"])}

        graph.add_node("answer", answer)
        for name in ("one", "two", "mute"):
            graph.add_edge(name, "answer")
        return graph

    told = await path.tell(build)
    assert told.done.answer == "abcd"
    if path.speaks:
        assert [(t.content, t.node) for t in told.tokens] == [
            ("a", "one"), ("b", "one"), ("c", "two"), ("d", "two"),
        ]  # fmt: skip


async def test_parallel_speakers_take_turns_in_the_order_of_their_first_token(path: Path) -> None:
    first, second = Gate(), Gate()

    def wants(prompt: str) -> Any:
        return lambda body: body["messages"][-1]["content"] == prompt

    path.model.script_when(wants("one"), Reply(pieces=["1a", "1b"], hold_after=1, gate=first))
    path.model.script_when(wants("two"), Reply(pieces=["2a", "2b"], hold_after=0, gate=second))

    def build(llm: LLMClientPort) -> Any:
        return graphs.beside(
            ("one", graphs.noting(llm, "one"), SPEAKS), ("two", graphs.noting(llm, "two"), SPEAKS)
        ).add_node("answer", lambda s: {"answer": "".join(s["notes"])})

    def joined(llm: LLMClientPort) -> Any:
        graph = build(llm)
        graph.add_edge("one", "answer")
        graph.add_edge("two", "answer")
        return graph

    async def hold() -> None:
        await first.reached()
        await second.reached()
        second.release()
        async with asyncio.timeout(5):
            while path.model.closed < 1:  # noqa: ASYNC110 - the server tells only by its count
                await asyncio.sleep(0)
        first.release()

    release = asyncio.create_task(hold())
    told = await path.tell(joined)
    await release
    assert told.done.answer == "1a1b2a2b"
    assert [t.content for t in told.tokens] == ["1a", "1b", "2a", "2b"] * path.speaks


async def test_instances_side_by_side_show_as_one_stage(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        async def work(state: Any) -> dict[str, list[str]]:
            return {"notes": ["x"]}

        graph = StateGraph(State)
        graph.add_node("work", work)
        graph.add_conditional_edges(START, lambda s: [Send("work", s)] * 3, ["work"])
        graph.add_node("answer", lambda s: {"answer": "".join(s["notes"])})
        graph.add_edge("work", "answer")
        return graph

    told = await path.tell(build)
    assert told.stages == ["+work", "-work", "+answer", "-answer"]
    assert told.done.answer == "xxx"


async def test_a_stage_starts_when_its_work_starts(path: Path) -> None:
    gate = Gate()
    path.model.script(Reply(pieces=["late"], hold_after=0, gate=gate))
    async with path.running(graphs.answering) as events:
        assert await anext(events) == StageStarted("answer", 0)
        following = asyncio.ensure_future(anext(events))
        await gate.reached()  # the stage is told while the model is still silent
        gate.release()
        assert isinstance(await following, Token if path.speaks else StageCompleted)


async def test_parallel_stages_overlap_and_progress_does_not_fall(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        started: list[str] = []
        both = asyncio.Event()

        def node(name: str) -> Any:
            async def work(state: State) -> dict[str, list[str]]:
                started.append(name)
                if len(started) == 2:
                    both.set()
                await both.wait()
                return {"notes": [name]}

            return work

        graph = graphs.beside(("a", node("a"), {}), ("b", node("b"), {}))
        graph.add_node("answer", lambda s: {"answer": "done"}, defer=True)
        graph.add_edge("a", "answer")
        graph.add_edge("b", "answer")
        return graph

    told = await path.tell(build)
    assert set(told.stages[:2]) == {"+a", "+b"}
    progress = [event.progress for event in told.events if hasattr(event, "progress")]
    assert progress == sorted(progress)


async def test_a_hidden_stage_is_not_shown(path: Path) -> None:
    path.model.script(Reply(pieces=["x"]))

    def build(llm: LLMClientPort) -> Any:
        return graphs.chain(
            ("secret", lambda s: {"notes": ["x"]}, {"stage": False}),
            ("answer", graphs.streaming(llm), SPEAKS),
        )

    assert (await path.tell(build)).stages == ["+answer", "-answer"]


async def test_conditional_edges_are_no_stages(path: Path) -> None:
    path.model.script(Reply(pieces=["x"]))

    def build(llm: LLMClientPort) -> Any:
        graph = StateGraph(State)
        graph.add_node("answer", graphs.streaming(llm), metadata=SPEAKS)
        graph.add_node("more", lambda s: {"notes": ["m"]})
        graph.add_conditional_edges(START, lambda s: "answer", ["answer"])
        graph.add_conditional_edges("answer", lambda s: "more", ["more", END])
        return graph

    assert (await path.tell(build)).stages == ["+answer", "-answer", "+more", "-more"]


async def test_a_node_that_has_heard_enough_says_no_more_and_hangs_up(path: Path) -> None:
    path.model.script(Reply(pieces=["one ", "two ", "three"], hold_after=2, gate=Gate()))

    def build(llm: LLMClientPort) -> Any:
        async def answer(state: State) -> dict[str, str]:
            async with aclosing(llm.stream("?")) as texts:
                return {"answer": await anext(texts)}

        return graphs.chain(("answer", answer, SPEAKS))

    told = await path.tell(build)
    assert told.done.answer == "one "
    if path.speaks:
        assert told.tokens == [Token("one ", "answer")]
    await path.model.until_idle()


async def test_an_answer_that_goes_on_gets_its_rest_and_another_takes_all_back(path: Path) -> None:
    path.model.script(Reply(pieces=["dra", "ft"]))
    told = await path.tell(graphs.rewritten("draft, and more"))
    assert [t.content for t in told.tokens] == ["dra", "ft", ", and more"] * path.speaks
    path.model.script(Reply(pieces=["dra", "ft"]))
    told = await path.tell(graphs.rewritten("something else"))
    assert told.text == ("something else" if path.speaks else "")


async def test_a_retried_node_is_told_once_in_the_end(path: Path) -> None:
    tries: list[int] = []

    def build(llm: LLMClientPort) -> Any:
        async def flaky(state: State) -> dict[str, str]:
            text = await graphs.joined(llm.stream("x"))
            tries.append(1)
            if len(tries) == 1:
                raise ConnectionError("once")
            return {"answer": text}

        graph = StateGraph(State)
        graph.add_node(
            "answer",
            flaky,
            metadata=SPEAKS,
            retry_policy=RetryPolicy(max_attempts=2, initial_interval=0.01),
        )
        return graph.add_edge(START, "answer")

    path.model.script(Reply(pieces=["said"]), Reply(pieces=["said"]))
    told = await path.tell(build)
    assert told.done.answer == "said"
    assert told.stages == ["+answer", "-answer"]


async def test_a_canned_answer_from_state_is_told(path: Path) -> None:
    told = await path.tell(lambda llm: graphs.chain(("answer", lambda s: {"answer": "canned"}, {})))
    assert told.done.answer == "canned"
    assert told.done.finish_reason is None
    assert [(t.content, t.node) for t in told.tokens] == [("canned", "")] * path.speaks


async def test_a_graph_with_a_checkpointer_starts_anew_with_every_run(path: Path) -> None:
    path.model.script(Reply(pieces=["one"]), Reply(pieces=["two"]))
    saver = InMemorySaver()
    build = graphs.checkpointed(saver)
    assert (await path.tell(build)).done.answer == "one of 1"
    assert (await path.tell(build)).done.answer == "two of 1"
    assert (dict(saver.storage), dict(saver.blobs)) == ({}, {})  # texts that nobody would delete


async def test_messages_of_a_state_of_the_graphs_own_class_are_an_answer(path: Path) -> None:
    class Chat(BaseModel):
        messages: Annotated[list[AnyMessage], add_messages] = []

    def build(llm: LLMClientPort) -> Any:
        async def say(state: Chat) -> Chat:
            return Chat(messages=[AIMessage(await graphs.joined(llm.stream("say")))])

        graph = StateGraph(Chat)
        for name in ("one", "two"):
            graph.add_node(name, say, metadata=SPEAKS)
        return graph.add_edge(START, "one").add_edge("one", "two")

    path.model.script(Reply(pieces=["one "]), Reply(pieces=["two"]))
    told = await path.tell(build)
    assert told.done.answer == "one two"
    assert [token.content for token in told.tokens] == ["one ", "two"] * path.speaks


async def test_no_answer_is_a_pipeline_error(path: Path) -> None:
    with pytest.raises(PipelineError):
        await path.tell(lambda llm: graphs.chain(("mute", lambda s: {"notes": ["x"]}, {})))


class Odd(BaseException):
    """Of no family that anybody catches."""


@pytest.mark.parametrize("threaded", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("secret"),
        TimeoutError(),
        KeyError("x"),
        SystemExit(3),
        KeyboardInterrupt(),
        Odd(),
    ],
    ids=repr,
)
async def test_a_node_that_raises_is_a_pipeline_error(
    path: Path, error: BaseException, threaded: bool
) -> None:
    """Even one that would have ended the process."""

    def broken(state: State) -> None:
        raise error

    async def broken_in_line(state: State) -> None:
        raise error

    node = broken if threaded else broken_in_line
    with pytest.raises(PipelineError):
        await path.tell(lambda llm: graphs.chain(("broken", node, {})))


async def test_a_node_that_ends_like_a_generator_is_a_pipeline_error(path: Path) -> None:
    """asyncio takes its GeneratorExit for an end like any other, and nothing would catch it."""

    async def leave(state: State) -> None:
        raise GeneratorExit

    with pytest.raises(PipelineError):
        await path.tell(lambda llm: graphs.chain(("leave", leave, {})))


@pytest.mark.parametrize(("times", "limit"), [(40, None), (40, 30), (20, 30)])
async def test_a_run_has_as_many_steps_as_langgraph_gives_it(
    path: Path, times: int, limit: int | None
) -> None:
    """LangChain's events would end it after 25."""

    def again(state: State) -> Command[str]:
        said = [*state.get("notes", []), "x"]
        more = len(said) < times
        return Command(update={"notes": ["x"], "answer": "ab"}, goto="again" if more else END)

    def build(llm: LLMClientPort) -> Any:
        graph = graphs.chain(("again", again, {"stage": False})).compile()
        return graph if limit is None else graph.with_config(recursion_limit=limit)

    if limit and limit < times:
        with pytest.raises(PipelineError):
            await path.tell(build)
    else:
        assert (await path.tell(build)).done.answer == "ab"


async def test_an_error_of_the_model_keeps_its_code_through_a_task_group(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        async def answer(state: State) -> dict[str, str]:
            async with asyncio.TaskGroup() as group:
                saying = group.create_task(graphs.joined(llm.stream("say")))
            return {"answer": saying.result()}

        return graphs.chain(("answer", answer, SPEAKS))

    path.model.script(Reply(pieces=["half"], fault=Fault.PROPER_END_HALF_WAY))
    with pytest.raises(UpstreamTruncated):
        await path.tell(build)


async def test_an_error_of_the_model_keeps_its_code_through_the_graph(path: Path) -> None:
    path.model.script(Reply(pieces=["half"], fault=Fault.PROPER_END_HALF_WAY))
    with pytest.raises(UpstreamTruncated):
        await path.tell(graphs.answering)


@pytest.mark.parametrize("after", [0, 1])
async def test_closing_early_stops_the_model(path: Path, after: int) -> None:
    gate = Gate()
    path.model.script(Reply(pieces=["a", "b"], hold_after=after, gate=gate))
    async with path.running(graphs.answering) as events:
        assert await anext(events) == StageStarted("answer", 0)
        following = asyncio.ensure_future(anext(events))
        await gate.reached()
        if path.speaks and after:
            assert await following == Token("a", "answer")
        else:
            following.cancel()
            await asyncio.wait([following])
    await path.model.until_idle()


async def test_closing_between_two_events_stops_the_graph(path: Path) -> None:
    path.model.script(Reply(pieces=["a"], hold_after=0, gate=Gate()))
    async with path.running(graphs.answering) as events:
        assert await anext(events) == StageStarted("answer", 0)
    await path.model.until_idle()


@pytest.mark.parametrize("path", ["A1", "A2-messages"], indirect=True)  # the others read none
async def test_a_reader_that_breaks_while_it_tells_leaves_no_generator(path: Path) -> None:
    """Nobody's `tell` raises; if one did, LangGraph's generator would stand at a yield."""

    def tell(event: Event) -> None:
        raise RuntimeError

    with pytest.raises(PipelineError):
        await path.pipeline(graphs.answering).run(question(), tell)
    await path.model.until_idle()


async def test_a_cancelled_run_stops_the_model(path: Path) -> None:
    gate = Gate()
    path.model.script(Reply(pieces=["a"], hold_after=0, gate=gate))

    async def run() -> list[Event]:
        async with path.running(graphs.answering) as events:
            return [event async for event in events]

    task = asyncio.create_task(run())
    await gate.reached()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await path.model.until_idle()


async def test_the_chat_so_far_reaches_the_graph_but_is_not_its_answer(path: Path) -> None:
    seen: list[Any] = []

    def build(llm: LLMClientPort) -> Any:
        async def answer(state: State) -> dict[str, Any]:
            seen.extend((m.type, m.content) for m in state["messages"])
            return {"messages": [("ai", "new")], "notes": []}

        return graphs.chain(("answer", answer, {}))

    asked = question("third", Turn("user", "first"), Turn("assistant", "second"))
    assert (await path.tell(build, asked)).done.answer == "new"
    assert seen == [("human", "first"), ("ai", "second"), ("human", "third")]


async def test_a_job_names_its_own_model(path: Path) -> None:
    path.model.script(Reply(pieces=["x"]))
    await path.tell(graphs.answering, question(model="special"))
    assert path.model.requests[-1].body["model"] == "special"


async def test_a_graph_that_cannot_be_changed_speaks_by_setting(path: Path) -> None:
    path.model.script(Reply(pieces=["a", "b"]))

    def build(llm: LLMClientPort) -> Any:
        return graphs.chain(("answer", graphs.streaming(llm), {})).compile()

    told = await path.tell(build, speaking=frozenset({"answer"}))
    assert len(told.tokens) == 2 * path.speaks


async def test_runs_side_by_side_do_not_hear_each_other(path: Path) -> None:
    path.model.script_when(lambda b: b["messages"][-1]["content"] == "1", Reply(pieces=["o", "ne"]))
    path.model.script_when(lambda b: b["messages"][-1]["content"] == "2", Reply(pieces=["tw", "o"]))
    one, two = await asyncio.gather(
        path.tell(graphs.answering, question("1")), path.tell(graphs.answering, question("2"))
    )
    assert (one.done.answer, two.done.answer) == ("one", "two")


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


def test_every_error_has_a_public_text() -> None:
    assert all(error.public for error in ChatError.__subclasses__())
