"""Sluice: tokens from a LangGraph pipeline to a browser over SSE.

The layers stand at the top level of the repository; here they are importable as `sluice.domain`,
`sluice.application` and so on, so that a user's own package named `domain` is nobody's rival.
"""
