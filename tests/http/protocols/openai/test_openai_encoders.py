"""The folds of OpenAI's two APIs: any log gives a stream that their clients read rightly."""

import json
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from sluice.application.coalescing import coalesce
from sluice.domain.errors import Internal
from sluice.domain.events import (
    BEGINNING,
    Cancelled,
    Cursor,
    Done,
    Failed,
    NeedsInput,
    Reasoning,
    Recorded,
    Reset,
    Terminal,
    Token,
    Usage,
)
from sluice.infrastructure.event_log.buffer import Buffer
from sluice.interfaces.protocols.openai.completions_encoder import CompletionEncoder
from sluice.interfaces.protocols.openai.places import place_behind
from sluice.interfaces.protocols.openai.responses_encoder import ResponseEncoder
from tests.contract.test_encoders import frames
from tests.doubles import a_job
from tests.strategies import LOG

COMPLETION = CompletionEncoder("job", 0, "sluice", usage=True)
RESPONSE = ResponseEncoder(a_job(id="job"))
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def answer_of(log: Sequence[Recorded]) -> str:
    pieces: list[str] = []
    for _, event in log:
        if isinstance(event, Reset):
            pieces.clear()
        elif isinstance(event, Token):
            pieces.append(event.content)
    return "".join(pieces)


def ended(log: Sequence[Recorded], end: Terminal | None = None) -> list[Recorded]:
    """With the end that the contract promises: its answer is what was said since the last reset."""
    last = log[-1].id if log else Cursor(1, 0)
    end = end or Done("A2", answer_of(log), usage=Usage(1, 2, 3))
    return [*log, Recorded(Cursor(last.attempt, last.seq + 1), end)]


def a_log(*events: Any) -> list[Recorded]:
    return [Recorded(Cursor(1, seq), event) for seq, event in enumerate(events, 1)]


def data_of(frames: Sequence[bytes]) -> list[Any]:
    """The data of frames; comments are left out."""
    found = []
    for frame in frames:
        *lines, empty, end = frame.decode().split("\n")
        assert (empty, end) == ("", "")
        data = [line[6:] for line in lines if line.startswith("data: ")]
        assert len(data) <= 1
        assert data or frame.startswith(b": ")
        found += [each if each == "[DONE]" else json.loads(each) for each in data]
    return found


def completion(log: Sequence[Recorded]) -> tuple[str, list[Any]]:
    """The text, and what came behind the last of it."""
    data = data_of(frames(COMPLETION, log)[1])
    assert data[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text, rest = "", list[Any]()
    for chunk in data:
        if chunk != "[DONE]" and "error" not in chunk:
            ChatCompletionChunk.model_validate(chunk, strict=True)
        if is_reasoning(chunk):
            assert rest == []
            continue
        if chunk != "[DONE]" and chunk.get("choices") and chunk["choices"][0]["delta"]:
            assert rest == []
            text += chunk["choices"][0]["delta"]["content"]
        else:
            rest.append(chunk)
    return text, rest


def is_reasoning(chunk: Any) -> bool:
    choices = chunk.get("choices") if isinstance(chunk, dict) else None
    return choices is not None and [set(one["delta"]) for one in choices] == [{"reasoning_content"}]


@given(LOG)
def test_reasoning_is_told_beside_the_text(log: list[Recorded]) -> None:
    said = [chunk for chunk in data_of(frames(COMPLETION, ended(log))[1]) if is_reasoning(chunk)]
    thought = [event.content for _, event in log if isinstance(event, Reasoning)]
    told = [chunk["choices"][0]["delta"]["reasoning_content"] for chunk in said]
    assert told == thought[: len(told)]
    assert len(told) == len(thought) or completion(ended(log))[1][-1] != "[DONE]"


@given(LOG)
def test_a_completion_is_the_whole_answer_or_ends_in_an_error(log: list[Recorded]) -> None:
    log = ended(log)
    for told in (log, coalesce(log)):
        text, rest = completion(told)
        if rest[-1] == "[DONE]":
            assert text == answer_of(log)
            assert rest[0]["choices"][0]["finish_reason"] == "stop"
            assert rest[1]["usage"] == {
                "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3,
            }  # fmt: skip
            assert len(rest) == 3
        else:
            (code,) = [one["error"]["code"] for one in rest]
            if code == "revised":
                assert not answer_of(log).startswith(text)
            else:
                assert code == "needs_input"
                assert any(isinstance(event, NeedsInput) for _, event in log)


def test_text_that_is_said_again_is_not_sent_again() -> None:
    said = [Token("무색 ", "a"), Token("페트병", "a"), Reset("new_attempt")]
    again = [Token("무", "a"), Token("색 페", "a"), Token("트병은", "a"), Token("!", "a")]
    assert completion(ended(a_log(*said, *again)))[0] == "무색 페트병은!"
    text, rest = completion(ended(a_log(*said, *again[:2])))
    assert (text, rest[-1]["error"]["code"]) == ("무색 페트병", "revised")
    text, rest = completion(ended(a_log(*said, again[0], Token("!", "a"), *again)))
    assert (text, rest[-1]["error"]["code"]) == ("무색 페트병", "revised")


def test_a_whole_answer_without_tokens_is_one_chunk() -> None:
    text, rest = completion(a_log(Done("A1", "무색 answer", finish_reason="length")))
    assert text == "무색 answer"
    assert rest[0]["choices"][0]["finish_reason"] == "length"


@given(LOG, st.sampled_from([Failed.of(Internal(), "r"), Cancelled("user")]))
def test_no_other_end_looks_like_an_answer(log: list[Recorded], end: Terminal) -> None:
    _, rest = completion(ended(log, end))
    assert "[DONE]" not in rest
    assert rest[-1]["error"]["code"] in {"revised", "internal", "cancelled", "needs_input"}


def told(log: Sequence[Recorded]) -> list[Any]:
    """A response's events, without the sign that ends its stream."""
    return [event for event in data_of(frames(RESPONSE, log)[1]) if event != "[DONE]"]


@given(LOG)
@settings(max_examples=20)
def test_a_responses_events_are_those_of_the_official_client(log: list[Recorded]) -> None:
    for event in told(ended(log)):
        EVENT.validate_python(event)


@given(LOG, st.none() | st.sampled_from([Failed.of(Internal(), "r"), Cancelled("user")]))
def test_a_responses_events_are_numbered_by_unjoined_tokens(
    log: list[Recorded], end: Terminal | None
) -> None:
    log = ended(log, end)
    one_by_one, joined = told(log), told(coalesce(log))
    numbers = [event["sequence_number"] for event in one_by_one]
    assert numbers == sorted(set(numbers))
    by_number = {event["sequence_number"]: event["type"] for event in one_by_one}
    assert all(by_number[event["sequence_number"]] == event["type"] for event in joined)
    assert one_by_one[-1] == joined[-1]
    assert [event["type"] for event in one_by_one].count("response.created") == 1


@given(LOG)
def test_a_response_lists_what_was_thought_and_the_last_message_which_is_the_answer(
    log: list[Recorded],
) -> None:
    log = ended(log)
    *events, last = told(log)
    assert last["type"] == "response.completed"
    done = [event for event in events if event["type"] == "response.output_item.done"]
    items = [event["item"] for event in done if event["item"]["type"] == "message"]
    output = last["response"]["output"]
    said = [item for item in output if item["type"] == "message"]
    assert said == (items[-1:] if answer_of(log) else [])
    assert text_of(said) == answer_of(log)
    given_up = items[: -1 if answer_of(log) else None]
    assert {item["status"] for item in given_up} <= {"incomplete"}
    thought = [item for item in output if item["type"] == "reasoning"]
    assert sorted(text_of(thought)) == sorted(thought_in(log))  # nodes may mix
    assert {item["status"] for item in thought} <= {"completed"}
    assert len({event["item"]["id"] for event in done}) == len(done)
    opened = [event for event in events if event["type"] == "response.output_item.added"]
    assert [event["output_index"] for event in opened] == list(range(len(opened)))
    assert sorted(event["output_index"] for event in done) == list(range(len(opened)))


def text_of(items: Sequence[Any]) -> str:
    return "".join(part["text"] for item in items for part in item["content"])


def thought_in(log: Sequence[Recorded]) -> str:
    pieces: list[str] = []
    for _, event in log:
        if isinstance(event, Reset) and event.reason != "revised":
            pieces.clear()
        elif isinstance(event, Reasoning):
            pieces.append(event.content)
    return "".join(pieces)


@given(LOG, st.booleans())
async def test_a_reader_resumes_behind_every_event_with_exactly_the_rest(
    log: list[Recorded], joined: bool
) -> None:
    log = ended(log)
    whole = told(log)
    shown = coalesce(log) if joined else log
    for index, event in enumerate(whole[:-1], 1):
        place = place_behind(RESPONSE, shown, event["sequence_number"])
        assert place is not None
        rest = await read(log, *place)
        assert texts(rest) == texts(whole[index:])
        assert numbers(rest)[-1:] == numbers(whole)[-1:]
        assert numbers(rest)[0] > event["sequence_number"]
    assert place_behind(RESPONSE, shown, whole[-1]["sequence_number"]) == (log[-1].id, 0)
    assert place_behind(RESPONSE, shown, whole[-1]["sequence_number"] + 1) is None


async def read(log: Sequence[Recorded], after: Cursor, skip: int) -> list[Any]:
    async with aclosing(Buffer(log).follow_encoded(after, RESPONSE, skip)) as batches:
        body = b"".join([batch.body async for batch in batches])
    *events, end = data_of([frame + b"\n\n" for frame in body.split(b"\n\n")[:-1]])
    assert end == "[DONE]"
    return events


def numbers(events: Sequence[Any]) -> list[int]:
    return [event["sequence_number"] for event in events]


def texts(events: Sequence[Any]) -> list[Any]:
    """All that is told, with the deltas of a message joined."""
    found: list[Any] = []
    for event in events:
        if not event["type"].endswith("_text.delta"):
            found.append(event)
        elif found and isinstance(found[-1], tuple) and found[-1][0] == event["item_id"]:
            found[-1] = (event["item_id"], found[-1][1] + event["delta"])
        else:
            found.append((event["item_id"], event["delta"]))
    return found


def test_a_number_that_a_crash_took_never_names_another_event() -> None:
    """The client has more of the first attempt than the log does."""
    first = a_log(*(Token(str(n), "a") for n in range(5)))
    log = [
        *first,
        Recorded(Cursor(2, 1), Reset("new_attempt")),
        Recorded(Cursor(2, 2), Token("x", "a")),
    ]
    seen = told(first)[-1]["sequence_number"] + 3
    place = place_behind(RESPONSE, ended(log), seen)
    assert place == (first[-1].id, 0)


def test_a_cursor_at_the_logs_beginning_leaves_out_what_was_seen() -> None:
    log = ended(a_log(Token("a", "a"), Token("b", "a")))
    assert place_behind(RESPONSE, log, 0) == (BEGINNING, 1)
    assert place_behind(RESPONSE, log, 4) == (Cursor(1, 1), 0)
