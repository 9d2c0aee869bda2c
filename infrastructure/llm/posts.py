"""What our own client asks the SDK to send: streamed chat completions, and nothing else."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import httpx2
from openai import AsyncOpenAI, AsyncStream
from openai._models import FinalRequestOptions

from .body import aiohttp_response
from .first_try import Head, answer_in, bare_first_try, handed, json_of

_PATH = "/chat/completions"


class Posts:
    """`http` is the client below the SDK's, whose transport takes outcomes."""

    def __init__(self, client: AsyncOpenAI, http: httpx2.AsyncClient) -> None:
        self._client, self._http = client, http

    @cached_property
    def _head(self) -> Head:
        options = FinalRequestOptions.construct(method="post", url=_PATH, json_data={})
        return Head(self._client._build_request(options))

    async def post(self, body: Mapping[str, Any]) -> httpx2.Response:
        """The head of a streamed answer is there. Raises what the SDK raises."""
        try:
            sent = json_of(body).encode()
        except (TypeError, ValueError):
            return await self._by_the_sdk(body)
        outcome = await bare_first_try(self._http, self._head, sent)
        if (answer := answer_in(outcome)) is not None:
            _forget_request(answer)
            return answer
        async with handed(outcome):
            return await self._by_the_sdk(body)

    async def _by_the_sdk(self, body: Mapping[str, Any]) -> httpx2.Response:
        stream = await self._client.post(
            _PATH, body=body, cast_to=object, stream=True, stream_cls=AsyncStream[object]
        )
        return stream.response


def _forget_request(answer: httpx2.Response) -> None:
    """It is as large as the chat, and a model may think for a minute before it says anything."""
    request: Any = None
    answer.request = request
    if (below := aiohttp_response(answer)) is not None:
        below._request_info = request
