"""The report: a page of HTML that needs nothing else, and as Markdown with its pictures."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sluice.interfaces.comparison import pictures
from sluice.interfaces.comparison.answers import Answer
from sluice.interfaces.comparison.figures import Estimate, Row, alike, compared, pairs

TITLE = "Whole answers (A1) beside streamed ones (A2)"
_CSS = """
body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}
body{color:#1b1b1b;background:#fff}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd}
figure{margin:1.5rem 0}svg{width:100%;height:auto}figcaption{color:#555;font-size:.9rem}
"""
_READ = "what a user could read at each moment."
_SHARE = "All answers: the share that had come so far."
_HONEST = (
    "A user of A1 sees stages, then the whole answer at once; a user of A2 sees it grow. So A2's "
    "first character is held beside A1's whole answer, which is when A1's user sees text, and "
    "beside A1's first stage, which is when A1's user sees that something happens."
)
_HEAD = ("", "A1", "A2", "A1 less A2, in pairs", "in words")


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    caption: str
    svg: str


@dataclass(frozen=True, slots=True)
class Report:
    """`paragraphs` say what was done; `table` has a row a comparison, the first cell its name."""

    paragraphs: Sequence[str]
    table: Sequence[Sequence[str]]
    figures: Sequence[Figure]


def report(answers: Sequence[Answer], asked_of: str, begun: str) -> Report:
    """Of at least one pair of whole answers; `begun` is a date, `asked_of` names the model."""
    found = pairs(answers)
    one, two = typical(found)
    caption = f"One answer on both paths, to “{one.question}”"
    return Report(
        _paragraphs(answers, asked_of, begun),
        [_cells(row) for row in compared(answers)],
        [
            Figure("timelines", f"{caption}: {_READ}", pictures.timelines(one, two)),
            Figure("distributions", _SHARE, pictures.distributions(answers)),
            Figure("stages", f"{caption}: its stages.", pictures.stages(one, two)),
        ],
    )


def typical(found: Sequence[tuple[Answer, Answer]]) -> tuple[Answer, Answer]:
    """The pair whose A2 answer took as long as the middle one."""
    return sorted(found, key=lambda pair: pair[1].whole or 0)[len(found) // 2]


def _paragraphs(answers: Sequence[Answer], asked_of: str, begun: str) -> list[str]:
    found, failed = pairs(answers), [answer for answer in answers if answer.trouble]
    asked = f"{len(answers)} answers of {asked_of}, in turns on both paths, on {begun}"
    same = f"{len(found)} pairs are whole, and {alike(answers)} of them have the same text on both"
    lines = [f"{asked}; {same}.", _HONEST]
    if failed:
        why = ", ".join(sorted({f"{answer.path} {answer.trouble}" for answer in failed}))
        lines.append(f"{len(failed)} answers failed and are in no figure: {why}.")
    return lines


def _cells(row: Row) -> list[str]:
    return [row.name, _shown(row.a1), _shown(row.a2), _shown(row.gain), _words(row.gain)]


def _shown(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.middle:.2f} s"
    return f"{estimate.middle:.2f} s ({estimate.low:.2f} to {estimate.high:.2f})"


def _words(gain: Estimate | None) -> str:
    """What the difference's interval means."""
    if gain is None:
        return "no pair is whole"
    if gain.low is None or gain.high is None:
        return "too few pairs to say: six are needed"
    if gain.low > 0:
        return f"A2 is earlier, by {gain.low:.2f} to {gain.high:.2f} s"
    if gain.high < 0:
        return f"A2 is later, by {-gain.high:.2f} to {-gain.low:.2f} s"
    return "no difference is shown"


_NOTE = (
    "Medians, in brackets their 95 % intervals from order statistics, which assume no "
    "distribution. The difference is taken within each pair of one question and round."
)


def as_html(made: Report) -> str:
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in made.table
    )
    head = "".join(f"<th>{name}</th>" for name in _HEAD)
    shown = "".join(
        f"<figure>{each.svg}<figcaption>{html.escape(each.caption)}</figcaption></figure>"
        for each in made.figures
    )
    told = "".join(f"<p>{html.escape(line)}</p>" for line in made.paragraphs)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{TITLE}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_CSS}</style>'
        f"<h1>{TITLE}</h1>{told}<table><tr>{head}</tr>{rows}</table><p>{_NOTE}</p>{shown}</html>\n"
    )


def as_markdown(made: Report, name: str) -> str:
    """Its pictures are beside it, as `<name>-<figure>.svg`."""
    lines = [f"# {TITLE}", *made.paragraphs]
    table = ["| " + " | ".join(row) + " |" for row in (_HEAD, ["---"] * len(_HEAD), *made.table)]
    lines += ["\n".join(table), _NOTE]
    for each in made.figures:
        lines += [f"![{each.caption}]({name}-{each.name}.svg)", each.caption]
    return "\n\n".join(lines) + "\n"


def write(made: Report, page: Path) -> list[Path]:
    """Writes `page`, which is HTML, and beside it the Markdown with its pictures."""
    name = page.stem
    texts = {page: as_html(made), page.with_suffix(".md"): as_markdown(made, name)}
    texts |= {page.with_name(f"{name}-{each.name}.svg"): each.svg for each in made.figures}
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)
