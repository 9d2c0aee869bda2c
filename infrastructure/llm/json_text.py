"""The JSON in what a model said: behind its thinking, in a code fence, amid prose."""

import json
import re
from collections.abc import Iterator

_THINKING = re.compile(
    r"<(think|thinking|thought|reasoning)>.*?</\1>|\A.*?</(?:think|thinking|thought|reasoning)>",
    re.DOTALL | re.IGNORECASE,
)
"""Some servers leave the opening tag out."""
_FENCE = re.compile(r"```[\w-]*[ \t]*\n?(.*?)```", re.DOTALL)
_decode = json.JSONDecoder().raw_decode


def json_texts(text: str) -> Iterator[str]:
    """The texts that may be what was asked for, the most probable first: the whole, what is left
    without thinking, code fences, and of objects in prose the last, to which a draft led.
    """
    yield text
    said = _THINKING.sub("", text).strip().removeprefix("\ufeff")
    yield said
    yield from (fenced.strip() for fenced in reversed(_FENCE.findall(said)))
    yield from reversed(list(_objects(said)))


def holds_json(text: str) -> bool:
    """Whether the model tried: prose without any JSON was not meant as an answer in JSON."""
    said = _THINKING.sub("", text).strip()
    return "{" in said or said.startswith(("[", '"'))


def _objects(text: str) -> Iterator[str]:
    start = text.find("{")
    while start >= 0:
        try:
            _, end = _decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            yield text[start:end]
        start = text.find("{", end)
