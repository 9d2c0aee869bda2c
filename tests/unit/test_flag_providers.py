"""Flag providers, the real ones: they give a number, and Sluice's draw gives the users."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sluice.application.rollout import RolloutFlag
from sluice.domain.rollout import Flag, Share, Source
from tests.services import free_port
from tests.waiting import until

pytest.importorskip("openfeature.contrib.provider.flagd", reason="the extra `flags`")

import grpc
from openfeature.schemas.protobuf.flagd.evaluation.v2 import evaluation_pb2, evaluation_pb2_grpc

from sluice.infrastructure.flags import openfeature as flags

# flagd's own thread may still ask while its channel is closed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

KEY = "sluice_token_streaming_percent"
USERS = [f"user-{number}" for number in range(10_000)]


@dataclass
class FlagServer:
    """What it says of any flag: a number, or what is not one. It may be stopped."""

    says: Any = 25
    port: int = field(default_factory=free_port)


@contextmanager
def ofrep_server(server: FlagServer) -> Iterator[None]:
    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            found = server.says is not None
            body = {"key": KEY, "value": server.says, "reason": "STATIC", "variant": "v"}
            if not found or KEY not in self.path or "targetingKey" in asked.decode():
                found, body = False, {"errorCode": "FLAG_NOT_FOUND", "errorDetails": ""}
            told = json.dumps(body).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", server.port), Answering)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=[0.01])
    thread.start()
    try:
        yield
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


Service: Any = evaluation_pb2_grpc.ServiceServicer


class Evaluating(Service):  # type: ignore[misc]
    """flagd's service, as its RPC resolver asks it for a number."""

    def __init__(self, server: FlagServer) -> None:
        self._server, self.leaving = server, threading.Event()

    def _mismatch(self, _request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "")

    def ResolveFloat(self, request: Any, context: Any) -> Any:  # noqa: N802
        if not isinstance(self._server.says, int | float) or request.flag_key != KEY:
            context.abort(grpc.StatusCode.NOT_FOUND, "")
        return evaluation_pb2.ResolveFloatResponse(
            value=self._server.says, reason="STATIC", variant="v"
        )

    ResolveBoolean = ResolveString = ResolveInt = ResolveObject = _mismatch

    def EventStream(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        yield evaluation_pb2.EventStreamResponse(type="provider_ready")
        self.leaving.wait()


@contextmanager
def flagd_server(server: FlagServer) -> Iterator[None]:
    service = Evaluating(server)
    running = grpc.server(futures.ThreadPoolExecutor(4))
    evaluation_pb2_grpc.add_ServiceServicer_to_server(service, running)
    running.add_insecure_port(f"127.0.0.1:{server.port}")
    running.start()
    try:
        yield
    finally:
        service.leaving.set()
        running.stop(None).wait()


def write(path: Path, says: Any, state: str = "ENABLED") -> None:
    """Renamed into its place, so that nobody reads half of it."""
    flag = {"state": state, "variants": {"now": says}, "defaultVariant": "now"}
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"flags": {KEY: flag}}))
    new.rename(path)


@pytest.fixture
def shares() -> Iterator[Callable[..., flags.ProviderShare]]:
    made: list[flags.ProviderShare] = []

    def share(source: Any, provider: Callable[[], Any]) -> flags.ProviderShare:
        made.append(flags.ProviderShare(source, provider, poll=0.01))
        return made[-1]

    yield share
    for one in made:
        one.close()


Shares = Callable[..., flags.ProviderShare]


def what_the_operator_is_told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.message for one in caplog.records if one.name == flags.logger.name]


async def streaming(share: flags.ProviderShare) -> set[str]:
    flag = RolloutFlag(Share(3), [share])
    return {user for user in USERS if (await flag.decide(user)).path == "A2"}


@pytest.mark.parametrize("says", [0, 1, 25, 25.5, 100])
async def test_every_provider_gives_the_users_that_the_environment_gives(
    shares: Shares, says: float, tmp_path: Path
) -> None:
    """A whole number and a decimal one, over a file, gRPC and HTTP."""
    http, rpc = FlagServer(says), FlagServer(says)
    write(tmp_path / "flags.json", says)
    with ofrep_server(http), flagd_server(rpc):
        given = {
            "file": shares("flagd", partial(flags.flagd_file, str(tmp_path / "flags.json"))),
            "grpc": shares("flagd", partial(flags.flagd_server, "127.0.0.1", rpc.port)),
            "http": shares("ofrep", partial(flags.ofrep, f"http://127.0.0.1:{http.port}")),
        }
        for share in given.values():
            await share.open()
        sources: dict[str, Source] = {"file": "flagd", "grpc": "flagd", "http": "ofrep"}
        assert {name: share.flag for name, share in given.items()} == {
            name: Flag(says, "split", source) for name, source in sources.items()
        }
        expected = {user for user in USERS if Share(says).holds(user)}
        assert [await streaming(share) for share in given.values()] == [expected] * 3
        for share in given.values():
            share.close()


async def test_a_change_at_the_provider_is_in_force_without_a_restart(
    shares: Shares, tmp_path: Path
) -> None:
    http = FlagServer(25)
    with ofrep_server(http):
        share = shares("ofrep", partial(flags.ofrep, f"http://127.0.0.1:{http.port}"))
        await share.open()
        http.says = 50
        await until(lambda: share.flag == Flag(50, "split", "ofrep"))


async def test_a_change_of_flagds_file_is_in_force_without_a_restart(
    shares: Shares, tmp_path: Path
) -> None:
    path = tmp_path / "flags.json"
    write(path, 25)
    share = shares("flagd", partial(flags.flagd_file, str(path)))
    await share.open()
    write(path, 50)
    await until(lambda: share.flag == Flag(50, "split", "flagd"))
    path.unlink()
    await until(lambda: share.flag == Flag(50, "stale", "flagd"))
    write(path, 75)
    await until(lambda: share.flag == Flag(75, "split", "flagd"))


@pytest.mark.parametrize("kind", ["grpc", "http"])
async def test_a_provider_that_is_lost_keeps_its_last_share_until_it_is_back(
    shares: Shares, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = FlagServer(25)
    serving = flagd_server if kind == "grpc" else ofrep_server
    source: Source = "flagd" if kind == "grpc" else "ofrep"
    make = (
        partial(flags.flagd_server, "127.0.0.1", server.port)
        if kind == "grpc"
        else partial(flags.ofrep, f"http://127.0.0.1:{server.port}")
    )
    share = shares(source, make)
    with serving(server):
        await share.open()
        before = await streaming(share)
    await until(lambda: share.flag == Flag(25, "stale", source))
    assert await streaming(share) == before
    server.says = 50
    with serving(server):
        await until(lambda: share.flag == Flag(50, "split", source))
        share.close()
    # In turn: a machine so busy that an answer takes a second loses the provider once more.
    told = what_the_operator_is_told(caplog)
    assert told[:2] == [
        f"{source} no longer says {KEY}: its last share stays",
        f"{source} says {KEY}: its share is in force",
    ]
    assert told == told[:2] * (len(told) // 2)


async def test_a_provider_that_answers_late_is_told_once_it_was_missed(
    shares: Shares, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only then: one that fails once and answers while the start waits is no news."""
    http = FlagServer(None)
    with ofrep_server(http):
        patient = shares("ofrep", partial(flags.ofrep, f"http://127.0.0.1:{http.port}"))
        opening = asyncio.create_task(patient.open())
        await asyncio.sleep(0.1)
        assert not opening.done()
        http.says = 25
        await opening
        assert patient.flag == Flag(25, "split", "ofrep")
        patient.close()
        assert what_the_operator_is_told(caplog) == []

        http.says = None
        monkeypatch.setattr(flags, "_START_SECONDS", 0.1)
        share = shares("ofrep", partial(flags.ofrep, f"http://127.0.0.1:{http.port}"))
        await share.open()
        http.says = 25
        await until(lambda: share.flag == Flag(25, "split", "ofrep"))
        share.close()
    assert what_the_operator_is_told(caplog)[:2] == [
        f"ofrep does not say {KEY}: the environment does",
        f"ofrep says {KEY}: its share is in force",
    ]


@pytest.mark.parametrize("says", [-1, 100.5, "25", True, False, [25], {"a": 1}, None])
async def test_what_is_no_percentage_takes_no_shares_place(shares: Shares, says: Any) -> None:
    http = FlagServer(25)
    with ofrep_server(http):
        share = shares("ofrep", partial(flags.ofrep, f"http://127.0.0.1:{http.port}"))
        await share.open()
        http.says = says
        await until(lambda: share.flag == Flag(25, "stale", "ofrep"))
        share.close()


@pytest.mark.parametrize("says", [-1, 100.5, "25", True, False, {"a": 1}])
async def test_what_is_no_percentage_in_flagds_file_is_no_share(
    shares: Shares, says: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flags, "_START_SECONDS", 0.2)
    path = tmp_path / "flags.json"
    write(path, says)
    share = shares("flagd", partial(flags.flagd_file, str(path)))
    await share.open()
    assert share.flag is None


async def test_a_flag_that_is_disabled_says_nothing(shares: Shares, tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    write(path, 25)
    share = shares("flagd", partial(flags.flagd_file, str(path)))
    await share.open()
    write(path, 25, "DISABLED")
    await until(lambda: share.flag == Flag(25, "stale", "flagd"))


@pytest.mark.parametrize("kind", ["file", "grpc", "http"])
async def test_a_provider_that_never_answered_leaves_the_environments_share(
    shares: Shares, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flags, "_START_SECONDS", 0.2)
    nowhere = free_port()
    make: dict[str, Callable[[], Any]] = {
        "file": partial(flags.flagd_file, str(tmp_path / "none.json")),
        "grpc": partial(flags.flagd_server, "127.0.0.1", nowhere),
        "http": partial(flags.ofrep, f"http://127.0.0.1:{nowhere}"),
    }
    share = shares("flagd", make[kind])
    await share.open()
    assert RolloutFlag(Share(3), [share]).flag == Flag(3, "split", "env")
