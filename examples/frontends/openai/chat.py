"""OpenAI's client for Python at Sluice: `pip install openai`, then `python chat.py`."""

import os
import sys

from openai import APIConnectionError, OpenAI

client = OpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "none"),
)


def complete(question: str) -> None:
    """Chat completions: the answer, piece by piece. There is no way back."""
    messages = [{"role": "user", "content": question}]
    finished = None
    for chunk in client.chat.completions.create(model="sluice", messages=messages, stream=True):  # type: ignore[arg-type]
        sys.stdout.write(chunk.choices[0].delta.content or "")
        finished = chunk.choices[0].finish_reason
    sys.stdout.write("\n")
    if finished is None:
        raise SystemExit("the answer was cut")


def respond(question: str) -> str:
    """Responses: the same, and whoever is cut goes on where it was."""
    response = client.responses.create(model="sluice", input=question, background=True)
    seen: int | None = None
    while True:
        try:
            after = {} if seen is None else {"starting_after": seen}
            for event in client.responses.retrieve(response.id, stream=True, **after):
                seen = event.sequence_number
                if event.type in ("response.completed", "response.failed", "response.incomplete"):
                    return event.response.output_text
        except APIConnectionError:
            continue


if __name__ == "__main__":
    complete("How do I resume a stream?")
    sys.stdout.write(respond("Which setting bounds the queue?") + "\n")
