"""How one request of a user's client is sent, told and limited, before any connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import aiohttp
import httpx2
import openai
import pytest
from openai import AsyncOpenAI, AsyncStream, NotGiven, OpenAI, Stream
from openai._models import FinalRequestOptions
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from sluice.application.model_calls import ModelCalls, NodeRun
from sluice.infrastructure.openai_sdk.answers import UserCall
from sluice.infrastructure.openai_sdk.callers import Caller
from sluice.infrastructure.openai_sdk.calls import Limits, Request
from sluice.infrastructure.openai_sdk.failures import NoAnswer
from tests.doubles import RecordingSpan, RecordingTeller

pytestmark = pytest.mark.usefixtures("no_settings")

BODY = {"model": "m", "messages": []}
COUNTED = {"stream_options": {"include_usage": True}}
LIMITS = Limits(connect=1, first_token=2, idle=3)
UPSTREAM = httpx2.Request("POST", "http://upstream")
PLAIN = Caller(SimpleNamespace(stream_usage=None), None, plain=True)
CHOICE = {"index": 0, "finish_reason": "stop", "message": {"content": "a"}}


def refusal(status: int = 400, said: str = "no") -> openai.APIStatusError:
    kind = {
        400: openai.BadRequestError,
        422: openai.UnprocessableEntityError,
        404: openai.NotFoundError,
    }[status]
    return kind(said, response=httpx2.Response(status, request=UPSTREAM), body=None)


class Sent:
    """What the SDK was given, and what it does with it: raises, waits so many seconds, or calls."""

    def __init__(self, *plays: object) -> None:
        self.plays = list(plays)
        self.given: list[tuple[object, Any, bool, Any]] = []

    def sync(self, cast_to: object, options: Any, *, stream: bool, stream_cls: Any) -> Any:
        self.given.append((cast_to, options, stream, stream_cls))
        play = self.plays.pop(0) if self.plays else "answer"
        if isinstance(play, BaseException):
            raise play
        return play

    async def __call__(self, cast_to: object, options: Any, **more: Any) -> Any:
        answer = self.sync(cast_to, options, **more)
        if isinstance(answer, float):
            await asyncio.sleep(answer)
        if callable(answer):
            answer()
        return answer

    @property
    def options(self) -> Any:
        return self.given[-1][1]

    @property
    def asked_for_usage(self) -> list[bool]:
        return ["stream_options" in options.json_data for _, options, _, _ in self.given]


class Asked:
    """A request of a client whose user has set nothing, unless said otherwise."""

    def __init__(
        self,
        *,
        by: Caller = Caller(),  # noqa: B008 - immutable
        sync: bool = False,
        limits: Limits = LIMITS,
        client: Any = None,
        body: Any = BODY,
        no_usage: WeakSet[Any] | None = None,
        client_timeout: Any = None,
        **options: Any,
    ) -> None:
        kind: Any = OpenAI if sync else AsyncOpenAI
        timed = {} if client_timeout is None else {"timeout": client_timeout}
        self.client = client or kind(base_url="http://upstream", api_key="x", **timed)
        self.options = FinalRequestOptions.construct(
            method="post", url="/chat/completions", json_data=body, **options
        )
        self.teller, self.no_usage = RecordingTeller(), WeakSet() if no_usage is None else no_usage
        self.call = UserCall(self.teller, responses=False)
        self.node = NodeRun(ModelCalls(), "a", speaks=True)
        self.request = Request(
            self.client, self.node, self.options, self.call, by, limits, self.no_usage
        )

    async def streams(self, sent: Sent) -> Any:
        return await self.request.send(
            sent, ChatCompletion, stream=True, stream_cls=AsyncStream[ChatCompletionChunk]
        )

    async def asks(self, sent: Sent) -> Any:
        """The SDK names the class of a stream either way."""
        return await self.request.send(
            sent, ChatCompletion, stream=False, stream_cls=AsyncStream[ChatCompletionChunk]
        )

    def in_a_thread(self, sent: Sent, *, stream: bool = True) -> Any:
        return self.request.send_sync(
            sent.sync, ChatCompletion, stream=stream, stream_cls=Stream[ChatCompletionChunk]
        )


def read_of(options: Any) -> tuple[Any, Any, Any, Any]:
    given = options.timeout
    return given.connect, given.read, given.write, given.pool


async def test_a_stream_is_sent_as_it_was_with_another_class_and_our_deadlines() -> None:
    asked, sent = Asked(), Sent()
    assert await asked.streams(sent) == "answer"
    [(cast_to, options, stream, kind)] = sent.given
    assert (cast_to, stream) == (ChatCompletion, True)
    assert issubclass(kind, AsyncStream)
    assert kind is not AsyncStream
    assert read_of(options) == (1, None, None, None)
    assert (options.json_data, options.url) == (BODY, "/chat/completions")
    assert isinstance(asked.options.timeout, NotGiven)


async def test_an_answer_in_one_piece_is_sent_without_a_class() -> None:
    asked, sent = Asked(), Sent()
    assert await asked.asks(sent) == "answer"
    [(cast_to, options, stream, kind)] = sent.given
    assert (cast_to, stream, kind) == (ChatCompletion, False, None)
    assert read_of(options) == (1, 3, None, None), "by whoever reads it later"
    assert options.json_data == BODY


def test_a_synchronous_request_is_sent_with_the_longer_of_our_deadlines() -> None:
    for limits, read in ((LIMITS, 3), (Limits(connect=1, first_token=5, idle=3), 5)):
        asked, sent = Asked(sync=True, limits=limits), Sent()
        assert asked.in_a_thread(sent) == "answer"
        [(cast_to, options, stream, kind)] = sent.given
        assert (cast_to, stream) == (ChatCompletion, True)
        assert issubclass(kind, Stream)
        assert kind is not Stream
        assert read_of(options) == (1, read, None, None)
    asked.in_a_thread(sent, stream=False)
    assert sent.given[-1][2:] == (False, None)
    assert read_of(sent.options) == (1, 5, None, None)


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize(
    "own",
    [
        {"client_timeout": 60},
        {"client_timeout": httpx2.Timeout(60)},
        {"timeout": 60},
        {"timeout": None},
    ],
)
async def test_a_users_own_timeout_is_left(sync: bool, own: Any) -> None:
    asked = Asked(sync=sync, limits=Limits(first_token=0.01, idle=0.01), **own)
    before, sent = asked.options.timeout, Sent(0.1)
    if sync:
        asked.in_a_thread(sent)
    else:
        assert await asked.streams(sent) == 0.1
    [(cast_to, options, stream, kind)] = sent.given
    assert (cast_to, stream, options.timeout) == (ChatCompletion, True, before)
    assert issubclass(kind, Stream if sync else AsyncStream)
    assert kind.reading.call is asked.call
    if not sync:
        await asked.asks(sent)
        assert sent.given[-1][2:] == (False, None)


@pytest.mark.parametrize("own", [None, openai.DEFAULT_TIMEOUT])
async def test_a_client_that_waits_as_the_sdk_does_has_set_nothing(own: Any) -> None:
    client = AsyncOpenAI(base_url="http://upstream", api_key="x")
    client.timeout = own
    asked, sent = Asked(client=client), Sent()
    await asked.asks(sent)
    assert read_of(sent.options) == (1, 3, None, None)


async def test_the_first_deadline_spans_the_sending_of_either_kind() -> None:
    for ask in (Asked.streams, Asked.asks):
        asked = Asked(limits=Limits(first_token=0.05, idle=30))
        async with asyncio.timeout(5):
            with pytest.raises(openai.APITimeoutError) as raised:
                await ask(asked, Sent(100.0))
        asked_of = raised.value.request
        assert (asked_of.method, str(asked_of.url)) == ("POST", "http://upstream")
        assert raised.value.__cause__ is not None


@pytest.mark.parametrize(("sending", "left"), [(600, 400), (2000, 0)])
async def test_a_stream_has_what_the_sending_left_of_its_first_deadline(
    sending: float, left: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop: Any = asyncio.get_running_loop()
    clock = [loop.time()]
    monkeypatch.setattr(loop, "time", lambda: clock[0])

    async def hang() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    def takes_long() -> None:
        clock[0] += sending

    asked, sent = Asked(limits=Limits(first_token=1000, idle=30)), Sent(takes_long)
    await asked.streams(sent)
    response = httpx2.Response(200, content=hang(), request=UPSTREAM)
    stream = sent.given[0][3](cast_to=ChatCompletionChunk, response=response, client=asked.client)
    reading = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    [timer] = [timer for timer in loop._scheduled if not timer.cancelled()]
    assert timer.when() - clock[0] == pytest.approx(left)
    reading.cancel()
    await asyncio.wait([reading])


SAID = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
WARM = b": warm\n\n"


@pytest.mark.parametrize(
    ("limits", "reads"),
    [
        (Limits(first_token=-1, idle=30), [WARM, WARM]),
        (Limits(first_token=30, idle=-1), [SAID, WARM, WARM]),
    ],
)
def test_a_synchronous_stream_is_given_up_as_the_limits_say(
    limits: Limits, reads: list[bytes]
) -> None:
    asked, sent = Asked(sync=True, limits=limits), Sent()
    asked.in_a_thread(sent)
    response = httpx2.Response(200, content=iter(reads), request=UPSTREAM)
    stream = sent.given[0][3](cast_to=ChatCompletionChunk, response=response, client=asked.client)
    with pytest.raises(openai.APITimeoutError):
        list(stream)


async def test_no_timer_is_left_of_a_request() -> None:
    loop: Any = asyncio.get_running_loop()
    for sent in (Sent(), Sent(ValueError())):
        with suppress(ValueError):
            await Asked(limits=Limits(first_token=1000)).streams(sent)
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("sync", [True, False])
async def test_a_server_that_refuses_to_be_asked_for_usage_is_asked_once_more(
    status: int, sync: bool
) -> None:
    asked, sent = Asked(by=PLAIN, sync=sync), Sent(refusal(status))
    assert (asked.in_a_thread(sent) if sync else await asked.streams(sent)) == "answer"
    (cast_to, first, stream, kind), again = sent.given
    assert first.json_data == {**BODY, **COUNTED}
    assert (again[0], again[1].json_data, again[2:]) == (cast_to, BODY, (stream, kind))
    assert read_of(again[1]) == read_of(first)
    assert isinstance(again[1].post_parser, NotGiven)
    assert list(asked.no_usage) == [asked.client]
    later = Asked(by=PLAIN, sync=sync, client=asked.client, no_usage=asked.no_usage)
    told = Sent()
    if sync:
        later.in_a_thread(told)
    else:
        await later.streams(told)
    assert told.asked_for_usage == [False]


@pytest.mark.parametrize("sync", [True, False])
async def test_a_call_that_is_refused_for_another_reason_proves_nothing(sync: bool) -> None:
    too_long = refusal(400, "maximum context length is 8192 tokens")
    asked, sent = Asked(by=PLAIN, sync=sync), Sent(too_long, too_long)
    with pytest.raises(openai.BadRequestError):
        _ = asked.in_a_thread(sent) if sync else await asked.streams(sent)
    assert (sent.asked_for_usage, len(asked.no_usage)) == ([True, False], 0)


@pytest.mark.parametrize("sync", [True, False])
async def test_a_404_may_say_that_it_refuses_to_be_asked_for_usage(sync: bool) -> None:
    refused = refusal(404, "No endpoints found that support the requested parameters")
    asked, sent = Asked(by=PLAIN, sync=sync), Sent(refused)
    assert (asked.in_a_thread(sent) if sync else await asked.streams(sent)) == "answer"
    assert (sent.asked_for_usage, len(asked.no_usage)) == ([True, False], 1)


@pytest.mark.parametrize("sync", [True, False])
async def test_another_failure_is_one(sync: bool) -> None:
    for by, error in ((PLAIN, refusal(404)), (Caller(), refusal())):
        asked, sent = Asked(by=by, sync=sync), Sent(error)
        with pytest.raises(type(error)):
            _ = asked.in_a_thread(sent) if sync else await asked.streams(sent)
        assert (len(sent.given), len(asked.no_usage)) == (1, 0)


@pytest.mark.parametrize("sync", [True, False])
async def test_what_does_not_stream_was_not_asked_for_usage(sync: bool) -> None:
    asked, sent = Asked(by=PLAIN, sync=sync), Sent(refusal())
    with pytest.raises(openai.BadRequestError):
        _ = asked.in_a_thread(sent, stream=False) if sync else await asked.asks(sent)
    assert (len(sent.given), len(asked.no_usage)) == (1, 0)


@pytest.mark.parametrize(
    ("by", "body", "asks"),
    [
        (PLAIN, BODY, True),
        (Caller(), BODY, False),
        (PLAIN._replace(plain=False), BODY, False),
        (PLAIN._replace(model=SimpleNamespace(stream_usage=False)), BODY, False),
        (PLAIN._replace(model=SimpleNamespace()), BODY, False),
        (PLAIN, {**BODY, "stream_options": None}, False),
    ],
)
async def test_only_langchain_is_asked_for_usage_and_only_where_it_leaves_it_out(
    by: Caller, body: Any, asks: bool
) -> None:
    asked, sent = Asked(by=by, body=body), Sent()
    await asked.streams(sent)
    assert sent.options.json_data == ({**BODY, **COUNTED} if asks else body)
    await asked.asks(sent)
    assert sent.options.json_data == body


def completion(**more: Any) -> ChatCompletion:
    given = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
    return ChatCompletion.construct(**{**given, "choices": [CHOICE], **more})


async def test_a_whole_answer_is_looked_at_and_parsed_as_the_user_has_it() -> None:
    asked, sent = Asked(), Sent()
    await asked.asks(sent)
    answer = completion()
    assert sent.options.post_parser(answer) is answer
    assert asked.teller.ends == [(None, "stop")]
    parsing = Asked()
    parsing.options.post_parser = lambda given: (given, "parsed")
    await parsing.asks(sent)
    assert sent.options.post_parser(answer) == (answer, "parsed")
    with pytest.raises(NoAnswer) as raised:
        sent.options.post_parser("<html>")
    assert (raised.value.request.method, raised.value.request.url.host) == ("POST", "upstream")


async def test_a_whole_answer_that_is_none_has_failed() -> None:
    for answer, told in ((completion(), ["over"]), ("<html>", ["upstream_bad_response", "over"])):
        asked, sent, span = Asked(), Sent(), RecordingSpan()
        asked.call.span = span  # type: ignore[assignment]
        await asked.asks(sent)
        with suppress(NoAnswer):
            sent.options.post_parser(answer)
        assert span.told == told


async def test_an_answer_may_be_as_long_as_the_limits_say() -> None:
    asked = Asked(limits=Limits(max_answer=7))
    assert asked.call.max_answer == 7
    assert (Limits().connect, Limits().max_answer) == (5, 4 * 2**20)


async def test_a_call_that_fails_before_its_answer_has_ended() -> None:
    for error in (ValueError(), asyncio.CancelledError()):
        asked = Asked()
        with pytest.raises(type(error)), asked.request.unless_opened():
            raise error
        assert asked.teller.ends == [(None, None)]
    asked = Asked()
    with asked.request.unless_opened():
        pass
    assert asked.teller.ends == []


async def test_a_connection_that_broke_is_no_timeout() -> None:
    asked = Asked()
    broke = openai.APITimeoutError(UPSTREAM)
    broke.__cause__ = aiohttp.ClientError()
    with pytest.raises(openai.APIConnectionError) as raised, asked.request.unless_opened():
        raise broke
    assert type(raised.value) is openai.APIConnectionError
    assert (raised.value.request, raised.value.__cause__) == (UPSTREAM, broke.__cause__)
    late = openai.APITimeoutError(UPSTREAM)
    with pytest.raises(openai.APITimeoutError) as slow, asked.request.unless_opened():
        raise late
    assert slow.value is late
