"""Chats, sessions and idempotency keys in the service's one SQLite file, or in memory."""
