"""One answer under one fault, as the wire shows it."""

from sluice.offline_model import Fault, OfflineModel, Reply

from .socket_client import QUESTION, STREAM, Seen, ask

PIECES = ["무색", " 페트병은", " 👩‍👩‍👧‍👦", " red", "."]
TEXT = "".join(PIECES)
HALF = "".join(PIECES[:3])


SILENT_AFTER = {
    Fault.HANG_BEFORE_STATUS: b"",
    Fault.HANG_AFTER_HEADERS: b"\r\n\r\n",
    Fault.HANG_MID_STREAM: "👦".encode(),
    Fault.KEPT_WARM: b": warm",
}


async def seen(model: OfflineModel, fault: Fault, *, stream: bool = True) -> Seen:
    model.script(Reply(PIECES, fault=fault))
    silent_after = SILENT_AFTER.get(fault)
    if stream:
        return await ask(model.base_url, STREAM, silent_after=silent_after)
    return await ask(model.base_url, QUESTION, silent_after=silent_after and b'{"id"')
