"""What both clients send with every request, and how long they wait for a byte."""

from collections.abc import Mapping

import httpx2

TIMEOUT = httpx2.Timeout(10, read=45)
"""Seconds. A stream is never silent for more than 15; one that is has died without telling."""


def identified(token: str | None, headers: Mapping[str, str] | None) -> Mapping[str, str]:
    return {**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
