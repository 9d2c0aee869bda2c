"""Bodies of streamed answers: what the documentation shows, and what servers really send."""

from .scripted import STOP, USAGE, chunk, sse, texts

TOOL = {
    "index": 0,
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": ""},
}
LOGPROBS = {
    "content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}],
    "refusal": None,
}


def _arguments(text: str, **more: object) -> dict[str, object]:
    return {"tool_calls": [{"index": 0, "function": {"arguments": text}, **more}]}


COMPLETE: dict[str, bytes] = {
    "text": sse(*texts("무색", " 페트병은", " 👩‍👩‍👧‍👦"), STOP),
    "usage at the end": sse(*texts("a", "b"), STOP, chunk(choices=[], usage=USAGE)),
    "usage in each chunk": sse(
        chunk({"content": "a"}, usage=USAGE), chunk({}, "stop", usage=USAGE)
    ),
    "usage with details": sse(
        *texts("a"),
        STOP,
        chunk(
            choices=[],
            usage={
                **USAGE,
                "prompt_tokens_details": {"cached_tokens": 1},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
        ),
    ),
    "one tool call": sse(
        chunk({"role": "assistant", "content": None, "tool_calls": [TOOL]}),
        chunk(_arguments('{"city":')),
        chunk(_arguments(' "Paju"}')),
        chunk({}, "tool_calls"),
    ),
    "text, then two tool calls": sse(
        *texts("Let me look."),
        chunk({"tool_calls": [TOOL]}),
        chunk(_arguments("{}")),
        chunk({"tool_calls": [{**TOOL, "index": 1, "id": "call_2"}]}),
        chunk({"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]}),
        chunk({}, "tool_calls"),
    ),
    "function call": sse(
        chunk({"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}),
        chunk({}, "function_call"),
    ),
    "refusal": sse(
        chunk({"role": "assistant", "content": None, "refusal": ""}),
        chunk({"refusal": "I will not."}),
        STOP,
    ),
    "reasoning_content": sse(
        chunk({"role": "assistant", "content": None, "reasoning_content": "hm"}),
        chunk({"content": "a"}),
        STOP,
    ),
    "reasoning": sse(chunk({"content": "", "reasoning": "hm"}), chunk({"content": "a"}), STOP),
    "logprobs": sse(chunk({"content": "a"}, logprobs=LOGPROBS), chunk({"content": "b"}), STOP),
    "two choices": sse(
        chunk({"role": "assistant", "content": "a"}),
        chunk({"role": "assistant", "content": "b"}, index=1),
        chunk({}, "stop"),
        chunk({}, "stop", index=1),
    ),
    "obfuscation": sse(
        chunk({"content": "a"}, obfuscation="xyz"), chunk({}, "stop", obfuscation="q")
    ),
    "Azure's filters": sse(
        chunk(choices=[], prompt_filter_results=[{"prompt_index": 0}], model="", id=""),
        chunk({"role": "assistant", "content": "a"}),
        {**STOP, "choices": [{**STOP["choices"][0], "content_filter_results": {}}]},
    ),
    "service tier": sse(chunk({"content": "a"}, service_tier="default"), chunk({}, "length")),
    "finish reason with text": sse(chunk({"content": "a"}), chunk({"content": "b"}, "stop")),
    "unknown finish reason": sse(*texts("a"), chunk({}, "eos")),
    "no id, no object": sse(
        {"choices": [{"index": 0, "delta": {"content": "a"}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ),
    "tool call without an index": sse(
        chunk({"tool_calls": [{k: v for k, v in TOOL.items() if k != "index"}]}),
        chunk({}, "tool_calls"),
    ),
    "usage without a total": sse(
        *texts("a"), STOP, chunk(choices=[], usage={"prompt_tokens": 1, "completion_tokens": 1})
    ),
    "choices: null": sse(chunk(choices=None), *texts("a"), STOP),
    "a number for a text": sse(chunk({"content": "a"}, created="1"), STOP),
    "odd in each chunk": sse(*[chunk({"content": t}, created=None) for t in "abcdef"], STOP),
    "delta: null": sse(
        chunk({"content": "a"}),
        {**STOP, "choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]},
    ),
    "no delta": sse(
        chunk({"content": "a"}), {**STOP, "choices": [{"index": 0, "finish_reason": "stop"}]}
    ),
    "lone surrogate": sse(
        chunk({"content": "a"}),
        b'{"id":"1","choices":[{"index":0,"delta":{"content":"\\ud800"}}]}',
        STOP,
    ),
    "comments": b": processing\n\n" + sse(*texts("a"), STOP),
    "CRLF": sse(*texts("a", "b"), STOP).replace(b"\n", b"\r\n"),
    "no [DONE]": sse(*texts("a", "b"), STOP, done=False),
    "no space after the colon": sse(*texts("a"), STOP).replace(b"data: ", b"data:"),
}
"""Each has a finish reason."""

WRONG: dict[str, bytes] = {
    "broken JSON": sse(*texts("a"), b'{"id": "1", "choi', STOP),
    "broken UTF-8": sse(*texts("a"), b'{"id": "\xff"}', STOP),
    "an error object": sse(*texts("a"), {"error": {"message": "overloaded", "code": 1}}),
    "an error object without a message": sse(*texts("a"), {"error": {"code": 1}}),
    "an error as text": sse(*texts("a"), {"error": "overloaded"}),
    "an error beside choices": sse(*texts("a"), chunk({"content": "b"}, error={"message": "no"})),
}
"""What the SDK raises something for."""
