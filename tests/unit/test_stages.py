"""Stages as node runs come and go: each opens once, closes once, and progress rises."""

import json

from sluice.domain.events import Event, StageCompleted, StageFailed, StageStarted, Token
from sluice.infrastructure.pipeline.namespaces import path_of
from sluice.infrastructure.pipeline.order import TokenOrder
from sluice.infrastructure.pipeline.stages import Stages

A, B = "a:1", "b:2"
INSIDE = "a:1|i:3"


def started(stages: Stages, *namespaces: str) -> list[Event]:
    return [event for each in namespaces for event in stages.started(each, shown=True)]


def test_each_node_of_a_chain_brings_the_progress_on() -> None:
    stages = Stages(3, TokenOrder())
    assert started(stages, A) == [StageStarted("a", 0)]
    assert stages.ended(A) == [StageCompleted("a", 33)]
    assert started(stages, B) == [StageStarted("b", 33)]
    assert stages.ended(B) == [StageCompleted("b", 66)]


def test_runs_of_one_node_side_by_side_are_one_stage() -> None:
    stages = Stages(1, TokenOrder())
    assert started(stages, "a:1", "a:2") == [StageStarted("a", 0)]
    assert stages.ended("a:2") == []
    assert stages.ended("a:1") == [StageCompleted("a", 100)]


def test_a_node_counts_once_however_often_it_runs_and_progress_never_passes_100() -> None:
    stages = Stages(2, TokenOrder())
    for namespace, progress in (("a:1", 50), ("a:2", 50), ("b:1", 100), ("c:1", 100)):
        started(stages, namespace)
        assert stages.ended(namespace) == [StageCompleted(path_of(namespace), progress)]


def test_where_nodes_may_run_again_nothing_is_ever_the_whole() -> None:
    stages = Stages(1, TokenOrder(), has_loop=True)
    started(stages, A)
    assert stages.ended(A) == [StageCompleted("a", 99)]


def test_where_no_node_is_a_stage_one_that_a_node_runs_itself_is_everything() -> None:
    stages = Stages(0, TokenOrder())
    started(stages, A)
    assert stages.ended(A) == [StageCompleted("a", 100)]


def test_what_is_not_shown_or_is_langgraphs_own_is_no_stage() -> None:
    stages = Stages(1, TokenOrder())
    assert stages.started(A, shown=False) == []
    assert stages.ended(A) == []
    assert started(stages, "b:2|__start__:3") == []
    assert stages.ended("b:2|__start__:3") == []
    assert stages.ended("never:4") == []
    assert started(stages, "never:5") == [StageStarted("never", 0)]


def test_the_end_of_a_run_is_that_of_its_turn() -> None:
    order = TokenOrder()
    stages = Stages(2, order)
    started(stages, A, B)
    order.say(A, Token("1", "a"))
    order.say(B, Token("2", "b"))
    assert stages.ended(A) == [Token("2", "b"), StageCompleted("a", 50)]


def test_what_is_open_inside_a_run_that_ends_has_failed_the_innermost_first() -> None:
    stages = Stages(3, TokenOrder())
    started(stages, A, INSIDE, f"{INSIDE}|j:4", B)
    assert stages.ended(A) == [
        StageFailed("a/i/j", 0), StageFailed("a/i", 0), StageCompleted("a", 33),
    ]  # fmt: skip
    assert stages.ended(INSIDE) == []
    assert stages.ended(B) == [StageCompleted("b", 66)]


def test_ends_that_langgraph_does_not_report_are_told_as_they_were_learnt() -> None:
    stages = Stages(4, TokenOrder())
    started(stages, A, INSIDE, B)
    stages.left |= {A: StageCompleted, B: StageFailed, "never:9": StageCompleted}
    assert stages.ends_unreported() == [
        StageCompleted("a/i", 25), StageCompleted("a", 50), StageFailed("b", 50),
    ]  # fmt: skip
    assert stages.ends_unreported() == []


def test_an_end_that_was_not_reported_is_told_before_the_next_start() -> None:
    stages = Stages(2, TokenOrder())
    started(stages, A)
    stages.left[A] = StageCompleted
    assert started(stages, B) == [StageCompleted("a", 50), StageStarted("b", 50)]


def test_a_graph_that_is_run_once_more_gives_up_what_failed_in_its_last_run() -> None:
    stages = Stages(2, TokenOrder())
    started(stages, A, "a:1|b:2", "a:1|c:3", "d:1|b:9")
    stages.failed |= {"a:1|b:2", "d:1|b:9", "never:7"}
    assert started(stages, "a:1|1|b:4") == [StageFailed("a/b", 0), StageStarted("a/b", 0)]
    assert stages.ended("a:1|1|b:4") == [StageCompleted("a/b", 50)]
    assert stages.ended("d:1|b:9") == [StageCompleted("d/b", 100)]


def test_behind_a_pause_what_was_open_goes_on_and_what_was_done_counts() -> None:
    stages = Stages(3, TokenOrder())
    started(stages, A, B)
    stages.started("c:3", shown=False)
    stages.ended(A)
    note = json.loads(json.dumps(stages.noted()))
    stages = Stages(3, TokenOrder())
    stages.recall(note)
    assert started(stages, B) == []
    assert stages.started("c:3", shown=False) == []
    assert stages.ended("c:3") == []
    assert stages.ended(B) == [StageCompleted("b", 66)]
    assert started(stages, B) == [StageStarted("b", 66)]
