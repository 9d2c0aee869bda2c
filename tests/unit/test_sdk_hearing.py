"""How a request of a user's client is told, and what its reader is given."""

from types import SimpleNamespace
from typing import Any

import pytest

from sluice.application.heard_calls import silent
from sluice.application.model_calls import ModelCalls, NodeRun
from sluice.domain.events import Usage
from sluice.infrastructure.openai_sdk.answers import UserCall
from sluice.infrastructure.openai_sdk.callers import Caller
from sluice.infrastructure.openai_sdk.calls import heard
from sluice.infrastructure.openai_sdk.chunks import Chunks, Dicts, OneText
from tests.doubles import RecordingTeller

BODY = {"model": "m", "messages": []}


class Node(NodeRun):
    """Hears, reports and takes as told; keeps who asked."""

    def __init__(self, *, speaks: bool = True, **tellers: RecordingTeller) -> None:
        super().__init__(ModelCalls(), "a", speaks=speaks)
        self.tellers, self.asked = tellers, list[Any]()

    def hear(self) -> Any:
        return self.tellers.get("hear")

    def reported(self, run_id: Any, handlers: Any) -> Any:
        self.asked.append(("reported", run_id, handlers))
        return self.tellers.get("reported")

    def take(self, run_id: Any, handlers: Any) -> Any:
        self.asked.append(("take", run_id, handlers))
        return self.tellers.get("take")


RUN = SimpleNamespace(run_id="r", handlers=["h"], tags=["t"])
HEAR, REPORTED, TAKE = RecordingTeller(), RecordingTeller(), RecordingTeller()


def told(node: Node, by: Caller = Caller(), body: Any = BODY, **how: bool) -> UserCall:  # noqa: B008
    return heard(node, by, body, **{"responses": False, **how})


def test_a_raw_call_is_told_to_who_hears_the_node() -> None:
    for responses in (True, False):
        call = told(Node(hear=HEAR), responses=responses)
        assert (call.teller, call.responses, call.chunks) == (HEAR, responses, Chunks)


COST = Usage(1, 2, 3)


def counted(node: Node, call: UserCall) -> tuple[Usage | None, str | None]:
    call.end(COST, "stop")
    return node.calls.usage, node.calls.finish_reason


@pytest.mark.parametrize("speaks", [True, False])
def test_where_nobody_hears_a_call_is_counted(speaks: bool) -> None:
    node = Node(speaks=speaks)
    assert counted(node, told(node)) == (COST, "stop" if speaks else None)


FORMATS: list[Any] = [
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema"}},
    {"text": {"format": {"type": "json_schema"}}},
    {"text": {"format": {"type": "json_object"}}, "response_format": None},
]


@pytest.mark.parametrize("body", FORMATS)
def test_json_for_the_program_is_silent(body: Any) -> None:
    node = Node(hear=HEAR)
    assert counted(node, told(node, body={**BODY, **body})) == (COST, None)


@pytest.mark.parametrize(
    "body",
    [
        {"response_format": {"type": "text"}},
        {"response_format": "json_object"},
        {"text": {"format": {"type": "text"}}, "response_format": {"type": "json_object"}},
        {"text": "json_schema"},
    ],
)
def test_a_text_is_none(body: Any) -> None:
    assert told(Node(hear=HEAR), body={**BODY, **body}).teller is HEAR


def test_a_muted_call_and_a_run_that_hushes_are_silent() -> None:
    node = Node(hear=HEAR)
    with silent():
        assert counted(node, told(node)) == (COST, None)
    for tags, teller in ((["nostream"], None), (None, HEAR), (["other"], HEAR)):
        node = Node(hear=HEAR)
        run = SimpleNamespace(**{**vars(RUN), "tags": tags})
        call = told(node, Caller("model", run))
        assert (call.teller is HEAR) == (teller is HEAR)
        if teller is None:
            assert counted(node, call) == (COST, None)


def test_what_langchain_reports_is_neither_told_nor_counted() -> None:
    node = Node(hear=HEAR, reported=REPORTED)
    assert told(node, Caller("model", RUN)).teller is REPORTED
    assert node.asked == [("reported", "r", ["h"])]
    node = Node(hear=HEAR)
    assert counted(node, told(node, Caller("model", None))) == (None, None)


def test_what_nobody_reports_is_heard() -> None:
    node = Node(hear=HEAR)
    assert told(node, Caller("model", RUN)).teller is HEAR


def test_only_a_plain_stream_is_given_dicts() -> None:
    by = Caller("model", RUN, plain=True)
    node = Node(hear=HEAR, take=TAKE)
    call = told(node, by)
    assert (call.chunks, call.teller) == (Dicts, HEAR)
    assert told(node, by._replace(plain=False, invoked=True)).chunks is Chunks
    assert "take" not in [asked for asked, *_ in node.asked]


def test_a_merely_invoked_call_is_given_its_text_in_one_chunk_if_it_can_be_taken() -> None:
    by = Caller("model", RUN, plain=True, invoked=True)
    node = Node(reported=REPORTED, take=TAKE)
    call = told(node, by)
    assert (call.chunks, call.teller) == (OneText, TAKE)
    assert node.asked[-1] == ("take", "r", ["h"])
    call = told(Node(reported=REPORTED), by)
    assert (call.chunks, call.teller) == (Dicts, REPORTED)
