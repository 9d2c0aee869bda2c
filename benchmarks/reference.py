"""`sluice` with A2 read from LangGraph's `messages`: the reference that the tap is measured by."""

from sluice.infrastructure.pipeline import tap
from sluice.interfaces.cli import main

tap.TAPPABLE = False
main()
