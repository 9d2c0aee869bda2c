"""What Sluice's two readers tell of the same graph, over either of its two clients."""

from docs.reports.lab import a_lab, in_sluice, show, table
from examples import minimal
from sluice.domain.events import Done, Event, StageCompleted, StageStarted, Token
from sluice.domain.ports import LLMClientPort
from sluice.infrastructure.llm.langchain_adapter import LangChainLLMAdapter
from sluice.infrastructure.llm.openai_client import OpenAILLMClient
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.stage_path import StagePath
from sluice.infrastructure.pipeline.token_path import TokenPath


async def experiment() -> str:
    async with a_lab() as lab:
        raw, wrapped = OpenAILLMClient(lab.completions), LangChainLLMAdapter(lab.chat)
        return table(
            ["", "reader", "client", "told, in this order"],
            ["A1", "StagePath", "raw", await _told(StagePath, raw)],
            ["A2", "TokenPath", "wrapped", await _told(TokenPath, wrapped)],
            ["-", "TokenPath", "raw", await _told(TokenPath, raw)],
            ["-", "StagePath", "wrapped", await _told(StagePath, wrapped)],
        )


async def _told(path: type[StagePath] | type[TokenPath], llm: LLMClientPort) -> str:
    pipeline = path(WatchedGraph(minimal.build(llm)))
    return " ".join([_word(event) async for event in in_sluice(pipeline)])


def _word(event: Event) -> str:
    match event:
        case StageStarted(stage):
            return f"+{stage}"
        case StageCompleted(stage):
            return f"-{stage}"
        case Token(content):
            return repr(content)
        case Done(answer=answer):
            return f"done: {answer!r}"
        case other:
            return type(other).__name__


if __name__ == "__main__":
    show(experiment)
