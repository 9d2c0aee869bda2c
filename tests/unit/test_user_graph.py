"""What a user's factory may be."""

import pytest

from sluice.infrastructure.composition.user_graph import graph_of
from sluice.infrastructure.settings import WrongSetting, read_settings
from sluice.testing import ScriptedLLM


async def unawaited(_: object) -> object:
    return None


def test_an_async_factory_is_told_by_that_name_and_leaves_no_warning() -> None:
    with pytest.raises(WrongSetting) as refused:
        graph_of(read_settings(), unawaited, ScriptedLLM(), lambda: None)
    assert str(refused.value) == (
        "SLUICE_PIPELINE: the factory is async, and a plain function is wanted"
    )
