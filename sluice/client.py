"""Ask, follow, cancel: Sluice for programs, blocking and on asyncio.

    with Client("http://127.0.0.1:8000") as client:
        for received in client.ask("How do I resume a stream?"):
            if isinstance(received.event, Token):
                print(received.event.content, end="")

A stream goes on by itself where it was cut, and the answer is checked against the length and the
SHA-256 that `done` tells.
"""

from sluice.domain.events import (
    Cancelled,
    Done,
    Event,
    Failed,
    NeedsInput,
    Reset,
    StageCompleted,
    StageFailed,
    StageStarted,
    Token,
    Usage,
)
from sluice.interfaces.client.asynchronous import AsyncClient
from sluice.interfaces.client.blocking import Client
from sluice.interfaces.client.errors import (
    AnswerBroken,
    ClientError,
    JobCancelled,
    JobFailed,
    Refused,
    Unreachable,
)
from sluice.interfaces.client.reading import Received
from sluice.interfaces.client.requests import Job
from sluice.interfaces.client.retries import Backoff

__all__ = [
    "AnswerBroken",
    "AsyncClient",
    "Backoff",
    "Cancelled",
    "Client",
    "ClientError",
    "Done",
    "Event",
    "Failed",
    "Job",
    "JobCancelled",
    "JobFailed",
    "NeedsInput",
    "Received",
    "Refused",
    "Reset",
    "StageCompleted",
    "StageFailed",
    "StageStarted",
    "Token",
    "Unreachable",
    "Usage",
]
