"""How an answer in one piece is counted and judged."""

from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import BaseModel

from sluice.domain.errors import AnswerTooLarge, UpstreamError, UpstreamRateLimited
from sluice.domain.events import Usage
from sluice.infrastructure.openai_sdk.answers import UserCall
from sluice.infrastructure.openai_sdk.failures import CutAnswer, NamedFailure, NoAnswer
from sluice.infrastructure.openai_sdk.whole_answers import whole
from tests.doubles import RecordingTeller

REQUEST = httpx2.Request("POST", "http://x")
COST = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def completion(*choices: Any, **more: Any) -> ChatCompletion:
    given = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
    return ChatCompletion.construct(**given, choices=list(choices), **more)  # type: ignore[arg-type]


def choice(text: str = "a", finish_reason: Any = "stop", **more: Any) -> dict[str, Any]:
    return {"index": 0, "finish_reason": finish_reason, "message": {"content": text, **more}}


def judged(answer: object, *, over: bool = False, **options: Any) -> RecordingTeller:
    teller = RecordingTeller()
    call = UserCall(teller, options.pop("responses", False), **options)
    call.over = over
    whole(call, answer, REQUEST)
    return teller


def test_a_whole_answers_thoughts_are_told_and_its_cost_but_no_text() -> None:
    teller = judged(completion(choice(reasoning="hm"), usage=COST))
    assert (teller.said, teller.reasoned) == ([], ["hm"])
    assert teller.ends == [(Usage(1, 2, 3), "stop")]


def test_an_answer_that_is_parsed_once_more_is_told_once() -> None:
    teller = judged(completion(choice(reasoning="hm")), over=True)
    assert (teller.reasoned, teller.ends) == ([], [])


def test_an_answer_without_a_cost_or_a_choice_has_none() -> None:
    assert judged(completion(choice())).ends == [(None, "stop")]
    assert judged(completion(choice(), usage=3)).ends == [(None, "stop")]
    assert judged(completion()).ends == [(None, None)]


@pytest.mark.parametrize("answer", ["<html>", {"choices": []}, completion(error={"code": 1})])
def test_what_is_no_object_of_the_api_is_no_answer(answer: object) -> None:
    with pytest.raises(NoAnswer) as raised:
        judged(answer)
    assert raised.value.request is REQUEST


def test_an_error_that_is_nothing_is_none() -> None:
    assert judged(completion(choice(), error=None)).ends == [(None, "stop")]


def test_an_answer_without_a_list_of_choices_is_none() -> None:
    with pytest.raises(NoAnswer) as raised:
        judged(ChatCompletion.construct(id="1"))
    assert raised.value.request is REQUEST


@pytest.mark.parametrize("text", ["abc", "가", "\ud800ab"])
def test_a_whole_answer_may_be_so_long_in_bytes_and_no_longer(text: str) -> None:
    judged(completion(choice(text)), max_answer=3)
    with pytest.raises(AnswerTooLarge):
        judged(completion(choice(text)), max_answer=2)


def test_each_choice_needs_a_finish_reason_that_is_no_failure() -> None:
    with pytest.raises(CutAnswer) as cut:
        judged(completion(choice(), choice(finish_reason=None)))
    with pytest.raises(NamedFailure) as failed:
        judged(completion(choice(), choice(finish_reason="error")))
    assert (cut.value.request, failed.value.request) == (REQUEST, REQUEST)
    assert failed.value.body is None


def test_what_stands_for_no_finish_reason_is_none() -> None:
    with pytest.raises(CutAnswer):
        judged(completion(choice(finish_reason="null")))


def test_a_reason_that_is_no_word_is_one_all_the_same() -> None:
    assert judged(completion(choice(finish_reason=3))).ends == [(None, None)]


def test_a_choice_says_what_it_failed_of() -> None:
    with pytest.raises(NamedFailure) as raised:
        judged(completion({**choice(), "error": {"code": 429}}))
    assert type(raised.value.__cause__) is UpstreamRateLimited


def response(status: str, **more: Any) -> Response:
    return Response.construct(id="r", **{"status": status, "output": [], **more})


CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
INCOMPLETE = {"incomplete_details": {"reason": "max_output_tokens"}}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (response("completed"), "stop"),
        (response("completed", output=[CALL]), "tool_calls"),
        (response("completed", output=None), "stop"),
        (response("incomplete", **INCOMPLETE), "length"),
        (response("incomplete"), None),
        (Response.construct(id="r"), None),
    ],
)
def test_a_whole_response_ends_in_the_words_of_chat_completions(
    answer: Response, reason: str | None
) -> None:
    assert judged(answer, responses=True).ends == [(None, reason)]


def test_a_response_that_failed_is_counted_and_no_answer() -> None:
    cost = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    teller = RecordingTeller()
    with pytest.raises(NamedFailure) as raised:
        whole(UserCall(teller, responses=True), response("failed", usage=cost), REQUEST)
    assert teller.ends == [(Usage(1, 2, 3), None)]
    assert (raised.value.request, raised.value.body) == (REQUEST, None)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (None, UpstreamError),
        ({"code": "rate_limit_exceeded", "message": "no"}, UpstreamRateLimited),
        ("quota", UpstreamRateLimited),
    ],
)
def test_a_response_says_what_it_failed_of(error: object, failure: type[UpstreamError]) -> None:
    with pytest.raises(NamedFailure) as raised:
        judged(response("failed", error=error), responses=True)
    assert type(raised.value.__cause__) is failure


class Odd(BaseModel):
    """Of another kind than the API's objects, which have all their fields."""


class OddFailure(Odd):
    status: str = "failed"


def test_an_object_may_lack_any_field() -> None:
    with pytest.raises(NoAnswer):
        judged(Odd())
    with pytest.raises(CutAnswer):
        judged(completion(SimpleNamespace()))
    with pytest.raises(NamedFailure):
        judged(OddFailure(), responses=True)
    assert judged(Odd(), responses=True).ends == [(None, None)]
    untyped = Response.construct(status="completed").model_copy(
        update={"output": [SimpleNamespace()]}
    )
    assert judged(untyped, responses=True).ends == [(None, "stop")]


def test_a_whole_responses_thoughts_are_told_and_its_text_is_bounded() -> None:
    thought = {"type": "reasoning", "id": "i", "summary": [{"type": "summary_text", "text": "hm"}]}
    assert judged(response("completed", output=[thought]), responses=True).reasoned == ["hm"]
    text = {"type": "output_text", "text": "abc", "annotations": []}
    message = {"type": "message", "id": "i", "role": "assistant", "content": [text]}
    with pytest.raises(AnswerTooLarge):
        judged(response("completed", output=[message]), responses=True, max_answer=2)
