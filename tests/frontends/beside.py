"""What a graph tells beside its answer, for the tests with other people's clients."""

from typing import Any

from sluice.domain.events import Data, Done, Event, Reasoning, Token, Tool
from sluice.domain.graph_state import Head, InputRequest, Pause

ARGUMENTS = '{"query":"tea"}'
ANSWER = "무색 9 euros"
TOLD: list[Event] = [
    Reasoning("Let me ", "agent"),
    Reasoning("see.", "agent"),
    Tool("call_7", "search", "agent", "started"),
    Tool("call_7", "search", "agent", "arguments", arguments=ARGUMENTS),
    Data("sources", [{"url": "https://example.com/tea"}], "tools"),
    Tool("call_7", "search", "tools", "completed", result="Green tea: 9 euros."),
    Tool("call_8", "convert", "tools", "started"),
    Tool("call_8", "convert", "tools", "failed"),
]
SAID: list[Event] = [Token("무색 ", "agent"), Token("9 ", "agent"), Token("euros", "agent")]
PLAYS: list[Event] = [*TOLD, *SAID, Done("A2", ANSWER, finish_reason="stop")]
FAILED = "The tool failed."
ASKS = Pause(Head("chat", "1"), (InputRequest("i1", "May I send it?", "approval"),))
PAUSES: list[Any] = [
    Token("Well. ", "agent"),
    ASKS,
    Token("Sent.", "agent"),
    Done("A2", "Well. Sent."),
]
TWICE = Pause(
    Head("chat", "1"),
    (
        InputRequest("i1", "May I send it?", "approval"),
        InputRequest("i2", "And post it?", "approval"),
    ),
)
THEN_ASKS = Pause(Head("chat", "2"), (InputRequest("i2", "And post it?", "approval"),))
PAUSES_AGAIN: list[Any] = [*PAUSES[:2], THEN_ASKS, *PAUSES[2:]]
"""It asks, and asks again, with nothing told in between."""
PAUSES_TWICE: list[Any] = [Token("Well. ", "agent"), TWICE, *PAUSES[2:]]
