"""`sluice` with A2 read from LangGraph's `messages`: the reference that the tap is measured by."""

from infrastructure.pipeline import tap
from interfaces.cli import main

tap.TAPPABLE = False
main()
