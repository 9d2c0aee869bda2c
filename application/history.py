"""A chat as the model shall see it."""

from collections.abc import Sequence

from sluice.domain.chat import Job, Message, Turn


def history(messages: Sequence[Message], job: Job) -> list[Turn]:
    """The turns before the job's question; of several answers to one question, the last.

    Nothing that was said is no turn: strict upstreams refuse a chat with an empty answer in it.
    """
    turns: list[Turn] = []
    for message in messages:
        if message.role == "user" and message.job_id in (job.id, job.retry_of):
            break
        if not message.content.strip():
            continue
        if message.role == "assistant" and turns and turns[-1].role == "assistant":
            turns.pop()
        turns.append(Turn(message.role, message.content))
    return turns
