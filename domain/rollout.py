"""The rollout of token streaming: which share of the users takes A2, and who said so."""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

FLAG = "enable_token_streaming"
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)%", re.ASCII)
_WORDS = {"true": 100, "on": 100, "1": 100, "false": 0, "off": 0, "0": 0}

Reason = Literal["static", "split", "control", "header", "stale"]
"""Why a job took its path.

`static`: the environment says on or off. `split`: drawn by the percentage of the environment or of
a flag provider. `control`: drawn by the share that an operator set at run time. `header`: the
request chose. `stale`: drawn by the last share known, whose source cannot be asked now.
"""
Source = Literal["env", "control", "flagd", "ofrep"]


@dataclass(frozen=True, slots=True)
class Share:
    """Percent of the targeting keys that take A2. One that is `fixed` is replaced by nothing."""

    percent: float
    fixed: bool = False

    @classmethod
    def parse(cls, text: object) -> "Share":
        """`true` and `false`, which are fixed, or a percentage. Raises ValueError."""
        if isinstance(text, Share):
            return text
        word = str(text).strip().lower()
        if word in _WORDS:
            return cls(_WORDS[word], fixed=True)
        match = _PERCENT.fullmatch(word)
        if match is None or float(match[1]) > 100:
            raise ValueError("is true, false, or a share from 0% to 100%")
        return cls(float(match[1]))

    def holds(self, key: str) -> bool:
        """The same for the same key; a key within a share is within every larger one."""
        drawn = int.from_bytes(sha256(f"{FLAG}:{key}".encode()).digest()[:8])
        return drawn < self.percent / 100 * 2**64


@dataclass(frozen=True, slots=True)
class Flag:
    """The share in force, in percent, and why it is; of a job, when it was submitted.

    `rollout` is the campaign that the share belongs to: there is one only of `control`. `by_chat`:
    a job's path was drawn by its chat, and not by its user.
    """

    share: float
    reason: Reason
    source: Source
    rollout: str | None = None
    by_chat: bool = False
