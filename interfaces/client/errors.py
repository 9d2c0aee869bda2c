"""What can go wrong for whoever asks, and what is known of it."""

from sluice.domain.events import Cancelled, Failed


class ClientError(Exception):
    """All of the below."""


class Unreachable(ClientError):
    """Nobody answers: not at all, or not any more for as long as was waited."""


class Refused(ClientError):
    """The service does not do it. `code` and `request_id` are a problem's, if it told one.

    `retry_after`: the seconds after which it may.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{status}: {detail}")
        self.status, self.detail, self.code = status, detail, code
        self.request_id, self.retry_after = request_id, retry_after


class AnswerBroken(ClientError):
    """The tokens are not the answer, or its length or SHA-256 is not the one that was told."""


class JobFailed(ClientError):
    """The job ended in `error`."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(f"{failed.code}: {failed.message}")
        self.failed = failed


class JobCancelled(ClientError):
    """The job was cancelled."""

    def __init__(self, cancelled: Cancelled) -> None:
        super().__init__(cancelled.reason)
        self.cancelled = cancelled
