"""Other people's instrumentation of the same SDK, put on before ours and after."""

import json
import os
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE

import pytest

OFF = dict.fromkeys(("LANGFUSE_TRACING_ENABLED", "LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"), "0")


@pytest.mark.parametrize("other", ["openinference", "langsmith", "langfuse"])
async def test_calls_are_heard_once_beside_another(other: str) -> None:
    program = [sys.executable, "-m", "tests.openai_sdk.beside_others", other]
    running = await create_subprocess_exec(*program, stdout=PIPE, stderr=PIPE, env=os.environ | OFF)
    out, error = await running.communicate()
    assert running.returncode == 0, error.decode()
    once = [["a", "b"] * 3, 4]
    assert json.loads(out.splitlines()[-1]) == {"after": once, "without": [[], 0], "before": once}
