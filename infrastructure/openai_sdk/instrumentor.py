"""The one method of the SDK that every request goes through, replaced for as long as the service
runs.

`create`, `parse`, `.stream()`, raw and streaming responses, copies of clients, Azure, both APIs:
all of it is `AsyncOpenAI.request` or `OpenAI.request`. It is looked up on the class at each call,
so that clients made before are heard too, and others may wrap it before us or after.
"""

import inspect
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

import openai

from sluice.application.model_calls import current_node

from .callers import caller
from .calls import Limits, Request, heard
from .heads import Heads
from .parameters import Parameters
from .spans import span_of
from .transport import Transports

logger = logging.getLogger(__name__)

_CHUNK_TIMEOUT = "LANGCHAIN_OPENAI_STREAM_CHUNK_TIMEOUT_S"
"""langchain-openai reads it when a model is built. Its own timeout is a task for each chunk."""
_PARAMETERS = ["self", "cast_to", "options", "stream", "stream_cls"]
_NOT_PATCHED = "calls of %s are not heard: this version of the openai SDK is not known"


class OpenAIInstrumentor:
    """`instrument` before the user's graph is built, `uninstrument` when the service ends.
    With `enabled=False` neither does anything.

    Outside a job, which is where no `current_node` is set, a request passes through untouched.
    """

    def __init__(self, limits: Limits | None = None, *, enabled: bool = True) -> None:
        self._enabled = enabled
        self._limits = limits or Limits()
        self._transports, self._heads = Transports(), Heads()
        self._parameters = Parameters()
        self._no_usage: WeakSet[Any] = WeakSet()
        """Clients whose server refused to be asking for usage."""
        self._before: dict[type, tuple[Any, Any]] = {}
        self._environment: str | None = None
        self._installed = False

    def instrument(self) -> None:
        """Logs one line for what cannot be patched; that works as if nothing were installed."""
        if not self._enabled:
            return
        self._installed = True
        for kind, ours in ((openai.AsyncOpenAI, self._async), (openai.OpenAI, self._sync)):
            before = inspect.getattr_static(kind, "request")
            if list(inspect.signature(_own_request(kind)).parameters) != _PARAMETERS:
                logger.warning(_NOT_PATCHED, kind.__name__)
                continue
            patched = ours(before, alone=before is _own_request(kind))
            self._before[kind] = before if "request" in vars(kind) else None, patched
            kind.request = patched  # type: ignore[method-assign]
        if _CHUNK_TIMEOUT not in os.environ:
            os.environ[_CHUNK_TIMEOUT] = self._environment = "0"

    async def uninstrument(self) -> None:
        """What others have wrapped meanwhile stays theirs, and finds nothing more to do here."""
        self._installed = False
        for kind, (before, patched) in self._before.items():
            if vars(kind).get("request") is patched:
                if before is None:
                    delattr(kind, "request")
                else:
                    kind.request = before  # type: ignore[attr-defined]
        self._before.clear()
        self._parameters.uninstrument()
        if self._environment is not None and os.environ.get(_CHUNK_TIMEOUT) == self._environment:
            del os.environ[_CHUNK_TIMEOUT]
        await self._transports.aclose()

    def _async(self, before: Any, *, alone: bool) -> Callable[..., Any]:
        async def request(
            self: Any, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
        ) -> Any:
            send = before.__get__(self, type(self))
            ours = this._request(self, cast_to, options, alone)
            if ours is None:
                return await send(cast_to, options, stream=stream, stream_cls=stream_cls)
            if this._transports.swap(self) and alone:
                ours.heads = this._heads
            with _once(), ours.unless_opened():
                return await ours.send(send, cast_to, stream=stream, stream_cls=stream_cls)

        this = self
        return request

    def _sync(self, before: Any, *, alone: bool) -> Callable[..., Any]:
        def request(
            self: Any, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
        ) -> Any:
            send = before.__get__(self, type(self))
            ours = this._request(self, cast_to, options, alone)
            if ours is None:
                return send(cast_to, options, stream=stream, stream_cls=stream_cls)
            with _once(), ours.unless_opened():
                return ours.send_sync(send, cast_to, stream=stream, stream_cls=stream_cls)

        this = self
        return request

    def _request(self, client: Any, cast_to: Any, options: Any, alone: bool) -> Request | None:
        """None for what is none of our business: other endpoints, our own client, no job."""
        node = current_node.get() if self._installed else None
        if node is None or cast_to is object or _sending.get():
            return None
        path, body = str(options.url).rstrip("/"), options.json_data
        responses = path.endswith("/responses")
        if not (responses or path.endswith("/chat/completions")) or not isinstance(body, Mapping):
            return None
        if options.stream_mode != "legacy":
            return None
        self._parameters.instrument()
        by = caller()
        call = heard(node, by, body, responses=responses)
        call.span = span_of(body, self._limits.genai, alone=alone)
        return Request(client, node, options, call, by, self._limits, self._no_usage)


_sending: ContextVar[bool] = ContextVar("_sending", default=False)


@contextmanager
def _once() -> Iterator[None]:
    """Another service in this process has its own instrumentation: a call is one's only."""
    before = _sending.set(True)
    try:
        yield
    finally:
        _sending.reset(before)


def _own_request(kind: type) -> Any:
    """The SDK's, below whatever others have put over it."""
    return next(vars(base)["request"] for base in reversed(kind.__mro__) if "request" in vars(base))
