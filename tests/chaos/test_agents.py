"""The judge of agents is judged: it must refuse what is not exactly what the turns left."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.turns import Agents, Chat

EARLIER, GIVEN, RESULT = "1.0", [3, 4], [3, 8]
ANSWER = f"I ask: {json.dumps([[EARLIER, '1.1'], [[1, 4], RESULT], 3])}"
VIEW: dict[str, Any] = {"status": "completed", "answer": ANSWER, "error": None}
TOLD: list[tuple[str, Any]] = [
    ("token", {"content": "I "}),
    ("tool", {"status": "started"}),
    ("reset", {"reason": "new_attempt"}),
    ("token", {"content": "I ask: "}),
    ("tool", {"status": "started"}),
    ("tool", {"status": "arguments"}),
    ("tool", {"status": "completed", "result": json.dumps(RESULT)}),
    ("token", {"content": ANSWER.removeprefix("I ask: ")}),
    ("done", {}),
]


def judged(
    view: dict[str, Any] = VIEW, told: list[tuple[str, Any]] = TOLD, *, stopped: bool = False
) -> list[str]:
    agents = Agents(1, lambda: 0)
    agents.judge(Chat(1, [EARLIER], [[1, 4]]), "1.1", GIVEN, view, told, stopped=stopped)
    return agents.faults


def answer(*state: Any) -> dict[str, Any]:
    return VIEW | {"answer": f"I ask: {json.dumps(state)}"}


def test_what_every_turn_left_is_right() -> None:
    assert judged() == []
    assert judged({"status": "cancelled", "error": None}, stopped=True) == []
    assert judged({"status": "failed", "error": {"code": "worker_lost"}}) == []


@pytest.mark.parametrize(
    "view",
    [
        answer([EARLIER, "1.1", "1.1"], [[1, 4], RESULT], 3),
        answer(["1.1"], [[1, 4], RESULT], 3),
        answer([EARLIER, "1.1"], [[1, 4], RESULT, RESULT], 3),
        answer([EARLIER, "1.1"], [[1, 4], [3, 10]], 3),
        answer([EARLIER, "1.1"], [[1, 4], RESULT], 5),
        {"status": "failed", "error": {"code": "pipeline_error"}},
        {"status": "cancelled", "error": None},
    ],
    ids=["turn twice", "turn lost", "call twice", "other answer", "old answer", "no head", "stop"],
)
def test_the_judge_refuses(view: dict[str, Any]) -> None:
    assert judged(view)


DOCTORED: dict[str, Callable[[list[Any]], Any]] = {
    "a token twice": lambda told: told.insert(4, told[3]),
    "a token is missing": lambda told: told.pop(3),
    "a call told twice": lambda told: told.insert(5, told[4]),
    "a call without an end": lambda told: told.pop(6),
    "another result": lambda told: told[6][1].update(result="[3, 9]"),
}


@pytest.mark.parametrize("how", DOCTORED)
def test_the_judge_refuses_a_stream_with(how: str) -> None:
    told = copy.deepcopy(TOLD)
    DOCTORED[how](told)
    assert judged(told=told)
