"""The pictures of a comparison, as SVG. Needs matplotlib: the extra `report`."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from sluice.domain.chat import ExecutionPath
from sluice.interfaces.comparison.answers import PATHS, Answer
from sluice.interfaces.comparison.figures import first_character, first_stage, times, whole

COLOURS: dict[ExecutionPath, str] = {"A1": "#8a5a00", "A2": "#0a6fb5"}
_WIDTH = 7.5
_SINCE = "seconds since the question"
_STYLE: Any = {
    "svg.fonttype": "path",  # without the reader's fonts it looks the same everywhere
    "svg.hashsalt": "sluice",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 9,
}


def timelines(one: Answer, two: Answer) -> str:
    """How much of the answer a user could read at each moment, on both paths."""

    def draw(axes: Any) -> None:
        end = max(answer.whole or 0 for answer in (one, two))
        for answer in (one, two):
            points = [(0.0, 0), *answer.shown, (end, answer.shown[-1][1] if answer.shown else 0)]
            axes.step(*zip(*points, strict=True), where="post", **_as(answer.path))
            if answer.first_stage is not None:
                axes.plot(answer.first_stage, 0, marker="|", ms=14, color=COLOURS[answer.path])
        axes.set(xlabel=_SINCE, ylabel="characters on the screen", xlim=(0, None))
        axes.legend(title="a tick on the axis: the first stage")

    return _drawn(draw, 2.8)


def distributions(answers: Sequence[Answer]) -> str:
    """The share of answers that had come so far after so many seconds."""
    curves: list[tuple[str, list[float], str, str]] = [
        ("A2: first character", times(answers, "A2", first_character), COLOURS["A2"], "-"),
        ("A1: first stage", times(answers, "A1", first_stage), COLOURS["A1"], ":"),
        ("A1: whole answer, its first character", times(answers, "A1", whole), COLOURS["A1"], "-"),
        ("A2: whole answer", times(answers, "A2", whole), COLOURS["A2"], "--"),
    ]

    def draw(axes: Any) -> None:
        for label, values, colour, line in curves:
            if values:
                axes.ecdf(values, label=label, color=colour, linestyle=line)
        axes.set(xlabel=_SINCE, ylabel="share of answers", xlim=(0, None))
        axes.legend()

    return _drawn(draw, 3.2)


def stages(one: Answer, two: Answer) -> str:
    """When each stage ran, as a Gantt chart, and when there was text to read."""
    names = list(dict.fromkeys(stage.name for answer in (one, two) for stage in answer.stages))
    rows = [f"{name}  {path}" for name in names for path in PATHS]

    def draw(axes: Any) -> None:
        for answer in (one, two):
            for stage in answer.stages:
                end = stage.end if stage.end is not None else answer.whole or stage.start
                row = rows.index(f"{stage.name}  {answer.path}")
                axes.barh(row, end - stage.start, left=stage.start, color=COLOURS[answer.path])
            if answer.first_character is not None:
                label, colour = f"{answer.path}: first character", COLOURS[answer.path]
                axes.axvline(answer.first_character, label=label, color=colour, ls=":")
        axes.set(xlabel=_SINCE, xlim=(0, None))
        axes.set_yticks(range(len(rows)), rows)
        axes.invert_yaxis()
        axes.legend(loc="upper right")

    return _drawn(draw, 1 + 0.28 * len(rows))


def _as(path: ExecutionPath) -> dict[str, str]:
    return {"label": path, "color": COLOURS[path]}


def _drawn(draw: Callable[[Any], None], height: float) -> str:
    """Without a date in it: the same figures give the same picture."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure.add_subplot())
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]
