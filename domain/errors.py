"""The error tree: what can end a job, and what a user is told.

`code` and `public` reach clients; `str(error)` never does. The codes are the closed list
of the wire contract.
"""

from typing import ClassVar


class ChatError(Exception):
    """A failure with a public face. Adapters raise it `from` the error they caught."""

    code: ClassVar[str] = "internal"
    public: ClassVar[str] = "Something went wrong. Please try again."
    retryable: ClassVar[bool] = True


class UpstreamError(ChatError):
    """The upstream answered with an error of its own, or refused the request."""

    code = "upstream_error"
    public = "The language model refused the request."
    retryable = False


class UpstreamAuth(UpstreamError):
    """401 or 403."""

    code = "upstream_auth"
    public = "The service is not allowed to use the language model. Please tell its operator."


class UpstreamRateLimited(UpstreamError):
    """429, also after the retries."""

    code, retryable = "upstream_rate_limited", True
    public = "The language model is busy. Please try again in a moment."


class UpstreamUnavailable(UpstreamError):
    """5xx, a refused connection, or a reset before the status line."""

    code, retryable = "upstream_unavailable", True
    public = "The language model cannot be reached. Please try again in a moment."


class UpstreamTimeout(UpstreamError):
    """The connect, first-token or idle deadline passed."""

    code, retryable = "upstream_timeout", True
    public = "The language model took too long. Please try again."


class UpstreamDisconnected(UpstreamError):
    """The connection broke after the status line."""

    code, retryable = "upstream_disconnected", True
    public = "The connection to the language model broke. Please try again."


class UpstreamTruncated(UpstreamError):
    """The body ended properly, without a finish reason."""

    code, retryable = "upstream_truncated", True
    public = "The answer was cut off. Please try again."


class UpstreamBadResponse(UpstreamError):
    """Not the protocol: HTML, plain JSON, broken JSON or UTF-8, a redirect."""

    code, retryable = "upstream_bad_response", True
    public = "The language model sent something that is not an answer. Please try again."


class Unusable(UpstreamError):
    """A call that went well, whose answer is not of the structure that was asked for."""


class UnusableOutput(Unusable, UpstreamBadResponse):
    """Of another structure."""


class CutOutput(Unusable, UpstreamTruncated):
    """Cut short by the model's own limit."""


class AnswerTooLarge(ChatError):
    """The answer outgrew SLUICE_MAX_ANSWER_BYTES."""

    code, retryable = "answer_too_large", False
    public = "The answer became too long."


class DeadlineExceeded(ChatError):
    """The job outlived SLUICE_TOTAL_TIMEOUT."""

    code = "deadline_exceeded"
    public = "The answer took too long. Please try again."


class PipelineError(ChatError):
    """A node raised, or the graph ended without an answer."""

    code, retryable = "pipeline_error", False
    public = "The answer could not be made."


class AsksHuman(PipelineError):
    """A node waits for a human, and what it knows cannot be kept until the answer."""


class StateLost(PipelineError):
    """What the chat's graph knew is not where it was kept."""

    public = "What was known in this chat is lost. Please start a new one."


class AskerGone(PipelineError):
    """The graph was changed while a human was asked, and what asked is not in it any more."""


class Declined(PipelineError):
    """A human was asked whether the graph may go on, and said no."""

    public = "The answer was stopped, because going on was declined."


class WorkerLost(ChatError):
    """The process that ran the job is gone, and its attempts are used up."""

    code = "worker_lost"
    public = "The answer was interrupted. Please try again."


class StreamLost(ChatError):
    """The store lost part of the job's log."""

    code = "stream_lost"
    public = "Part of the answer was lost. Please try again."


class Internal(ChatError):
    """Everything nobody foresaw; the log has the traceback under the request's id."""


class NotFound(Exception):
    """Never existed, is over, or belongs to somebody else: nobody may learn which."""


class Finished(Exception):
    """The log has ended: there is nothing left to follow, or to write."""


class Conflict(Exception):
    """The request contradicts what is there. The text is public."""


class Outdated(Exception):
    """What the request would change has been changed since it was read."""


class Expired(Exception):
    """It came too late: what it was for does not wait any more."""


class Refused(Exception):
    """A value that is not what was asked for: which `field` of it, and why. Both are public."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field = field


class LimitReached(Exception):
    """A bound is reached. `per_user` says whose: the user's own, or the service's."""

    def __init__(self, what: str, *, per_user: bool, retry_after: int = 1) -> None:
        super().__init__(what)
        self.per_user, self.retry_after = per_user, retry_after


class Unavailable(Exception):
    """A store cannot be reached, or the service is draining: it will pass."""


class Abandoned(Exception):
    """The job was given up before anybody was told of it, for good: there can only be another."""


class Superseded(Exception):
    """The log has ended or belongs to a later attempt: this writer must stop, silently."""
