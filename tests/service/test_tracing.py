"""Traces: a span for each request, in the caller's trace, where they are asked for."""

from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from models.repository import Repository
from service.app import create_app
from service.catalog import Catalog
from service.engine import Engine
from service.observation.tracing import Tracing
from service.settings import Settings

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_a_request_is_a_span_of_its_callers_trace(tiny_repository: Path) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    engine = Engine.load(Repository(tiny_repository).read("tiny-binary"))
    app = create_app(Settings(), Catalog([engine]), tracing=Tracing(provider))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        headers = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01", "X-Request-ID": "mine"}
        await client.post("/v1/models/tiny-binary/encode", json={"inputs": [[0.5] * 16]}, headers=headers)
        await client.get("/v1/models/nobody")
    encode, missing = exporter.get_finished_spans()
    assert encode.name == "POST /v1/models/{model}/encode"
    assert encode.context is not None
    assert encode.parent is not None
    assert f"{encode.context.trace_id:032x}" == TRACE_ID
    assert f"{encode.parent.span_id:016x}" == PARENT_ID
    assert encode.attributes is not None
    assert encode.attributes["http.response.status_code"] == 200
    assert encode.attributes["latent_codes.request_id"] == "mine"
    assert missing.parent is None
    assert missing.attributes is not None
    assert missing.attributes["http.response.status_code"] == 404


def test_without_an_endpoint_nothing_is_traced() -> None:
    assert not Tracing.to("").enabled


def test_with_an_endpoint_spans_are_exported_there() -> None:
    tracing = Tracing.to("http://127.0.0.1:9/v1/traces")
    assert tracing.enabled
    tracing.close()


@pytest.mark.parametrize("request_id", ["a b", "x" * 129, "-\n-", ""])
@pytest.mark.anyio
async def test_an_id_that_is_not_sound_is_replaced(tiny_repository: Path, request_id: str) -> None:
    app = create_app(Settings(), Catalog([]))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        reply = await client.get("/v2/health/live", headers=[(b"x-request-id", request_id.encode())])
        assert len(reply.headers["x-request-id"]) == 32
