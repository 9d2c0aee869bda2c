"""Stores of outcomes, read: whoever keeps an answer writes its outcome, in one transaction."""
