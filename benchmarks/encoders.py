"""`python -m benchmarks.encoders`: what a token costs by each protocol's encoder, in one run.

Encoding alone, and from being published to being handed to a reader that keeps up: the log's form
of that protocol is made once and shared by all its readers. Rounds in turns, CPU time, medians,
under two minutes. `--write` renews the table in docs/reports/performance.md.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping
from statistics import median
from time import process_time_ns

from benchmarks.growth import renew
from benchmarks.processes import ROOT
from sluice.application.encoding import Encoder
from sluice.domain.chat import Job, new_id
from sluice.domain.events import BEGINNING, Cursor, Recorded, StageStarted, Token
from sluice.infrastructure.event_log.buffer import Buffer
from sluice.interfaces.protocols.ag_ui.encoder import AgUiEncoder
from sluice.interfaces.protocols.ai_sdk.encoder import AiSdkEncoder
from sluice.interfaces.protocols.langgraph.encoder import RunEncoder
from sluice.interfaces.protocols.langgraph.event_encoder import EventEncoder
from sluice.interfaces.protocols.native.encoder import NATIVE
from sluice.interfaces.protocols.openai.completions_encoder import CompletionEncoder
from sluice.interfaces.protocols.openai.responses_encoder import ResponseEncoder

PAGE = ROOT / "docs" / "reports" / "performance.md"
ROUNDS, TOKENS = 15, 2000
JOB = Job(new_id(), new_id(), "ann", "A2", "Why?", "r")
ASKED = '{"type":"human","id":"h1","content":"Why?"}'
MODES, CHANNELS = frozenset({"values", "messages"}), frozenset({"values", "messages", "lifecycle"})
ENCODERS: Mapping[str, Callable[[], Encoder]] = {
    "native": lambda: NATIVE,
    "LangGraph v1": lambda: RunEncoder(JOB.id, ASKED, MODES),
    "LangGraph v2": lambda: EventEncoder(JOB.id, ASKED, 1000, CHANNELS),
    "AI SDK": lambda: AiSdkEncoder(JOB.id),
    "AG-UI, CopilotKit": lambda: AgUiEncoder(JOB.id, "thread", "run"),
    "OpenAI chat completions": lambda: CompletionEncoder(JOB.id, 0, "sluice", usage=True),
    "OpenAI Responses": lambda: ResponseEncoder(JOB),
}
BEGUN = [
    Recorded(Cursor(1, 1), StageStarted("answer", 10)),
    Recorded(Cursor(1, 2), Token("a", "n")),
]
SAID = [Recorded(Cursor(1, number + 3), Token(" token", "n")) for number in range(TOKENS)]
Microseconds = float


def encoding(encoder: Encoder) -> Microseconds:
    """A token's, by the encoder alone."""
    state, before = encoder.initial, BEGINNING
    for recorded in BEGUN:
        state, _ = encoder.encode(state, before, recorded)
        before = recorded.id
    began = process_time_ns()
    for recorded in SAID:
        state, _ = encoder.encode(state, before, recorded)
        before = recorded.id
    return (process_time_ns() - began) / TOKENS / 1000


async def telling(encoder: Encoder) -> Microseconds:
    """A token's, from the log to a reader that takes it where it is published."""
    log, taken = Buffer(list(BEGUN)), list[int]()

    def push(body: bytes) -> bool:
        taken.append(len(body))
        return True

    batches = log.follow_encoded(None, encoder, 0, push)
    await anext(batches)  # what is there; now it waits
    waiting = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0)
    began = process_time_ns()
    for recorded in SAID:
        log.append([recorded])
    took = (process_time_ns() - began) / TOKENS / 1000
    assert len(taken) == TOKENS, "every token is taken where it is published"
    waiting.cancel()
    await asyncio.wait([waiting])
    return took


def bytes_of(encoder: Encoder) -> float:
    state, before, told = encoder.initial, BEGINNING, 0
    for recorded in [*BEGUN, *SAID]:
        state, frames = encoder.encode(state, before, recorded)
        before = recorded.id
        told += sum(map(len, frames)) * (recorded.id.seq > 2)
    return told / TOKENS


async def measured() -> Mapping[str, tuple[Microseconds, Microseconds, float]]:
    alone: dict[str, list[float]] = {name: [] for name in ENCODERS}
    whole: dict[str, list[float]] = {name: [] for name in ENCODERS}
    for _ in range(ROUNDS):
        for name, made in ENCODERS.items():
            alone[name].append(encoding(made()))
            whole[name].append(await telling(made()))
    return {
        name: (median(alone[name]), median(whole[name]), bytes_of(made()))
        for name, made in ENCODERS.items()
    }


def table(rows: Mapping[str, tuple[Microseconds, Microseconds, float]]) -> str:
    native = rows["native"][1]
    columns = "encoding alone, µs a token | published to reader, µs | beside native | bytes a token"
    told = (
        f"| {name} | {alone:.1f} | {whole:.1f} | {whole / native:.2f} × | {size:.0f} |"
        for name, (alone, whole, size) in rows.items()
    )
    return "\n".join([f"| protocol | {columns} |", "|---|---|---|---|---|", *told])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoders", description=__doc__)
    parser.add_argument("--write", action="store_true", help="renew the table in the report")
    options = parser.parse_args()
    text = table(asyncio.run(measured()))
    print(text)
    if options.write:
        PAGE.write_text(renew(PAGE.read_text(), {"encoders": text}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
