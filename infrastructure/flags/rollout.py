"""`enable_token_streaming`: on, off, or a share of users, who keep their path while it grows."""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import uuid4

from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

from sluice.domain.chat import ExecutionPath

FLAG = "enable_token_streaming"
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)%", re.ASCII)
_WORDS = {"true": 100, "on": 100, "1": 100, "false": 0, "off": 0, "0": 0}


@dataclass(frozen=True, slots=True)
class Share:
    """Percent of the targeting keys that take A2."""

    percent: float

    @classmethod
    def parse(cls, text: object) -> "Share":
        if isinstance(text, Share):
            return text
        word = str(text).strip().lower()
        if word in _WORDS:
            return cls(_WORDS[word])
        match = _PERCENT.fullmatch(word)
        if match is None or float(match[1]) > 100:
            raise ValueError("is true, false, or a share from 0% to 100%")
        return cls(float(match[1]))

    def holds(self, key: str) -> bool:
        """The same for the same key; a key within a share is within every larger one."""
        drawn = int.from_bytes(sha256(f"{FLAG}:{key}".encode()).digest()[:8])
        return drawn < self.percent / 100 * 2**64


class OpenFeatureFlag:
    """FlagPort over OpenFeature, whose provider is the environment's share."""

    def __init__(self, share: Share) -> None:
        domain = f"sluice-{uuid4()}"
        api.set_provider_and_wait(InMemoryProvider({FLAG: _flag(share)}), domain)
        self._client = api.get_client(domain)

    async def path(self, key: str) -> ExecutionPath:
        context = EvaluationContext(targeting_key=key)
        streams = await self._client.get_boolean_value_async(FLAG, False, context)
        return "A2" if streams else "A1"


def _flag(share: Share) -> InMemoryFlag[bool]:
    def drawn(_flag: InMemoryFlag[bool], context: EvaluationContext) -> Any:
        streams = share.holds(context.targeting_key or "")
        return FlagResolutionDetails(
            value=streams, reason=Reason.SPLIT, variant="on" if streams else "off"
        )

    return InMemoryFlag("on", {"on": True, "off": False}, context_evaluator=drawn)
