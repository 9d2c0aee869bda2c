"""`sluice rollout`: the share of users who take A2, looked at and turned from a shell."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice.interfaces.cli.rollout_lines import arm_lines, guard_lines, plan_lines, shadow_lines
from sluice.interfaces.cli.shared import Url, service_at

if TYPE_CHECKING:
    import httpx2

rollout = typer.Typer(
    help="Look at the share of users who take A2, and turn it while the service runs.",
    no_args_is_help=True,
    add_completion=False,
)

Token = Annotated[str | None, typer.Option(envvar="SLUICE_TOKEN", help="Says who you are.")]
User = Annotated[str | None, typer.Option(help="Says who you are where a proxy is trusted.")]
Why = Annotated[str | None, typer.Option(help="Kept with the change.")]
_TIMEOUT_SECONDS = 10
_SOURCES = {"env": "the environment", "control": "an operator"}


@rollout.command()
def status(url: Url = None, token: Token = None, user: User = None) -> None:
    """Show the share in force and who set it, both arms' figures, and what the guard and shadows
    saw."""
    with _service(url, token, user) as service:
        body = _asked(service, "GET").json()
    parts = (plan_lines, arm_lines, guard_lines, shadow_lines)
    print("\n".join([_line(body), *(line for part in parts for line in part(body))]))


@rollout.command(name="set")
def set_share(
    share: Annotated[str, typer.Argument(help="From 0% to 100%.")],
    why: Why = None,
    url: Url = None,
    token: Token = None,
    user: User = None,
) -> None:
    """Set the share, at every gateway within two seconds."""
    from sluice.domain.rollout import Share

    try:
        percent = Share.parse(share if share.endswith("%") else f"{share}%").percent
    except ValueError:
        raise _failed(f"{share} is no share from 0% to 100%") from None
    with _service(url, token, user) as service:
        _change(service, {"share": percent}, why)


@rollout.command()
def clear(why: Why = None, url: Url = None, token: Token = None, user: User = None) -> None:
    """Give the share back to the flag provider, or to the environment."""
    with _service(url, token, user) as service:
        _change(service, {"share": None}, why)


@rollout.command()
def start(
    plan: Annotated[Path, typer.Argument(help="A TOML file: see docs/rollout.md.")],
    why: Why = None,
    url: Url = None,
    token: Token = None,
    user: User = None,
) -> None:
    """Start a rollout by a plan: the guard promotes, holds or steps back from then on."""
    import tomllib

    from sluice.domain.guard.plan import Plan

    try:
        given = tomllib.loads(plan.read_text())
        Plan.parse(given)
    except (OSError, UnicodeError) as error:
        raise _failed(f"{plan}: {getattr(error, 'strerror', None) or 'is no text'}") from None
    except ValueError as error:  # also of what is no TOML
        raise _failed(f"{plan}: {error}") from None
    with _service(url, token, user) as service:
        _change(service, {"plan": given}, why)


@rollout.command()
def hold(why: Why = None, url: Url = None, token: Token = None, user: User = None) -> None:
    """Promote no step for now; the guard still steps back."""
    with _service(url, token, user) as service:
        _change(service, {"state": "held"}, why)


@rollout.command()
def resume(why: Why = None, url: Url = None, token: Token = None, user: User = None) -> None:
    """Let the guard promote again."""
    with _service(url, token, user) as service:
        _change(service, {"state": "running"}, why)


@rollout.command()
def stop(why: Why = None, url: Url = None, token: Token = None, user: User = None) -> None:
    """End the plan: the share stays, and the guard does nothing more."""
    with _service(url, token, user) as service:
        _change(service, {"state": "stopped"}, why)


@rollout.command()
def history(
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    url: Url = None,
    token: Token = None,
    user: User = None,
) -> None:
    """Show who changed the share, when, from what to what, and why; the newest first."""
    with _service(url, token, user) as service:
        changes = _asked(service, "GET", params={"limit": limit}).json()["history"]
    if changes is None:
        raise _failed("the store of the changes is away")
    for one in changes:
        to = "given back" if one["to"] is None else f"{one['to']:g} %"
        when = f"{one['at'][:19]}Z"
        told = (str(one["number"]), when, one["by"], f"{one['from']:g} % -> {to}", one["why"] or "")
        print("  ".join(told).rstrip())


@rollout.command()
def export(
    form: Annotated[str, typer.Option("--format", help="jsonl or csv.")] = "jsonl",
    of: Annotated[str | None, typer.Option("--rollout", help="Of that one only.")] = None,
    url: Url = None,
    token: Token = None,
    user: User = None,
) -> None:
    """Print how each job went, as JSON Lines or CSV."""
    import httpx2

    params = {"format": form} | ({} if of is None else {"rollout": of})
    with (
        _service(url, token, user) as service,
        service.stream("GET", "/api/v1/rollout/outcomes", params=params) as answer,
    ):
        try:
            if answer.status_code != 200:
                answer.read()
                raise _refused(service, answer)
            for part in answer.iter_raw():
                sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()
        except httpx2.HTTPError:
            raise _failed("the export was cut off") from None


def _service(url: str | None, token: str | None, user: str | None) -> "httpx2.Client":
    import httpx2

    headers = {}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if user is not None:
        headers["X-User-ID"] = user
    try:
        return httpx2.Client(base_url=service_at(url), headers=headers, timeout=_TIMEOUT_SECONDS)
    except (httpx2.InvalidURL, UnicodeError):
        raise _failed("--url or --user holds what cannot be sent") from None


def _change(service: "httpx2.Client", change: dict[str, Any], why: str | None) -> None:
    """What was there when it was asked is what is replaced."""
    read = _asked(service, "GET")
    if "ETag" not in read.headers:
        raise _failed("the store of the changes is away")
    body = change | ({} if why is None else {"why": why})
    changed = _asked(service, "PUT", json=body, headers={"If-Match": read.headers["ETag"]})
    print("\n".join([_line(changed.json()), *plan_lines(changed.json())]))


def _asked(service: "httpx2.Client", method: str, **request: Any) -> "httpx2.Response":
    import httpx2

    try:
        answer = service.request(method, "/api/v1/rollout", **request)
    except httpx2.HTTPError:
        raise _failed(f"{service.base_url} does not answer") from None
    if answer.status_code == 200:
        return answer
    raise _refused(service, answer)


def _refused(service: "httpx2.Client", answer: "httpx2.Response") -> typer.Exit:
    if answer.status_code == 404:
        return _failed("the service has no rollout for you: SLUICE_ADMINS names who may turn it")
    try:
        told = answer.json()["detail"]
    except (ValueError, TypeError, KeyError):
        told = f"{service.base_url} answered {answer.status_code}"
    return _failed(told)


def _line(body: Any) -> str:
    who = _SOURCES.get(body["source"], body["source"])
    if body["plan"] is not None:
        who = "a plan"
    stale = ", who cannot be asked now" if body["reason"] == "stale" else ""
    environment = "" if body["source"] == "env" else f" (environment: {body['environment']})"
    return f"{body['share']:g} % of users take A2, set by {who}{stale}{environment}"


def _failed(why: str) -> typer.Exit:
    """Tells it in one line."""
    typer.echo(f"sluice: {why}", err=True)
    return typer.Exit(1)
