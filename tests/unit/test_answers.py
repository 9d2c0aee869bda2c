"""What a run's answer is, by what its nodes added and what the final state holds."""

import json
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from langchain_core.load import dumpd
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    ToolMessage,
)
from langgraph.types import Command, Overwrite

from sluice.domain.errors import PipelineError
from sluice.infrastructure.pipeline.answers import Answer, ids_of, values_of, written

GIVEN = AIMessage("given", id="g")
HAND_OVER = AIMessage("back to you", id="h", response_metadata={"__is_handoff_back": True})
CALL: Any = {"name": "f", "args": {}, "id": "c"}


def ai(text: str, id: str | None = None) -> AIMessage:
    return AIMessage(text, id=id)


def result(text: str, call: str, **fields: Any) -> ToolMessage:
    return ToolMessage(text, tool_call_id=call, name="f", **fields)


def said(*outputs: object, before: object = None, inside: bool = False) -> Answer:
    """What speaking nodes have put out, one after the other."""
    answer = Answer(frozenset({"g"}))
    for output in outputs:
        answer.add(output, before, inside=inside)
    return answer


def of(asked: Answer, /, *messages: object, **values: Any) -> str:
    return asked.of({"messages": list(messages), **values})


def test_an_answer_in_the_state_is_the_answer() -> None:
    assert of(said({"messages": ai("a", "1")}), ai("a", "1"), answer="own") == "own"


@pytest.mark.parametrize("answer", ["", None, 3])
def test_an_answer_that_is_no_text_is_not_one_beside_words(answer: object) -> None:
    assert of(said({"messages": ai("a", "1")}), ai("a", "1"), answer=answer) == "a"


def test_an_empty_answer_is_one_where_nothing_else_is_said() -> None:
    assert said().of({"answer": ""}) == ""


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"answer": None},
        {"messages": None},
        {"messages": []},
        {"messages": [HumanMessage("why?", id="q")]},
        {"messages": [GIVEN]},
        {"messages": [ai("", "1")]},
        {"messages": [HAND_OVER]},
    ],
)
def test_a_state_in_which_nobody_has_said_anything_has_no_answer(values: dict[str, Any]) -> None:
    with pytest.raises(PipelineError):
        said().of(values)


def test_where_nobody_speaks_the_last_message_of_a_model_is_the_answer() -> None:
    messages = [ai("a", "1"), ai("b", "2"), HAND_OVER, HumanMessage("c", id="q")]
    assert of(said(), *messages) == "b"


def test_a_given_message_that_is_last_is_no_answer_for_the_one_before_it() -> None:
    with pytest.raises(PipelineError):
        of(said(), ai("a", "1"), GIVEN)


def test_words_are_told_as_they_stand_in_the_final_state() -> None:
    answer = said({"messages": ai("a", "1")}, {"messages": ai("b", "2")})
    question = HumanMessage("why?", id="q")
    assert of(answer, question, ai("b!", "2"), ai("not said", "3"), ai("a", "1")) == "b!a"


def test_words_that_left_the_final_state_were_taken_back_where_others_stayed() -> None:
    answer = said({"messages": ai("a", "1")}, {"messages": ai("b", "2")})
    assert of(answer, ai("b", "2")) == "b"
    assert of(answer) == "ab"


def test_words_of_a_graph_inside_stay_though_the_outer_state_never_had_them() -> None:
    answer = said({"messages": ai("a", "1")}, inside=True)
    answer.add({"messages": ai("b", "2")}, None, inside=False)
    answer.add({"messages": ai("c", "3")}, None, inside=False)
    assert of(answer, ai("c!", "3")) == "ac!"


def test_words_of_a_graph_inside_that_the_outer_state_has_stand_where_it_has_them() -> None:
    answer = said({"messages": [ai("a", "1"), ai("b", "2")]}, inside=True)
    assert of(answer, ai("b", "2"), ai("a", "1")) == "ba"


def test_a_message_without_an_id_is_known_by_its_text_once_for_each_time() -> None:
    pairs = {"messages": [("ai", "a"), ("ai", "a"), ("ai", "b")]}
    messages = [ai("a", "7"), ai("a", "8"), ai("a", "9"), ai("b", "10")]
    assert of(said(pairs), *messages) == "aab"


def test_a_message_without_an_id_stays_beside_one_that_has_one() -> None:
    answer = said({"messages": ("ai", "a")}, {"messages": ai("b", "2")})
    assert of(answer, ai("a", "7"), ai("b", "2")) == "ab"


def test_no_message_of_others_is_taken_for_one_of_the_same_text() -> None:
    pairs = {"messages": [("ai", "x"), ("ai", "given")]}
    others = [HumanMessage("given", id="q"), GIVEN]
    assert of(said(pairs), *others, ai("x", "1"), ai("given", "2")) == "xgiven"


@pytest.mark.parametrize(
    "message", [GIVEN, ai("mended", "g"), HAND_OVER, HumanMessage("x"), result("x", "c")]
)
def test_what_is_no_word_of_the_node_is_not_added(message: BaseMessage) -> None:
    answer = said({"messages": [message, ai("a", "1")]})
    assert of(answer, message, ai("a", "1"), ai("silent", "9")) == "a"


def test_what_the_nodes_input_had_is_its_word_only_if_it_was_changed() -> None:
    before = {"messages": [ai("a", "1"), ai("b", "2"), HumanMessage("q")]}
    answer = said({"messages": [ai("a", "1"), ai("b!", "2")]}, before=before)
    assert of(answer, ai("a", "1"), ai("b!", "2"), ai("silent", "9")) == "b!"
    state = SimpleNamespace(messages=before["messages"])
    assert of(said({"messages": [ai("a", "1"), ai("c", "3")]}, before=state), ai("c", "3")) == "c"


@pytest.mark.parametrize("inside", [False, True])
def test_what_stands_for_words_that_a_guard_takes_back_is_the_answer(inside: bool) -> None:
    answer = said({"messages": [ai("a", "1"), ai("b", "2")]}, inside=inside)
    removed = [RemoveMessage(id="1"), RemoveMessage(id="2"), RemoveMessage(id="7")]
    answer.replace({"messages": [*removed, ai("safe", "3")]}, inside=inside)
    assert answer.noted() == {
        "added": [["3", "safe"]],
        "passing": ["3"] if inside else [],
        "direct": [],
    }
    assert of(answer, ai("safe!", "3"), ai("silent", "9")) == "safe!"
    answer.add({"messages": ai("c", "4")}, None, inside=False)
    assert of(answer, ai("c", "4")) == ("safec" if inside else "c")


@pytest.mark.parametrize(
    "messages",
    [
        [ai("x", "2")],
        [RemoveMessage(id="7"), ai("x", "2")],
        [RemoveMessage(id="1")],
        [RemoveMessage(id="1"), HumanMessage("x", id="2")],
        [RemoveMessage(id="1"), RemoveMessage(id="g"), ai("x", "2")],
    ],
)
def test_whoever_removes_no_words_or_says_none_instead_or_only_tidies_up_takes_none_back(
    messages: list[BaseMessage],
) -> None:
    answer = said({"messages": ai("a", "1")})
    answer.replace({"messages": messages}, inside=False)
    assert of(answer) == "a"
    assert of(answer, ai("a", "1"), ai("x", "2")) == "a"


RESPONSE = {"city": "Zürich"}


def test_an_agent_that_ends_by_a_call_answers_with_the_structure_in_it() -> None:
    last = AIMessage("", id="1", tool_calls=[CALL])
    values = {"structured_response": RESPONSE}
    assert of(said(), last, result("", "c"), **values) == '{"city":"Zürich"}'
    assert said().of(values) == '{"city":"Zürich"}'
    assert of(said(), last, structured_response=object)[:7] == '"<class'


def test_an_agent_that_ends_by_words_has_answered_with_them() -> None:
    assert of(said(), ai("a", "1"), structured_response=RESPONSE) == "a"
    before = AIMessage("", id="1", tool_calls=[CALL])
    assert of(said(), before, ai("a", "2"), structured_response=RESPONSE) == "a"


def direct(answer: Answer, *messages: ToolMessage) -> Answer:
    tools = {"f": SimpleNamespace(return_direct=True), "g": SimpleNamespace()}
    answer.add_direct({"messages": list(messages)}, tools)
    return answer


def test_results_that_end_the_turn_are_the_answer_behind_what_was_said() -> None:
    one, two = result("1", "c"), result("2", "d")
    answer = direct(said({"messages": ai("so: ", "1")}), one, two)
    assert of(answer, ai("so: ", "1"), one, two) == "so: 12"
    assert of(answer, ai("so: ", "1"), one, two, structured_response=RESPONSE) == "so: 12"


def test_results_behind_which_the_turn_goes_on_are_no_answer() -> None:
    one, two = result("1", "c"), result("2", "d")
    answer = direct(said(), one)
    assert of(answer, one, ai("end", "1")) == "end"
    assert of(answer, ai("end", "1"), one, two) == "end"
    assert of(direct(said(), two), ai("end", "1"), one, two) == "2"


@pytest.mark.parametrize(
    "message",
    [
        result("1", "c", status="error"),
        ToolMessage("1", tool_call_id="c", name="g"),
        ToolMessage("1", tool_call_id="c", name="unknown"),
        ToolMessage("1", tool_call_id="c"),
    ],
)
def test_other_results_are_no_answer(message: ToolMessage) -> None:
    with pytest.raises(PipelineError):
        of(direct(said(), message), message)


def test_a_graph_that_a_node_runs_by_itself_is_known_by_its_tools() -> None:
    answer = said()
    answer.know_direct([SimpleNamespace(name="f", return_direct=True)])
    other = SimpleNamespace(name="g", return_direct=False)
    answer.know_direct([other, SimpleNamespace(name="h")])
    one = result("1", "c")
    assert of(answer, one) == "1"
    for message in (result("1", "c", status="error"), *(_named(one, name) for name in "gh")):
        with pytest.raises(PipelineError):
            of(answer, message)


def _named(message: ToolMessage, name: str) -> ToolMessage:
    return message.model_copy(update={"name": name})


def test_behind_a_pause_the_answer_is_what_it_would_have_been() -> None:
    before = said({"messages": ai("a", "1")}, inside=True)
    before.add({"messages": [("ai", "b")]}, None, inside=False)
    direct(before, result("c", "c"))
    answer = said()
    answer.recall(json.loads(json.dumps(before.noted())))
    assert of(answer) == "ab"
    assert of(answer, ai("b", "7"), result("c", "c")) == "abc"


@dataclass
class State:
    messages: Any


A, B = HumanMessage("a"), HumanMessage("b")


@pytest.mark.parametrize(
    ("output", "texts"),
    [
        ({"messages": A}, ["a"]),
        ({"messages": [A, B]}, ["a", "b"]),
        ({"messages": ("user", "a")}, ["a"]),
        ({"messages": [("user", "a"), {"role": "user", "content": "b"}, "c"]}, ["a", "b", "c"]),
        ({"messages": MappingProxyType({"role": "user", "content": "a"})}, ["a"]),
        ({"messages": [dumpd(A), dumpd(dumpd)]}, ["a"]),
        ({"messages": Overwrite([A])}, ["a"]),
        ({"messages": {"__overwrite__": [A, B]}}, ["a", "b"]),
        ({"messages": [1, None, {"no": "message"}, A]}, ["a"]),
        (State([A, B]), ["a", "b"]),
        (A, ["a"]),
        ([A, B], ["a", "b"]),
        ((A, B), ["a", "b"]),
        (Command(update={"messages": [A]}), ["a"]),
        (Command(update=[("messages", A), ("notes", B), ("messages", [B])]), ["a", "b"]),
        (Command(update=State([A])), ["a"]),
        ([Command(update={"messages": A}), {"notes": 1}, {"messages": [B]}], ["a", "b"]),
        ({"notes": A}, []),
        (Command(goto="x"), []),
        (None, []),
    ],
)
def test_messages_are_found_in_every_form_of_an_output(output: object, texts: list[str]) -> None:
    assert [message.text for message in written(output)] == texts


def test_a_models_message_without_an_id_gets_one_to_be_known_by() -> None:
    one, two = ai("a"), ai("b")
    assert list(written([one, two, A])) == [one, two, A]
    assert one.id
    assert two.id
    assert one.id != two.id
    assert A.id is None


@pytest.mark.parametrize(
    ("state", "values"),
    [({"a": 1}, {"a": 1}), (State(1), {"messages": 1}), (None, {}), (3, {})],
)
def test_the_values_of_a_state_are_found_whatever_its_class(state: object, values: object) -> None:
    assert values_of(state) == values


def test_a_states_messages_are_known_by_their_ids() -> None:
    assert ids_of({"messages": [GIVEN, ai("a", "1")]}) == {"g", "1"}
    assert ids_of({"notes": [GIVEN]}) == frozenset()
