"""What every encoder promises, so that all gateways send the same bytes for the same log.

A new encoder joins with one more line in ENCODERS.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from sluice.application.coalescing import coalesce
from sluice.application.encoding import Encoder
from sluice.domain.events import BEGINNING, Cursor, Done, Recorded, Token
from sluice.infrastructure.event_log.buffer import Buffer
from sluice.interfaces.protocols.ag_ui.encoder import AgUiEncoder
from sluice.interfaces.protocols.ai_sdk.encoder import AiSdkEncoder
from sluice.interfaces.protocols.langgraph.encoder import RunEncoder
from sluice.interfaces.protocols.langgraph.event_encoder import EventEncoder
from sluice.interfaces.protocols.native.encoder import NATIVE
from sluice.interfaces.protocols.openai.completions_encoder import CompletionEncoder
from sluice.interfaces.protocols.openai.responses_encoder import ResponseEncoder
from tests.doubles import a_job
from tests.http.protocols.toy.encoder import ToyEncoder
from tests.strategies import LOG

CHANNELS = frozenset({"custom", "lifecycle", "messages", "values"})
_QUESTION = '{"type":"human","id":"h1","content":"Why?"}'
ENCODERS: dict[str, Encoder] = {
    "native": NATIVE,
    "toy": ToyEncoder("job"),
    "toy unjoined": ToyEncoder("job", joins_tokens=False),
    "AG-UI": AgUiEncoder("job", "thread", "run"),
    "AG-UI with messages": AgUiEncoder("job", "thread", "run", opens_with_messages=True),
    "AI SDK": AiSdkEncoder("job"),
    "AI SDK 5 and 6": AiSdkEncoder("job", resets_step=False),
    "langgraph": RunEncoder("job", _QUESTION, frozenset({"custom", "messages", "values"})),
    "langgraph values": RunEncoder("job", _QUESTION, frozenset({"values"})),
    "langgraph events": EventEncoder("job", _QUESTION, 1000, CHANNELS),
    "langgraph messages": EventEncoder("job", _QUESTION, 1000, frozenset({"messages"})),
}
WITHOUT_IDS: dict[str, Encoder] = {
    "completions": CompletionEncoder("job", 0, "sluice", usage=True),
    "responses": ResponseEncoder(a_job(id="job")),
}
"""Their clients come back by other means, or not at all."""
ALL = {**ENCODERS, **WITHOUT_IDS}
_ID = re.compile(rb"(?:^|\n)id: ([0-9]+)-([0-9]+)(?:\.([0-9]+))?\n")


@dataclass
class Unjoined:
    """The same encoder, told of every token by itself."""

    encoder: Encoder
    joins_tokens: bool = False

    @property
    def initial(self) -> object:
        return self.encoder.initial

    def encode(
        self, state: object, before: Cursor, recorded: Recorded
    ) -> tuple[object, Sequence[bytes]]:
        return self.encoder.encode(state, before, recorded)

    __hash__ = object.__hash__


def frames(encoder: Encoder, log: Sequence[Recorded]) -> tuple[object, list[bytes]]:
    state, before, found = encoder.initial, BEGINNING, list[bytes]()
    for recorded in log:
        state, new = encoder.encode(state, before, recorded)
        found += new
        before = recorded.id
    return state, found


def ended(log: list[Recorded]) -> list[Recorded]:
    last = log[-1].id if log else Cursor(1, 0)
    return [*log, Recorded(Cursor(last.attempt, last.seq + 1), Done("A2", "answer"))]


def position(frame: bytes) -> tuple[int, int, int]:
    """Of an id: how far the log is read, and how many frames of the event behind that."""
    found = _ID.search(frame)
    assert found is not None
    attempt, seq, frame_number = (int(group or 0) for group in found.groups())
    return attempt, seq, frame_number


def each(encoders: Mapping[str, Encoder]) -> Iterator[Encoder]:
    """To draw a log takes longer than to encode it: each is tried on all of them."""
    for name, encoder in encoders.items():
        note(name)
        yield encoder


async def told(log: Buffer, encoder: Encoder, after: Cursor | None = None, skip: int = 0) -> bytes:
    async with aclosing(log.follow_encoded(after, encoder, skip)) as batches:
        return b"".join([batch.body async for batch in batches])


@given(LOG, st.data())
def test_a_joined_token_leaves_the_state_that_its_tokens_would_have_left(
    log: list[Recorded], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(log)))
    for encoder in each(ALL):
        assert frames(encoder, coalesce(log[:cut]))[0] == frames(encoder, log[:cut])[0]


@given(LOG, st.data())
def test_a_prefix_of_the_log_gives_a_prefix_of_the_frames(
    log: list[Recorded], data: st.DataObject
) -> None:
    """Also told again behind the whole: no state is changed in place."""
    log = ended(log)
    cut = data.draw(st.integers(0, len(log)))
    for encoder in each(ALL):
        _, whole = frames(encoder, log)
        _, some = frames(encoder, log[:cut])
        assert some == whole[: len(some)]
        assert frames(encoder, log)[1] == whole


@given(LOG)
def test_frames_ids_rise_and_an_events_last_frame_has_its_own(log: list[Recorded]) -> None:
    for encoder in each(ENCODERS):
        for joined in (log, coalesce(log)):
            state, before, last = encoder.initial, BEGINNING, (1, 0, 0)
            for recorded in joined:
                state, new = encoder.encode(state, before, recorded)
                for number, frame in enumerate(new, 1):
                    own = number == len(new)
                    assert position(frame) == ((*recorded.id, 0) if own else (*before, number))
                    assert position(frame) > last
                    last = position(frame)
                before = recorded.id


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
@given(LOG)
async def test_a_reader_resumes_behind_every_frame_with_exactly_the_rest(
    encoder: Encoder, log: list[Recorded]
) -> None:
    log = ended(log)
    buffer, single = Buffer(log), Unjoined(encoder)
    _, whole = frames(encoder, log)
    assert await told(buffer, single) == b"".join(whole)
    for index, frame in enumerate(whole[:-1], 1):
        attempt, seq, skip = position(frame)
        rest = await told(buffer, single, Cursor(attempt, seq), skip)
        assert rest == b"".join(whole[index:])


@given(LOG, st.data())
async def test_two_gateways_give_equal_bytes_wherever_their_readers_began(
    log: list[Recorded], data: st.DataObject
) -> None:
    """One has had a reader from the beginning, and one has none before."""
    log = ended(log)
    cut = data.draw(st.integers(0, len(log) - 1))
    after = log[cut - 1].id if cut else None
    for encoder in each(ALL):
        one, other = Buffer(log), Buffer(log)
        await told(one, encoder)
        assert await told(one, encoder, after) == await told(other, encoder, after)


@pytest.mark.parametrize("encoder", ALL.values(), ids=ALL)
def test_no_frame_holds_what_a_reader_by_lines_would_break_at(encoder: Encoder) -> None:
    text = "a\u2028b\u2029c\u0085d"
    log = [Recorded(Cursor(1, 1), Token(text, text)), Recorded(Cursor(1, 2), Done("A2", text))]
    body = b"".join(frames(encoder, log)[1]).decode()
    assert body.splitlines() == body.split("\n")[:-1]
    assert r"a\u2028b\u2029c\u0085d" in body


async def test_a_frame_that_is_not_there_yet_is_dropped_when_it_comes() -> None:
    first = Recorded(Cursor(1, 1), Token("a", "answer"))
    buffer = Buffer()
    taken = list[bytes]()

    def push(body: bytes) -> bool:
        taken.append(body)
        return True

    batches = buffer.follow_encoded(Cursor(1, 0), ToyEncoder("job"), 1, push)
    reading = anext(batches)
    reading.send(None)  # it waits
    buffer.append([first])
    with pytest.raises(StopIteration) as stopped:
        reading.send(None)
    assert stopped.value.value.body == b'id: 1-1\ndata: {"say":"a","said":1}\n\n'
    assert taken == []
    await batches.aclose()
