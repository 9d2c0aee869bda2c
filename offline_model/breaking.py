"""How each fault changes the answer it befalls."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from .completion import MODEL_ID, encoded, error
from .dialects import DIALECTS, amid, chunk, finished, half
from .faults import CANARY, Fault
from .replies import Break, Piece, RawAnswer, Reply, tool_call_deltas

MOVED = "/v1/moved/chat/completions"
_MIB = 2**20
_MIXED = " 한글 한 조각 👩‍👩‍👧‍👦🇰🇷"
_PAGE = f"<!doctype html><title>Bad gateway</title><h1>{CANARY}</h1>".encode()


def broken(reply: Reply, fault: Fault) -> Reply | RawAnswer:
    """The reply as the fault lets it out. Its pieces must be given."""
    if fault in _INSTEAD:
        return _INSTEAD[fault]
    return _WITHIN[fault](reply)


def happens_within_a_stream(fault: Fault) -> bool:
    return fault in _WITHIN and fault not in (Fault.HANG_BEFORE_STATUS, Fault.RESET_BEFORE_ANSWER)


def _refused(status: int, code: str, **headers: str) -> RawAnswer:
    body = error(f"{code}: {CANARY}", kind=code, code=code)
    return RawAnswer(status, body, headers={k.replace("_", "-"): v for k, v in headers.items()})


def _whole_completion() -> bytes:
    message = {"role": "assistant", "content": CANARY}
    return encoded(
        {
            "id": "chatcmpl-offline-whole",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": MODEL_ID,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
    )


_INSTEAD = {
    Fault.UNAUTHORIZED: _refused(401, "invalid_api_key"),
    Fault.FORBIDDEN: _refused(403, "permission_denied"),
    Fault.NOT_FOUND: _refused(404, "model_not_found"),
    Fault.UNPROCESSABLE: _refused(422, "unprocessable"),
    Fault.RATE_LIMITED: _refused(429, "rate_limit_exceeded"),
    Fault.RATE_LIMITED_BRIEFLY: _refused(
        429, "rate_limit_exceeded", retry_after="1", retry_after_ms="20"
    ),
    Fault.RATE_LIMITED_FOR_LONG: _refused(429, "rate_limit_exceeded", retry_after="100"),
    Fault.SERVER_ERROR_ONCE: _refused(500, "server_error"),
    Fault.SERVER_ERROR: _refused(500, "server_error"),
    Fault.UNAVAILABLE_HTML: RawAnswer(503, _PAGE, "text/html"),
    Fault.REDIRECT: _refused(307, "moved", location=MOVED),
    Fault.HTML_WITH_200: RawAnswer(200, _PAGE, "text/html; charset=utf-8"),
    Fault.COMPLETION_WITH_200: RawAnswer(200, _whole_completion()),
    Fault.JSON_WITH_200: RawAnswer(200, encoded({"status": "ok", "note": CANARY})),
}


def _stopped(how: Break) -> Callable[[Reply], Reply]:
    return lambda reply: replace(reply, pieces=[*half(reply)[0], how])


def _refusing(reply: Reply) -> Reply:
    return replace(reply, pieces=[_refusal(piece) for piece in reply.pieces or ()])


def _refusal(piece: Piece) -> Piece:
    return {"refusal": piece} if isinstance(piece, str) else piece


def _slowly(reply: Reply) -> Reply:
    """With Korean and emoji, unless the script has seen to that."""
    text = "".join(piece for piece in reply.pieces or () if isinstance(piece, str))
    added: Sequence[Piece] = [_MIXED] if text.isascii() else []
    return replace(reply, pieces=[*(reply.pieces or ()), *added], byte_by_byte=True)


_MALFORMED = chunk('{"index":0,"delta":{"content":"' + CANARY)
_INVALID_UTF8 = chunk('{"index":0,"delta":{"content":"?"},"finish_reason":null}')
_SURROGATE = chunk('{"index":0,"delta":{"content":"\\ud800"},"finish_reason":null}')

_WITHIN: dict[Fault, Callable[[Reply], Reply]] = {
    **DIALECTS,
    Fault.HANG_BEFORE_STATUS: lambda reply: replace(reply, before_status=Break.HANG),
    Fault.RESET_BEFORE_ANSWER: lambda reply: replace(reply, before_status=Break.RESET),
    Fault.HANG_AFTER_HEADERS: lambda reply: replace(reply, pieces=[Break.HANG], role=False),
    Fault.HANG_MID_STREAM: _stopped(Break.HANG),
    Fault.RESET_MID_STREAM: _stopped(Break.RESET),
    Fault.CUT_MID_CHUNK: _stopped(Break.CUT),
    Fault.PROPER_END_HALF_WAY: _stopped(Break.END),
    Fault.MALFORMED_JSON: amid(_MALFORMED),
    Fault.INVALID_UTF8: amid(_INVALID_UTF8.replace(b"?", b"\xed\x95\xff")),
    Fault.LONE_SURROGATE: amid(_SURROGATE),
    Fault.ERROR_CHUNK: amid(error(CANARY, kind="server_error", code="server_error"), Break.END),
    Fault.EMPTY_CHOICES: amid(chunk("")),
    Fault.NULL_CONTENT: amid({"content": None}),
    Fault.USAGE_ONLY: amid(
        chunk("")[:-1] + b',"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
    ),
    Fault.NO_DONE: lambda reply: replace(reply, done=False),
    Fault.HUGE_CHUNK: amid("0123456789abcde\n" * (_MIB // 16)),
    Fault.BYTE_BY_BYTE: _slowly,
    Fault.FINISH_LENGTH: finished("length"),
    Fault.FINISH_CONTENT_FILTER: finished("content_filter"),
    Fault.REFUSAL: _refusing,
    Fault.TOOL_CALL_DELTAS: amid(*tool_call_deltas("look_up", {"secret": CANARY})),
    Fault.REASONING_DELTAS: amid({"reasoning_content": CANARY}, {"reasoning_content": " …"}),
}
