"""LangGraph's own wire under `/langgraph`, as its SDKs and their React hooks speak it.

A thread is a chat, by its user's session name or its own id; a run is a job. `values`, state and
history are made of the chat, which is what users saw, and never of a graph's state.
"""
