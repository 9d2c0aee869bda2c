"""The model client of both paths.

`upstream.py` is a call: deadlines, retries before the first token (`max_retries` of the SDK).
`body.py` has its bytes, given on where they arrive (`arrivals.py` joins those of several calls
under load), `receiver.py` what becomes of them there, also
that an answer was truncated, and `decoding.py` what they say. `openai_client.py` is A1's client,
and `langchain_adapter.py` A2's, over a LangChain chat model.
"""
