"""Tool calls in their pieces: which belong together, whatever their server numbers them."""

import json
from typing import Any

import pytest

from sluice.infrastructure.llm.decoding import DeltaDecoder, ToolCallPart


def parts(*pieces: dict[str, Any]) -> list[ToolCallPart]:
    """Each piece in a chunk of its own."""
    decoder, told = DeltaDecoder(), list[ToolCallPart]()
    for piece in pieces:
        chunk = {"choices": [{"delta": {"tool_calls": [piece]}}]}
        for delta in decoder.feed(b"data: %b\n\n" % json.dumps(chunk).encode()):
            told += delta.tool_calls
    return told


def piece(arguments: str = "", **fields: Any) -> dict[str, Any]:
    name = fields.pop("name", None)
    return {"function": {"name": name, "arguments": arguments}, **fields}


def test_pieces_belong_together_by_their_index() -> None:
    told = parts(
        piece(index=0, id="a", name="f"),
        piece(index=5, id="b", name="g"),
        piece("{}", index=5),
        piece("[]", index=0),
    )
    assert told == [
        ToolCallPart(0, "a", "f", ""),
        ToolCallPart(5, "b", "g", ""),
        ToolCallPart(5, None, None, "{}"),
        ToolCallPart(0, None, None, "[]"),
    ]


@pytest.mark.parametrize("index", [0, None])
def test_with_one_index_for_all_a_new_id_with_a_name_is_a_new_call(index: int | None) -> None:
    told = parts(
        *(piece(str(n), index=index, id=name, name=name) for n, name in enumerate("abc")),
        piece("!", index=index),
    )
    assert told == [
        *(ToolCallPart(n, name, name, str(n)) for n, name in enumerate("abc")),
        ToolCallPart(2, None, None, "!"),
    ]


def test_a_new_id_without_a_name_is_another_piece_of_the_call() -> None:
    told = parts(piece(id="x", name="f"), piece("1", id="y"), piece("2", id="z"))
    assert told == [
        ToolCallPart(0, "x", "f", ""),
        ToolCallPart(0, None, None, "1"),
        ToolCallPart(0, None, None, "2"),
    ]


def test_an_id_may_come_behind_the_name() -> None:
    told = parts(piece(name="f"), piece("1", id="x"), piece("2", id="y"))
    assert told == [
        ToolCallPart(0, None, "f", ""),
        ToolCallPart(0, "x", None, "1"),
        ToolCallPart(0, None, None, "2"),
    ]


def test_a_piece_may_be_nothing_but_an_id() -> None:
    assert parts({"index": 1, "id": "x"}) == [ToolCallPart(1, "x", None, "")]
    assert parts({"index": 1}) == []
