"""What settings say, in the adapters' own terms."""

from sluice.application.scheduling import Bounds
from sluice.infrastructure.llm.upstream import Upstream
from sluice.infrastructure.openai_sdk.calls import Limits
from sluice.infrastructure.settings import Settings

OFFLINE_MODEL = "sluice-offline"


def upstream_of(settings: Settings, offline_url: str | None) -> Upstream:
    return Upstream(
        base_url=offline_url or settings.openai_base_url,
        api_key=settings.openai_api_key or "none",
        model=settings.openai_model or OFFLINE_MODEL,
        connect_timeout=settings.connect_timeout,
        first_token_timeout=settings.first_token_timeout,
        idle_timeout=settings.idle_timeout,
        retries=settings.upstream_retries,
        max_answer=settings.max_answer_bytes,
        piece_interval=settings.piece_interval,
        genai=settings.otel_genai,
    )


def limits_of(settings: Settings) -> Limits:
    return Limits(
        connect=settings.connect_timeout,
        first_token=settings.first_token_timeout,
        idle=settings.idle_timeout,
        max_answer=settings.max_answer_bytes,
        piece_interval=settings.piece_interval,
        genai=settings.otel_genai,
    )


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
