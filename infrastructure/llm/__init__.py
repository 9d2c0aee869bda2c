"""The model client of both paths.

`upstream.py` is a call: deadlines, retries before the first token (`max_retries` of the SDK), and
who decides that an answer was truncated. `decoding.py` reads its body. `openai_client.py` is A1's
client, and `langchain_adapter.py` A2's, over a LangChain chat model.
"""
