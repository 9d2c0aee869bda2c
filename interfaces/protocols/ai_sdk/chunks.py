"""Chunks of the UI message stream, as JSON: stages, and what is told beside the answer."""

from collections.abc import Iterable, Iterator
from typing import Any

from sluice.application.codec import fields_of
from sluice.application.compact_json import compact
from sluice.domain.chat import JobId
from sluice.domain.events import Data, NeedsInput, Stage
from sluice.interfaces.protocols.beside import FAILED, Call, Item, Thought, call_id, thought_id
from sluice.interfaces.protocols.frames import escaped


def chunk(kind: str, **fields: Any) -> str:
    return escaped(compact({"type": kind, **fields}))


def told_stage(stage: Stage) -> str:
    return chunk("data-stage", id=f"stage-{stage.stage}", data=fields_of(stage))


def told_data(data: Data) -> str:
    return chunk(f"data-{data.name}", data=data.data)


def told_call(job_id: JobId, before: Call | None, call: Call) -> Iterator[str]:
    """What is new of a call; `before`: None if nothing of it was told.

    `providerExecuted`: a client neither runs the tool nor sends its result back by itself.
    """
    told = {"toolCallId": call_id(job_id, call)}
    named = {**told, "toolName": call.name, "dynamic": True, "providerExecuted": True}
    if before is None:
        yield chunk("tool-input-start", **named)
    if call.arguments is not None and (before is None or before.arguments is None):
        yield chunk("tool-input-available", **named, input=call.input)
    if call.status == "completed":
        yield chunk("tool-output-available", **told, output=call.result, **_EXECUTED)
    if call.status == "failed":
        yield chunk("tool-output-error", **told, errorText=FAILED, **_EXECUTED)


_EXECUTED = {"dynamic": True, "providerExecuted": True}


def told_thought(job_id: JobId, thought: Thought, piece: str, *, begins: bool) -> Iterator[str]:
    own = thought_id(job_id, thought)
    if begins:
        yield chunk("reasoning-start", id=own)
    yield chunk("reasoning-delta", id=own, delta=piece)


def told_thoughts_end(job_id: JobId, thought: Thought) -> str:
    return chunk("reasoning-end", id=thought_id(job_id, thought))


def told_again(job_id: JobId, items: Iterable[Item]) -> Iterator[str]:
    """From the beginning, and as far as it was told."""
    for item in items:
        if isinstance(item, Call):
            yield from told_call(job_id, None, item)
            continue
        yield from told_thought(job_id, item, item.said.text, begins=True)
        if not item.open:
            yield told_thoughts_end(job_id, item)


def told_question(asked: NeedsInput, *, approvals: bool) -> Iterator[str]:
    """As data for a page with a form of its own; yes or no may be said by a tool's approval."""
    yield chunk("data-input", id=asked.input_id, data=fields_of(asked))
    if approvals and asked.kind == "approval":
        own = f"ask-{asked.input_id}"
        named = {"toolCallId": own, "toolName": "approval", "dynamic": True}
        yield chunk("tool-input-available", **named, input=asked.prompt)
        yield chunk("tool-approval-request", approvalId=asked.input_id, toolCallId=own)
