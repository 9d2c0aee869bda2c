"""How a service learns who asks, as the settings have it."""

import logging
from collections.abc import Iterator

from sluice.domain.errors import Unavailable
from sluice.infrastructure.settings import Settings, WrongSetting
from sluice.interfaces.http.auth.identity import Anonymous, Identity, TrustedHeader
from sluice.interfaces.http.auth.jwt import Keys, KeySet, SharedSecret, TokenIdentity, read_keys

logger = logging.getLogger(__name__)

_LONG_ENOUGH = 32
"""Bytes of a key for HS256, as RFC 7518 has it."""


def identity_of(settings: Settings) -> Identity:
    """Raises WrongSetting for a key set in a file that cannot be used."""
    if settings.auth == "trusted-header":
        return TrustedHeader(settings.trusted_proxies)
    if settings.auth == "jwt":
        return TokenIdentity(
            *keys_of(settings), audience=settings.jwt_audience, issuer=settings.jwt_issuer
        )
    return Anonymous()


def keys_of(settings: Settings) -> Iterator[Keys]:
    """Raises WrongSetting for a key set in a file that cannot be used; a URL may come up later."""
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
