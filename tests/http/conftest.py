"""The loop that the service runs on, and what its connections take in line."""

import pytest

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
