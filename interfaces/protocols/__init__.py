"""One folder for each protocol: an encoder of the log's events, and thin routes.

A protocol knows the use cases and the HTTP rooms that all routes share; it knows no store, no
graph and no other protocol. `docs/architecture.md` says how to add one.
"""
