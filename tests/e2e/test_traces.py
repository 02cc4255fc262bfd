"""A trace from the request to the artifacts, exported by real API and worker processes to a collector."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.api_server import api_process
from tests.support.stack import Stack
from ttm_jobs.broker.embedded import EmbeddedBroker
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector:
    """Receives OTLP over HTTP and stores the spans."""

    def __init__(self) -> None:
        spans: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = ExportTraceServiceRequest()
                request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
                for resource in request.resource_spans:
                    [service] = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
                    for span in (span for scope in resource.scope_spans for span in scope.spans):
                        spans.append(
                            {
                                "service": service,
                                "name": span.name,
                                "trace": span.trace_id.hex(),
                                "id": span.span_id.hex(),
                                "parent": span.parent_span_id.hex(),
                                "attributes": {a.key: a.value.string_value for a in span.attributes},
                                "begin": span.start_time_unix_nano,
                                "end": span.end_time_unix_nano,
                            }
                        )
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.spans = spans
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def test_trace_covers_the_request_to_the_artifacts(
    tmp_path: Path, postgresql_url: str, redis: EmbeddedBroker, collector: Collector
) -> None:
    with Stack(tmp_path, postgresql_url, redis, traces_endpoint=collector.url) as stack:
        stack.start_dispatcher()
        worker = stack.start_worker()
        settings = Settings(
            database_url=postgresql_url, storage_url=f"file:{tmp_path}/storage", broker_url=stack.broker.url
        )
        environment = {"TTM_DATA_ROOTS": str(stack.data), "TTM_TRACES_ENDPOINT": collector.url}
        body = {"name": "steps=5", "student": "cifar/resnet20", "dataset": f"file://{stack.data}", "method": "ce"}
        with api_process(settings, environment) as (url, _):
            sent = {"traceparent": f"00-{CALLER}-00f067aa0ba902b7-01"}
            job_id = httpx2.post(f"{url}/jobs", json=body, headers=sent).raise_for_status().json()["id"]
            stack.wait_for(job_id, JobState.SUCCEEDED)
        # Each process exports its spans at exit.
        worker.terminate()
        worker.wait(60)
    by_name = {span["name"]: span for span in collector.spans if span["trace"] == CALLER}
    assert {
        "POST /jobs",
        "attempt",
        "fetching",
        "loading_teacher",
        "training",
        "exporting",
        "publish",
    } <= by_name.keys()
    request, attempt = by_name["POST /jobs"], by_name["attempt"]
    assert (request["service"], attempt["service"]) == ("ttm-api", "ttm-worker")
    assert request["parent"] == "00f067aa0ba902b7"
    assert attempt["parent"] == request["id"]
    assert attempt["attributes"]["ttm.job_id"] == job_id
    for phase in ("fetching", "training", "publish"):
        assert by_name[phase]["parent"] == attempt["id"]
    assert request["end"] <= attempt["begin"] + 5e9
    assert by_name["fetching"]["end"] <= by_name["training"]["begin"] <= by_name["exporting"]["begin"]


def test_disabled_tracing_imports_no_opentelemetry() -> None:
    code = "import sys, api.app, worker.run.runner; sys.exit('opentelemetry.sdk' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
