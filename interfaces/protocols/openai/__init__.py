"""OpenAI's API: chat completions and responses, as the official clients and chat UIs speak it."""
