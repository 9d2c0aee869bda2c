"""A client whose service is killed in the middle of an answer, and comes back."""

from contextlib import aclosing
from pathlib import Path

import httpx2

from sluice.client import AsyncClient, Backoff, Done, Reset, Token
from sluice.offline_model import Gate, OfflineModel, Reply
from tests.e2e.page import speaks
from tests.live.service import serving


async def test_an_answer_comes_whole_through_a_kill_of_its_service(
    tmp_path: Path, model: OfflineModel
) -> None:
    settings = {
        "OPENAI_BASE_URL": model.base_url,
        "OPENAI_API_KEY": "key",
        "OPENAI_MODEL": "m",
        "SLUICE_STORE": f"sqlite:///{tmp_path}/sluice.db",
    }
    model.script_when(speaks, Reply(["Half ", "lost."], gate=Gate(), hold_after=1))
    backoff = Backoff(first=0.05, longest=0.2, patience=40)
    async with (
        serving(tmp_path, **settings) as service,
        httpx2.AsyncClient(trust_env=False, timeout=10, verify=False) as http,
    ):
        client = AsyncClient(service.url, http=http, backoff=backoff)
        said, killed, events = "", False, client.ask("Why?")
        async with aclosing(events):
            async for received in events:
                match received.event:
                    case Token(content):
                        said += content
                        if said == "Half " and not killed:
                            killed = True
                            model.script_when(speaks, Reply(["All ", "of it."]))
                            await service.kill()
                            await service.start()
                    case Reset():  # what was not on the disk yet is not in the log any more
                        said = ""
        assert isinstance(received.event, Done)
        assert said == received.event.answer == "All of it."
        assert received.id.startswith("2-")
        assert received.data["length"] == len(said)
