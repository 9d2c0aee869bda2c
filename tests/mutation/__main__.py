"""Mutation testing by hand: mutmut over the modules of modules.toml, one after the other.

Each module has a copy of the code and the tests in .mutation/, in which mutmut keeps its session:
what was judged is not judged again unless its function has changed; when the module or its tests
have changed, what they had not killed is judged once more. Docs: docs/reports/mutation.md.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

from mutmut.stats import status_by_exit_code

ROOT = Path(__file__).parents[2]
SESSIONS = ROOT / ".mutation"
BESIDE = ("tests", "interfaces/web")
"""What the tests read beside the code."""
TEXTS = [r"logger\.", r'^\s*(raise|return) [\w.]+\(f?"[^"]*"\)( from [\w.]+)?$']
"""Lines that hold nothing but a text for people."""
KILLED = ("killed", "timeout")
MUTMUT = (sys.executable, "-m", "mutmut")


class Session:
    """One module, the tests that decide it, and what is known of its mutants."""

    def __init__(self, module: str, tests: list[str]) -> None:
        self.module, self._tests = module, tests
        self._folder = SESSIONS / module.removesuffix(".py").replace("/", ".")
        self._results = self._folder / "mutants" / "sluice" / f"{module}.meta"

    def run(self, deadline: float) -> None:
        """Until every mutant is judged, or the time is over."""
        self._refresh()
        command = [*MUTMUT, "run", "--max-children", "1"]
        running = subprocess.Popen(command, cwd=self._folder, start_new_session=True)
        try:
            running.wait(max(0, deadline - time.monotonic()))
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()

    def statuses(self) -> dict[str, str]:
        """Of each mutant, by its name; empty before the first run."""
        if not self._results.exists():
            return {}
        results = json.loads(self._results.read_text())["exit_code_by_key"]
        return {mutant: status_by_exit_code[code] for mutant, code in results.items()}

    def left(self) -> list[str]:
        return [mutant for mutant, status in self.statuses().items() if status not in KILLED]

    def difference(self, mutant: str) -> str:
        shown = subprocess.run(
            [*MUTMUT, "show", mutant], cwd=self._folder, capture_output=True, text=True, check=True
        )
        return shown.stdout

    def _refresh(self) -> None:
        """The code and the tests as they are now; a file that has not changed keeps its time."""
        for copied in ("sluice", *BESIDE):
            _mirror(ROOT / copied, self._folder / copied)
        project = (ROOT / "pyproject.toml").read_text() + self._settings()
        _replace(self._folder / "pyproject.toml", project.encode())
        places = [ROOT / test.split("::")[0] for test in self._tests if test.startswith("tests/")]
        tests = [path for place in places for path in _files(place)]
        judged = b"".join(path.read_bytes() for path in (ROOT / "sluice" / self.module, *tests))
        if _replace(self._folder / "judged.sha256", sha256(judged).hexdigest().encode()):
            self._forget_what_was_not_killed()

    def _settings(self) -> str:
        settings = {
            "source_paths": ["sluice"],
            "only_mutate": [f"sluice/{self.module}"],
            "pytest_add_cli_args": ["--hypothesis-profile=few"],
            "pytest_add_cli_args_test_selection": self._tests,
            "do_not_mutate_patterns": TEXTS,
            "also_copy": list(BESIDE),
            "use_git_change_detection": False,
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        return "\n".join(["\n[tool.mutmut]", *lines, ""])

    def _forget_what_was_not_killed(self) -> None:
        if self._results.exists():
            results: dict[str, Any] = json.loads(self._results.read_text())
            results["exit_code_by_key"] |= dict.fromkeys(self.left())
            self._results.write_text(json.dumps(results))
        (self._folder / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)


def _files(place: Path) -> list[Path]:
    """A file, or all of a folder with what they share."""
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]


def _mirror(source: Path, target: Path) -> None:
    """With the files that links lead to: mutmut follows none."""
    wanted = set[Path]()
    for folder, _, files in os.walk(source, followlinks=True):
        for name in files:
            if not name.endswith(".pyc"):
                path = Path(folder, name)
                wanted.add(place := target / path.relative_to(source))
                _replace(place, path.read_bytes())
    for path in [path for path in target.rglob("*") if path.is_file()]:
        if path not in wanted:
            path.unlink()


def _replace(path: Path, content: bytes) -> bool:
    """Whether it was another before."""
    if path.exists() and path.read_bytes() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", help="of modules.toml, or the beginning of a path")
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--show", action="store_true", help="what is left, without running")
    given = parser.parse_args()
    table: dict[str, list[str]] = tomllib.loads(
        Path(__file__).with_name("modules.toml").read_text()
    )
    wanted = tuple(given.modules) or ("",)
    sessions = [Session(*entry) for entry in table.items() if entry[0].startswith(wanted)]
    deadline = time.monotonic() + given.seconds
    for session in sessions:
        if not given.show and time.monotonic() < deadline:
            try:
                session.run(deadline)
            except subprocess.TimeoutExpired:
                print("The time is over; the same command goes on from here.")
        for mutant in session.left() if given.show else ():
            print(session.difference(mutant))
    for session in sessions:
        counts = Counter(session.statuses().values())
        killed = sum(counts[status] for status in KILLED)
        print(f"{session.module:50} {killed:4} of {counts.total():4} killed  {dict(counts)}")


if __name__ == "__main__":
    main()
