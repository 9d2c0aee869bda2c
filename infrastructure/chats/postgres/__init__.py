"""Chats, sessions and idempotency keys in PostgreSQL."""
