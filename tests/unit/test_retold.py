"""What a run has told before a pause is not told again, and nothing else is held back."""

from sluice.domain.events import Beside, Data, Reasoning, Tool
from sluice.infrastructure.pipeline.retold import Retold

A, B = "a:1", "b:2"


def piece(namespace: str, text: str, path: str = "") -> list[str]:
    return [namespace, path or namespace[0], text]


def after(*pieces: list[str]) -> Retold:
    return Retold({"pieces": list(pieces)})


def tool(status: str = "started", call_id: str = "c") -> Tool:
    return Tool(call_id, "f", "a", status)  # type: ignore[arg-type]


def thought(text: str) -> Reasoning:
    return Reasoning(text, "a")


def data(value: int) -> Data:
    return Data("n", value, "a")


def test_at_the_beginning_of_a_job_everything_is_told() -> None:
    retold = Retold({})
    assert retold.to_tell(A, "one") == "one"
    events: list[Beside] = [tool(), thought("hm"), data(1)]
    assert [retold.new_of(A, event) for event in events] == events


def test_what_one_node_run_says_is_one_piece() -> None:
    retold = Retold({})
    for namespace, path, text in [(A, "a", "1"), (A, "a", "2"), (A, "x", "3"), (B, "x", "4")]:
        retold.told(namespace, path, text)
    retold.told(A, "a", "5")
    assert retold.noted()["pieces"] == [
        piece(A, "12"),
        piece(A, "3", "x"),
        piece(B, "4", "x"),
        piece(A, "5"),
    ]


def test_what_was_told_is_swallowed_however_it_is_cut() -> None:
    retold = after(piece(A, "ab"), piece(B, "x"), piece(A, "cd"))
    assert [retold.to_tell(A, text) for text in ("a", "bc", "de", "f")] == ["", "", "e", "f"]
    assert [retold.to_tell(B, text) for text in ("x", "y", "x")] == ["", "y", "x"]


def test_who_says_something_else_is_told_anew() -> None:
    retold = after(piece(A, "abc"), piece(B, "x"))
    assert [retold.to_tell(A, text) for text in ("a", "x")] == ["", None]
    assert retold.retract(A) == "a"
    assert retold.noted()["pieces"] == [piece(B, "x")]
    assert retold.to_tell(A, "abc") == "abc"
    assert retold.to_tell(B, "x") == ""


def test_who_says_something_else_at_once_had_said_nothing_again() -> None:
    retold = after(piece(A, "abc"))
    assert retold.to_tell(A, "x") is None
    assert retold.retract(A) == ""


def test_each_step_of_a_tool_is_told_once() -> None:
    retold = Retold({"tools": [["c", "started"]]})
    assert retold.new_of(A, tool()) is None
    assert retold.new_of(A, tool("completed")) == tool("completed")
    assert retold.new_of(A, tool("completed")) is None
    assert retold.new_of(A, tool(call_id="d")) == tool(call_id="d")
    assert retold.noted()["tools"] == [["c", "completed"], ["c", "started"], ["d", "started"]]


def test_thoughts_are_swallowed_as_far_as_they_are_the_same() -> None:
    retold = Retold({"thoughts": {A: "hm, so"}})
    assert retold.new_of(A, thought("hm")) is None
    assert retold.new_of(A, thought(", so it")) == thought(" it")
    assert retold.new_of(A, thought("hm")) == thought("hm")
    assert retold.new_of(B, thought("XX")) == thought("XX")
    assert retold.noted()["thoughts"] == {A: "hm, so ithm", B: "XX"}


def test_other_thoughts_than_then_are_told_and_so_is_what_follows() -> None:
    retold = Retold({"thoughts": {A: "hm"}})
    assert retold.new_of(A, thought("ah")) == thought("ah")
    assert retold.new_of(A, thought("hm")) == thought("hm")
    assert retold.noted()["thoughts"] == {A: "ahhm"}


def thinks(note: Retold, *texts: str) -> tuple[list[str], Retold]:
    """What is told of thoughts, and what a run knows that goes on after that."""
    told = [note.new_of(A, thought(text)) for text in texts]
    return [one.content for one in told if isinstance(one, Reasoning)], Retold(note.noted())


def test_thoughts_that_have_changed_are_known_as_they_are_now() -> None:
    told, note = thinks(Retold({}), "First ", "one way.")
    assert told == ["First ", "one way."]
    told, note = thinks(note, "First ", "another way.")
    assert told == ["another way."]
    assert thinks(note, "First ", "another way.", " Done.")[0] == [" Done."]


def test_data_is_swallowed_as_often_as_it_was_told() -> None:
    retold = Retold({})
    assert retold.new_of(A, data(1)) == data(1)
    assert retold.new_of(A, data(1)) == data(1)
    again = Retold(retold.noted())
    told = [again.new_of(*each) for each in [(B, data(1)), (A, data(2)), *[(A, data(1))] * 3]]
    assert told == [data(1), data(2), None, None, data(1)]
    assert {run: len(said) for run, said in again.noted()["data"].items()} == {A: 4, B: 1}


def test_a_note_is_kept_over_several_pauses() -> None:
    retold = Retold({"thoughts": {A: "hm"}, "tools": [["c", "started"]], "pieces": [piece(A, "x")]})
    assert retold.to_tell(A, "x") == ""
    assert retold.new_of(A, thought("hm")) is None
    noted = retold.noted()
    assert noted == {
        "pieces": [piece(A, "x")],
        "tools": [["c", "started"]],
        "thoughts": {A: "hm"},
        "data": {},
    }
