"""An agent whose tools, reasoning and sources the user sees, and which asks before it acts.

`agent` asks the model, `tools` runs what the model calls; each says in its metadata what of it
is shown. The tools are made up: `search` also writes what it has found as data, and `order` asks
the user before it does anything.

    SLUICE_STATE=graph SLUICE_PIPELINE=examples.agent:build make run

Then ask “Search the prices of tea”, “Convert 12 euros to won”, or “Order green tea”. With
`SLUICE_STATE=graph` the agent remembers its tools' results over the turns, too.
"""

import os
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import interrupt

from sluice import LLMClientPort
from sluice.infrastructure.llm.langchain_adapter import chat_model_of

PAGES = [
    {"title": "Prices of tea", "url": "https://example.com/tea", "text": "Green tea: 9 euros."},
    {"title": "Prices of coffee", "url": "https://example.com/coffee", "text": "Beans: 14 euros."},
]
WON = 1500


@tool
async def search(query: str) -> str:
    """Search the shop's pages for prices."""
    words = {word.strip("?.,!").casefold() for word in query.split()} - {"prices", "of"}
    found = [page for page in PAGES if words & set(page["title"].casefold().split())]
    sources = [{"title": page["title"], "url": page["url"]} for page in found]
    get_stream_writer()({"data": sources, "name": "sources"})
    return "\n".join(f"[{page['title']}]({page['url']}): {page['text']}" for page in found)


@tool
async def convert(euros: float) -> str:
    """Convert an amount of euros to won."""
    return f"**{euros * WON:,.0f} won**"


@tool
async def order(wish: str) -> str:
    """Order something from the shop, as the user wishes it."""
    # What stands above a question is done twice: once more when its answer has come.
    if not interrupt(f"Place this order: “{wish}”?", response_schema={"type": "boolean"}):
        return "Nothing was ordered: the user has declined."
    return f"**Ordered:** {wish}"


TOOLS = [search, convert, order]
OFFLINE = "sluice-offline"
# Not every model takes this setting; the offline one, which answers without a key, does.
THINKS = os.environ.get("OPENAI_MODEL", OFFLINE) == OFFLINE


def build(llm: LLMClientPort) -> StateGraph[Any]:
    model = chat_model_of(llm).bind_tools(TOOLS, reasoning_effort="low" if THINKS else None)

    async def agent(state: MessagesState) -> dict[str, list[BaseMessage]]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return (
        StateGraph(MessagesState)
        .add_node("agent", agent, metadata={"speaks": True, "tools": True, "reasoning": True})
        .add_node("tools", ToolNode(TOOLS), metadata={"tools": True, "data": True})
        .add_edge(START, "agent")
        .add_conditional_edges("agent", tools_condition)
        .add_edge("tools", "agent")
    )
