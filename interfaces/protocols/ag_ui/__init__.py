"""AG-UI 1.0, as `HttpAgent` and TanStack AI read it. CopilotKit is the same under other routes."""
