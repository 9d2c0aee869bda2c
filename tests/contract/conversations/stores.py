"""The stores of chats, sessions and keys, and what the tests put into them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sluice.application.chat_ports import ChatPort, IdempotencyPort, SessionPort
from sluice.application.ports import Accepted
from sluice.domain.chat import Chat, Job, Message, new_id
from sluice.domain.rollout import Flag

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Stores:
    """They share a database: a chat's deletion is one step for all three."""

    chats: ChatPort
    sessions: SessionPort
    keys: IdempotencyPort


def chat(chat_id: str = "c", user: str = "u", *, title: str | None = "t", age: int = 0) -> Chat:
    return Chat(chat_id, user, title, START - timedelta(microseconds=age))


def job(message: str = "why?", *, retry_of: str | None = None, chat_id: str = "c") -> Job:
    return Job(new_id(), chat_id, "u", "A2", message, "r", retry_of=retry_of)


def said(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]


async def history(chats: ChatPort) -> list[tuple[str, str]]:
    return said(list(await chats.messages("u", "c")))


def accepted(chat_id: str = "c") -> Accepted:
    return Accepted(new_id(), chat_id, "A1", Flag(5, "control", "control", "r"))
