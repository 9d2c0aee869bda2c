"""When a job may be asked once more, on the other path."""

from sluice.application.relay import Relay
from sluice.domain.errors import (
    ChatError,
    Finished,
    NotFound,
    PipelineError,
    Superseded,
    Unavailable,
)

_OF_THE_STORE = (Finished, NotFound, Superseded, Unavailable)


def may_fall_back(relay: Relay, error: Exception) -> bool:
    """It failed before it said anything, and by no fault of the upstream's or of a store's."""
    if relay.first_token_at is not None:
        return False
    return isinstance(error, PipelineError) or not isinstance(error, (ChatError, *_OF_THE_STORE))
