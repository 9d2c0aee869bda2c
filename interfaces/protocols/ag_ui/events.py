"""The protocol's events and messages, as JSON or on the way there."""

from collections.abc import Sequence

from sluice.application.compact_json import compact
from sluice.domain.chat import JobId
from sluice.domain.events import NeedsInput
from sluice.interfaces.protocols.beside import FAILED, Call, call_id
from sluice.interfaces.protocols.frames import escaped


def result_of(own: str, call: Call) -> dict[str, str]:
    content = call.result or "" if call.status == "completed" else FAILED
    return {
        "messageId": f"{own}-result",
        "toolCallId": own,
        "content": content,
        "role": "tool",
    }


def messages_of(job_id: JobId, call: Call) -> list[dict[str, object]]:
    """What a client has made of the call's events."""
    own = call_id(job_id, call)
    function = {"name": call.name, "arguments": call.arguments or ""}
    asked: dict[str, object] = {
        "id": own,
        "role": "assistant",
        "toolCalls": [{"id": own, "type": "function", "function": function}],
    }
    if not call.over:
        return [asked]
    result = result_of(own, call)
    return [asked, {"id": result.pop("messageId"), **result}]


def opening(thread_id: str, run_id: str) -> list[str]:
    return [event_of("RUN_STARTED", threadId=thread_id, runId=run_id)]


def snapshot(messages: str) -> str:
    """`messages`: as JSON."""
    return escaped(f'{{"type":"MESSAGES_SNAPSHOT","messages":{messages}}}')


def finished(thread_id: str, run_id: str, outcome: str) -> str:
    return event_of("RUN_FINISHED", threadId=thread_id, runId=run_id, outcome={"type": outcome})


def message_id(job_id: JobId) -> str:
    return f"msg_{job_id}"


def event_of(kind: str, **fields: object) -> str:
    return escaped(compact({"type": kind, **fields}))


def interrupted(thread_id: str, run_id: str, asked: Sequence[NeedsInput]) -> str:
    """The run's end where the job asks."""
    outcome = {"type": "interrupt", "interrupts": interrupts_of(run_id, asked)}
    return event_of("RUN_FINISHED", threadId=thread_id, runId=run_id, outcome=outcome)


def interrupts_of(run_id: str, asked: Sequence[NeedsInput]) -> list[dict[str, object]]:
    """TanStack AI answers those only that are bound to a run, and none with a schema whose hash
    it does not know: so the schema is in the metadata.
    """
    return [
        {
            "id": one.input_id,
            "reason": one.kind,
            "message": one.prompt if isinstance(one.prompt, str) else compact(one.prompt),
            "metadata": {
                **_without_none(prompt=one.prompt, schema=one.schema, expires_at=one.expires_at),
                "tanstack:interruptBinding": {
                    "v": 1,
                    "kind": "generic",
                    "interruptId": one.input_id,
                    "interruptedRunId": run_id,
                    "generation": 0,
                },
            },
        }
        for one in asked
    ]


def _without_none(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}
