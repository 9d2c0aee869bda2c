"""Processes of ours without their imports, which are most of a start: two seconds of a CPU.

    python -m tests.live.forked SOCKET

has imported what they import, and forks one for each request: a JSON object of `argv`, `cwd` and
`env`, with the descriptors of its standard output and error. It answers with the process's id and,
when that is over, its status as `Popen.returncode` has it, a line each; it leaves when its standard
input ends. A process goes on as `sluice` does, from the command line to the interpreter's end.
"""

import gc
import json
import os
import selectors
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from tests.live.telling import tell_at_signal

Asked = dict[str, Any]


def main() -> None:
    """Returns in a forked process only, as that."""
    from sluice.interfaces import cli
    from sluice.interfaces.processes import embedded, gateway, worker  # noqa: F401

    gc.collect()
    gc.freeze()
    if (forked := _serve(sys.argv[1])) is not None:
        gc.unfreeze()
        _become(*forked)
        cli.main()


def _serve(path: str) -> tuple[Asked, Sequence[int]] | None:
    """What a forked process shall be, with its output; None at the end of the standard input."""
    with socket.socket(socket.AF_UNIX) as listening, selectors.DefaultSelector() as selector:
        listening.bind(path)
        listening.listen(100)
        selector.register(listening, selectors.EVENT_READ)
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == sys.stdin.fileno():
                    return None
                if key.fileobj is not listening:
                    _tell_end(selector, key)
                    continue
                connection, _ = listening.accept()
                asked, output = _received(connection)
                if (process := os.fork()) == 0:
                    connection.close()
                    for other in selector.get_map().values():
                        if other.data is not None:
                            os.close(other.fd)
                            other.data[1].close()
                    return asked, output
                for descriptor in output:
                    os.close(descriptor)
                connection.sendall(b"%d\n" % process)
                ended = os.pidfd_open(process)
                selector.register(ended, selectors.EVENT_READ, (process, connection))


def _received(connection: socket.socket) -> tuple[Asked, Sequence[int]]:
    text, output, _, _ = socket.recv_fds(connection, 65536, 2)
    while not text.endswith(b"\n"):
        text += connection.recv(65536)
    return json.loads(text), output


def _tell_end(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    process, connection = key.data
    selector.unregister(key.fd)
    os.close(key.fd)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with connection, suppress(ConnectionError):  # nobody may be there any more
        connection.sendall(b"%d\n" % status)


def _become(asked: Asked, output: Sequence[int]) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for standard, descriptor in enumerate([nothing, *output]):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    tell_at_signal()
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv[1:] = asked["argv"]
    sys.path[0] = asked["cwd"]


if __name__ == "__main__":
    main()
