"""How other servers than OpenAI's stream: healthy answers in odd forms, failures in theirs."""

import json
from collections.abc import Callable
from dataclasses import replace

from .completion import MODEL_ID, error
from .faults import CANARY, Fault
from .replies import Break, Piece, Reply, Wire

_LATE_SECONDS = 1.5
_LARGE_HEADER = {"x-policy": "a" * 60 * 1024}


def half(reply: Reply) -> tuple[list[Piece], list[Piece]]:
    """Both parts of the pieces, the first never empty if there are any."""
    pieces = list(reply.pieces or ())
    middle = (len(pieces) + 1) // 2
    return pieces[:middle], pieces[middle:]


def chunk(choice: str) -> bytes:
    """A chunk around a choice that need not be JSON."""
    shell = '{"id":"chatcmpl-offline","object":"chat.completion.chunk","created":1700000000,'
    return f'{shell}"model":"{MODEL_ID}","choices":[{choice}]}}'.encode()


def amid(*pieces: Piece) -> Callable[[Reply], Reply]:
    def insert(reply: Reply) -> Reply:
        before, after = half(reply)
        return replace(reply, pieces=[*before, *pieces, *after])

    return insert


def finished(reason: str) -> Callable[[Reply], Reply]:
    return lambda reply: replace(reply, pieces=half(reply)[0], finish_reason=reason)


def _event(payload: bytes) -> bytes:
    return b"data: %b\n\n" % payload


def _spoken(piece: Piece, finish_reason: str | None) -> Piece:
    if not isinstance(piece, str):
        return piece
    choice = {"index": 0, "delta": {"content": piece}, "finish_reason": finish_reason}
    return chunk(json.dumps(choice))


_FINISH = chunk('{"index":0,"delta":{},"finish_reason":"stop"}')
_RATE_LIMIT = error(CANARY, kind="requests", code="rate_limit_exceeded")
_NO_NUMBERS = b'{"choices":[],"usage":{"prompt_tokens":"many","completion_tokens":null}}'
_DONE = Wire(_event(b"[DONE]"))


def _finishing_always(reply: Reply) -> Reply:
    pieces = [_spoken(piece, "stop") for piece in reply.pieces or ()]
    return replace(reply, pieces=pieces, finish_reason=None)


def _late(reply: Reply) -> Reply:
    *first, last = reply.pieces or ("",)
    return replace(reply, pieces=[*first, _FINISH, _LATE_SECONDS, last], finish_reason=None)


def _after_finish(*pieces: Piece) -> Callable[[Reply], Reply]:
    def add(reply: Reply) -> Reply:
        return replace(reply, pieces=[*(reply.pieces or ()), _FINISH, *pieces], finish_reason=None)

    return add


def _without_last_line(reply: Reply) -> Reply:
    """Not even usage follows."""
    last = Wire(b"data: " + _FINISH)
    return replace(
        reply, pieces=[*(reply.pieces or ()), last], finish_reason=None, usage=None, done=False
    )


def _in_parts(reply: Reply) -> Reply:
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": CANARY}]}]
    parts: list[Piece] = [
        {"content": [{"type": "text", "text": piece}]} if isinstance(piece, str) else piece
        for piece in reply.pieces or ()
    ]
    return replace(reply, pieces=[{"content": thinking}, *parts])


def _by_units(reply: Reply) -> Reply:
    """The text by UTF-16 units, so that every emoji is cut in halves."""
    text = "".join(piece for piece in reply.pieces or () if isinstance(piece, str))
    raw = text.encode("utf-16-le")
    units = [raw[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(raw), 2)]
    return replace(reply, pieces=[_spoken(unit, None) for unit in units])


DIALECTS: dict[Fault, Callable[[Reply], Reply]] = {
    Fault.FINISH_ERROR: finished("error"),
    Fault.FINISH_ABORT: finished("abort"),
    Fault.CHOICE_ERROR: amid(
        chunk(f'{{"index":0,"delta":{{}},"error":{{"code":502,"message":"{CANARY}"}}}}'),
        Break.END,
    ),
    Fault.ERROR_EVENT: amid(Wire(b"event: error\n" + _event(_RATE_LIMIT)), _DONE, Break.END),
    Fault.ERROR_FIELD: amid(
        Wire(b'error: {"code":400,"message":"%b"}\n\n' % CANARY.encode()), _DONE, Break.END
    ),
    Fault.BARE_ERROR: amid(Wire(error(CANARY, code="invalid_api_key") + b"\n\n"), Break.END),
    Fault.RATE_LIMIT_FIRST: lambda reply: replace(
        reply, pieces=[_RATE_LIMIT, Break.END], role=False
    ),
    Fault.ERROR_AFTER_FINISH: _after_finish(
        b'{"error":{"code":503,"message":"%b"}}' % CANARY.encode()
    ),
    Fault.KEPT_WARM: lambda reply: replace(reply, pieces=[*half(reply)[0], Break.WARM]),
    Fault.FINISH_IN_EVERY_CHUNK: _finishing_always,
    Fault.LATE_PIECE: _late,
    Fault.EMPTY_EVENTS: amid(Wire(b"data:\n\ndata: \n\ndata\n\n")),
    Fault.RUBBISH_AFTER_FINISH: _after_finish(_NO_NUMBERS, b"{", b"[DONE] ", b"\xff"),
    Fault.NO_LAST_LINE: _without_last_line,
    Fault.NO_CONTENT_TYPE: lambda reply: replace(reply, headers={"content-type": ""}),
    Fault.WRONG_CONTENT_TYPE: lambda reply: replace(
        reply, headers={"content-type": "application/json"}
    ),
    Fault.LARGE_HEADER: lambda reply: replace(reply, headers=_LARGE_HEADER),
    Fault.CONTENT_PARTS: _in_parts,
    Fault.CUT_CHARACTERS: _by_units,
}
