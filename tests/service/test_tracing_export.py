"""Traces as they leave the service: OTLP over HTTP as a collector receives it, decoded with the protocol's package."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from service_process import ServiceProcess
from waiting import eventually

PATH = "/v1/traces"
TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"


class Collector:
    """Takes what is exported to `url` and answers as the protocol has it, or with a status of an error."""

    def __init__(self, status: int = 200) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.num_refused = 0
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if status != 200:
                    collector.num_refused += 1
                elif self.path == PATH and self.headers["Content-Type"] == "application/x-protobuf":
                    collector.requests.append(ExportTraceServiceRequest.FromString(body))
                reply = ExportTraceServiceResponse().SerializeToString()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}{PATH}"

    def __enter__(self) -> "Collector":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def spans(self) -> list[Span]:
        return [
            span
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def attributes(carrier: Any) -> dict[str, Any]:
    values = {entry.key: entry.value for entry in carrier.attributes}
    return {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def test_every_request_is_a_span_in_its_callers_trace_and_none_is_left_when_the_service_ends(
    collector: Collector, tiny_repository: Path, tmp_path: Path
) -> None:
    settings = {"workers": 2, "otlp_endpoint": collector.url}
    with ServiceProcess([tiny_repository], log=tmp_path / "log", **settings) as service:
        for number in range(20):
            headers = {"traceparent": TRACEPARENT, "X-Request-ID": f"mine-{number}"}
            body = {"inputs": [[0.5] * 16]}
            httpx.post(f"{service.url}/v1/models/tiny-binary/encode", json=body, headers=headers, timeout=30)
        httpx.get(f"{service.url}/v1/models/nobody", headers={"X-Request-ID": "without-a-trace"}, timeout=30)
        # What a worker has not sent yet, it sends before it ends.
        assert service.stop() == 0
    by_id = {attributes(span)["latent_codes.request_id"]: span for span in collector.spans()}
    for number in range(20):
        span = by_id[f"mine-{number}"]
        assert span.trace_id.hex() == TRACE_ID
        assert span.parent_span_id.hex() == PARENT_ID
        assert span.name == "POST /v1/models/{model}/encode"
        assert span.kind == Span.SPAN_KIND_SERVER
        assert attributes(span)["http.response.status_code"] == 200
        assert attributes(span)["http.route"] == "/v1/models/{model}/encode"
        assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 60e9
    assert len({span.span_id for span in by_id.values()}) == len(by_id)
    alone = by_id["without-a-trace"]
    assert not alone.parent_span_id
    assert alone.trace_id.hex() != TRACE_ID
    assert attributes(alone)["http.response.status_code"] == 404
    [name] = {
        attributes(resource.resource)["service.name"]
        for request in collector.requests
        for resource in request.resource_spans
    }
    assert name == "latent-codes"


@pytest.mark.parametrize("status", [503, None], ids=["out-of-order", "not-there"])
def test_a_collector_that_does_not_take_them_keeps_no_request_waiting_and_no_service_from_ending(
    tiny_repository: Path, tmp_path: Path, status: int | None
) -> None:
    with Collector(status or 200) as collector:
        endpoint = collector.url if status else "http://127.0.0.1:9/v1/traces"
        settings = {"workers": 1, "otlp_endpoint": endpoint, "grace_seconds": 5}
        with ServiceProcess([tiny_repository], log=tmp_path / "log", **settings) as service:
            for _ in range(10):
                assert httpx.get(f"{service.url}/v1/models", timeout=5).status_code == 200
            if status:
                eventually(lambda: collector.num_refused > 0, 30)
            assert service.is_ready()
            assert service.stop() == 0
