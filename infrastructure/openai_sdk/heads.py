"""The heads of users' requests: the SDK makes one anew when anything that it is made of is another.

All that the SDK's own code reads while it makes a request is compared with what it was. A client
that is more than the SDK's own code, or of another version of it, has no head here.
"""

from operator import attrgetter
from typing import Any, get_origin
from weakref import WeakKeyDictionary

import httpx2
import openai
from openai import NotGiven
from openai._models import FinalRequestOptions

from sluice.infrastructure.llm.first_try import Head

_SEAMS = frozenset(
    {
        "_build_request",
        "_build_headers",
        "_prepare_options",
        "_prepare_request",
        "_prepare_url",
        "_process_response",
        "_send_request",
        "_validate_headers",
        "auth_headers",
        "custom_auth",
        "default_headers",
        "default_query",
        "user_agent",
    }
)
"""Where a subclass, another instrumentation, or a user has a say in a request."""
_OPTIONS = {
    *("method", "url", "params", "headers", "max_retries", "timeout", "files", "idempotency_key"),
    *("post_parser", "follow_redirects", "security", "synthesize_event_and_data", "stream_mode"),
    *("content", "json_data", "extra_json"),
}
_RAW = "x-stainless-raw-response"


def _code() -> tuple[Any, ...] | None:
    try:
        return _seams(openai.AsyncOpenAI)
    except AttributeError:
        return None


_seams = attrgetter(*_SEAMS)
_KNOWN = _code() if set(FinalRequestOptions.model_fields) == _OPTIONS else None


class Heads:
    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Any, tuple[Any, Head]] = WeakKeyDictionary()

    def of(self, client: Any, options: Any, stream_cls: Any) -> Head | None:
        """None for what only the SDK itself may send, or make a stream of."""
        known = get_origin(stream_cls) is openai.AsyncStream
        if not (known and _is_plain(client) and _asks_plainly(options)):
            return None
        made_of = _made_of(client, options)
        kept = self._kept.get(client)
        if kept is None or kept[0] != made_of:
            head = Head(client._build_request(options))
            kept = self._kept[client] = made_of, head
        return kept[1]


def _is_plain(client: Any) -> bool:
    return (
        type(client) is openai.AsyncOpenAI
        and _KNOWN is not None
        and _code() == _KNOWN
        and _SEAMS.isdisjoint(vars(client))
        and client._platform is not None
        and client._provider_runtime is None
        and client._workload_identity_auth is None
        and client._api_key_provider is None
    )


def _asks_plainly(options: Any) -> bool:
    headers = options.headers
    return (
        isinstance(options.post_parser, NotGiven)
        and isinstance(options.max_retries, NotGiven)
        and options.follow_redirects is None
        and options.idempotency_key is None
        and options.files is None
        and options.content is None
        and options.extra_json is None
        and (isinstance(headers, NotGiven) or _RAW not in map(str.lower, headers))
    )


def _made_of(client: Any, options: Any) -> list[Any]:
    http, headers = client._client, options.headers
    return [
        options.url,
        None if isinstance(headers, NotGiven) else dict(headers),
        dict(options.params),
        dict(options.security),
        _seconds(options.timeout),
        client._base_url,
        client.api_key,
        client.admin_api_key,
        client.organization,
        client.project,
        _seconds(client.timeout),
        dict(client._custom_headers),
        dict(client._custom_query),
        client._idempotency_header,
        http.headers.raw,
        str(http.params),
    ]


def _seconds(timeout: Any) -> Any:
    """To be compared: each `NotGiven` is another, and a `Timeout` may be changed in place."""
    if isinstance(timeout, NotGiven):
        return NotGiven
    return timeout.as_dict() if isinstance(timeout, httpx2.Timeout) else timeout
