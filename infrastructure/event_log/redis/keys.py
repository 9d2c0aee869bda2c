"""The names of the Redis log's keys.

The braces make a cluster keep all of a job's keys in one place, and the index of a chat.
"""

from sluice.domain.chat import ChatId, JobId


def header_key(job_id: JobId) -> bytes:
    return b"sluice:{%b}:job" % job_id.encode()


def log_key(job_id: JobId) -> bytes:
    return b"sluice:{%b}:log" % job_id.encode()


def chat_key(chat_id: ChatId) -> bytes:
    """Job ids by when the index may forget them."""
    return b"sluice:{%b}:jobs" % chat_id.encode()
