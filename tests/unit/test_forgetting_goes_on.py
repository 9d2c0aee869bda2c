"""What cannot be forgotten now is tried again, each kind by itself."""

import asyncio

import pytest

from sluice.application import forgetting as module
from sluice.application.forgetting import Forgetting
from sluice.domain.errors import Unavailable
from tests.waiting import until


class Failing:
    """Raises each error once, and counts how often it is asked."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.asked = list(errors), 0

    async def forget(self) -> None:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)


async def test_each_is_told_by_its_name_and_tried_again_without_the_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_INTERVAL_SECONDS", 0)
    pauses = Failing(Unavailable("away"), ValueError("secret"))
    threads = Failing(ValueError("secret"), Unavailable("away"))
    task = asyncio.create_task(Forgetting(pauses, threads.forget).keep())  # type: ignore[arg-type]
    await until(lambda: threads.asked >= 3 or task.done())
    assert pauses.asked >= 3
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])
    assert "forgetting what was asked failed: ValueError" in caplog.text
    assert "forgetting graphs' states failed: ValueError" in caplog.text
    assert "secret" not in caplog.text
    assert "away" not in caplog.text
