"""Messages that nodes return, in every form that LangGraph takes, are the nodes' words."""

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command, Overwrite, Send

from sluice.domain.ports import LLMClientPort
from sluice.offline_model.replies import Reply
from tests.paths import graphs
from tests.paths.conftest import Path, question
from tests.paths.graphs import SPEAKS, State

ROLE = {"role": "assistant", "content": "one "}
FORMS: dict[str, Callable[[State], Any]] = {
    "object": lambda s: {"messages": AIMessage("one ")},
    "pair": lambda s: {"messages": ("ai", "one ")},
    "pairs": lambda s: {"messages": [("assistant", "on"), ["ai", "e "]]},
    "role": lambda s: {"messages": ROLE},
    "roles": lambda s: {"messages": [ROLE]},
    "role and id": lambda s: {"messages": [{**ROLE, "id": "1"}]},
    "blocks": lambda s: {"messages": [{**ROLE, "content": [{"type": "text", "text": "one "}]}]},
    "type": lambda s: {"messages": [{"type": "ai", "content": "one "}]},
    "two without ids": lambda s: {"messages": [AIMessage("on"), AIMessage("e ")]},
    "twice the same": lambda s: {"messages": [("ai", "one "), ("user", "one "), "one "]},
    "with a removal": lambda s: {"messages": [RemoveMessage(id=str(s["messages"][0].id)), ROLE]},
    "command": lambda s: Command(update={"messages": [("ai", "one ")]}),
    "command of pairs": lambda s: Command(update=[("messages", [ROLE]), ("notes", ["x"])]),
    "commands": lambda s: [Command(update={"messages": ROLE}), {"notes": ["x"]}],
    "overwrite": lambda s: {"messages": Overwrite([AIMessage("one ")])},
    "overwrite of pairs": lambda s: {"messages": Overwrite([*s["messages"], ("ai", "one ")])},
    "overwrite as a dict": lambda s: {"messages": {"__overwrite__": [ROLE]}},
    "all so far": lambda s: {"messages": [*s["messages"], AIMessage("one ")]},
}


@pytest.mark.parametrize("form", FORMS)
async def test_each_form_is_the_words_of_the_node_that_speaks(path: Path, form: str) -> None:
    """A silent node's message, last and in an object, is not the answer beside them."""

    def build(llm: LLMClientPort) -> Any:
        return graphs.chain(
            ("one", FORMS[form], SPEAKS),
            ("two", lambda s: {"messages": ("ai", "two")}, SPEAKS),
            ("note", lambda s: {"messages": [AIMessage("note")]}, {}),
        )

    told = await path.tell(build)
    assert told.done.answer == "one two"


@pytest.mark.parametrize("form", FORMS)
async def test_no_form_of_a_silent_node_is_an_answer_beside_one_that_speaks(
    path: Path, form: str
) -> None:
    def build(llm: LLMClientPort) -> Any:
        return graphs.chain(
            ("said", lambda s: {"messages": ("ai", "said")}, SPEAKS), ("note", FORMS[form], {})
        )

    told = await path.tell(build)
    assert told.done.answer == "said"


async def test_pairs_of_what_was_streamed_are_told_once(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        async def say(state: State) -> dict[str, Any]:
            return {"messages": [("ai", await graphs.joined(llm.stream("say")))]}

        return graphs.chain(("one", say, SPEAKS), ("two", say, SPEAKS))

    path.model.script(Reply(pieces=["o", "ne "]), Reply(pieces=["two"]))
    told = await path.tell(build)
    assert told.done.answer == "one two"
    assert [t.content for t in told.tokens] == ["o", "ne ", "two"] * path.speaks


async def test_a_speaking_node_that_hands_on_what_others_wrote_has_not_said_it(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        return graphs.chain(
            ("note", lambda s: {"messages": AIMessage("SECRET", id="n")}, {}),
            ("say", lambda s: {"messages": [*s["messages"], ("ai", "said")]}, SPEAKS),
        )

    assert (await path.tell(build)).done.answer == "said"


async def test_a_speaking_node_that_rewrites_a_message_has_said_it(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        return graphs.chain(
            ("draft", lambda s: {"messages": AIMessage("draft", id="n")}, {}),
            ("say", lambda s: {"messages": AIMessage("said", id="n")}, SPEAKS),
        )

    assert (await path.tell(build)).done.answer == "said"


async def test_a_later_node_that_rewrites_the_words_has_the_last(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        async def say(state: State) -> dict[str, Any]:
            return {"messages": AIMessage(await graphs.joined(llm.stream("say")), id="n")}

        return graphs.chain(
            ("say", say, SPEAKS), ("mend", lambda s: {"messages": AIMessage("mended", id="n")}, {})
        )

    path.model.script(Reply(pieces=["said"]))
    assert (await path.tell(build)).done.answer == "mended"


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("form", [AIMessage("taken back"), ("ai", "taken back")])
async def test_what_a_silent_node_puts_in_the_place_of_the_words_is_the_answer(
    path: Path, form: Any, nested: bool
) -> None:
    def guard(state: State) -> dict[str, Any]:
        return {"messages": [RemoveMessage(id=str(state["messages"][-1].id)), form]}

    def build(llm: LLMClientPort) -> Any:
        async def say(state: State) -> dict[str, Any]:
            return {"messages": AIMessage(await graphs.joined(llm.stream("say")), id="n")}

        graph = graphs.chain(("say", say, SPEAKS), ("guard", guard, {}))
        return graphs.chain(("outer", graph.compile(), {})) if nested else graph

    path.model.script(Reply(pieces=["bad words"]))
    assert (await path.tell(build)).done.answer == "taken back"


async def test_a_silent_node_that_sums_up_all_messages_leaves_the_answer(path: Path) -> None:
    def sum_up(state: State) -> dict[str, Any]:
        removed = [RemoveMessage(id=str(message.id)) for message in state["messages"]]
        return {"messages": [*removed, AIMessage("SECRET")]}

    def build(llm: LLMClientPort) -> Any:
        say = ("say", lambda s: {"messages": AIMessage("said", id="n")}, SPEAKS)
        return graphs.chain(say, ("sum", sum_up, {}))

    assert (await path.tell(build)).done.answer == "said"


async def test_an_answer_stays_when_all_messages_are_removed(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        return graphs.chain(
            ("say", lambda s: {"messages": ("ai", "said")}, SPEAKS),
            ("clean", lambda s: {"messages": RemoveMessage(id=REMOVE_ALL_MESSAGES)}, {}),
        )

    assert (await path.tell(build)).done.answer == "said"


async def test_messages_that_a_state_only_collects_are_words_too(path: Path) -> None:
    class Collected(TypedDict):
        messages: Annotated[list[Any], operator.add]

    def build(llm: LLMClientPort) -> Any:
        graph = StateGraph(Collected)
        graph.add_node("one", lambda s: {"messages": [("ai", "one ")]}, metadata=SPEAKS)
        graph.add_node("two", lambda s: {"messages": [ROLE | {"content": "two"}]}, metadata=SPEAKS)
        return graph.add_edge(START, "one").add_edge("one", "two")

    assert (await path.tell(build)).done.answer == "one two"


async def test_what_is_no_message_is_no_error_of_ours(path: Path) -> None:
    class Odd(TypedDict, total=False):
        messages: Any
        answer: str

    def build(llm: LLMClientPort) -> Any:
        graph = StateGraph(Odd)
        graph.add_node("odd", lambda s: {"messages": [{"no": 1}, 3, None, ("a", "b", "c")]},
                       metadata=SPEAKS)  # fmt: skip
        graph.add_node("say", lambda s: {"answer": "said"})
        return graph.add_edge(START, "odd").add_edge("odd", "say")

    assert (await path.tell(build)).done.answer == "said"


async def test_instances_side_by_side_say_their_messages_in_the_states_order(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        graph = StateGraph(State)
        graph.add_node("say", lambda s: {"messages": ("ai", s["message"])}, metadata=SPEAKS)
        sends = [Send("say", {"message": text}) for text in ("a", "b", "c")]
        return graph.add_conditional_edges(START, lambda s: sends, ["say"])

    assert (await path.tell(build)).done.answer == "abc"


async def test_a_subgraph_that_speaks_leaves_it_to_its_nodes_which_do(path: Path) -> None:
    """What its silent nodes put into the shared messages is not its words."""

    def build(llm: LLMClientPort) -> Any:
        inner = graphs.chain(
            ("think", lambda s: {"messages": [AIMessage("SECRET")]}, {}),
            ("say", lambda s: {"messages": [AIMessage("said")]}, SPEAKS),
        )
        return graphs.chain(("outer", inner.compile(), SPEAKS))

    told = await path.tell(build)
    assert told.done.answer == "said"
    assert "SECRET" not in str(told.events)


async def test_what_a_subgraph_keeps_for_itself_stays_told(path: Path) -> None:
    """Its words are in no message of the outer graph, where another node speaks too."""

    class Inner(TypedDict, total=False):
        message: str
        messages: Annotated[list[Any], operator.add]

    class Out(TypedDict, total=False):
        notes: list[str]

    def build(llm: LLMClientPort) -> Any:
        async def say(state: Inner) -> dict[str, Any]:
            return {"messages": [AIMessage(await graphs.joined(llm.stream("say")))]}

        inner = StateGraph(Inner, output_schema=Out).add_node("say", say, metadata=SPEAKS)
        inner.add_edge(START, "say")
        return graphs.chain(
            ("outer", inner.compile(), {}), ("end", lambda s: {"messages": ("ai", "two")}, SPEAKS)
        )

    path.model.script(Reply(pieces=["one "]))
    told = await path.tell(build)
    assert told.done.answer == "one two"
    assert [t.content for t in told.tokens] == ["one ", "two"] * path.speaks


async def test_the_question_is_no_answer(path: Path) -> None:
    asked = question("why?")

    def build(llm: LLMClientPort) -> Any:
        return graphs.chain(
            ("say", lambda s: {"messages": [*s["messages"], HumanMessage("because")]}, SPEAKS),
            ("end", lambda s: {"answer": "x"}, {}),
        )

    assert (await path.tell(build, asked)).done.answer == "x"
