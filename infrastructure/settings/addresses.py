"""Addresses in settings: checked before anything uses them, and shown without what is secret."""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

_WEB = {"http": 80, "https": 443}
"""The port that needs no telling."""

_HOST = re.compile(r"([\w.-]*\w\.?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_REDIS = ("redis", "rediss")
_PLAIN = re.compile(r"[\x21-\x7e]+")
"""Whatever else a URL may hold is percent-encoded."""


@dataclass(frozen=True, slots=True)
class MemoryStore:
    """In this process, gone with it."""

    def __str__(self) -> str:
        return "memory://"


@dataclass(frozen=True, slots=True)
class SqliteStore:
    """One file."""

    path: Path

    def __str__(self) -> str:
        return f"sqlite:///{self.path}"


@dataclass(frozen=True, slots=True)
class RedisStore:
    """`url` may hold a password: `str` gives what may be shown."""

    url: str = field(repr=False)

    def __str__(self) -> str:
        return without_password(self.url)


StoreAddress = MemoryStore | SqliteStore | RedisStore


@dataclass(frozen=True, slots=True)
class FlagProvider:
    """An OpenFeature provider: flagd, at `host` and `port` or a `file` of its, or OFREP's `url`."""

    host: str = ""
    port: int = 8013
    file: str | None = None
    url: str | None = field(default=None, repr=False)


def parse_flag_provider(value: Any) -> Any:
    """Raises ValueError; what is no text is left to the type."""
    if not isinstance(value, str):
        return value
    scheme, _, rest = value.partition("://")
    parts = _split(value)
    if scheme in {"ofrep+http", "ofrep+https"} and parts is not None:
        return FlagProvider(url=value.removeprefix("ofrep+"))
    if scheme == "flagd" and rest.startswith("/") and rest != "/":
        return FlagProvider(file=rest)
    if scheme == "flagd" and parts is not None and parts.netloc == rest and "@" not in rest:
        return FlagProvider(host=rest.removesuffix(f":{parts.port}"), port=parts.port or 8013)
    raise ValueError("is flagd://host:port, flagd:///file.json or ofrep+https://host")


def parse_store(value: Any) -> Any:
    """Raises ValueError; what is no text is left to the type."""
    if not isinstance(value, str):
        return value
    scheme, _, rest = value.partition("://")
    if scheme in _REDIS:
        _, _, number = rest.partition("?")[0].partition("/")
        if number and not number.isdecimal():
            raise ValueError("names no database by its number: redis://host:port/0")
        return RedisStore(address(value, "redis://host:port/0"))
    if value == "memory://":
        return MemoryStore()
    if scheme != "sqlite" or not rest.startswith("/"):
        raise ValueError("is memory://, sqlite:///path.db or redis://host")
    if rest == "/":
        raise ValueError("names no file: sqlite:///path.db")
    return SqliteStore(Path(rest[1:]))


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
    """Raises ValueError for what no browser would say of a page: it would let nobody in."""
    parts = _split(text)
    if parts is None or parts.scheme not in _WEB or text != _said_by_browsers(parts):
        raise ValueError(f"{text} is no origin, such as https://example.com")
    return text


def _said_by_browsers(parts: SplitResult) -> str:
    name = parts.hostname or ""
    host = f"[{name}]" if ":" in name else name
    port = "" if parts.port in (None, _WEB[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def host(text: str) -> str:
    """A name in ASCII, or an address. Raises ValueError for a pattern or a URL; drops a port."""
    with suppress(ValueError):
        return str(ip_address(text))
    match = _HOST.fullmatch(text)
    if match is None:
        raise ValueError(f"{text} is no host, such as chat.example.com")
    try:
        return match[1].lower().encode("idna").decode()
    except UnicodeError:
        raise ValueError(f"{text} is no host, such as chat.example.com") from None


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
