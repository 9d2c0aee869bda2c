"""What a graph asks, put to whoever sits at the terminal."""

import json
import re
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from sluice.domain.events import Json, NeedsInput
from sluice.interfaces.cli.display import Display, safe
from sluice.interfaces.client.errors import Refused
from sluice.interfaces.client.reading import Received

if TYPE_CHECKING:
    from sluice.interfaces.client.blocking import Client

_YES, _NO = re.compile("y|yes", re.IGNORECASE), re.compile("n|no", re.IGNORECASE)
_WRONG = 422


class Questions:
    """Takes a job's events, and asks what still waits when nothing stands behind it any more.

    `read` gives one line of what is typed, None at its end. Without it people are told how to
    answer elsewhere.
    """

    def __init__(
        self,
        client: "Client",
        display: Display,
        read: Callable[[str], str | None] | None,
        console: Console | None = None,
    ) -> None:
        self._client, self._display, self._read = client, display, read
        self._console = console or Console(stderr=True, highlight=False)
        self._open: list[NeedsInput] = []

    def take(self, received: Received) -> None:
        """Raises ClientError."""
        if not isinstance(received.event, NeedsInput):
            self._open.clear()
            return
        asked = received.event
        # What is asked at once expires at once: one that expires later follows on answered ones.
        self._open = [*(one for one in self._open if one.expires_at == asked.expires_at), asked]
        job = self._client.job(received.job_id)
        if job["status"] == "waiting" and job["last_event_id"] == received.id:
            with self._display.silent():
                for each in self._open:
                    self._ask(received.job_id, each)
            self._open.clear()

    def _ask(self, job_id: str, asked: NeedsInput) -> None:
        self._console.print(Text(safe(_told(asked.prompt)), style="bold"))
        if self._read is None:
            how = f"answer it with: sluice answer {job_id} {asked.input_id} VALUE"
            self._console.print(how, soft_wrap=True)  # one line, to be copied
            return
        while (line := self._read("yes or no: " if _choices(asked) else "> ")) is not None:
            try:
                self._client.give_input(job_id, asked.input_id, value_of(asked, line))
            except ValueError as error:
                self._console.print(Text(str(error), style="red"))
            except Refused as refused:
                self._console.print(Text(refused.detail, style="red"))
                if refused.status != _WRONG:
                    return  # it does not wait any more
            else:
                return


def at_terminal() -> Callable[[str], str | None] | None:
    return _line if sys.stdin.isatty() and sys.stdout.isatty() else None


def _line(prompt: str) -> str | None:
    try:
        return input(prompt)
    except EOFError:
        return None


def value_of(asked: NeedsInput, line: str) -> Json:
    """Raises ValueError, which says what is wanted."""
    if (choices := _choices(asked)) is not None:
        for pattern, value in zip((_YES, _NO), choices, strict=True):
            if pattern.fullmatch(line.strip()):
                return value
        raise ValueError("yes or no?")
    if (asked.kind == "text" and asked.schema is None) or _schema(asked).get("type") == "string":
        return line
    try:
        given: Json = json.loads(line)
    except ValueError:
        raise ValueError(f"JSON, for this schema: {json.dumps(asked.schema)}") from None
    return given


def _choices(asked: NeedsInput) -> tuple[Json, Json] | None:
    """What yes and no are, if they will do. The page has the same in answers.js."""
    schema, prompt = _schema(asked), asked.prompt if isinstance(asked.prompt, Mapping) else {}
    if schema.get("type") == "boolean":
        return True, False
    if asked.kind != "approval":
        return None
    yes, no = {"type": "approve"}, {"type": "reject"}
    if isinstance(calls := prompt.get("action_requests"), list):
        return {"decisions": [yes] * len(calls)}, {"decisions": [no] * len(calls)}
    if prompt.get("type") == "tool_approval" or "approve" in json.dumps(schema.get("properties")):
        return yes, no
    return None if schema else (True, False)


def _schema(asked: NeedsInput) -> Mapping[str, Json]:
    return asked.schema or {}


def _told(prompt: Json) -> str:
    return prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False, indent=2)
