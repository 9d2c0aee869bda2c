"""Work that is repeated for as long as a process runs."""

import logging
from collections.abc import Awaitable
from contextlib import suppress

from sluice.application.tracebacks import format_traceback
from sluice.domain.errors import Unavailable

logger = logging.getLogger(__name__)


async def survives(work: Awaitable[None], what: str) -> bool:
    """False if it failed by what nobody foresaw, which is logged: it would end its task unseen.

    A store that is away is waited for, and is no failure.
    """
    try:
        with suppress(Unavailable):
            await work
    except Exception as error:  # noqa: BLE001 - nobody awaits the task that repeats it
        logger.error("%s failed: %s", what, format_traceback(error))
        return False
    return True
