"""What version 2's channels carry, as JSON."""

from collections.abc import Sequence
from json.encoder import encode_basestring as quoted
from typing import NamedTuple

from sluice.application.compact_json import compact
from sluice.interfaces.protocols.langgraph.messages import Form


class Told(NamedTuple):
    """A channel, which is the method of its events, and the data of one as JSON.

    `node`: clients take messages that are open side by side apart by it.
    """

    method: str
    data: str
    node: str | None = None


def start_of(message_id: str, kind: str) -> Sequence[Told]:
    """A message with one block: text, or reasoning."""
    start = {"event": "message-start", "role": "ai", "id": message_id}
    block = {"event": "content-block-start", "index": 0, "content": {"type": kind, kind: ""}}
    return [Told("messages", compact(start)), Told("messages", compact(block))]


def finish_of(content: Form) -> Sequence[Told]:
    block = {"event": "content-block-finish", "index": 0, "content": content}
    return [Told("messages", compact(block)), Told("messages", '{"event":"message-finish"}')]


def delta(kind: str, text: str) -> Told:
    data = f'{{"event":"content-block-delta","index":0,"delta":{{"type":"{kind}-delta","{kind}":'
    return Told("messages", f"{data}{quoted(text)}}}}}")


def channel(method: str) -> str:
    return method.partition(".")[0]


def lifecycle(event: str, **fields: str) -> Told:
    return Told("lifecycle", compact({"event": event, **fields}))


INTERRUPTED = lifecycle("interrupted")
