"""A client of the service, for programs: `sluice.client` is its public name.

What to ask and what an answer means is decided in `reading.py`, without I/O; `blocking.py` and
`asynchronous.py` only send and wait. Nothing here loads the service.
"""
