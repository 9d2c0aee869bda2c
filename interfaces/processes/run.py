"""Settings -> container -> app -> server: where everything is put together, and taken apart."""

import asyncio
import errno
import gc
import inspect
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.infrastructure.settings import Settings, WrongSetting, read_settings
from sluice.infrastructure.telemetry.logs import configure_logs, tell_loop_errors

if TYPE_CHECKING:
    from sluice.interfaces.processes.embedded import Service

_WRONG = 2
"""Exit status for what an operator has to mend."""

_CUT = 5
"""Seconds a connection may take to notice that its stream has ended, and a request that waits for
a frozen Redis to be told so: cut before that, it would be a 500."""


def run_server(**given: Any) -> int:
    """Serves until it is told to stop. Returns the exit status."""
    try:
        settings = _settings(**given)
        listener = _listen(settings.host, settings.port)
    except WrongSetting as error:
        return _refused(error)
    return _run(settings, _serve(settings, listener))


def run_worker(**given: Any) -> int:
    """Runs jobs until it is told to stop. Returns the exit status."""
    try:
        settings = _settings(worker=True, **given)
    except WrongSetting as error:
        return _refused(error)
    return _run(settings, _work(settings))


def _settings(*, worker: bool = False, **given: Any) -> Settings:
    settings = read_settings(worker=worker, **given)
    if worker and not settings.distributed:
        raise WrongSetting("SLUICE_STORE: workers and gateways share a Redis: redis://host")
    if settings.distributed:
        _require("SLUICE_STORE", "redis")
    if settings.database:
        _require("SLUICE_DATABASE", "psycopg", "psycopg_pool")
    _check_paths(settings)
    return settings


def _require(setting: str, *libraries: str) -> None:
    for name in libraries:
        if find_spec(name) is None:
            raise WrongSetting(f"{setting}: the extra `cluster` is not installed ({name})")


def _check_paths(settings: Settings) -> None:
    """What is not there is told before the libraries load that would read it."""
    if settings.documents is not None and not settings.documents.is_dir():
        raise WrongSetting(f"SLUICE_DOCUMENTS: {settings.documents} is no folder")
    keys = settings.jwt_jwks
    if settings.auth == "jwt" and keys and "://" not in keys and not Path(keys).is_file():
        raise WrongSetting(f"SLUICE_JWT_JWKS: {keys} is no file")


def _run(settings: Settings, work: Coroutine[Any, Any, None]) -> int:
    # Until there is anything to drain. Without a handler the first process of a container would
    # ignore the signal.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    configure_logs(settings.log_level, settings.log_format)
    sys.path.insert(0, str(Path.cwd()))
    gc.disable()  # what loads now stays: walking it again and again takes an eighth of the start
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(work)
        except WrongSetting as error:
            return _refused(error)
        finally:
            if inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
                work.close()  # the signal came before it had begun
    return 0


def run_model(host: str, port: int, pace: float, fault: str | None) -> int:
    """Runs the offline model alone, until interrupted. Returns the exit status."""
    from sluice.offline_model.faults import Fault
    from sluice.offline_model.server import OfflineModel

    async def serve() -> None:
        names = [each.value for each in Fault]
        if fault and fault not in names:
            raise WrongSetting(f"--fault: {fault} is none of {', '.join(names)}")
        model = OfflineModel(pace=pace, fault=Fault(fault) if fault else None)
        try:
            base_url = await model.start(host, port)
        except OSError as error:
            raise WrongSetting(f"--port: {host}:{port}: {error.strerror}") from error
        print(f"The offline model listens: OPENAI_BASE_URL={base_url}", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            await model.aclose()

    try:
        asyncio.run(serve())
    except (WrongSetting, ValueError) as error:
        return _refused(error)
    except KeyboardInterrupt:
        pass
    return 0


async def _serve(settings: Settings, listener: socket.socket) -> None:
    asyncio.get_running_loop().set_exception_handler(tell_loop_errors)
    async with AsyncExitStack() as stack:
        await _check_store(settings.store)
        service = _service(settings, stack)
        await stack.enter_async_context(service)
        server = service.server(listener, cut=_CUT)
        _settle_collector()
        print(_banner(settings, listener), flush=True)
        await server.serve([listener])


async def _check_store(store: str) -> None:
    """Tells of a file that cannot be used before the libraries load, which takes seconds."""
    if not store.startswith("sqlite:///"):
        return
    from sluice.infrastructure.sqlite.database import Database

    database = Database(Path(store.removeprefix("sqlite:///")))
    try:
        await database.open()
    except ValueError as error:
        raise WrongSetting(f"SLUICE_STORE: {error}") from error
    await database.aclose()


def _service(settings: Settings, stack: AsyncExitStack) -> "Service":
    """Imported late: a wrong setting or a taken port is told before the libraries load."""
    if settings.distributed:
        from sluice.interfaces.processes.gateway import Gateway

        return Gateway(settings)
    from sluice.interfaces.processes.embedded import Service

    return Service(settings, _start_offline_model(stack) if settings.offline else None)


async def _work(settings: Settings) -> None:
    asyncio.get_running_loop().set_exception_handler(tell_loop_errors)
    async with AsyncExitStack() as stack:
        offline_url = _start_offline_model(stack) if settings.offline else None
        from sluice.interfaces.processes.worker import Worker

        worker = await stack.enter_async_context(Worker(settings, offline_url))
        _settle_collector()
        print(_worker_banner(settings, worker.metrics_port), flush=True)
        await worker.run()


def _start_offline_model(stack: AsyncExitStack) -> str:
    from sluice.offline_model import MODEL_ID, OfflineModelThread

    thread = OfflineModelThread()
    url = thread.start()
    stack.callback(thread.stop)
    # A graph that calls the SDK by itself shall find the same model.
    os.environ |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "offline"}
    os.environ.setdefault("OPENAI_MODEL", MODEL_ID)
    return url


def _listen(host: str, port: int) -> socket.socket:
    """Bound before anything else, so that a taken port is told at once."""
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


def _settle_collector() -> None:
    """What is loaded now stays: the collector need not walk it again at every few tokens."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    gc.enable()


def _banner(settings: Settings, listener: socket.socket) -> str:
    address = _address(*listener.getsockname()[:2])
    model = "" if settings.distributed else f"  model:           {_model(settings)}\n"
    share = settings.enable_token_streaming.percent
    return (
        f"Sluice serves at {address}\n"
        f"{model}"
        f"  token streaming: {share:g} % of users take A2\n"
        f"  store:           {settings.shown_store}"
    )


def _address(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _worker_banner(settings: Settings, metrics_port: int | None) -> str:
    metrics = "not shown (SLUICE_METRICS_PORT)"
    if metrics_port is not None:
        metrics = f"{_address(settings.host, metrics_port)}/metrics"
    return (
        f"Sluice works, {settings.max_running} jobs at once\n"
        f"  model:           {_model(settings)}\n"
        f"  store:           {settings.shown_store}\n"
        f"  metrics:         {metrics}"
    )


def _model(settings: Settings) -> str:
    if settings.offline:
        return "the bundled offline model (it quotes documents; set OPENAI_API_KEY for a real one)"
    return f"{settings.openai_model} at {settings.openai_base_url or 'api.openai.com'}"


def _refused(error: Exception) -> int:
    print(f"sluice: {error}", file=sys.stderr)
    return _WRONG
