"""Work that is repeated: whether it failed by what nobody foresaw."""

import pytest

from sluice.application.background import survives
from sluice.domain.errors import Unavailable


async def raising(error: Exception | None) -> None:
    if error is not None:
        raise error


@pytest.mark.parametrize("error", [None, Unavailable("away")])
async def test_what_went_well_and_what_has_to_wait_are_no_failure(
    error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert await survives(raising(error), "the work") is True
    assert caplog.text == ""


async def test_any_other_error_is_one_and_is_told_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert await survives(raising(ValueError("secret")), "the work") is False
    assert "the work failed: ValueError" in caplog.text
    assert "secret" not in caplog.text
