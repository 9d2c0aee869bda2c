"""pip install langgraph-sdk; python chat.py http://127.0.0.1:8000 "How do I resume a stream?" """

import asyncio
import sys

from langgraph_sdk import get_client


async def chat(base: str, question: str) -> None:
    client = get_client(url=f"{base}/langgraph")
    thread = await client.threads.create()
    run = client.runs.stream(
        thread["thread_id"],
        "sluice",
        input={"messages": [{"type": "human", "content": question}]},
        stream_mode=["messages-tuple"],
    )
    # A cut is nothing to see here: the client goes on by itself, where it was.
    async for part in run:
        if part.event == "messages":
            sys.stdout.write(part.data[0]["content"])
            sys.stdout.flush()
        elif part.event == "error":
            raise SystemExit(f"{part.data['error']}: {part.data['message']}")
    sys.stdout.write("\n")


if __name__ == "__main__":
    asyncio.run(chat(*sys.argv[1:]))
