"""The bounds that settings give, where users are told apart."""

from sluice.application.scheduling import Bounds
from sluice.infrastructure.settings import Settings


def bounds_of(settings: Settings) -> Bounds:
    """Where everybody is the one anonymous user, users have no bounds of their own."""
    everyone = settings.auth == "none"
    return Bounds(
        running=settings.max_running,
        queued=settings.max_queued,
        user_running=None if everyone else settings.user_running,
        user_queued=None if everyone else settings.user_queued,
    )


def streams_of(settings: Settings) -> int | None:
    return None if settings.auth == "none" else settings.user_streams
