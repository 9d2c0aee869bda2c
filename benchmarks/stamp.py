"""The token that measures itself: its number in the answer and when it left the upstream.

A token reads `<17.540123456>`: its sequence from 0 and the microseconds of this machine's
monotonic clock. It survives every encoding a server may choose, joined with others or not, so
lag, gaps and repeats can be read at the far end without knowing the server.
"""

import re
import time


def now_us() -> int:
    return time.monotonic_ns() // 1000


def token(text: bytes, sequence: int, at_us: int) -> bytes:
    return b"%b<%d.%d>" % (text, sequence, at_us)


def stamps(text: bytes) -> re.Pattern[bytes]:
    """Finds each token's (sequence, microseconds)."""
    return re.compile(re.escape(text) + rb"<(\d+)\.(\d+)>")


def runs(text: bytes) -> re.Pattern[bytes]:
    """Finds unbroken runs of tokens: the answer's bytes, whatever stands around them."""
    return re.compile(b"(?:" + re.escape(text) + rb"<\d+\.\d+>)+")
