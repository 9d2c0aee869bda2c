"""How `sluice ask` shows a job: on a terminal, in a pipe, or for a program."""

import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from sluice.domain.events import (
    Cancelled,
    Done,
    Event,
    Failed,
    Reset,
    StageCompleted,
    StageFailed,
    StageStarted,
    Token,
)
from sluice.interfaces.client.reading import Received

_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a model says must not command a terminal."""


_DRAWN_PER_SECOND = 10

_CANCELLED: Mapping[str, str] = {
    "user": "the answer was cancelled",
    "orphaned": "the answer was cancelled: nobody was reading it",
    "shutdown": "the answer was cancelled: the service was shut down",
}


def safe(text: str) -> str:
    return _UNSAFE.sub("", text)


class Display:
    """To be entered. `trouble` says why there is no answer, if there is none."""

    def __init__(self) -> None:
        self.trouble: str | None = "there was nothing more to read"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @contextmanager
    def silent(self) -> Generator[None, None, None]:
        """Draws nothing: the terminal is another's."""
        yield

    def show(self, received: Received) -> None:
        match received.event:
            case Done():
                self.trouble = None
            case Failed(code, message, _, request_id):
                self.trouble = f"{message} ({code}, request {request_id})"
            case Cancelled(reason):
                self.trouble = _CANCELLED.get(reason, reason)


class JsonLines(Display):
    """Every event, as it is on the wire."""

    def show(self, received: Received) -> None:
        super().show(received)
        line = {"id": received.id, "event": received.name, "data": received.data}
        print(json.dumps(line, ensure_ascii=False), flush=True)


class WholeAnswer(Display):
    """For a pipe: text that was said there cannot be taken back by a `reset`."""

    def show(self, received: Received) -> None:
        super().show(received)
        if isinstance(received.event, Done):
            print(received.event.answer)


class Terminal(Display):
    """The answer grows line by line; below it the stages, for as long as they run.

    Only the line that still grows is drawn anew, so an answer of any length scrolls by once.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self._console = console or Console(highlight=False)
        self._line = ""
        self._said = False
        self._stages: dict[str, None] = {}
        self._live = Live(
            console=self._console,
            get_renderable=self._below,
            refresh_per_second=_DRAWN_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._finish_line()
        self._live.stop()

    @contextmanager
    def silent(self) -> Generator[None, None, None]:
        self._finish_line()
        self._live.stop()
        try:
            yield
        finally:
            self._live.start(refresh=True)

    def show(self, received: Received) -> None:
        super().show(received)
        self._take(received.event)

    def _take(self, event: Event) -> None:
        match event:
            case Token(content):
                self._say(content)
            case StageStarted(stage):
                self._stages[stage] = None
            case StageCompleted(stage) | StageFailed(stage):
                self._stages.pop(stage, None)
            case Reset(reason):
                self._begin_anew(stages=reason == "new_attempt")
            case Done(path="A1", answer=answer):
                self._say(answer)

    def _say(self, content: str) -> None:
        self._said = True
        *lines, self._line = (self._line + content).split("\n")
        for line in lines:
            self._print(line)

    def _begin_anew(self, *, stages: bool) -> None:
        if stages:
            self._stages.clear()
        if self._said:
            self._finish_line()
            self._console.rule(Text("the answer begins anew", style="yellow"))
        self._said = False

    def _finish_line(self) -> None:
        line, self._line = self._line, ""
        if line:
            self._print(line)

    def _print(self, line: str) -> None:
        self._console.print(Text(safe(line)), soft_wrap=True)

    def _below(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self._line:
            parts.append(Text(safe(self._line)))
        if self._stages:
            running = ", ".join(safe(stage) for stage in self._stages)
            parts.append(Spinner("dots", Text(running, style="dim")))
        return Group(*parts)
