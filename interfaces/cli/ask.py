"""`sluice ask` and `sluice watch`: a question at a terminal, and a job that is there."""

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from sluice.interfaces.cli.shared import Url, service_at

if TYPE_CHECKING:
    from sluice.interfaces.cli.display import Display
    from sluice.interfaces.client.blocking import Client
    from sluice.interfaces.client.requests import Job

_FAILED, _INTERRUPTED = 1, 130

Token = Annotated[
    str | None, typer.Option(envvar="SLUICE_TOKEN", help="A bearer token that says who asks.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")]


def ask(
    question: Annotated[str, typer.Argument(help="What is asked.")],
    chat: Annotated[str | None, typer.Option(help="The chat to go on in.")] = None,
    model: Annotated[str | None, typer.Option(help="One that the service offers.")] = None,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Ask, and watch the answer come; Ctrl-C cancels it."""
    with _service(url, token) as client:
        _watch(client, client.submit(question, chat_id=chat, model=model), as_json=as_json)


def watch(
    job: Annotated[str, typer.Argument(help="The job's id.")],
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Watch a job, from its beginning to its end; Ctrl-C cancels it."""
    with _service(url, token) as client:
        _watch(client, job, as_json=as_json)


def answer(
    job: Annotated[str, typer.Argument(help="The job's id.")],
    input_id: Annotated[str, typer.Argument(help="The question's id.")],
    value: Annotated[str, typer.Argument(help="JSON; any other text stands for itself.")],
    url: Url = None,
    token: Token = None,
) -> None:
    """Answer what a waiting job asks."""
    with _service(url, token) as client:
        client.give_input(job, input_id, _value_of(value))


@contextmanager
def _service(url: str | None, token: str | None) -> "Iterator[Client]":
    """What the client raises is told in one line."""
    from sluice.interfaces.client.blocking import Client
    from sluice.interfaces.client.errors import ClientError, Unreachable

    at = service_at(url)
    if token is not None and not token.isascii():
        _fail("--token holds what cannot be sent")
    try:
        with Client(at, token=token) as client:
            yield client
    except Unreachable as error:
        _fail(f"{error}: {at}")
    except ClientError as error:
        _fail(str(error))


def _value_of(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _watch(client: "Client", job: "Job | str", *, as_json: bool) -> None:
    """Raises Exit for an end that is no answer."""
    from sluice.interfaces.cli.asking import Questions, at_terminal

    try:
        with _display(as_json=as_json) as display, closing(client.follow(job)) as events:
            questions = Questions(client, display, None if as_json else at_terminal())
            for received in events:
                display.show(received)
                questions.take(received)
    except KeyboardInterrupt:
        client.cancel(job)
        _fail("the answer was cancelled", _INTERRUPTED)
    if display.trouble is not None:
        _fail(display.trouble)


def _display(*, as_json: bool) -> "Display":
    from sluice.interfaces.cli import display

    if as_json:
        return display.JsonLines()
    return display.Terminal() if sys.stdout.isatty() else display.WholeAnswer()


def _fail(why: str, status: int = _FAILED) -> NoReturn:
    print(f"sluice: {why}", file=sys.stderr)
    raise typer.Exit(status) from None
