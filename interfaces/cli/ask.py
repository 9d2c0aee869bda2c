"""`sluice ask` and `sluice watch`: a question at a terminal, and a job that is there."""

import json
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sluice.interfaces.cli.display import Display
    from sluice.interfaces.client.blocking import Client
    from sluice.interfaces.client.requests import Job

_FAILED, _INTERRUPTED = 1, 130

Url = Annotated[str, typer.Option(envvar="SLUICE_URL", help="Where the service is.")]
Token = Annotated[
    str | None, typer.Option(envvar="SLUICE_TOKEN", help="A bearer token that says who asks.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")]

_HERE = "http://127.0.0.1:8000"


def ask(
    question: Annotated[str, typer.Argument(help="What is asked.")],
    chat: Annotated[str | None, typer.Option(help="The chat to go on in.")] = None,
    model: Annotated[str | None, typer.Option(help="One that the service offers.")] = None,
    url: Url = _HERE,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Ask, and watch the answer come; Ctrl-C cancels it."""
    from sluice.interfaces.client.blocking import Client
    from sluice.interfaces.client.errors import ClientError

    try:
        with Client(url, token=token) as client:
            job = client.submit(question, chat_id=chat, model=model)
            _watch(client, job, as_json=as_json)
    except ClientError as error:
        _fail(str(error))


def watch(
    job: Annotated[str, typer.Argument(help="The job's id.")],
    url: Url = _HERE,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Watch a job, from its beginning to its end; Ctrl-C cancels it."""
    from sluice.interfaces.client.blocking import Client
    from sluice.interfaces.client.errors import ClientError

    try:
        with Client(url, token=token) as client:
            _watch(client, job, as_json=as_json)
    except ClientError as error:
        _fail(str(error))


def answer(
    job: Annotated[str, typer.Argument(help="The job's id.")],
    input_id: Annotated[str, typer.Argument(help="The question's id.")],
    value: Annotated[str, typer.Argument(help="JSON; any other text stands for itself.")],
    url: Url = _HERE,
    token: Token = None,
) -> None:
    """Answer what a waiting job asks."""
    from sluice.interfaces.client.blocking import Client
    from sluice.interfaces.client.errors import ClientError

    try:
        with Client(url, token=token) as client:
            client.give_input(job, input_id, _value_of(value))
    except ClientError as error:
        _fail(str(error))


def _value_of(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _watch(client: "Client", job: "Job | str", *, as_json: bool) -> None:
    """Raises ClientError, and Exit for an end that is no answer."""
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


def _fail(why: str, status: int = _FAILED) -> None:
    print(f"sluice: {why}", file=sys.stderr)
    raise typer.Exit(status) from None
