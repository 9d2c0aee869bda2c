"""Any log is a stream that LangGraph's own reader and LangChain's own messages take."""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from hypothesis import given, settings
from langchain_core.messages import AIMessage, AIMessageChunk, convert_to_messages
from langgraph_sdk.sse import BytesLineDecoder, SSEDecoder

from sluice.domain.events import NeedsInput, Recorded
from sluice.interfaces.protocols.langgraph.encoder import RunEncoder
from sluice.interfaces.protocols.langgraph.event_encoder import EventEncoder
from tests.contract.test_encoders import frames
from tests.http.protocols.openai.test_openai_encoders import answer_of, ended
from tests.strategies import LOG

QUESTION = '{"type":"human","id":"h1","content":"Why?"}'
MODES = frozenset({"values", "messages", "custom"})
CHANNELS = frozenset({"values", "messages", "custom", "tools", "lifecycle", "input"})


def read(body: bytes) -> Iterator[tuple[str, Any]]:
    """As the SDK for Python reads a body: names and data."""
    lines, events = BytesLineDecoder(), SSEDecoder()
    for line in [*lines.decode(body), *lines.flush(), b""]:
        if (part := events.decode(bytes(line))) is not None:
            yield part.event, part.data


def pauses_in(log: Sequence[Recorded]) -> int:
    """How often the job waits: questions in a row that expire together are asked together."""
    asked = [one.event if isinstance(one.event, NeedsInput) else None for one in log]
    return sum(
        asks for (asks, _), _ in groupby((one is not None, one and one.expires_at) for one in asked)
    )


def answer_in(values: dict[str, Any]) -> AIMessage:
    """The one message that is the answer; all are what LangChain takes."""
    said = convert_to_messages(values["messages"])
    answers = [one for one in said if isinstance(one, AIMessage) and str(one.id).startswith("msg_")]
    return answers[0] if answers else AIMessage("")


@given(LOG)
@settings(max_examples=2 * settings().max_examples)
def test_any_log_is_as_many_runs_as_it_waits_and_each_has_an_end(log: list[Recorded]) -> None:
    parts = pauses_in(log)
    for part in range(parts + 1):
        encoder = RunEncoder("job", QUESTION, MODES, part)
        told = [*read(b"".join(frames(encoder, ended(log))[1]))]
        names = [name for name, _ in told]
        assert names[0] == "metadata"
        assert names.count("metadata") == names.count("end") == 1
        assert names[-1] == "end"
        values = [data for name, data in told if name == "values"]
        chunks = dict[str, AIMessageChunk]()
        for name, data in told:
            if name == "messages" and data[0]["type"] == "AIMessageChunk":
                chunk = AIMessageChunk(**{k: v for k, v in data[0].items() if k != "type"})
                known = chunks.get(str(chunk.id))
                chunks[str(chunk.id)] = chunk if known is None else known + chunk
        assert ("__interrupt__" in values[-1]) == (part < parts)
        if part == parts:
            answer = answer_in(values[-1])
            assert answer.text == answer_of(log)
            assert not answer.text or chunks[str(answer.id)].text == answer.text


@given(LOG)
@settings(max_examples=2 * settings().max_examples)
def test_any_log_is_events_in_the_newer_protocols_order(log: list[Recorded]) -> None:
    encoder = EventEncoder("job", QUESTION, 1000, CHANNELS)
    told = [data for _, data in read(b"".join(frames(encoder, ended(log))[1]))]
    assert len({one["event_id"] for one in told}) == len(told)
    assert [one["seq"] for one in told] == sorted({one["seq"] for one in told})
    lives = [one["params"]["data"]["event"] for one in told if one["method"] == "lifecycle"]
    assert lives == ["running", *["interrupted", "running"] * pauses_in(log), "completed"]
    assert (told[0]["method"], told[-1]["method"]) == ("lifecycle", "lifecycle")
    open_now = dict[Any, list[str]]()
    for one in told:
        if one["method"] == "messages":
            follow(open_now, one["params"].get("node"), one["params"]["data"])
    assert open_now == {}
    values = [one["params"]["data"] for one in told if one["method"] == "values"]
    assert answer_in(values[-1]).text == answer_of(log)


def follow(open_now: dict[Any, list[str]], node: Any, data: dict[str, Any]) -> None:
    """One message at a time of a node, one block in it: begun, said, ended with what was said."""
    match data["event"]:
        case "message-start":
            assert node not in open_now
            open_now[node] = []
        case "content-block-start":
            assert open_now[node] == []
            open_now[node] = [""]
        case "content-block-delta":
            (kind,) = set(data["delta"]) - {"type"}
            open_now[node][0] += data["delta"][kind]
        case "content-block-finish":
            (kind,) = set(data["content"]) & {"text", "reasoning"}
            assert open_now[node] == [data["content"][kind]]
        case "message-finish":
            del open_now[node]
        case other:
            raise AssertionError(json.dumps(other))
