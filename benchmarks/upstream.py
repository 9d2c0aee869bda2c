"""A fake OpenAI-compatible upstream that costs little: chunks are rendered beforehand.

Besides `/v1/chat/completions` it has a control side for the harness: `POST /control` sets
`{"pace", "tokens", "mixed"?, "begun"?}` of the answers to come, `POST /finish` ends the open
ones properly,
`POST /abort` cuts them, `GET /stats` counts tokens sent and answers open.
"""

import argparse
import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

import httptools
import uvloop

from benchmarks.fake_model import Answer, Model, ToolCall, streamed


class Connection(asyncio.Protocol):
    def __init__(self, model: Model) -> None:
        self._model = model
        self._answer: Answer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        asked = json.loads(self._body or b"{}")
        if self._url.endswith(b"/chat/completions"):
            self._complete(asked)
            return
        actions: dict[bytes, Callable[[], None]] = {
            b"/control": lambda: self._model.set(
                asked["pace"],
                asked["tokens"],
                mixed=asked.get("mixed", False),
                begun=asked.get("begun", 0),
            ),
            b"/finish": self._model.finish,
            b"/abort": self._model.abort,
            b"/stats": lambda: None,
        }
        actions[self._url]()
        self._reply(self._model.stats())

    def _complete(self, asked: dict[str, Any]) -> None:
        options = asked.get("stream_options") or {}
        usage = bool(options.get("include_usage"))
        wanted = asked.get("response_format", {}).get("json_schema", {}).get("schema")
        if asked.get("stream") and not wanted:
            calls = asked.get("tools") and asked["messages"][-1]["role"] != "tool"
            kind = ToolCall if calls else Answer
            self._answer = kind(self._model, self._transport, usage)
            return
        text = json.dumps(example(wanted, wanted)) if wanted else "a short answer"
        if asked.get("stream"):
            self._transport.write(streamed(text, usage))
            return
        message = {"role": "assistant", "content": text, "refusal": None}
        self._reply(
            {
                "id": "chatcmpl-benchmark",
                "object": "chat.completion",
                "created": 1760000000,
                "model": "m",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
            }
        )

    def _reply(self, value: object) -> None:
        body = json.dumps(value).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % len(body) + body)

    def pause_writing(self) -> None:
        if self._answer:
            self._answer.pause()

    def resume_writing(self) -> None:
        if self._answer:
            self._answer.resume()

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._answer:
            self._answer.leave()


def example(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """The smallest value the JSON schema allows, of the parts that Pydantic writes."""
    if "$ref" in schema:
        return example(root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], root)
    if "anyOf" in schema:
        return example(schema["anyOf"][0], root)
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {key: example(value, root) for key, value in schema.get("properties", {}).items()}
    plain: dict[str | None, Any] = {
        "array": [],
        "string": "a",
        "integer": 0,
        "number": 0.0,
        "boolean": False,
    }
    return plain.get(schema.get("type"), schema.get("const"))


async def serve(pace: float, tokens: int, text: str) -> None:
    model = Model(pace, tokens, text.encode())
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(model), "127.0.0.1", 0, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pace", type=float, default=0.02)
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--text", default="")
    options = parser.parse_args()
    uvloop.run(serve(options.pace, options.tokens, options.text))


if __name__ == "__main__":
    main()
