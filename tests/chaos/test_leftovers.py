"""What is left is told by its name: an error that says how many helps nobody to find it."""

import asyncio
import os
import re
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.leftovers import beyond, lasting
from tests.live.held import NOWHERE, Held, Thing, descriptors, tasks_and_threads
from tests.live.process import Process
from tests.live.telling import tell_at_signal

PEERS = {"Redis", "PostgreSQL", "the upstream"}


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def ours(port: int, peers: dict[int, str] | None = None) -> Held:
    return descriptors(os.getpid(), port, peers or {})


def new(before: Held, after: Held) -> list[Thing]:
    return [thing for key, thing in after.items() if key not in before]


def test_a_connection_is_told_by_where_it_leads_and_how_it_stands(server: socket.socket) -> None:
    port = server.getsockname()[1]
    before = ours(0)
    with socket.create_connection(server.getsockname()) as connection:
        name = f"127.0.0.1:{connection.getsockname()[1]} to 127.0.0.1:{port}"
        accepted, _ = server.accept()
        with accepted:
            kinds = {thing.kind: thing.name for thing in new(before, ours(port, {port: "Redis"}))}
            assert kinds["socket to Redis, ESTABLISHED"] == name
            assert "socket of a client, ESTABLISHED" in kinds
        assert new(before, ours(0)) == [Thing("socket to another, CLOSE_WAIT", name)]


def test_a_connection_that_was_reset_is_told_although_the_kernel_forgets_it(
    server: socket.socket,
) -> None:
    before = ours(0)
    with socket.create_connection(server.getsockname()) as connection:
        accepted, _ = server.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        assert [thing.kind for thing in new(before, ours(0))] == [NOWHERE]
        assert connection.fileno() >= 0


def test_what_is_no_connection_is_told_by_its_kind(tmp_path: Path) -> None:
    before = ours(0)
    one, other = socket.socketpair()
    with one, other, (tmp_path / "kept").open("w"), socket.create_server(("127.0.0.1", 0)):
        held = [*os.pipe(), os.eventfd(0)]
        kinds = sorted(thing.kind for thing in new(before, ours(0)))
        files = [thing.name for thing in new(before, ours(0)) if thing.kind == "file"]
        for descriptor in held:
            os.close(descriptor)
    assert kinds == [
        *("Unix socket", "Unix socket", "eventfd", "file", "pipe", "pipe", "socket, LISTEN")
    ]
    assert files == ["kept"]


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Process]:
    """This process, as if it were one of those that are disturbed."""

    class Ourselves(Process):
        def tell(self, what: signal.Signals) -> None:
            with self.log.open("a") as log, pytest.MonkeyPatch.context() as patch:
                patch.setattr("sys.stderr", log)
                signal.raise_signal(what)

    before = signal.getsignal(signal.SIGUSR1)
    tell_at_signal()
    process = Ourselves(tmp_path / "log", {})
    process.log.touch()
    yield process
    signal.signal(signal.SIGUSR1, before)


async def test_tasks_and_threads_are_told_by_what_they_run(told: Process) -> None:
    async def left() -> None:
        await asyncio.Event().wait()

    over = threading.Event()
    thread = threading.Thread(target=over.wait, name="loop watch 7", daemon=True)
    thread.start()
    task = asyncio.create_task(left(), name="a job")
    held = list((await tasks_and_threads(told)).values())
    over.set()
    thread.join()
    task.cancel()
    (name,) = [thing.name for thing in held if thing.kind.endswith(".left")]
    assert re.fullmatch("a job [0-9a-f]+", name)
    assert Thing("thread loop watch ", "loop watch 7") in held


def held(*kinds: str) -> Held:
    return {f"{n} {kind}": Thing(kind, f"n{n}") for n, kind in enumerate(kinds)}


def test_what_is_held_beyond_a_fresh_process_is_told() -> None:
    fresh = [held("pipe"), held("pipe", "file")]
    left = beyond(list(held("pipe", "eventfd", "file", "file").values()), fresh, PEERS)
    assert left == {"eventfd (n1)": 1, "file (n2, n3)": 1}


def test_what_is_kept_for_later_use_is_not_left() -> None:
    kept = ["socket of a client, ESTABLISHED", "thread asyncio_", "socket to Redis, CLOSE_WAIT"]
    assert beyond(list(held(*kept).values()), [{}], PEERS) == {}
    ended = "socket of a client, CLOSE_WAIT"
    assert beyond(list(held(ended).values()), [{}], PEERS) == {f"{ended} (n0)": 1}


def test_more_connections_than_pools_have_are_left() -> None:
    kind = "socket to PostgreSQL, ESTABLISHED"
    assert beyond(list(held(*[kind] * 64).values()), [{}], PEERS) == {}
    (count,) = beyond(list(held(*[kind] * 65).values()), [{}], PEERS).values()
    assert count == 65


def test_what_comes_and_goes_is_not_left() -> None:
    assert lasting([held("a", "b", "c"), held("a", "c"), held("a", "c", "c")]) == [Thing("a", "n0")]
