"""Stores of the log: one contract suite for all of them."""
