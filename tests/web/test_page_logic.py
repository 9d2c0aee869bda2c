import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_the_logic_of_the_page_holds_in_node() -> None:
    node = shutil.which("node")
    if node is None:
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail("REQUIRE_SERVICES=1, but node is not on the PATH")
        pytest.skip("node is not on the PATH")
    tests = sorted(str(path) for path in HERE.glob("*.test.mjs"))
    ran = subprocess.run(
        [node, "--test", *tests], capture_output=True, text=True, timeout=50, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
