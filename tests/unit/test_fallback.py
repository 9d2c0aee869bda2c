"""Which faults of one path may be made good on the other."""

import pytest

from sluice.application.fallback import may_fall_back
from sluice.application.relay import Relay
from sluice.domain.errors import (
    AnswerTooLarge,
    DeadlineExceeded,
    Declined,
    Finished,
    Internal,
    NotFound,
    PipelineError,
    StateLost,
    Superseded,
    Unavailable,
    UpstreamTruncated,
)
from sluice.domain.events import Token
from tests.doubles import RecordingNotifier


@pytest.mark.parametrize("error", [PipelineError(), RuntimeError(), TimeoutError()])
def test_a_fault_of_the_graph_or_of_ours_may(error: Exception) -> None:
    relay = Relay(RecordingNotifier(), 100)
    assert may_fall_back(relay, error)
    relay._publish(Token("a", "x"))
    assert not may_fall_back(relay, error)


@pytest.mark.parametrize(
    "error",
    [
        UpstreamTruncated(),
        AnswerTooLarge(),
        DeadlineExceeded(),
        Internal(),
        Finished(),
        NotFound(),
        Superseded(),
        Unavailable("away"),
        StateLost(),
        Declined(),
    ],
)
def test_a_fault_of_the_upstream_of_a_store_or_of_both_paths_may_not(error: Exception) -> None:
    assert not may_fall_back(Relay(RecordingNotifier(), 100), error)


def test_nothing_may_behind_a_question_to_a_human() -> None:
    relay = Relay(RecordingNotifier(), 100)
    relay.recall([])
    assert not may_fall_back(relay, PipelineError())
