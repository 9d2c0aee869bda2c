"""Stores of chats and messages: one contract suite for all of them."""
