"""A process's tasks and threads, which cannot be seen from outside: it tells them at SIGUSR1."""

import asyncio
import json
import os
import signal
import sys
import threading

TOLD = b"holds: "
"""Before what is told, as JSON on a line of standard error."""


def tell_at_signal() -> None:
    signal.signal(signal.SIGUSR1, _tell)


def _tell(*_: object) -> None:
    tasks = [
        (f"task {_name(task.get_coro())}", f"{task.get_name()} {id(task):x}")
        for task in asyncio.all_tasks()
    ]
    threads = [(f"thread {_family(each.name)}", each.name) for each in threading.enumerate()]
    os.write(sys.stderr.fileno(), TOLD + json.dumps(tasks + threads).encode() + b"\n")


def _name(of: object) -> str:
    return getattr(of, "__qualname__", type(of).__name__)


def _family(thread: str) -> str:
    """Without its number."""
    return "".join(filter(lambda letter: not letter.isdigit(), thread))
