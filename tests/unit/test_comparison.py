"""What `sluice compare` makes of two paths' answers."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import median

import pytest

from sluice.client import Received
from sluice.domain.chat import ExecutionPath
from sluice.domain.events import (
    Done,
    Event,
    Failed,
    NeedsInput,
    Reset,
    StageCompleted,
    StageStarted,
    Token,
)
from sluice.interfaces.comparison.answers import Answer, in_turns
from sluice.interfaces.comparison.figures import alike, compared, estimate, pairs
from sluice.interfaces.comparison.report import Report, as_html, report, write

STAGES = (0.1, StageStarted("answer", 10)), (0.9, StageCompleted("answer", 90))


def answer(path: ExecutionPath, *told: tuple[float, Event], question: str = "Why?") -> Answer:
    made = Answer(path, question)
    for at, event in told:
        made.take(at, event)
    return made


def streamed(whole: float = 1, first: float = 0.2, text: str = "ab") -> Answer:
    tokens = (first, Token(text[0], "answer")), (first + 0.5, Token(text[1:], "answer"))
    return answer("A2", STAGES[0], *tokens, STAGES[1], (whole, Done("A2", text)))


def at_once(whole: float = 1, text: str = "ab") -> Answer:
    return answer("A1", *STAGES, (whole, Done("A1", text)))


def test_a_streamed_answer_is_timed_by_its_characters() -> None:
    made = streamed()
    assert (made.first_stage, made.first_character, made.whole) == (0.1, 0.2, 1)
    assert made.longest_gap == pytest.approx(0.5)
    assert made.shown == [(0.2, 1), (0.7, 2)]
    assert [(stage.name, stage.start, stage.end) for stage in made.stages] == [("answer", 0.1, 0.9)]
    assert made.trouble is None


def test_a_whole_answer_has_its_first_character_at_its_end() -> None:
    made = at_once(text="abc")
    assert (made.first_stage, made.first_character, made.shown) == (0.1, 1, [(1, 3)])


def test_what_is_taken_back_is_off_the_screen() -> None:
    told = (0.2, Token("wrong", "a")), (0.3, Reset("new_attempt")), (0.4, Token("ok", "a"))
    made = answer("A2", STAGES[0], *told)
    assert made.shown == [(0.2, 5), (0.3, 0), (0.4, 2)]
    assert made.stages == []
    assert made.first_character == 0.2


def test_a_failed_answer_is_in_no_figure() -> None:
    failed = answer("A2", (0.2, Token("x", "a")), (0.3, Failed("upstream_timeout", "", True, "r")))
    assert failed.trouble == "upstream_timeout"
    assert pairs([at_once(), failed]) == []
    assert all(row.a2 is None and row.gain is None for row in compared([at_once(), failed]))


def test_an_answer_that_asks_a_human_is_left_at_that() -> None:
    question = NeedsInput("i", "Send it?", "approval", "2026-11-29T12:00:00Z")

    def ask(path: ExecutionPath, _: str) -> Iterator[Received]:
        yield Received("j", "1-2", "needs_input", {}, question)
        raise AssertionError("nobody will answer")

    assert [made.trouble for made in in_turns(ask, ["a"], 1)] == ["it asks a human"] * 2


def test_pairs_are_told_apart_whoever_goes_first() -> None:
    answers = [at_once(), streamed(), streamed(text="cd"), at_once()]
    assert [(one.path, two.path) for one, two in pairs(answers)] == [("A1", "A2")] * 2
    assert alike(answers) == 1


def test_a_first_character_is_held_beside_the_whole_answer_and_the_first_stage() -> None:
    rows = {row.name: row for row in compared([at_once(), streamed()])}
    beside_whole = rows["A2's first character beside A1's whole answer"]
    assert beside_whole.a1
    assert beside_whole.a2
    assert beside_whole.gain
    assert (beside_whole.a1.middle, beside_whole.a2.middle) == (1, 0.2)
    assert beside_whole.gain.middle == pytest.approx(0.8)
    beside_stage = rows["A2's first character beside A1's first stage"]
    assert beside_stage.gain
    assert beside_stage.gain.middle == pytest.approx(-0.1)


@pytest.mark.parametrize(("count", "rank"), [(1, 0), (5, 0), (6, 1), (9, 2), (20, 6), (100, 40)])
def test_an_interval_ends_at_the_ranks_of_the_tables(count: int, rank: int) -> None:
    """As in the tables of the sign test's interval for a median."""
    made = estimate([float(n) for n in range(1, count + 1)])
    assert made
    assert (made.low, made.high) == ((rank, count + 1 - rank) if rank else (None, None))


def test_an_interval_holds_the_true_median_as_often_as_it_says() -> None:
    draw = Random(7)
    held = 0
    for _ in range(2000):
        made = estimate([draw.expovariate(1) for _ in range(15)])
        assert made
        held += (made.low or 0) <= 0.6931 <= (made.high or 0)
    assert held >= 0.95 * 2000


def test_paths_take_turns_in_who_goes_first() -> None:
    def ask(path: ExecutionPath, question: str) -> Iterator[Received]:
        yield Received("j", "1-2", "done", {}, Done(path, question))

    asked = [(made.path, made.question) for made in in_turns(ask, ["a", "b"], 2)]
    assert asked == [
        *[("A1", "a"), ("A2", "a"), ("A2", "b"), ("A1", "b")],
        *[("A1", "a"), ("A2", "a"), ("A2", "b"), ("A1", "b")],
    ]
    assert all(one[1] == two[1] for one, two in list(pairwise(asked))[::2])


def made_report(count: int = 6) -> Report:
    answers = [each for n in range(count) for each in (at_once(2 + n / 9), streamed(2 + n / 7))]
    return report(answers, "a model", "2026-11-29")


def test_a_report_says_in_words_what_an_interval_means() -> None:
    words = {row[0]: row[-1] for row in made_report().table}
    assert (
        words["A2's first character beside A1's whole answer"] == "A2 is earlier, by 1.80 to 2.36 s"
    )
    assert words["first stage"] == "no difference is shown"
    few = {row[-1] for row in made_report(3).table}
    assert few == {"too few pairs to say: six are needed"}


def test_a_report_is_one_page_that_needs_nothing_else(tmp_path: Path) -> None:
    made = made_report()
    page = as_html(made)
    assert page.count("<svg") == 3
    assert "<script" not in page
    assert 'src="' not in page
    assert 'href="http' not in page
    written = write(made, tmp_path / "both.html")
    assert {path.name for path in written} == {
        *("both.html", "both.md", "both-timelines.svg", "both-distributions.svg"),
        "both-stages.svg",
    }
    text = (tmp_path / "both.md").read_text()
    assert all(f"({path.name})" in text for path in written if path.suffix == ".svg")


def test_a_question_is_text_in_the_page_whatever_is_in_it() -> None:
    answers = [at_once(), streamed()]
    for each in answers:
        each.question = "<script>alert(1)</script>"
    assert "<script" not in as_html(report(answers, "m", "today"))


def test_the_answer_that_is_drawn_is_the_middle_one() -> None:
    answers = [each for whole in (9.0, 1.0, 3.0) for each in (at_once(whole), streamed(whole))]
    middle = median(each.whole or 0 for each in answers if each.path == "A2")
    answers[4].question = "the middle one"
    assert middle == 3
    assert "the middle one" in as_html(report(answers, "m", "today"))
