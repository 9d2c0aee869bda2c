"""The UI message stream of the AI SDK (`ai` 7, and 5 and 6 by `?compat`), as `useChat` reads it."""
