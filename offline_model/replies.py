"""What the offline model can be told to say: the alphabet of its scripts."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Literal, Self

from .faults import Fault

Delta = Mapping[str, Any]


class Break(Enum):
    """A way for an answer to stop before its end."""

    HANG = auto()  # open and silent until the client leaves
    RESET = auto()  # TCP RST
    WARM = auto()  # open, with comments and empty chunks, until the client leaves
    CUT = auto()  # FIN in the middle of a chunk
    END = auto()  # a proper end of the body


class Gate:
    """Holds an answer where it stands until the test releases it. Not thread-safe."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._released = asyncio.Event()

    def release(self) -> None:
        self._released.set()

    async def reached(self, within: float = 5) -> None:
        """Raises TimeoutError when no answer has come to the gate by then."""
        async with asyncio.timeout(within):
            await self._reached.wait()

    async def hold(self) -> None:
        self._reached.set()
        await self._released.wait()


class Wire(bytes):
    """Bytes of the body as they are, where `bytes` are the payload of a `data:` line."""


Piece = str | Delta | bytes | float | Gate | Break
"""Text, a whole `delta` object, bytes, seconds to pause, a place to wait, or an end."""


@dataclass(frozen=True, slots=True)
class Usage:
    prompt: int
    completion: int


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer to a chat completion; what is not given is as the rules or the server have it.

    A call that does not stream gets the pieces merged into one message, a raw payload among them
    as its whole body, and a `Break` in the middle of that body.
    """

    pieces: Sequence[Piece] | None = None
    finish_reason: str | None = "stop"  # None: no finish chunk
    usage: Usage | Literal["counted"] | None = "counted"
    pace: float | None = None
    hold_after: int | None = None  # the number of pieces before `gate`; 0: after the role delta
    gate: Gate | None = None
    fault: Fault | None = None
    before_status: Gate | Break | None = None
    role: bool = True  # a first delta that names the role
    done: bool = True  # a last line `data: [DONE]`
    byte_by_byte: bool = False
    headers: Mapping[str, str] = field(
        default_factory=dict
    )  # of a stream; an empty one is not sent

    @classmethod
    def calling(cls, name: str, arguments: Mapping[str, Any]) -> Self:
        return cls(pieces=list(tool_call_deltas(name, arguments)), finish_reason="tool_calls")

    def steps(self) -> Sequence[Piece]:
        """The pieces with the gate in its place."""
        pieces = list(self.pieces or ())
        if self.gate is not None:
            pieces.insert(len(pieces) if self.hold_after is None else self.hold_after, self.gate)
        return pieces


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An HTTP answer that is no completion."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def tool_call_deltas(
    name: str, arguments: Mapping[str, Any], *, index: int = 0, size: int = 8
) -> Iterator[Delta]:
    """One tool call as it is streamed: its name first, then its arguments `size` by `size`."""
    text = json.dumps(arguments, ensure_ascii=False)
    call = {
        "index": index,
        "id": f"call_{name}_{index}",
        "type": "function",
        "function": {"name": name, "arguments": ""},
    }
    yield {"content": None, "tool_calls": [call]}
    for start in range(0, len(text), size):
        part = {"index": index, "function": {"arguments": text[start : start + size]}}
        yield {"tool_calls": [part]}
