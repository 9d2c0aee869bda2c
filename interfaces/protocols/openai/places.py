"""What a whole log comes to as a response, and where in it a numbered event is."""

from collections.abc import Sequence

from sluice.application.coalescing import coalesce
from sluice.domain.events import BEGINNING, Cursor, Reasoning, Recorded, Token
from sluice.interfaces.protocols.frames import tokens_in
from sluice.interfaces.protocols.openai.responses_encoder import ATTEMPT, ResponseEncoder, State


def fold(encoder: ResponseEncoder, log: Sequence[Recorded]) -> State:
    state, before = encoder.initial, BEGINNING
    for recorded in coalesce(log):
        state, _ = encoder.encode(state, before, recorded)
        before = recorded.id
    return state


def place_behind(
    encoder: ResponseEncoder, log: Sequence[Recorded], number: int
) -> tuple[Cursor, int] | None:
    """Where the log goes on behind that event, and how many frames to leave out there.

    None if it has not told so many.
    """
    state, before = encoder.initial, BEGINNING
    for recorded in coalesce(log):
        first = max(state.number, (recorded.id.attempt - 1) * ATTEMPT)
        state, _ = encoder.encode(state, before, recorded)
        missing = state.number - 1 - number
        if missing == 0:
            return recorded.id, 0
        if missing > 0:
            (attempt, seq), event = recorded
            if isinstance(event, Token | Reasoning) and missing < tokens_in(before, recorded.id):
                return Cursor(attempt, seq - missing), 0
            return before, max(number - first + 1, 0)
        before = recorded.id
    return None
