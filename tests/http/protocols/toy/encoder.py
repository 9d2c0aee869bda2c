"""A protocol of three lines: `open`, `say` with how many tokens were said, and `close`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sluice.application.compact_json import compact
from sluice.domain.chat import Job
from sluice.domain.events import TERMINAL, Cancelled, Cursor, Done, Failed, Recorded, Reset, Token
from sluice.interfaces.protocols.frames import escaped, frame_ids, tokens_in


@dataclass(frozen=True, slots=True)
class State:
    opened: bool = False
    said: int = 0


@dataclass(frozen=True)
class ToyEncoder:
    job_id: str
    joins_tokens: bool = True
    initial: State = State()

    def encode(
        self, state: State, before: Cursor, recorded: Recorded, /
    ) -> tuple[State, Sequence[bytes]]:
        lines: list[dict[str, object]] = []
        match recorded.event:
            case Token(content):
                if not state.opened:
                    lines.append({"open": self.job_id})
                state = State(opened=True, said=state.said + tokens_in(before, recorded.id))
                lines.append({"say": content, "said": state.said})
            case Reset() | Done() | Failed() | Cancelled():
                if state.opened:
                    lines.append({"close": state.said})
                state = replace(state, opened=False)
        if isinstance(recorded.event, TERMINAL):
            lines.append({"over": True})
        ids = frame_ids(before, recorded.id, len(lines))
        return state, [_frame(*each) for each in zip(ids, lines, strict=True)]


def _frame(frame_id: str, line: dict[str, object]) -> bytes:
    return f"id: {frame_id}\ndata: {escaped(compact(line))}\n\n".encode()


def encoder_for(job: Job) -> ToyEncoder:
    return ToyEncoder(job.id)
