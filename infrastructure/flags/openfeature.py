"""The share that an OpenFeature provider holds: the number flag `sluice_token_streaming_percent`.

It is asked for a number and never for a user, so that Sluice draws the users itself and moving
to another provider moves nobody. A thread of its own asks: providers block, and the event loop's
threads are the users' nodes'.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.exception import ErrorCode, OpenFeatureError
from openfeature.flag_evaluation import FlagEvaluationDetails, Reason
from openfeature.provider import FeatureProvider, ProviderStatus

from sluice.domain.rollout import Flag, Source

logger = logging.getLogger(__name__)

PERCENT = "sluice_token_streaming_percent"
_POLL_SECONDS = 0.8
_START_SECONDS = 5.0
_ANSWER_SECONDS = 1.0
_NOTHING = -1
"""What is returned where there is no such flag: no percentage."""


class ProviderShare:
    """A ShareSource. A provider that is lost keeps the last share that it gave."""

    def __init__(
        self,
        source: Source,
        provider: Callable[[], FeatureProvider],
        *,
        poll: float = _POLL_SECONDS,
    ) -> None:
        """`provider` makes it, in the thread that asks it."""
        self._source, self._make, self._poll = source, provider, poll
        self._flag: Flag | None = None
        self._told_missing = False
        self._closing = threading.Event()

    @property
    def flag(self) -> Flag | None:
        """None until it has answered once."""
        return self._flag

    async def known(self) -> None:
        """It was waited for at the start."""

    async def open(self) -> None:
        """Returns with its first answer, or without one after five seconds."""
        # It would print a traceback for every answer that does not come.
        logging.getLogger("openfeature").setLevel(logging.CRITICAL)
        loop, answered = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(answered.set)

        asking = threading.Thread(target=self._ask_on, args=[tell], name="flags", daemon=True)
        asking.start()
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                await answered.wait()
        if self._flag is None:
            logger.warning("%s does not say %s: the environment does", self._source, PERCENT)
            self._told_missing = True

    def close(self) -> None:
        """Its thread ends by itself, as soon as the provider answers or gives up."""
        self._closing.set()

    def _ask_on(self, answered: Callable[[], None]) -> None:
        domain, provider = f"sluice-{uuid4()}", self._make()
        try:
            with suppress(OpenFeatureError):  # it may answer later
                api.set_provider_and_wait(provider, domain)
            client = api.get_client(domain)
            while not self._closing.is_set():
                self._note(_percent(client))
                if self._flag is not None:
                    answered()
                self._closing.wait(self._poll)
        finally:
            provider.shutdown()

    def _note(self, percent: float | None) -> None:
        """Tells the operator when it is lost, and when it is there after they were told so."""
        if percent is not None:
            if self._told_missing:
                logger.warning("%s says %s: its share is in force", self._source, PERCENT)
            self._told_missing = False
            self._flag = Flag(percent, "split", self._source)
        elif self._flag is not None:
            if not self._told_missing:
                logger.warning("%s no longer says %s: its last share stays", self._source, PERCENT)
            self._told_missing = True
            self._flag = replace(self._flag, reason="stale")


def _percent(client: OpenFeatureClient) -> float | None:
    """None for anything that is not a number from 0 to 100, said now."""
    told: FlagEvaluationDetails[Any] = client.get_float_details(PERCENT, float(_NOTHING))
    if told.error_code == ErrorCode.TYPE_MISMATCH:  # 25 is an integer in JSON, 25.0 is none
        told = client.get_integer_details(PERCENT, _NOTHING)
    # After its file is gone flagd's provider goes on saying what was in it.
    ready = client.get_provider_status() == ProviderStatus.READY
    said = told.error_code is None and told.reason != Reason.DISABLED
    if not said or not ready or not 0 <= told.value <= 100 or _is_boolean(client, told.value):
        return None
    return float(told.value)


def _is_boolean(client: OpenFeatureClient, value: float) -> bool:
    """Some providers give 1 for `true`, which is everybody for whoever wrote it and not 1 %."""
    return value in (0, 1) and client.get_boolean_details(PERCENT, False).error_code is None


def flagd_file(path: str) -> FeatureProvider:
    """A file of flag definitions, as flagd reads them; looked at every second."""
    from openfeature.contrib.provider.flagd import FlagdProvider
    from openfeature.contrib.provider.flagd.config import ResolverType

    return FlagdProvider(
        resolver_type=ResolverType.FILE,
        offline_flag_source_path=path,
        deadline_ms=int(1000 * _ANSWER_SECONDS),
    )


def flagd_server(host: str, port: int) -> FeatureProvider:
    """Without the provider's cache: what it says shall be what the server says now."""
    from openfeature.contrib.provider.flagd import FlagdProvider
    from openfeature.contrib.provider.flagd.config import CacheType, ResolverType

    return FlagdProvider(
        host=host,
        port=port,
        resolver_type=ResolverType.RPC,
        cache=CacheType.DISABLED,
        deadline_ms=int(1000 * _ANSWER_SECONDS),
        retry_backoff_max_ms=1000,
    )


def ofrep(url: str) -> FeatureProvider:
    """The OpenFeature Remote Evaluation Protocol, over HTTP."""
    from openfeature.contrib.provider.ofrep import OFREPProvider

    return OFREPProvider(url, timeout=_ANSWER_SECONDS)
