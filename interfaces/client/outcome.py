"""How a job ended, as an answer or an error."""

from sluice.domain.events import Cancelled, Done, Event, Failed
from sluice.interfaces.client.errors import ClientError, JobCancelled, JobFailed


def answer_of(end: Event | None) -> Done:
    """Raises JobFailed and JobCancelled."""
    match end:
        case Done():
            return end
        case Failed():
            raise JobFailed(end)
        case Cancelled():
            raise JobCancelled(end)
    raise ClientError("there was nothing more to read")
