"""What the model calls of a job leave behind, and how they are heard, counted and stopped."""

from uuid import uuid4

import pytest

from sluice.application.heard_calls import CountedCall, HeardCall, muted, silent
from sluice.application.model_calls import ModelCalls, NodeRun, OpenCalls, ToolCallPiece
from sluice.domain.events import Usage

USAGE = Usage(1, 2, 3)


class Closing:
    """Remembers how often it was closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_a_job_begins_with_nothing_used() -> None:
    calls = ModelCalls()
    assert (calls.model, calls.usage, calls.finish_reason) == (None, None, None)


def test_the_usage_of_all_calls_is_added_up_and_those_without_one_change_nothing() -> None:
    calls = ModelCalls("m")
    calls.ended(None, "stop", spoken=False)
    assert calls.usage is None
    calls.ended(USAGE, "stop", spoken=False)
    calls.ended(None, "stop", spoken=True)
    calls.ended(USAGE, "stop", spoken=True)
    assert calls.usage == Usage(2, 4, 6)


def test_the_finish_reason_is_the_last_spoken_calls() -> None:
    calls = ModelCalls()
    calls.ended(None, "tool_calls", spoken=False)
    assert calls.finish_reason is None
    calls.ended(None, "length", spoken=True)
    calls.ended(None, "stop", spoken=False)
    assert calls.finish_reason == "length"
    calls.ended(None, None, spoken=True)
    assert calls.finish_reason is None


@pytest.mark.parametrize("usage", [None, Usage(1, 2, 3)])
def test_what_was_used_before_a_pause_is_known_behind_it(usage: Usage | None) -> None:
    before, behind = ModelCalls("m"), ModelCalls("m", Usage(9, 9, 9), "x")
    before.ended(usage, "length", spoken=True)
    note = before.noted()
    # It is stored: the next version reads it.
    assert note == {"usage": [1, 2, 3] if usage else None, "finish_reason": "length"}
    behind.recall(note)
    assert (behind.usage, behind.finish_reason) == (usage, "length")
    behind.recall({})
    assert (behind.usage, behind.finish_reason) == (None, None)


def test_stopping_closes_what_is_open_and_what_is_opened_later() -> None:
    calls, open_call, over, late = OpenCalls(), Closing(), Closing(), Closing()
    for call in (open_call, over):
        calls.add(call.close)
    assert (open_call.closed, len(calls)) == (0, 2)
    calls.discard(over.close)
    calls.discard(over.close)  # as the end and a closing may both do
    calls.stop()
    calls.add(late.close)
    assert (open_call.closed, over.closed, late.closed) == (1, 0, 1)


def test_a_call_may_end_while_it_is_stopped() -> None:
    calls = OpenCalls()

    def close() -> None:
        calls.discard(close)

    calls.add(close)
    calls.add(Closing().close)
    calls.stop()
    assert len(calls) == 1


def test_a_node_run_of_no_path_is_heard_by_nobody() -> None:
    calls = ModelCalls()
    node = NodeRun(calls, "outer/inner", speaks=True)
    assert (node.calls, node.path, node.speaks, len(node.open)) == (calls, "outer/inner", True, 0)
    assert not NodeRun(calls, "", speaks=False).speaks
    assert (node.emitter(), node.hear()) == (None, None)
    assert (node.take(uuid4(), []), node.reported(uuid4(), [])) == (None, None)


def test_a_counted_call_tells_nothing_and_is_counted() -> None:
    calls = ModelCalls()
    for call in (CountedCall(calls), CountedCall(None)):
        call.say("text")
        call.reason("thought")
        call.call_tool(ToolCallPiece(0, "1", "look", "{}"))
        call.ended(USAGE, "stop")
    assert (calls.usage, calls.finish_reason) == (USAGE, None)
    CountedCall(calls, spoken=True).ended(None, "stop")
    assert calls.finish_reason == "stop"


def test_a_heard_call_says_its_text_and_thoughts_and_gives_its_finish_reason() -> None:
    calls, said, thought = ModelCalls(), list[str](), list[str]()
    for call in (HeardCall(calls, said.append, thought.append), HeardCall(calls, said.append)):
        call.say("a")
        call.reason("thought")
        call.say("b")
        call.ended(USAGE, "length")
    assert (said, thought) == (["a", "b", "a", "b"], ["thought"])
    assert (calls.usage, calls.finish_reason) == (Usage(2, 4, 6), "length")


def test_a_call_whose_thoughts_alone_are_heard_gives_no_finish_reason() -> None:
    calls, thought = ModelCalls(), list[str]()
    call = HeardCall(calls, None, thought.append)
    call.say("a")
    call.reason("thought")
    call.ended(USAGE, "length")
    assert (thought, calls.usage, calls.finish_reason) == (["thought"], USAGE, None)


def test_calls_are_silent_inside_and_as_they_were_behind() -> None:
    assert not muted.get()
    with silent():
        assert muted.get()
        with silent():
            pass
        assert muted.get()
    assert not muted.get()
