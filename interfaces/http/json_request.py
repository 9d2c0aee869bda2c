"""Reading a request: who asks first, then at most so many bytes of strict JSON."""

import json
import math
import re
from collections.abc import Callable, Coroutine, Iterator
from itertools import chain
from typing import Any, NoReturn

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from sluice.interfaces.http.arguments import NO_BODY, plan_of
from sluice.interfaces.http.auth.identity import User, check_origin
from sluice.interfaces.http.problems import Problem, too_large, wrong
from sluice.interfaces.http.services import Options

_MAX_HISTORY_BYTES = 8 * 1024 * 1024
_JSON = re.compile(r"application/(json|[^/]+\+json)")
Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class ApiRoute(APIRoute):
    """Knows the user before a byte of the body is read."""

    def told(self, problem: Problem, request_id: str) -> Response:
        """A problem before the stream, as the route's protocol tells it."""
        return problem.response(request_id)

    def max_body_bytes(self, options: Options) -> int:
        return options.max_body_bytes

    def permit(self, request: Request, user: User, options: Options) -> None:
        """Raises NotFound for whom the route is not there."""

    def get_route_handler(self) -> Endpoint:
        return self.around(super().get_route_handler())

    def direct_endpoint(self) -> Endpoint | None:
        """The same past FastAPI, where the route's function has a plan for its arguments."""
        plan = plan_of(self.endpoint, self.path)
        if plan is None:
            return None

        async def handle(request: Request) -> Response:
            given = plan.wants_body and await request.body()
            body = await request.json() if given else NO_BODY
            response: Response = await plan(request, body)
            return response

        return self.around(handle)

    def around(self, handle: Endpoint) -> Endpoint:
        """What is done for each request before FastAPI, or the route's plan, handles it."""

        async def handle_known(request: Request) -> Response:
            state = request.scope["state"]
            state["problem_form"] = self.told
            options: Options = request.app.state.options
            user = await self.user(request, options)
            self.permit(request, user, options)
            if request.method not in {"GET", "HEAD"}:
                check_origin(request, user, options.cors_origins)
            state["user"] = user
            limit = self.max_body_bytes(options)
            return await handle(JsonRequest(request, limit, wanted=self._wants_body))

        return handle_known

    @property
    def _wants_body(self) -> bool:
        return self.body_field is not None and self.body_field.field_info.is_required()

    async def user(self, request: Request, options: Options) -> User:
        """Raises as an Identity does."""
        return await options.identity(request)


class HistoryRoute(ApiRoute):
    """Its clients send their whole chat each time: answers too, which have another bound."""

    def max_body_bytes(self, options: Options) -> int:
        return max(_MAX_HISTORY_BYTES, options.max_body_bytes)


class JsonRequest(Request):
    """FastAPI reads the body through these two methods; `wanted`: nothing is no body."""

    def __init__(self, request: Request, limit: int, *, wanted: bool) -> None:
        super().__init__(request.scope, request.receive)
        self._headers = request.headers  # which may be found already
        self._limit, self._wanted = limit, wanted

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            self._check_headers()
            self._body = await self._read()
            if self._body:
                self._check_type()
            elif self._wanted:
                raise _no_json("The body is not JSON.")
        return self._body

    async def _read(self) -> bytes:
        """Not by Starlette's generator, which takes as much as the rest of a small request."""
        whole, more = bytearray(), True
        while more:
            message = await self.receive()
            if message["type"] != "http.request":
                raise _no_json("The body is not whole.")
            whole += message.get("body", b"")
            if len(whole) > self._limit:
                raise too_large()
            more = message.get("more_body", False)
        return bytes(whole)

    async def json(self) -> Any:
        return parse_json(self._body)

    def _check_headers(self) -> None:
        length = self.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._limit:
            raise too_large()
        if self.headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem(
                415, "unsupported_media_type", "Send the body without a Content-Encoding."
            )

    def _check_type(self) -> None:
        """A missing type is fine, a wrong one is not: other sites can send those unasked."""
        given = self.headers.get("content-type", "application/json")
        kind = given.partition(";")[0].strip().lower()
        if not _JSON.fullmatch(kind):
            detail = "Send JSON, with the header Content-Type: application/json."
            raise Problem(415, "unsupported_media_type", detail)


def parse_json(body: bytes) -> Any:
    """Raises Problem 400 for what is no JSON, 422 for text that could not be kept or sent."""
    try:
        text = body.decode()
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_float=_finite,
            parse_constant=_refused,
        )
    except UnicodeDecodeError:
        raise _no_json("The body is not UTF-8.") from None
    except RecursionError:
        raise _no_json("The body is nested too deeply.") from None
    except ValueError:
        raise _no_json("The body is not JSON.") from None
    if "\\u" in text:  # only an escape can say NUL, or half a character
        _check_texts(value)
    return value


def _no_json(why: str) -> Problem:
    return Problem(400, "invalid_json", why)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise _no_json("A name stands twice in one object.")
    return unique


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(digits)
    return number


def _refused(constant: str) -> NoReturn:
    raise ValueError(constant)


def _check_texts(value: Any) -> None:
    """Names the field only where one is wrong: a long name may stand above a million of values."""
    names = list[str | int]()
    inside = [iter([("", value)])]
    while inside:
        for name, item in inside[-1]:
            if isinstance(item, str):
                if why := _wrong_text(item):
                    raise wrong(".".join(map(str, [*names[1:], name])), why)
            elif isinstance(item, dict | list):
                names.append(name)
                inside.append(_named(item))
                break
        else:
            inside.pop()
            del names[-1:]


def _named(value: dict[str, Any] | list[Any]) -> Iterator[tuple[Any, Any]]:
    """What is in it, names too."""
    if isinstance(value, list):
        return iter(enumerate(value))
    return chain(zip(value, value, strict=True), value.items())


def _wrong_text(text: str) -> str | None:
    if "\0" in text:
        return "must not contain NUL"
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        return "must not contain a lone surrogate"
    return None
