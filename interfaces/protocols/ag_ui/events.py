"""The protocol's events and messages, as JSON or on the way there."""

from sluice.application.compact_json import compact
from sluice.domain.chat import JobId
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
