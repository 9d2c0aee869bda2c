"""Log lines for people or for machines. No level ever prints a prompt, an answer or a secret."""

import asyncio
import logging
import sys
import warnings
from pathlib import PurePath
from typing import Any, Literal

import structlog

from sluice.application.tracebacks import format_traceback

logger = logging.getLogger(__name__)

_OURS = ("sluice", "uvicorn")
"""Loggers that say no more when they are asked to be verbose than they may. Others print bodies,
chunks, rows and errors' texts: they are heard from warnings on."""
_INDISCREET = ("langchain_core.callbacks",)
"""Print errors' texts as warnings."""


def configure_logs(level: str, log_format: Literal["console", "json"] | None) -> None:
    """`None` is `console` on a terminal, else `json`. Everything goes to standard error."""
    console = log_format == "console" or (log_format is None and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_its_text,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if console
        else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    for name in _INDISCREET:
        logging.getLogger(name).setLevel(logging.ERROR)


def _show_warning(
    _message: object, category: type[Warning], filename: str, lineno: int, *_: object
) -> None:
    """Without its text: pydantic's may hold an answer."""
    logger.warning("%s at %s:%d", category.__name__, PurePath(filename).name, lineno)


def tell_loop_errors(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """For `set_exception_handler`: the default one prints errors and arguments as they are."""
    error = context.get("exception")
    what = context["message"] if error is None else format_traceback(error)
    logger.error("unhandled exception in event loop: %s", what)


def _without_its_text(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Other people's lines too: an error's text may hold a prompt."""
    match event.pop("exc_info", None):
        case BaseException() as error:
            event["error"] = format_traceback(error)
        case (_, BaseException() as error, _):
            event["error"] = format_traceback(error)
    return event
