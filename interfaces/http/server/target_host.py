"""The host of a request whose target is a whole URL."""

from collections.abc import Sequence

import httptools

Field = tuple[bytes, bytes]


def with_host_of_target(url: bytes, fields: Sequence[Field]) -> Sequence[Field]:
    """Of a target in absolute form the host counts, and not the field (RFC 9112, 3.2.2)."""
    target = httptools.parse_url(url)
    if not target.host:
        return fields
    host = b"[%b]" % target.host if b":" in target.host else target.host
    port = b":%d" % target.port if target.port else b""
    return [*(field for field in fields if field[0] != b"host"), (b"host", host + port)]
