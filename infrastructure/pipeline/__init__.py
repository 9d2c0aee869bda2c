"""The graph, and the two paths that read it. LangGraph is imported here and nowhere else."""
