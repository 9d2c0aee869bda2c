"""Side calls of chat front ends: what they ask a model beside the chat, as a title or suggestions.

One row for each kind, with what it is known by. A question of a user's that looks like one is
taken for one; `SLUICE_SIDE_CALLS=pipeline` looks for none.
"""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SideCall:
    """Known by how its last human message begins, or by a tool that it brings along.

    `unless`: beginnings that are no side call's all the same. `streamed` of None: either way.
    """

    front_end: str
    begins: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    tool: str | None = None
    streamed: bool | None = None

    def matches(self, text: str, *, streamed: bool, tools: Collection[str]) -> bool:
        if self.streamed not in (None, streamed):
            return False
        if self.tool is not None:
            return self.tool in tools
        return text.startswith(self.begins) and not text.startswith(self.unless)


SIDE_CALLS = (
    # Titles, tags, follow-ups, queries for a search, autocompletion. Its template for answers
    # from documents begins alike.
    SideCall(
        "Open WebUI",
        begins=("### Task:",),
        unless=("### Task:\nRespond to the user query",),
        streamed=False,
    ),
    SideCall(
        "LibreChat",
        begins=(
            "Provide a concise, 5-word-or-less title for the conversation",
            "Analyze this conversation and provide:\n1. The detected language",
        ),
    ),
    SideCall("CopilotKit", tool="copilotkitSuggest"),
)


def front_end_of(text: str, *, streamed: bool, tools: Collection[str] = ()) -> str | None:
    """Whose side call it is; `text` is the last human message, `tools` are the tools' names."""
    text = text.lstrip()
    for known in SIDE_CALLS:
        if known.matches(text, streamed=streamed, tools=tools):
            return known.front_end
    return None
