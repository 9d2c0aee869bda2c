"""An upstream that says something else in every call, keeps a ledger of it, and often fails."""

from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from sluice.offline_model import Fault, Gate, OfflineModel, RawAnswer, Reply
from sluice.offline_model.breaking import broken

PROTOCOL = ["\n", "data: x\n\n", "event: done\n", "한\r\n"]
WORDS = ["무색 ", "페트병은", " 👩‍👩‍👧‍👦", "red ", "é", "“…” ", *PROTOCOL]
FAULTS = [
    Fault.SERVER_ERROR,
    Fault.RATE_LIMITED_BRIEFLY,
    Fault.UNAUTHORIZED,
    Fault.RESET_BEFORE_ANSWER,
    Fault.HANG_BEFORE_STATUS,
    Fault.HANG_MID_STREAM,
    Fault.RESET_MID_STREAM,
    Fault.CUT_MID_CHUNK,
    Fault.PROPER_END_HALF_WAY,
    Fault.MALFORMED_JSON,
    Fault.ERROR_CHUNK,
    Fault.HTML_WITH_200,
]
FAULTY = 0.15
LONG = 0.03
"""So many have more entries in Redis than are read at once."""


_ASKED = "hello, job "


def question(number: int) -> str:
    """By the offline model's rules a greeting: no documents are looked up for it."""
    return f"{_ASKED}{number}"


def number_of(question: str) -> int:
    return int(question.removeprefix(_ASKED))


class _Sent(Gate):
    """Stands behind each piece, holds nothing, and counts."""

    count = 0

    async def hold(self) -> None:
        self.count += 1


class ChaosModel(OfflineModel):
    """`told` gets each answering call: whose it is, what it says, and how it fails.

    Whoever offers a tool is asked to call it with the question, which is then its result.
    """

    def __init__(self, seed: int, told: Callable[..., None]) -> None:
        super().__init__(pace=0)
        self.seed, self._told = seed, told
        self._calls: Counter[int] = Counter()
        self._sent: dict[tuple[int, int], _Sent] = {}

    def _reply_to(self, body: Mapping[str, Any]) -> Reply | RawAnswer:
        asked = body["messages"][-1]["content"]
        if "response_format" in body or not str(asked).startswith(_ASKED):
            return super()._reply_to(body)
        if body.get("tools") and body["messages"][-1]["role"] == "user":
            return Reply.calling(body["tools"][0]["function"]["name"], {"question": asked})
        number = number_of(asked)
        self._calls[number] += 1
        call = self._calls[number]
        rng = Random(f"{self.seed} {number} {call}")
        long = rng.random() < LONG
        count = 700 if long else rng.randint(3, 150)
        pieces = [f"[{number}.{call}] ", *rng.choices(WORDS, k=count)]
        sent = self._sent[number, call] = _Sent()
        steps = [step for piece in pieces for step in (piece, sent)]
        reply = Reply(steps, pace=0.01 if long else rng.choice([0, 0.005, 0.02]))
        fault = rng.choice(FAULTS) if rng.random() < FAULTY else None
        self._told(
            "said",
            number=number,
            call=call,
            text="".join(pieces),
            fault=fault.value if fault else None,
        )
        return broken(reply, fault) if fault else reply

    def tell_sent(self) -> None:
        """How many pieces left in each call: not all, when the other side went."""
        for (number, call), sent in self._sent.items():
            self._told("sent", number=number, call=call, pieces=sent.count)
