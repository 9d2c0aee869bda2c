"""What an upstream's HTTP status is called in the domain, whoever's client asked."""

from sluice.domain import errors


def of_status(status: int) -> errors.UpstreamError:
    said = f"status {status}"
    match status:
        case 401 | 403:
            return errors.UpstreamAuth(said)
        case 429:
            return errors.UpstreamRateLimited(said)
        case _ if status >= 500:
            return errors.UpstreamUnavailable(said)
        case _ if status >= 400:
            return errors.UpstreamError(said)
        case _:
            return errors.UpstreamBadResponse(said)
