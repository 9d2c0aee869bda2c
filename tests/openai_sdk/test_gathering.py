"""A LangChain model that is merely invoked: told where its answer arrives, and waited for once."""

import asyncio
from functools import partial

import pytest

from sluice.infrastructure.llm.body import PushedBody, Take
from sluice.offline_model import Gate, OfflineModel, Reply
from sluice.offline_model.replies import Break, Piece
from tests.waiting import until

from .conftest import Run, chat_model
from .test_failures import code, failure


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    gather = PushedBody.gather

    async def counted(self: PushedBody, take: Take, seconds: float) -> bool:
        waits.append(seconds)
        return await gather(self, take, seconds)

    monkeypatch.setattr(PushedBody, "gather", counted)
    return waits


def said(run: Run, text: str) -> bool:
    return run.text == text


async def test_its_text_is_told_while_its_reader_waits_once(
    run: Run, model: OfflineModel, waits: list[float]
) -> None:
    run.takes = True
    gates = [Gate() for _ in range(5)]
    model.script(Reply([piece for gate in gates for piece in ("a", gate)]))
    asked = asyncio.ensure_future(chat_model(model.base_url, streaming=True).ainvoke("Why?"))
    for number, gate in enumerate(gates, 1):
        await until(partial(said, run, "a" * number))
        assert not asked.done()
        gate.release()
    assert (await asked).text == "aaaaa"
    assert len(waits) <= 3  # to the end of the body, once in its middle, and that it is over


async def test_it_is_let_go_when_it_is_cancelled(run: Run, model: OfflineModel) -> None:
    run.takes = True
    model.script(Reply(["a", Break.HANG]))
    asked = asyncio.ensure_future(chat_model(model.base_url, streaming=True).ainvoke("Why?"))
    await until(lambda: run.text == "a")
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await model.until_idle()
    assert run.teller.ends == [(None, None)]


@pytest.mark.parametrize(
    ("end", "expected"), [(Break.END, "upstream_truncated"), (Break.CUT, "upstream_disconnected")]
)
async def test_it_fails_as_if_it_had_been_read(
    run: Run, model: OfflineModel, end: Piece, expected: str
) -> None:
    run.takes = True
    model.script(Reply(["a", end]))
    asking = chat_model(model.base_url, streaming=True).ainvoke("Why?")
    assert code(await failure(asking)) == expected
    assert run.text == "a"
    await model.until_idle()
