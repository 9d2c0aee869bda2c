"""One folder for each protocol: an encoder of the log's events, and thin routes.

A protocol knows the use cases and the HTTP rooms that all routes share; it knows no store, no graph
and no other protocol (CopilotKit alone is AG-UI in other routes). A new one has an `encoder` (an
`Encoder` of application/encoding.py, which imports nothing of HTTP), and `routes` that answer by
`FollowingDep` of interfaces/http/following.py; `served.py` says what else. It may import `frames`,
`beside`, `said`, `pauses`, `side_calls`.
"""
