"""The user's own OpenAI clients: heard, read fast, and checked, without a change to their code.

`instrumentor` replaces the SDK's one method that every request goes through; `callers` finds who
asked, `calls` sends the request, `streams` reads the answer, `events` finds what it says, and
`chunks` what the caller gets. Outside a job nothing of it does anything.
"""
