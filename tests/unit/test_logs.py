"""Log lines: for people or for machines, one each, without what may be a prompt or a secret."""

import io
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest

from sluice.infrastructure.telemetry.logs import configure_logs

Written = Callable[[], str]

SECRET = "sk-canary"
OURS = ["sluice", "uvicorn"]
OTHERS = [
    *("sse_starlette", "httpx2", "httpcore2", "openai", "langsmith", "aiosqlite", "asyncio"),
    *("redis", "psycopg", "langgraph", "langchain_core.callbacks", "any.sdk"),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Puts the process's loggers back."""
    root = logging.getLogger()
    loggers = [root, *map(logging.getLogger, [*OURS, *OTHERS])]
    before = [logger.level for logger in loggers], root.handlers[:]
    shown = warnings.showwarning
    yield
    warnings.showwarning = shown
    root.handlers[:] = before[1]
    for logger, level in zip(loggers, before[0], strict=True):
        logger.setLevel(level)


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What went to standard error since it was last asked."""
    return lambda: capsys.readouterr().err


def test_a_line_for_machines_is_one_json_object(written: Written) -> None:
    configure_logs("INFO", "json")
    logging.getLogger("sluice.application.here").info("job %s\nended", "1")
    (text,) = written().splitlines()
    line = json.loads(text)
    assert (line["event"], line["level"]) == ("job 1\nended", "info")
    assert line["logger"] == "sluice.application.here"
    assert line["timestamp"].endswith("Z")


def test_a_line_for_people_is_no_json(written: Written) -> None:
    configure_logs("INFO", "console")
    logging.getLogger("sluice.application.here").info("job ended")
    line = written()
    assert "job ended" in line
    assert not line.startswith("{")
    assert "\x1b" not in line  # no colours where it is no terminal


@pytest.mark.parametrize(("stream", "machine"), [(io.StringIO(), True), (Terminal(), False)])
def test_who_reads_is_taken_from_the_terminal(
    stream: io.StringIO, machine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logs("INFO", None)
    logging.getLogger("sluice.application.here").info("job ended")
    assert stream.getvalue().startswith("{") == machine


def test_what_is_below_the_level_is_not_written(written: Written) -> None:
    configure_logs("WARNING", "json")
    logging.getLogger("sluice.application.here").info("unimportant")
    logging.getLogger("sluice.application.here").warning("important")
    assert [json.loads(line)["event"] for line in written().splitlines()] == ["important"]


@pytest.mark.parametrize("name", OTHERS)
def test_libraries_that_print_bodies_are_not_asked_to(name: str, written: Written) -> None:
    configure_logs("DEBUG", "json")
    logging.getLogger(name).debug("body: %s", SECRET)
    logging.getLogger(f"{name}.part").info("body: %s", SECRET)
    assert written() == ""
    logging.getLogger("sluice.application.here").debug("seen")
    assert "seen" in written()


def test_at_the_highest_level_libraries_are_as_silent_as_the_rest(written: Written) -> None:
    configure_logs("ERROR", "json")
    logging.getLogger("openai").warning("body")
    assert written() == ""


def test_a_warnings_text_is_never_written(written: Written) -> None:
    configure_logs("DEBUG", "json")
    warnings.showwarning(SECRET, UserWarning, "/home/who/graph.py", 7)
    assert json.loads(written())["event"] == "UserWarning at graph.py:7"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_exceptions_text_is_never_written(log_format: str, written: Written) -> None:
    configure_logs("DEBUG", log_format)  # type: ignore[arg-type]
    try:
        int(SECRET)
    except ValueError:
        logging.getLogger("uvicorn.error").exception("it broke")
    line = written()
    assert "it broke" in line
    assert "ValueError" in line
    assert SECRET not in line


def test_configuring_twice_writes_each_line_once(written: Written) -> None:
    configure_logs("INFO", "json")
    configure_logs("INFO", "json")
    logging.getLogger("sluice.application.here").info("once")
    assert written().count("once") == 1
