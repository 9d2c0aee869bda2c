"""What a graph keeps between two runs, and how a run stops to ask a human."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sluice.domain.events import Done, InputKind, Json

ROOT = "00000000-0000-6000-8000-000000000000"
"""The checkpoint that every thread begins with: an empty state."""


class Head(NamedTuple):
    """Where a graph's state stands: a checkpoint of a thread, and never just the latest."""

    thread_id: str
    checkpoint_id: str = ROOT


@dataclass(frozen=True, slots=True)
class InputRequest:
    """One question of a graph to a human. `schema` is JSON Schema, if the graph gave any."""

    input_id: str
    prompt: Json
    kind: InputKind
    schema: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """A run that stopped to ask: it goes on from `head` once every request is answered.

    `said` is the pipeline's own note of what each node run had told the user, and is handed back
    to it unread: a node begins anew when its answer has come. `fell_back`: the run was on the other
    path than the job's, and goes on there.
    """

    head: Head
    requests: tuple[InputRequest, ...]
    said: Mapping[str, Json] = field(default_factory=dict)
    fell_back: bool = False

    def asks(self, input_id: str) -> bool:
        return any(request.input_id == input_id for request in self.requests)


@dataclass(frozen=True, slots=True)
class Resumption:
    """A pause with the answers to all its requests, by `input_id`."""

    pause: Pause
    answers: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Advanced:
    """A run that is over and has left its state at `head`: both count together, or neither."""

    done: Done
    head: Head


Outcome = Done | Advanced | Pause
"""How a run ends that does not fail."""
