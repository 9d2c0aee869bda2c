"""LangGraph's names for node runs, and what they say.

A node run's namespace is `outer:task-id|inner:task-id`. A subgraph that its task runs once more
is `outer:task-id|1|inner:task-id`: the same nodes. One that has a memory of its own is
`outer|inner:task-id`. A node's error handler is `node:task-id|__error_handler__node:task-id`,
and does the node's work. A graph that is run with a `thread_id` of its own is a root to
LangGraph; `child_graphs` writes into its metadata, as `ROOT`, inside which node run it runs.
`NODE` is the watched node run that a config came from: all that inherits it runs inside.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

ROOT = "sluice_root"
NODE = "sluice_node"


def namespace_of(metadata: Mapping[str, Any]) -> str:
    """The whole namespace of the node run that a call, a task or a config belongs to."""
    namespace = str(metadata.get("langgraph_checkpoint_ns", ""))
    return below(metadata, namespace)


def below(metadata: Mapping[str, Any], namespace: str) -> str:
    """`namespace` as LangGraph says it, which knows of nothing above its own root."""
    root, node = metadata.get(ROOT), metadata.get(NODE)
    whole = f"{root}|{namespace}" if root else namespace
    if node and whole != node and not is_inside(whole, node):
        return f"{node}|{whole}"  # run where no context told whose root it is
    return whole


@lru_cache(1024)
def path_of(namespace: str) -> str:
    """`outer:task-id|inner:task-id` as `outer/inner`."""
    parts = [part.split(":", 1)[0] for part in namespace.split("|") if not part.isdigit()]
    return "/".join(part for part in parts if not part.startswith("__"))


def is_hidden(namespace: str) -> bool:
    """A node that LangGraph has made: nobody knows its name."""
    return namespace.rpartition("|")[2].startswith("__")


def is_inside(namespace: str, outer: str) -> bool:
    """In a graph that the node run `outer` is running, with a memory or without."""
    return namespace.startswith((f"{outer}|", f"{outer.rpartition(':')[0]}|"))


def ran_before(one: str, other: str) -> bool:
    """The same task ran the graph of `one` first, and that of `other` later."""
    before, now = one.rpartition("|")[0], other.rpartition("|")[0]
    return before != now and _tasks(before) == _tasks(now)


def _tasks(namespace: str) -> list[str]:
    return [part for part in namespace.split("|") if ":" in part]
