"""The ways in which an upstream can fail. Each name says what happens on the wire."""

from enum import Enum

CANARY = "canary-7f3a-never-show-this-to-a-user"
"""Part of all that no user may see: every error body, reasoning and tool arguments of faults."""


class Fault(Enum):
    """Its value is its name on the command line. `Mid-stream` is after half of the pieces."""

    UNAUTHORIZED = "unauthorized"  # 401
    FORBIDDEN = "forbidden"  # 403
    NOT_FOUND = "not_found"  # 404, as for an unknown model
    UNPROCESSABLE = "unprocessable"  # 422
    RATE_LIMITED = "rate_limited"  # 429 without Retry-After
    RATE_LIMITED_BRIEFLY = "rate_limited_briefly"  # 429 with a Retry-After of milliseconds
    RATE_LIMITED_FOR_LONG = "rate_limited_for_long"  # 429 with a Retry-After of 100 s
    SERVER_ERROR_ONCE = "server_error_once"  # 500, then as if nothing had been
    SERVER_ERROR = "server_error"  # 500 every time
    UNAVAILABLE_HTML = "unavailable_html"  # 503 with a page of HTML
    REDIRECT = "redirect"  # 307 to a path that would answer

    HANG_BEFORE_STATUS = "hang_before_status"
    RESET_BEFORE_ANSWER = "reset_before_answer"  # TCP RST instead of a status line
    HANG_AFTER_HEADERS = "hang_after_headers"
    HANG_MID_STREAM = "hang_mid_stream"
    RESET_MID_STREAM = "reset_mid_stream"  # TCP RST
    CUT_MID_CHUNK = "cut_mid_chunk"  # FIN within a chunk of the chunked body
    PROPER_END_HALF_WAY = "proper_end_half_way"  # a complete HTTP body; no finish reason, no [DONE]

    MALFORMED_JSON = "malformed_json"  # one chunk, then the rest; likewise the next two
    INVALID_UTF8 = "invalid_utf8"
    LONE_SURROGATE = "lone_surrogate"  # the JSON escape \ud800
    ERROR_CHUNK = "error_chunk"  # an error object as a chunk, then the end of the body
    FINISH_ERROR = "finish_error"  # half of the answer, then the finish reason `error`
    FINISH_ABORT = "finish_abort"
    CHOICE_ERROR = "choice_error"  # an error object within a choice
    ERROR_EVENT = "error_event"  # `event: error` with a rate limit, then [DONE]
    ERROR_FIELD = "error_field"  # a field `error:` in place of `data:`, then [DONE]
    BARE_ERROR = "bare_error"  # an error object without `data:`, that of a refused key
    RATE_LIMIT_FIRST = "rate_limit_first"  # an error object as the first event
    ERROR_AFTER_FINISH = "error_after_finish"  # the whole answer, then a 503 as an error object
    KEPT_WARM = "kept_warm"  # mid-stream, then comments and empty chunks for ever
    HTML_WITH_200 = "html_with_200"
    COMPLETION_WITH_200 = "completion_with_200"  # a whole completion although a stream was asked
    JSON_WITH_200 = "json_with_200"  # JSON that is nothing of this protocol

    NO_DONE = "no_done"  # a finish reason but no [DONE]
    EMPTY_CHOICES = "empty_choices"  # a chunk without choices among the others
    NULL_CONTENT = "null_content"
    USAGE_ONLY = "usage_only"  # a chunk with usage and nothing else, in the middle
    HUGE_CHUNK = "huge_chunk"  # 1 MiB of text in one chunk
    BYTE_BY_BYTE = "byte_by_byte"  # each byte in a TCP segment of its own; Korean and emoji
    FINISH_LENGTH = "finish_length"  # half of the answer
    FINISH_CONTENT_FILTER = "finish_content_filter"  # half of the answer
    REFUSAL = "refusal"  # refusal deltas in place of content
    TOOL_CALL_DELTAS = "tool_call_deltas"  # in the middle of a plain answer
    REASONING_DELTAS = "reasoning_deltas"  # likewise

    FINISH_IN_EVERY_CHUNK = "finish_in_every_chunk"  # as some gateways have it
    LATE_PIECE = "late_piece"  # the last one comes a second and a half after the finish reason
    EMPTY_EVENTS = "empty_events"  # `data:` with nothing, as a heartbeat
    RUBBISH_AFTER_FINISH = "rubbish_after_finish"  # a usage without numbers, broken JSON
    NO_LAST_LINE = "no_last_line"  # the last event lacks its empty line
    NO_CONTENT_TYPE = "no_content_type"
    WRONG_CONTENT_TYPE = "wrong_content_type"  # application/json
    LARGE_HEADER = "large_header"  # of 60 KiB
    CONTENT_PARTS = "content_parts"  # content as a list of parts, thinking among them
    CUT_CHARACTERS = "cut_characters"  # one UTF-16 unit a chunk
