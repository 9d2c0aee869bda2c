"""What the rules answer, asked through the protocol."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI

from sluice.offline_model.rules import pieces

EVENTS = """
<passage source="events.md" title="Resuming a stream">
# Resuming a stream

Every event has an id. A reader that comes back sends the last
id it saw in the `Last-Event-ID` header.

- 연결이 끊기면 마지막 id를 `Last-Event-ID` 헤더에 넣으세요. 그러면 스트림을 이어받습니다.
- 무색 페트병은 라벨을 떼고 버립니다.

```sh
curl -N http://127.0.0.1:8000/api/v1/chat/JOB/events
```
</passage>
"""
SETTINGS = """
<passage source="settings&amp;more.md" title="Settings">
| variable | meaning | default |
|---|---|---|
| `SLUICE_PORT` | where to listen | `8000` |
| `SLUICE_RETENTION` | seconds a log can be read | 3600 |
</passage>
"""


def chat(system: str, *turns: str) -> Any:
    """The user speaks first and last."""
    roles = ("user", "assistant")
    said = [{"role": roles[at % 2], "content": text} for at, text in enumerate(turns)]
    return [{"role": "system", "content": system}, *said]


async def ask(client: AsyncOpenAI, system: str, *turns: str) -> str:
    whole = await client.chat.completions.create(model="m", messages=chat(system, *turns))
    return whole.choices[0].message.content or ""


@pytest.mark.parametrize(
    ("question", "quoted", "source"),
    [
        (
            "How do I resume a stream?",
            "A reader that comes back sends the last id it saw in the `Last-Event-ID` header.",
            "events.md",
        ),
        ("스트림을 이어받으려면?", "그러면 스트림을 이어받습니다.", "events.md"),
        ("페트병 라벨은요?", "무색 페트병은 라벨을 떼고 버립니다.", "events.md"),
        ("Which port is it?", "`SLUICE_PORT` · where to listen · `8000`", "settings&more.md"),
        ("SLUICE_RETENTION 기본값은?", "· seconds a log can be read · 3600", "settings&more.md"),
        ("curl please", "curl -N http://127.0.0.1:8000/api/v1/chat/JOB/events", "events.md"),
    ],
)
async def test_an_answer_quotes_what_fits_and_names_the_source(
    client: AsyncOpenAI, question: str, quoted: str, source: str
) -> None:
    answer = await ask(client, EVENTS + SETTINGS, question)
    assert quoted in answer
    assert f"— {source}" in answer
    assert 1 <= answer.count("\n> ") <= 4


async def test_what_does_not_fit_is_not_quoted(client: AsyncOpenAI) -> None:
    answer = await ask(client, EVENTS + SETTINGS, "What is the default of SLUICE_PORT?")
    assert "RETENTION" not in answer
    assert "events.md" not in answer


async def test_an_answer_says_when_nothing_fits(client: AsyncOpenAI) -> None:
    assert "No sentence" in await ask(client, SETTINGS, "Who won the football match?")
    assert "꼭 맞는 문장은 없습니다" in await ask(client, SETTINGS, "축구는 누가 이겼어?")


async def test_a_closing_tag_quoted_in_a_passage_is_shown_as_it_was(client: AsyncOpenAI) -> None:
    system = '<passage source="a.md">\nThe tag <\\/passage> ends a quotation.\n</passage>'
    assert "The tag </passage> ends a quotation." in await ask(client, system, "Which tag?")


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("Hello there!", "Hello!"),
        ("안녕하세요", "안녕하세요!"),
        ("정말 고마워요", "천만에요."),
        ("Thanks a lot", "You are welcome."),
        ("What is the capital of France?", "I am the offline model"),
        ("프랑스의 수도는?", "오프라인 모델"),
    ],
)
async def test_without_passages_it_is_polite_and_honest(
    client: AsyncOpenAI, message: str, answer: str
) -> None:
    assert answer in await ask(client, "Answer.", message)


@pytest.mark.parametrize(
    ("turns", "answer"),
    [
        (("My name is Ada Lovelace and I am new.", "Hi", "What's my name?"), "Ada Lovelace"),
        (("안녕, 내 이름은 민수야.", "네", "내 이름이 뭐야?"), "이름은 민수입니다."),
        (("hi", "Hello", "Who am I?"), "You have not told me your name."),
        (("How do I resume?", "…", "What did I ask before?"), "“How do I resume?”"),
        (("라벨은?", "…", "뚜껑은?", "…", "내가 처음에 뭐라고 물어봤지?"), "“라벨은?”"),
        (("라벨은?", "…", "뚜껑은?", "…", "내가 아까 뭐라고 했지?"), "“뚜껑은?”"),
        (("What did I say?",), "first message"),
        (("내 이름은 지우입니다",), "지우 님"),
    ],
)
async def test_it_remembers_the_conversation(
    client: AsyncOpenAI, turns: tuple[str, ...], answer: str
) -> None:
    assert answer in await ask(client, EVENTS, *turns)


async def test_content_may_come_in_parts(client: AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(
        model="m",
        messages=[{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
    )
    assert (whole.choices[0].message.content or "").startswith("Hello!")


@given(st.text())
def test_joined_pieces_are_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert all(pieces(text))


def test_korean_comes_in_pieces_of_syllables() -> None:
    assert pieces("무색 페트병은 👩‍👧") == ["무색", " 페트", "병은", " ", "👩", "\u200d", "👧"]


@pytest.mark.parametrize("effort", [None, "none", "low"])
async def test_reasoning_goes_before_an_answer_or_a_call_for_who_asks_for_it(
    client: AsyncOpenAI, effort: Any
) -> None:
    tool: Any = {"name": "search", "description": "Search.", "parameters": {"type": "object"}}
    called: Any = {"role": "assistant", "tool_calls": []}
    result: Any = {"role": "tool", "tool_call_id": "1", "content": "found"}
    for after in ([], [called, result]):
        whole = await client.chat.completions.create(
            model="m",
            messages=[*chat("", "Search the pages"), *after],
            tools=[{"type": "function", "function": tool}],
            **({"reasoning_effort": effort} if effort else {}),
        )
        message = whole.choices[0].message
        assert bool(message.tool_calls) is not bool(after)
        thought = (message.model_extra or {}).get("reasoning_content") or ""
        assert ("Search the pages" in thought) is (effort == "low")
