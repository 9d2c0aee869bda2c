"""Sluice's own stream: every event of the log as one SSE event, as docs/events.md has it."""
