"""Graphs of your own, for `SLUICE_PIPELINE`."""
