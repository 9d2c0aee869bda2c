"""What is declared of nodes, by the graph or by a setting, and what follows of it."""

from collections.abc import Mapping
from typing import Any, get_args

import pytest

from sluice.infrastructure.pipeline.visibility import (
    SILENT,
    Declared,
    UnknownNodeError,
    Visibility,
    Word,
    is_silent_call,
)

SPEAKS, NO_STAGE = {"speaks": True}, {"stage": False}


def visibility(*named: str, **nodes: Mapping[str, Any] | None) -> Visibility:
    """Nodes by their paths, in which `__` stands for a slash."""
    known = Visibility({"speaks": frozenset(named)})
    for path, metadata in nodes.items():
        known.declare(path.replace("__", "/"), metadata)
    return known


def test_a_node_is_silent_and_a_stage_unless_it_says_otherwise() -> None:
    known = visibility(a=None, b=SPEAKS, c=NO_STAGE)
    assert [known.declared(path).speaks for path in "abcd"] == [False, True, False, False]
    assert [known.is_stage(path, {}) for path in "abcd"] == [True, True, False, True]
    assert known.stages == 2


def test_of_a_node_that_nobody_declared_its_own_metadata_say_whether_it_is_a_stage() -> None:
    known = visibility(a=None)
    assert known.is_stage("a", NO_STAGE)
    assert not known.is_stage("b", NO_STAGE)


def test_a_setting_is_written_into_a_nodes_metadata_and_the_rest_is_kept() -> None:
    known = visibility("a")
    given = {"other": 1}
    assert known.declare("a", given) == {"other": 1, "speaks": True}
    assert known.declare("b", given) == given == {"other": 1}
    assert known.declare("c", None) == {}
    assert [known.declared(path).speaks for path in "abc"] == [True, False, False]
    assert [known.is_named(path) for path in "abc"] == [True, False, False]


def test_of_a_graph_whose_nodes_speak_only_their_messages_are_the_answer() -> None:
    known = visibility(a=SPEAKS, a__b=SPEAKS, c=SPEAKS, c__d=None, cx__e=SPEAKS, f=None)
    assert not known.answers("a", is_graph=True)
    assert known.answers("a", is_graph=False)
    assert known.answers("c", is_graph=True)
    assert not known.answers("f", is_graph=False)
    assert not known.answers("unknown", is_graph=True)


@pytest.mark.parametrize(
    ("node", "path", "heard"),
    [
        ("a", "a/b", True),
        ("a", "a/b/c", True),
        ("a", "a/x", False),
        ("a", "a", False),
        ("a/b", "a/b", False),
        ("a/b", "a/b/c", False),
        ("", "a/b", False),
        ("a", "a/bc", False),
        ("d", "d/e/f", True),
        ("d", "d/e", False),
        ("d", "d/e/f/g", True),
    ],
)
def test_what_a_silent_node_runs_is_heard_where_a_setting_names_it(
    node: str, path: str, heard: bool
) -> None:
    known = visibility("a/b", "d/e/f")
    assert known.hears("speaks", node, by_itself=SILENT, path=path) is heard
    assert known.hears("speaks", node, by_itself=Declared(speaks=True), path=path)


def test_what_is_named_may_be_a_node_or_in_what_a_node_runs_by_itself() -> None:
    known = visibility("z", "a", "a/x", "b/c", "b/x", "b/c/x/y", "y/x", a=None, b=None, b__c=None)
    with pytest.raises(UnknownNodeError, match=r"no node b/x, y/x, z$"):
        known.check()


@pytest.mark.parametrize(
    ("tags", "call", "silent"),
    [
        (None, {}, False),
        ([], {"options": None, "invocation_params": None}, False),
        (["other"], {"options": {}, "invocation_params": {"model": "m"}}, False),
        (["other", "nostream"], {}, True),
        (None, {"options": {"ls_structured_output_format": {"schema": {}}}}, True),
        (None, {"invocation_params": {"response_format": {"type": "json_object"}}}, True),
    ],
)
def test_a_call_that_asks_for_no_text_to_be_read_is_silent(
    tags: list[str] | None, call: dict[str, Any], silent: bool
) -> None:
    assert is_silent_call(tags, call) is silent


def test_a_word_is_used_if_a_node_or_a_setting_says_it() -> None:
    known = Visibility({"tools": frozenset({"a/x"})})
    known.declare("a", {"data": True})
    known.declare("b", None)
    used = [word for word in get_args(Word) if known.uses(word)]
    assert used == ["tools", "data"]
    assert known.uses("speaks", "data")
    assert known.uses("tools", "speaks")
    assert not known.uses("speaks", "reasoning")
    assert not known.uses()


def test_an_unknown_node_is_told_of_with_the_word_that_names_it() -> None:
    known = Visibility({"speaks": frozenset({"a"}), "tools": frozenset({"y", "a", "x"})})
    known.declare("a", None)
    with pytest.raises(UnknownNodeError, match="x, y") as raised:
        known.check()
    assert raised.value.word == "tools"
