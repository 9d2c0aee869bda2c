"""How a service learns who asks, as the settings have it."""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sluice.domain.errors import Unavailable
from sluice.infrastructure.settings import Settings, WrongSetting
from sluice.interfaces.http.auth.identity import Anonymous, Forwarded, Identity, TrustedHeader

if TYPE_CHECKING:
    from sluice.interfaces.http.auth.jwt import Keys, TokenIdentity

logger = logging.getLogger(__name__)

_LONG_ENOUGH = 32
"""Bytes of a key for HS256, as RFC 7518 has it."""


def identity_of(settings: Settings) -> Identity:
    """Raises WrongSetting for a key set in a file that cannot be used."""
    if settings.auth == "trusted-header":
        return TrustedHeader(settings.trusted_proxies)
    if settings.auth == "jwt":
        return _token_identity(settings)
    return Anonymous()


def _token_identity(settings: Settings) -> "TokenIdentity":
    """Its libraries are a fiftieth of the start: they load where tokens are read."""
    from sluice.interfaces.http.auth.jwt import TokenIdentity

    return TokenIdentity(
        *keys_of(settings), audience=settings.jwt_audience, issuer=settings.jwt_issuer
    )


_USER_HEADERS = {"open-webui": "X-OpenWebUI-User-Id", "librechat": "X-LibreChat-User-Id"}
_CHAT_HEADERS = {"open-webui": "X-OpenWebUI-Chat-Id", "librechat": "X-LibreChat-Conversation-Id"}


def forwarded_of(settings: Settings) -> Forwarded:
    """A front end's name stands for the headers that it sends, or that docs/frontends.md sets."""
    user, chat = settings.user_header, settings.chat_header
    return Forwarded(
        user and _USER_HEADERS.get(user, user),
        chat and _CHAT_HEADERS.get(chat, chat),
        settings.trusted_proxies,
    )


def keys_of(settings: Settings) -> Iterator["Keys"]:
    """Raises WrongSetting for a key set in a file that cannot be used; a URL may come up later."""
    from sluice.interfaces.http.auth.jwt import KeySet, SharedSecret, read_keys

    if secret := settings.jwt_secret:
        if len(secret.encode()) < _LONG_ENOUGH:
            logger.warning("SLUICE_JWT_SECRET is short: who has a token can guess it")
        yield SharedSecret(secret)
    if source := settings.jwt_jwks:
        if "://" not in source:
            try:
                read_keys(source)
            except Unavailable as error:
                raise WrongSetting(f"SLUICE_JWT_JWKS: {error}") from error
        yield KeySet(source)
