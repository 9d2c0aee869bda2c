"""The graph, and the two paths that read it. LangGraph is imported here and nowhere else."""

import os

# What is kept of a graph's state is read again as what its schema names, and as nothing else.
# LangGraph asks when it is first imported, which is after this.
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")
