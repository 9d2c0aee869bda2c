"""What a process holds: each descriptor by what it leads to, each task and each thread."""

import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import NamedTuple

from tests.live.process import GONE_WITHIN, Process
from tests.live.telling import TOLD

STATES = [
    *("", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE"),
    *("CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV"),
]
"""As the kernel numbers them."""
NOWHERE = "socket that was reset or never connected"
"""The kernel's tables have only those that are connected, or about to be."""


class Thing(NamedTuple):
    kind: str
    name: str
    """Tells it from others of its kind."""


Held = Mapping[str, Thing]
"""By what stays the same as long as it is held."""


async def tasks_and_threads(process: Process) -> Held:
    with process.log.open("rb") as log:
        log.seek(0, os.SEEK_END)
        process.tell(signal.SIGUSR1)
        said, told = b"", None
        async with asyncio.timeout(GONE_WITHIN):
            while not (told := re.search(rb"^%b(.*)\n" % TOLD, said, re.MULTILINE)):
                await asyncio.sleep(0.01)
                said += log.read()
    return {f"{kind} {name}": Thing(kind, name) for kind, name in json.loads(told[1])}


def descriptors(pid: int, port: int, peers: Mapping[int, str]) -> Held:
    """`port` is where it is asked itself, `peers` are called by what listens at their ports."""
    folder, targets = Path(f"/proc/{pid}"), dict[str, str]()
    for descriptor in (folder / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            targets[descriptor.name] = os.readlink(descriptor)  # noqa: PTH115
    sockets = dict(_sockets(folder / "net", port, peers))
    return {
        f"{number} {target}": sockets.get(target) or _thing(target)
        for number, target in targets.items()
    }


def _thing(target: str) -> Thing:
    what, colon, rest = target.partition(":")
    if what == "socket":
        return Thing(NOWHERE, rest)
    if what == "anon_inode":
        return Thing(rest.strip("[]"), "")
    return Thing(what, rest) if colon else Thing("file", PurePath(target).name)


def _sockets(net: Path, port: int, peers: Mapping[int, str]) -> Iterator[tuple[str, Thing]]:
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):  # without IPv6
            for row in (net / table).read_text().splitlines()[1:]:
                _, here, there, state, *rest = row.split()
                ends = _address(here), _address(there), STATES[int(state, 16)]
                yield f"socket:[{rest[5]}]", _connection(*ends, port, peers)
    for row in (net / "unix").read_text().splitlines()[1:]:
        inode, *path = row.split(maxsplit=7)[6:]
        yield f"socket:[{inode}]", Thing("Unix socket", PurePath(*path).name)


def _connection(
    here: tuple[str, int], there: tuple[str, int], state: str, port: int, peers: Mapping[int, str]
) -> Thing:
    name = f"{here[0]}:{here[1]} to {there[0]}:{there[1]}"
    if state == "LISTEN":
        return Thing("socket, LISTEN", name)
    if here[1] == port:
        return Thing(f"socket of a client, {state}", name)
    return Thing(f"socket to {peers.get(there[1], 'another')}, {state}", name)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    words = [bytes.fromhex(host[n : n + 8])[::-1] for n in range(0, len(host), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, b"".join(words)), int(port, 16)
