"""Addresses in settings: checked before anything uses them, and shown without what is secret."""

import re
from urllib.parse import SplitResult, urlsplit

_WEB = ("http", "https")
_PLAIN = re.compile(r"[\x21-\x7e]+")
"""Whatever else a URL may hold is percent-encoded."""


def address(url: str, example: str) -> str:
    """Raises ValueError, which does not repeat the address: it may hold a password."""
    if _split(url) is None:
        raise ValueError(f"is no address such as {example}")
    return url


def web_address(url: str) -> str:
    """Raises ValueError for anything but http and https."""
    parts = _split(url)
    if parts is None or parts.scheme not in _WEB:
        raise ValueError("is an address, such as https://api.example.com/v1")
    return url


def origin(text: str) -> str:
    """Raises ValueError for more, or less, than a scheme, a host and a port."""
    parts = _split(text)
    if parts is None or parts.scheme not in _WEB or text != f"{parts.scheme}://{parts.netloc}":
        raise ValueError(f"{text} is no origin, such as https://example.com")
    return text


def without_password(url: str) -> str:
    if "@" not in url and "?" not in url:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _split(url: str) -> SplitResult | None:
    """None unless there is a host, and a port that can be one if there is any."""
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable and _PLAIN.fullmatch(url) else None
