"""`sluice model`."""

from contextlib import suppress
from typing import Annotated

import typer

from sluice.interfaces.cli.shared import refusals


def model(
    port: Annotated[int, typer.Option(help="Where to listen; 0 takes a free port.")] = 8001,
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    pace: Annotated[float, typer.Option(help="Seconds between tokens; 0 for none.")] = 0.03,
    fault: Annotated[str | None, typer.Option(help="A way for every answer to fail.")] = None,
) -> None:
    """Run the offline model alone: a small OpenAI-compatible server."""
    import asyncio

    with refusals(), suppress(KeyboardInterrupt):
        asyncio.run(_answer(host, port, pace, fault))


async def _answer(host: str, port: int, pace: float, fault: str | None) -> None:
    """Until interrupted. Raises WrongSetting."""
    import asyncio

    from sluice.infrastructure.settings import WrongSetting
    from sluice.offline_model.faults import Fault
    from sluice.offline_model.server import OfflineModel

    names = [each.value for each in Fault]
    if fault and fault not in names:
        raise WrongSetting(f"--fault: {fault} is none of {', '.join(names)}")
    try:
        model = OfflineModel(pace=pace, fault=Fault(fault) if fault else None)
        base_url = await model.start(host, port)
    except OSError as error:
        raise WrongSetting(f"--port: {host}:{port}: {error.strerror}") from error
    except ValueError as error:
        raise WrongSetting(str(error)) from error
    print(f"The offline model listens: OPENAI_BASE_URL={base_url}", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await model.aclose()
