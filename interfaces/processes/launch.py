"""What every command does before its process runs, and around it."""

import errno
import gc
import logging
import os
import socket
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.infrastructure.settings import (
    Settings,
    SqliteStore,
    StoreAddress,
    WrongSetting,
    misspelt,
)
from sluice.infrastructure.telemetry.logs import configure_logs
from sluice.interfaces.processes.lifetime import ExitDeadline, run_to_exit

if TYPE_CHECKING:
    from sluice.interfaces.processes.http_service import HttpService

logger = logging.getLogger(__name__)


def run(settings: Settings, work: Callable[[ExitDeadline], Coroutine[Any, Any, None]]) -> None:
    """Runs the process to its end. Raises WrongSetting, and SystemExit for an early SIGTERM."""
    configure_logs(settings.log_level, settings.log_format)
    for line in misspelt(os.environ):
        logger.warning(line)
    sys.path.insert(0, str(Path.cwd()))
    exit_by = ExitDeadline(settings.shutdown_grace)
    run_to_exit(settings, work(exit_by), exit_by)


def service_of(settings: Settings, stack: ExitStack) -> "AbstractAsyncContextManager[HttpService]":
    """Imported late: a wrong setting or a taken port is told before the libraries load."""
    if settings.distributed:
        from sluice.interfaces.processes.gateway import gateway

        return gateway(settings)
    offline_url = offline_model(settings, stack)
    from sluice.interfaces.processes.embedded import embedded

    return embedded(settings, offline_url)


def offline_model(settings: Settings, stack: ExitStack) -> str | None:
    """Starts the bundled model if nobody named another, and says where it listens."""
    if not settings.offline:
        return None
    from sluice.offline_model import MODEL_ID, OfflineModelThread

    thread = OfflineModelThread()
    url = thread.start()
    stack.callback(thread.stop)
    # A graph that calls the SDK by itself shall find the same model.
    os.environ |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "offline"}
    os.environ.setdefault("OPENAI_MODEL", MODEL_ID)
    return url


async def check_store(store: StoreAddress) -> None:
    """Tells of a file that cannot be used before the libraries load, which takes seconds."""
    if not isinstance(store, SqliteStore):
        return
    from sluice.infrastructure.sqlite.database import SqliteDatabase

    database = SqliteDatabase(store.path)
    try:
        await database.open()
    except ValueError as error:
        raise WrongSetting(f"SLUICE_STORE: {error}") from error
    await database.aclose()


def listen(host: str, port: int) -> socket.socket:
    """Bound before anything else, so that a taken port is told at once. Raises WrongSetting."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except UnicodeError as error:
        raise WrongSetting(f"SLUICE_HOST: {host} is no name of a host") from error
    except OSError as error:
        not_ours = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        name = "SLUICE_HOST" if not_ours else "SLUICE_PORT"
        raise WrongSetting(f"{name}: {host}:{port}: {error.strerror}") from error
    listener.listen(2048)
    return listener


def settle_collector() -> None:
    """What is loaded now stays: the collector need not walk it again at every few tokens.

    It stops all streams while it walks what is new, half a microsecond an object and more: seldom
    and long costs as much as often and short, and shows in the tokens' lag.
    """
    gc.collect()  # a fourteenth of the start, and 3 KiB less of each stream
    gc.freeze()
    gc.set_threshold(5_000, 200, 100)
    gc.enable()
