"""When a job may be asked once more, on the other path."""

from sluice.application.relay import Relay
from sluice.domain.errors import (
    ChatError,
    Declined,
    Finished,
    NotFound,
    PipelineError,
    StateLost,
    Superseded,
    Unavailable,
)

_OF_THE_STORE = (Finished, NotFound, Superseded, Unavailable)
_SAME_ON_BOTH = (Declined, StateLost)


def may_fall_back(relay: Relay, error: Exception) -> bool:
    """It failed before it said anything, and by no fault of the upstream's or of a store's.

    Nor by what a human said, nor behind what a human was asked: what they allowed may be done.
    """
    if relay.first_token_at is not None or relay.waited or isinstance(error, _SAME_ON_BOTH):
        return False
    return isinstance(error, PipelineError) or not isinstance(error, (ChatError, *_OF_THE_STORE))
