"""Jobs, nodes, model calls and deliveries as spans: right parents, no text, every token still."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from sluice.domain.chat import Chat, Job, now
from sluice.domain.events import QUEUED, Cancelled, Done, Event, Failed, Token, Usage
from sluice.domain.rollout import Flag
from sluice.infrastructure.composition.embedded import Embedded
from sluice.infrastructure.llm.genai import CallSpan, Names, call_span
from sluice.infrastructure.settings import read_settings
from sluice.infrastructure.telemetry.spans import OpenTelemetrySpans, job_ids
from sluice.interfaces.protocols.native.encoder import encoder_for
from sluice.offline_model import OfflineModel
from tests.doubles import a_job

pytestmark = pytest.mark.usefixtures("no_settings")
FLAG = Flag(25, "control", "control", "r")


@asynccontextmanager
async def running(model: OfflineModel, **settings: Any) -> AsyncIterator[Embedded]:
    container = Embedded(
        settings=read_settings(store="memory://", **settings), offline_url=model.base_url
    )
    async with AsyncExitStack() as stack:
        await container.database().open()
        stack.push_async_callback(container.database().aclose)
        stack.push_async_callback(container.completions().aclose)
        yield container


async def ran(container: Embedded, **fields: Any) -> tuple[Job, list[Event]]:
    """A job in the container, and what it told."""
    job = a_job("How do I resume a stream?", flag=FLAG, **fields)
    await container.chats().open(Chat(job.chat_id, job.user, None, now()))
    await container.chats().add_question(job)
    await container.log().create(job, QUEUED)
    await container.run()(job, lambda: None)
    log = await container.log().read(job.id)
    return job, [recorded.event for recorded in log.events]


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if (span.name or "").startswith(name)]


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def texts(spans: InMemorySpanExporter) -> str:
    return "".join(span.to_json() for span in spans.get_finished_spans())


@pytest.mark.parametrize("path", ["A1", "A2"])
async def test_model_calls_lie_below_nodes_and_nodes_below_the_job(
    spans: InMemorySpanExporter, model: OfflineModel, path: str
) -> None:
    async with running(model) as container:
        job, told = await ran(container, path=path)
    assert isinstance(told[-1], Done)
    (span,) = named(spans, "job")
    assert span.context is not None
    assert (span.context.trace_id, span.context.span_id) == job_ids(job.id)
    assert span.parent is None
    nodes = {one.context.span_id: one.name for one in named(spans, "node ") if one.context}
    assert {"node intent", "node answer"} <= set(nodes.values())
    assert {parent_of(one) for one in named(spans, "node ")} == {span.context.span_id}
    calls = named(spans, "chat ")
    assert calls
    assert {nodes[parent_of(one) or 0] for one in calls} >= {"node intent", "node answer"}


async def test_tracing_stops_no_token_from_streaming(
    spans: InMemorySpanExporter, model: OfflineModel
) -> None:
    async with running(model) as container:
        _, told = await ran(container)
    done = told[-1]
    assert isinstance(done, Done)
    tokens = [event.content for event in told if isinstance(event, Token)]
    assert len(tokens) > 5
    assert "".join(tokens) == done.answer


async def test_no_span_holds_what_was_asked_or_answered(
    spans: InMemorySpanExporter, model: OfflineModel
) -> None:
    async with running(model) as container:
        _, told = await ran(container)
    done = told[-1]
    assert isinstance(done, Done)
    assert "resume" not in texts(spans)
    assert done.answer[:20] not in texts(spans)


async def test_the_decision_is_an_event_of_the_job(
    spans: InMemorySpanExporter, model: OfflineModel
) -> None:
    async with running(model) as container:
        await ran(container)
    (span,) = named(spans, "job")
    (event,) = span.events
    assert event.name == "feature_flag.evaluation"
    assert dict(event.attributes or {}) == {
        "feature_flag.key": "enable_token_streaming",
        "feature_flag.provider.name": "control",
        "feature_flag.result.variant": "A2",
        "feature_flag.result.value": 25,
        "feature_flag.result.reason": "control",
    }
    assert (span.attributes or {})["sluice.end"] == "done"


@pytest.mark.parametrize(
    ("names", "there", "missing"),
    [
        ("new", {"gen_ai.provider.name", "gen_ai.usage.input_tokens"}, {"gen_ai.system"}),
        ("old", {"gen_ai.system", "gen_ai.usage.prompt_tokens"}, {"gen_ai.provider.name"}),
        ("both", {"gen_ai.system", "gen_ai.provider.name", "gen_ai.usage.output_tokens"}, set()),
    ],
)
async def test_a_model_call_has_the_names_that_were_chosen(
    spans: InMemorySpanExporter,
    model: OfflineModel,
    names: str,
    there: set[str],
    missing: set[str],
) -> None:
    async with running(model, otel_genai=names) as container:
        await ran(container)
    for call in named(spans, "chat "):
        given = set(call.attributes or {})
        assert there | {"gen_ai.operation.name", "gen_ai.request.model"} <= given
        assert not missing & given


ASKED = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
NEW = {"gen_ai.provider.name": "openai"}
OLD = {"gen_ai.system": "openai"}
NEW_COST = {"gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 2}
OLD_COST = {"gen_ai.usage.prompt_tokens": 1, "gen_ai.usage.completion_tokens": 2}
FINISHED = {"gen_ai.response.finish_reasons": ("stop",)}


@pytest.mark.parametrize(
    ("names", "asked", "cost"),
    [
        ("new", NEW, NEW_COST),
        ("old", OLD, OLD_COST),
        ("both", NEW | OLD, NEW_COST | OLD_COST),
    ],
)
def test_a_call_span_says_what_was_asked_and_how_it_ended(
    spans: InMemorySpanExporter, names: Names, asked: dict[str, Any], cost: dict[str, Any]
) -> None:
    CallSpan("m", names).end(None, None)
    CallSpan("m", names).end(Usage(1, 2, 3), "stop")
    failing = call_span("m", names)
    assert failing is not None
    failing.failed("upstream_timeout")
    failing.end(None, None)
    bare, whole, failed = named(spans, "chat m")
    assert (bare.name, bare.kind, bare.status.is_unset) == ("chat m", SpanKind.CLIENT, True)
    assert dict(bare.attributes or {}) == ASKED | asked
    assert dict(whole.attributes or {}) == ASKED | asked | cost | FINISHED
    assert dict(failed.attributes or {}) == ASKED | asked | {"error.type": "upstream_timeout"}
    assert (failed.status.status_code, failed.status.description) == (
        StatusCode.ERROR, "upstream_timeout",
    )  # fmt: skip


async def test_a_failure_is_told_by_its_code(spans: InMemorySpanExporter) -> None:
    async with OfflineModel(pace=0) as model:
        address = model.base_url
    container = Embedded(
        settings=read_settings(store="memory://", upstream_retries=0), offline_url=address
    )
    await container.database().open()
    _, told = await ran(container)
    await container.completions().aclose()
    await container.database().aclose()
    assert isinstance(told[-1], Failed)
    (span,) = named(spans, "job")
    assert (span.status.status_code, span.status.description) == (
        StatusCode.ERROR, "upstream_unavailable",
    )  # fmt: skip
    failed = [one for one in named(spans, "chat ") if not one.status.is_ok]
    assert {one.status.description for one in failed} == {"upstream_unavailable"}
    assert "Traceback" not in texts(spans)


async def test_a_delivery_is_a_trace_of_its_own_with_a_link_to_the_job(
    spans: InMemorySpanExporter, model: OfflineModel
) -> None:
    async with running(model) as container:
        job, _ = await ran(container)
        batches = await container.follow()(job.user, job.id, after=None, encoder_for=encoder_for)
        async for _ in batches:
            pass
    (span,) = named(spans, "delivery")
    (link,) = span.links
    assert (link.context.trace_id, link.context.span_id) == job_ids(job.id)
    assert span.context is not None
    assert span.context.trace_id != link.context.trace_id
    assert not span.events


def test_a_shadow_is_a_trace_of_its_own_with_a_link_to_the_job(spans: InMemorySpanExporter) -> None:
    job, told = a_job("a question"), OpenTelemetrySpans()
    with told.job(job, 1), told.shadow(job, "A1"):
        pass
    (span,) = named(spans, "shadow")
    (link,) = span.links
    assert (link.context.trace_id, link.context.span_id) == job_ids(job.id)
    assert span.context is not None
    assert span.context.trace_id != link.context.trace_id
    assert span.attributes == {"sluice.job.id": job.id, "sluice.path": "A1"}


async def test_attempts_of_a_job_are_spans_of_one_trace(
    spans: InMemorySpanExporter, model: OfflineModel
) -> None:
    async with running(model) as container:
        job = a_job("?", flag=FLAG)
        await container.chats().open(Chat(job.chat_id, job.user, None, now()))
        await container.chats().add_question(job)
        await container.log().create(job, QUEUED)
        await container.log().begin(job.id)
        await container.run()(job, lambda: "user")
        log = await container.log().read(job.id)
    assert log.events[-1].event == Cancelled("user")
    (span,) = named(spans, "job")
    assert span.context is not None
    assert (span.context.trace_id, span.context.span_id) == job_ids(job.id, 2)
    assert (span.attributes or {})["sluice.cancelled_by"] == "user"
    await asyncio.sleep(0)
