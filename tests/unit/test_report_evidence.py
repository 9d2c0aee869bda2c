"""Reports show what their scripts print: a library that changes its mind makes a test fail."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "docs" / "reports"
SHOWN = re.compile(
    r"^```text\n\$ python -m (docs\.reports\.\w+)\n(.*?)\n```$", re.MULTILINE | re.DOTALL
)
PRINTED = re.compile(r"^\$ python -m (docs\.reports\.\w+)\n(.*?)\n+(?=\$ python|\Z)", SHOWN.flags)


@pytest.mark.timeout(120)
def test_the_reports_show_what_their_scripts_print() -> None:
    """The first line printed, the versions, is left out."""
    ours = ("SLUICE_", "OPENAI_", "ENABLE_")
    run = subprocess.run(
        [sys.executable, "-m", "docs.reports"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith(ours)},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert run.returncode == 0, run.stderr
    reports = "\n".join(report.read_text("utf-8") for report in sorted(REPORTS.glob("*.md")))
    assert dict(SHOWN.findall(reports)) == dict(PRINTED.findall(run.stdout))
