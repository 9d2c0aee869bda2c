"""Every way an upstream can fail, in the answer and in the classifier, seen by a reader."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest

from sluice.offline_model import CANARY, Fault, Reply
from tests.faults.conftest import Live, Start
from tests.http.house import Frame, text
from tests.live.stream import Stream

PIECES = ("무색", " 페트병은", " 👩‍👩‍👧‍👦", " red", ".")
TEXT = "".join(PIECES)
HALF = "".join(PIECES[:3])
MIB = "0123456789abcde\n" * 2**16

AT_ONCE = 40
"""Jobs: with all of them, a busy machine does not reach the first tokens within their deadline."""

FAILS = {
    Fault.UNAUTHORIZED: "upstream_auth",
    Fault.FORBIDDEN: "upstream_auth",
    Fault.NOT_FOUND: "upstream_error",
    Fault.UNPROCESSABLE: "upstream_error",
    Fault.RATE_LIMITED: "upstream_rate_limited",
    Fault.RATE_LIMITED_BRIEFLY: "upstream_rate_limited",
    Fault.RATE_LIMITED_FOR_LONG: "upstream_rate_limited",
    Fault.SERVER_ERROR: "upstream_unavailable",
    Fault.UNAVAILABLE_HTML: "upstream_unavailable",
    Fault.RESET_BEFORE_ANSWER: "upstream_unavailable",
    Fault.REDIRECT: "upstream_bad_response",
    Fault.HTML_WITH_200: "upstream_bad_response",
    Fault.COMPLETION_WITH_200: "upstream_bad_response",
    Fault.JSON_WITH_200: "upstream_bad_response",
    Fault.HANG_BEFORE_STATUS: "upstream_timeout",
    Fault.HANG_AFTER_HEADERS: "upstream_timeout",
    Fault.HANG_MID_STREAM: "upstream_timeout",
    Fault.RESET_MID_STREAM: "upstream_disconnected",
    Fault.CUT_MID_CHUNK: "upstream_disconnected",
    Fault.PROPER_END_HALF_WAY: "upstream_truncated",
    Fault.MALFORMED_JSON: "upstream_bad_response",
    Fault.INVALID_UTF8: "upstream_bad_response",
    Fault.LONE_SURROGATE: "upstream_bad_response",
    Fault.ERROR_CHUNK: "upstream_error",
    Fault.FINISH_ERROR: "upstream_error",
    Fault.FINISH_ABORT: "upstream_error",
    Fault.CHOICE_ERROR: "upstream_error",
    Fault.ERROR_EVENT: "upstream_rate_limited",
    Fault.ERROR_FIELD: "upstream_error",
    Fault.BARE_ERROR: "upstream_auth",
    Fault.RATE_LIMIT_FIRST: "upstream_rate_limited",
    Fault.ERROR_AFTER_FINISH: "upstream_unavailable",
    Fault.KEPT_WARM: "upstream_timeout",
}
MID_STREAM = {
    Fault.HANG_MID_STREAM,
    Fault.RESET_MID_STREAM,
    Fault.CUT_MID_CHUNK,
    Fault.PROPER_END_HALF_WAY,
    Fault.MALFORMED_JSON,
    Fault.INVALID_UTF8,
    Fault.LONE_SURROGATE,
    Fault.ERROR_CHUNK,
    Fault.FINISH_ERROR,
    Fault.FINISH_ABORT,
    Fault.CHOICE_ERROR,
    Fault.ERROR_EVENT,
    Fault.ERROR_FIELD,
    Fault.BARE_ERROR,
    Fault.KEPT_WARM,
}
GOES_ON = {
    Fault.SERVER_ERROR_ONCE: (TEXT, "stop"),
    Fault.NO_DONE: (TEXT, "stop"),
    Fault.EMPTY_CHOICES: (TEXT, "stop"),
    Fault.NULL_CONTENT: (TEXT, "stop"),
    Fault.USAGE_ONLY: (TEXT, "stop"),
    Fault.HUGE_CHUNK: (HALF + MIB + " red.", "stop"),
    Fault.BYTE_BY_BYTE: (TEXT, "stop"),
    Fault.FINISH_LENGTH: (HALF, "length"),
    Fault.FINISH_CONTENT_FILTER: (HALF, "content_filter"),
    Fault.REFUSAL: (TEXT, "stop"),
    Fault.TOOL_CALL_DELTAS: (TEXT, "stop"),
    Fault.REASONING_DELTAS: (TEXT, "stop"),
    Fault.FINISH_IN_EVERY_CHUNK: (TEXT, "stop"),
    Fault.LATE_PIECE: (TEXT, "stop"),
    Fault.EMPTY_EVENTS: (TEXT, "stop"),
    Fault.RUBBISH_AFTER_FINISH: (TEXT, "stop"),
    Fault.NO_LAST_LINE: (TEXT, "stop"),
    Fault.NO_CONTENT_TYPE: (TEXT, "stop"),
    Fault.WRONG_CONTENT_TYPE: (TEXT, "stop"),
    Fault.LARGE_HEADER: (TEXT, "stop"),
    Fault.CONTENT_PARTS: (TEXT, "stop"),
    Fault.CUT_CHARACTERS: (TEXT, "stop"),
}


@dataclass
class Outcome:
    stream: Stream
    job: dict[str, Any]
    late: list[Frame]
    """What a reader gets who comes when all is over."""


Outcomes = dict[tuple[Fault, str], Outcome]


@pytest.fixture(scope="module")
async def outcomes(shared: Live) -> Outcomes:
    """Many faults at once, in one job each: what one of them breaks, another one shows."""
    model, service = shared.model, shared.service
    room = asyncio.Semaphore(AT_ONCE)

    async def outcome(fault: Fault, call: str) -> Outcome:
        asked = f"fault {fault.value} in the {call}"

        def meant(body: Any) -> bool:
            classifies = "response_format" in body
            spoken = body["messages"][-1]["content"] == asked
            return spoken and classifies == (call == "classifier")

        model.script_when(meant, Reply(PIECES))  # for a retry, when the fault comes only once
        model.script_when(meant, Reply(PIECES, fault=fault))
        async with room:
            job = (await service.ask(asked))["job_id"]
            async with service.stream(job) as stream:
                await stream.all()
            async with service.stream(job) as late:
                return Outcome(stream, await service.job(job), await late.all())

    wanted = [(fault, "answer") for fault in Fault] + [(fault, "classifier") for fault in FAILS]
    found = await asyncio.gather(*(outcome(fault, call) for fault, call in wanted))
    return dict(zip(wanted, found, strict=True))


def test_every_fault_is_covered() -> None:
    assert {*FAILS, *GOES_ON} == set(Fault)


@pytest.mark.parametrize("call", ["answer", "classifier"])
@pytest.mark.parametrize("fault", FAILS, ids=lambda fault: fault.value)
async def test_a_failed_upstream_ends_the_stream_in_its_error(
    outcomes: Outcomes, shared: Live, fault: Fault, call: str
) -> None:
    outcome = outcomes[fault, call]
    seen = outcome.stream.seen
    error = seen[-1]
    assert (error.event, error.data["code"]) == ("error", FAILS[fault])
    assert [frame.event for frame in seen].count("error") == 1
    assert outcome.stream.properly
    opened = [frame.data["stage"] for frame in seen if frame.data.get("status") == "started"]
    closed = [frame.data["stage"] for frame in seen if frame.data.get("status") == "completed"]
    failed = [frame.data["stage"] for frame in seen[:-1] if frame.data.get("status") == "failed"]
    assert sorted(opened) == sorted([*closed[1:], *failed])
    assert failed == [{"answer": "answer", "classifier": "intent"}[call]]
    broke_off = call == "answer" and fault in MID_STREAM and shared.path == "A2"
    whole = call == "answer" and fault is Fault.ERROR_AFTER_FINISH and shared.path == "A2"
    assert text(seen) == (HALF if broke_off else TEXT if whole else "")
    assert outcome.job["status"] == "failed"
    assert outcome.job["error"]["code"] == FAILS[fault]
    assert outcome.job["answer"] is None
    assert (text(outcome.late), outcome.late[-1]) == (text(seen), error)


@pytest.mark.parametrize("fault", GOES_ON, ids=lambda fault: fault.value)
async def test_what_is_no_failure_of_the_upstream_goes_on(
    outcomes: Outcomes, shared: Live, fault: Fault
) -> None:
    outcome = outcomes[fault, "answer"]
    answer, finish_reason = GOES_ON[fault]
    done = outcome.stream.seen[-1]
    assert (done.event, done.data["answer"]) == ("done", answer)
    assert done.data["finish_reason"] == finish_reason
    assert text(outcome.stream.seen) == (answer if shared.path == "A2" else "")
    assert outcome.stream.properly
    assert outcome.job["status"] == "completed"
    assert outcome.late[-1] == done


async def test_no_fault_leaves_a_trace_of_its_text_or_of_its_connection(
    outcomes: Outcomes, shared: Live
) -> None:
    await shared.leaves_nothing()
    assert shared.model.redirects_followed == 0
    told = json.dumps([[o.stream.seen, o.job, o.late] for o in outcomes.values()])
    assert CANARY not in told
    log = shared.service.log.read_text()
    assert CANARY not in log
    assert "무색" not in log


async def test_300_hung_calls_end_by_their_deadline_and_leave_nothing(shared: Live) -> None:
    model, service = shared.model, shared.service
    await warmed(shared)
    before = service.descriptors()
    calls = model.opened
    jobs = await hung(shared, 300)
    assert model.opened - calls == 300

    async def ending(job: str) -> str:
        async with service.stream(job) as stream:
            return str((await stream.all(30))[-1].data["code"])

    assert set(await asyncio.gather(*map(ending, jobs))) == {"upstream_timeout"}
    await shared.leaves_nothing()
    await settled(shared, before)


async def test_300_hung_calls_are_cancelled_and_leave_nothing(start: Start) -> None:
    live = await start(SLUICE_MAX_RUNNING="400")
    service, model = live.service, live.model
    await warmed(live)
    before = service.descriptors()
    jobs = await hung(live, 300)
    assert model.opened - model.closed == 300
    assert set(await asyncio.gather(*map(service.cancel, jobs))) == {202}
    await live.leaves_nothing()
    await settled(live, before)
    assert {(await service.job(job))["status"] for job in jobs} == {"cancelled"}


async def warmed(live: Live) -> None:
    """What a first question opens for good is open."""
    async with live.service.stream((await live.service.ask("hi"))["job_id"]) as stream:
        assert (await stream.all())[-1].event == "done"
    await live.leaves_nothing()


async def hung(live: Live, count: int) -> list[str]:
    """Jobs whose classifier's call hangs, all at once."""
    model, service = live.model, live.service
    model.script_when(
        lambda body: body["messages"][-1]["content"] == "hang",
        Reply(fault=Fault.HANG_BEFORE_STATUS),
    )
    opened = model.opened
    accepted = await asyncio.gather(*(service.ask("hang") for _ in range(count)))
    await model.until_called(opened + count, within=20)
    return [job["job_id"] for job in accepted]


async def settled(live: Live, before: int) -> None:
    """No more descriptors than before, but for connections that wait for another request."""
    service, model = live.service, live.model
    async with asyncio.timeout(10):
        while service.descriptors() > before + service.connections + model.connections:
            await asyncio.sleep(0.05)


async def test_an_upstream_that_refuses_connections_ends_in_its_error(start: Start) -> None:
    live = await start(OPENAI_BASE_URL="http://127.0.0.1:1/v1")
    async with live.service.stream((await live.service.ask("hi"))["job_id"]) as stream:
        error = (await stream.all())[-1]
    assert (error.event, error.data["code"]) == ("error", "upstream_unavailable")
    await live.leaves_nothing()
