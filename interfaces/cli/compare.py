"""`sluice compare`: the same questions through both paths, and a report."""

import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.interfaces.cli.shared import model_line, refusals, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.table import Table

    from sluice.domain.chat import ExecutionPath
    from sluice.interfaces.client.reading import Received
    from sluice.interfaces.comparison.answers import Answer

QUESTIONS = (
    "How do I resume a stream?",
    "What is the default of SLUICE_RETENTION?",
    "I see stages but no tokens",
)
"""What the bundled pipeline can answer."""


def compare(
    questions: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A file, one question a line.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each question is asked.")] = 3,
    out: Annotated[Path, typer.Option(help="The page that is written; its Markdown beside it.")] = (
        Path("sluice-compare.html")
    ),
) -> None:
    """Ask the same questions on A1 and A2, in turns, and write a report; Ctrl-C ends it early."""
    with refusals():
        settings = settings_of()
    asked = _asked(questions)
    try:
        from sluice.interfaces.comparison import report
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("sluice"):
            raise
        _fail("the report needs matplotlib: pip install 'sluice[report]'")
    if not out.parent.is_dir():
        _fail(f"--out: there is no folder {out.parent}")
    answers = _answers(asked, rounds)
    try:
        made = report.report(answers, model_line(settings), f"{date.today():%Y-%m-%d}")  # noqa: DTZ011
    except IndexError:
        _fail("no question was answered on both paths")
    for path in report.write(made, out):
        print(f"wrote {path}")


def _asked(questions: Path | None) -> "Sequence[str]":
    if questions is None:
        return QUESTIONS
    asked = [line.strip() for line in questions.read_text(encoding="utf-8").splitlines()]
    asked = [line for line in asked if line]
    if not asked:
        _fail(f"--questions: no question in {questions}")
    return asked


def _answers(questions: "Sequence[str]", rounds: int) -> "list[Answer]":
    """Those that came before the end, or Ctrl-C."""
    from subprocess import CalledProcessError

    from rich.live import Live

    from sluice.interfaces.client.blocking import Client
    from sluice.interfaces.client.errors import ClientError
    from sluice.interfaces.comparison.answers import in_turns
    from sluice.interfaces.comparison.service import service

    answers: list[Answer] = []
    total = 2 * rounds * len(questions)
    try:
        with service() as url:

            def ask(path: "ExecutionPath", question: str) -> "Iterable[Received]":
                with Client(url, headers={"X-Sluice-Path": path}) as client:
                    yield from client.ask(question)

            with Live(_table(answers, total), auto_refresh=False) as live:
                for answer in in_turns(ask, questions, rounds):
                    answers.append(answer)
                    live.update(_table(answers, total), refresh=True)
    except KeyboardInterrupt:
        print(f"stopped after {len(answers)} of {total} answers", file=sys.stderr)
    except CalledProcessError as error:
        raise typer.Exit(error.returncode) from None
    except ClientError as error:
        _fail(str(error))
    return answers


def _table(answers: "Sequence[Answer]", total: int) -> "Table":
    from rich.table import Table

    from sluice.interfaces.comparison.answers import PATHS
    from sluice.interfaces.comparison.figures import (
        estimate,
        first_character,
        first_stage,
        times,
        whole,
    )

    table = Table(title=f"{len(answers)} of {total} answers")
    for name in ("path", "first stage", "first character", "whole answer", "failed"):
        table.add_column(name, justify="left" if name == "path" else "right")
    for path in PATHS:
        cells = [estimate(times(answers, path, of)) for of in (first_stage, first_character, whole)]
        failed = sum(bool(answer.trouble) for answer in answers if answer.path == path)
        table.add_row(
            path, *(f"{cell.middle:.2f} s" if cell else "–" for cell in cells), f"{failed}"
        )
    return table


def _fail(why: str) -> None:
    print(f"sluice: {why}", file=sys.stderr)
    raise typer.Exit(1) from None
