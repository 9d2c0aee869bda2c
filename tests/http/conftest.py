"""The loop that the service runs on, what its connections take in line, and what they keep."""

import weakref
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from sluice.interfaces.http.server.frame_writer import FrameWriter


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each token that a connection was offered, whether it took it."""
    answers: list[bool] = []
    call = FrameWriter.__call__

    def watched(writer: FrameWriter, body: bytes) -> bool:
        answers.append(call(writer, body))
        return answers[-1]

    monkeypatch.setattr(FrameWriter, "__call__", watched)
    return answers


@pytest.fixture
def cycles(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[RequestResponseCycle]]:
    """Of each request, what the server keeps while it is answered."""
    begun: list[weakref.ref[RequestResponseCycle]] = []
    init = RequestResponseCycle.__init__

    def remembered(cycle: RequestResponseCycle, **given: Any) -> None:
        init(cycle, **given)
        begun.append(weakref.ref(cycle))

    monkeypatch.setattr(RequestResponseCycle, "__init__", remembered)
    return begun
