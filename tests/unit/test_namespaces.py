"""What LangGraph's names for node runs say, in each of the forms that it gives them."""

from typing import Any

import pytest

from sluice.infrastructure.pipeline.namespaces import (
    NODE,
    ROOT,
    is_hidden,
    is_inside,
    namespace_of,
    path_of,
    ran_before,
)


@pytest.mark.parametrize(
    ("metadata", "namespace"),
    [
        ({}, ""),
        ({"langgraph_checkpoint_ns": "a:1"}, "a:1"),
        ({"langgraph_checkpoint_ns": "b:2", ROOT: "a:1"}, "a:1|b:2"),
        ({"langgraph_checkpoint_ns": "a:1", NODE: "a:1"}, "a:1"),
        ({"langgraph_checkpoint_ns": "a:1|b:2", NODE: "a:1"}, "a:1|b:2"),
        ({"langgraph_checkpoint_ns": "b:2", NODE: "a:1"}, "a:1|b:2"),
        ({"langgraph_checkpoint_ns": "b:2", ROOT: "a:1", NODE: "a:1"}, "a:1|b:2"),
        ({"langgraph_checkpoint_ns": "c:3", ROOT: "b:2", NODE: "a:1"}, "a:1|b:2|c:3"),
    ],
)
def test_a_run_is_named_below_the_node_that_runs_it(
    metadata: dict[str, Any], namespace: str
) -> None:
    assert namespace_of(metadata) == namespace


@pytest.mark.parametrize(
    ("namespace", "path"),
    [
        ("", ""),
        ("a:1", "a"),
        ("a:1|b:2", "a/b"),
        ("a:1|1|b:2", "a/b"),
        ("a|b:2", "a/b"),
        ("a:1:2|b:2", "a/b"),
        ("a:1|__error_handler__a:2", "a"),
    ],
)
def test_a_path_names_the_nodes_only(namespace: str, path: str) -> None:
    assert path_of(namespace) == path


@pytest.mark.parametrize(
    ("namespace", "hidden"),
    [("a:1", False), ("a:1|__start__:2", True), ("__start__:2", True), ("__a:1|b:2|c:3", False)],
)
def test_only_a_node_of_langgraphs_own_is_hidden(namespace: str, hidden: bool) -> None:
    assert is_hidden(namespace) is hidden


@pytest.mark.parametrize(
    ("namespace", "inside"),
    [
        ("a:1|b:2", True),
        ("a:1|1|b:2", True),
        ("a|b:2", True),
        ("a:1", False),
        ("a:2|b:2", False),
        ("ab:1|b:2", False),
        ("a:11|b:2", False),
    ],
)
def test_what_a_node_runs_is_inside_it_with_a_memory_of_its_own_or_without(
    namespace: str, inside: bool
) -> None:
    assert is_inside(namespace, "a:1") is inside


def test_inside_an_inner_node_is_what_that_one_runs() -> None:
    assert is_inside("a:1|b:2|c:3", "a:1|b:2")
    assert is_inside("a:1|b|c:3", "a:1|b:2")
    assert not is_inside("a:1|d:2|c:3", "a:1|b:2")


@pytest.mark.parametrize(
    ("one", "other", "before"),
    [
        ("a:1|b:2", "a:1|1|b:3", True),
        ("a:1|1|b:2", "a:1|2|b:3", True),
        ("a:1|b:2", "a:1|c:3", False),
        ("a:1|b:2", "a:2|b:3", False),
        ("a:1|b:2|c:3", "a:1|1|b:2", False),
        ("a:1", "b:2", False),
    ],
)
def test_a_graph_ran_before_where_the_same_task_runs_it_once_more(
    one: str, other: str, before: bool
) -> None:
    assert ran_before(one, other) is before
