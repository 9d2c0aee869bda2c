"""The tap: stages as LangChain tells of runs, in line."""

from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID, uuid4

from langgraph.errors import ParentCommand
from langgraph.types import Command

from sluice.domain.events import StageCompleted, StageFailed, StageStarted
from sluice.infrastructure.pipeline.running_node import RunningNode
from sluice.infrastructure.pipeline.tap import TAPPABLE, Tap
from tests.unit.graph_runs import INSIDE, A, B, Run

ONE = StageStarted("a", 0)


def started(tap: Tap, namespace: str = A, name: str | None = "a", **metadata: Any) -> UUID:
    run_id = uuid4()
    told = {"langgraph_node": namespace[0], "langgraph_checkpoint_ns": namespace, **metadata}
    tap.on_chain_start({}, {}, run_id=run_id, metadata=told, name=name)
    return run_id


async def test_a_stage_is_the_outermost_run_of_its_name() -> None:
    run = Run()
    tap = Tap(run)
    outer, inner = started(tap), started(tap)
    tap.on_chain_end({}, run_id=inner)
    assert run.told == [ONE]
    tap.on_chain_end({}, run_id=outer)
    assert run.told == [ONE, StageCompleted("a", 33)]
    tap.on_chain_end({}, run_id=outer)
    assert len(run.told) == 2


async def test_runs_side_by_side_are_stages_of_their_own() -> None:
    run = Run()
    tap = Tap(run)
    one, other = started(tap), started(tap, B, "b")
    tap.on_chain_end({}, run_id=one)
    assert run.told == [ONE, StageStarted("b", 0), StageCompleted("a", 33)]
    tap.on_chain_end({}, run_id=other)
    assert run.told[3:] == [StageCompleted("b", 66)]


async def test_what_is_no_nodes_run_is_no_stage() -> None:
    run = Run()
    tap = Tap(run)
    started(tap, name="step")
    started(tap, name=None)
    tap.on_chain_start({}, {}, run_id=uuid4(), metadata=None, name="a")
    tap.on_chain_start({}, {}, run_id=uuid4(), metadata={}, name="a")
    started(tap, stage=False, namespace="z:1", name="z")
    assert run.told == []


async def test_a_stage_that_failed_is_open_until_its_next_try_ends() -> None:
    run = Run()
    tap = Tap(run)
    first = started(tap)
    tap.on_chain_error(ValueError(), run_id=first)
    assert run.told == [ONE]
    second, inner = started(tap), started(tap)
    tap.on_chain_end({}, run_id=first)
    tap.on_chain_end({}, run_id=inner)
    assert run.told == [ONE]
    tap.on_chain_error(ValueError(), run_id=inner)
    tap.on_chain_end({}, run_id=second)
    assert run.told == [ONE, StageCompleted("a", 33)]


async def test_a_stage_may_fail_twice_before_it_is_done() -> None:
    run = Run()
    tap = Tap(run)
    for _ in range(2):
        tap.on_chain_error(ValueError(), run_id=started(tap))
    last = started(tap)
    tap.on_chain_end({}, run_id=last)
    assert run.told == [ONE, StageCompleted("a", 33)]


async def test_a_failed_stage_is_given_up_when_its_graph_is_run_anew() -> None:
    run = Run()
    tap = Tap(run)
    tap.on_chain_error(ValueError(), run_id=started(tap, "a:1|i:3", "i", langgraph_node="i"))
    started(tap, "a:1|2|i:4", "i", langgraph_node="i")
    assert run.told == [StageStarted("a/i", 0), StageFailed("a/i", 0), StageStarted("a/i", 0)]


async def test_a_node_that_hands_over_to_the_graph_above_is_done() -> None:
    run = Run()
    tap = Tap(run)
    run_id = started(tap)
    tap.on_chain_error(ParentCommand(Command(goto="b")), run_id=run_id)
    assert run.told == [ONE, StageCompleted("a", 33)]


async def test_what_is_open_inside_a_node_that_hands_over_ends_as_it_does() -> None:
    """As on the other paths, which do not hear of its end."""
    run = Run()
    tap = Tap(run)
    run.node_started(RunningNode(run, A))
    run_id = started(tap, INSIDE, "i", langgraph_node="i")
    started(tap, f"{INSIDE}|j:4", "j", langgraph_node="j")
    run.told.clear()
    tap.on_chain_error(ParentCommand(Command(goto="b")), run_id=run_id)
    ended = [event.stage for event in run.told if isinstance(event, StageCompleted)]
    assert (ended, len(run.told)) == (["a/i/j", "a/i"], 2)


async def test_ends_that_nobody_reports_are_told_at_the_next_end_of_any_run() -> None:
    run = Run()
    tap = Tap(run)
    started(tap)
    run.node_left(A, StageFailed)
    tap.on_chain_end({}, run_id=uuid4())
    assert run.told == [ONE, StageFailed("a", 0)]


async def test_a_nodes_output_is_left_as_it_is() -> None:
    tap, outputs = Tap(Run()), iter([1])
    assert tap.tap_output_iter(uuid4(), outputs) is outputs

    async def later() -> AsyncGenerator[Any, None]:
        yield 1

    outputs_later = later()
    assert tap.tap_output_aiter(uuid4(), outputs_later) is outputs_later
    await outputs_later.aclose()
    assert TAPPABLE
