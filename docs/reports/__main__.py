"""Every experiment of the reports, one after the other: `python -m docs.reports`."""

from importlib import import_module
from importlib.metadata import version
from platform import python_version

from docs.reports.lab import show

EXPERIMENTS = (
    "token_cause",
    "token_mends",
    "token_leaks",
    "token_stages",
    "token_reader_leaves",
    "token_paths",
)
LIBRARIES = ("langgraph", "langchain-core", "openai", "sse-starlette", "starlette", "uvicorn")

if __name__ == "__main__":
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    print(f"python {python_version()}, {versions}", flush=True)
    for name in EXPERIMENTS:
        print(f"\n$ python -m docs.reports.{name}", flush=True)
        show(import_module(f"docs.reports.{name}").experiment)
