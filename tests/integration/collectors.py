"""Collectors of traces, as OpenTelemetry's protocol has them: over HTTP and over gRPC."""

import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc

__all__ = ["WAIT_S", "Collected", "grpc_collector", "http_collector"]

WAIT_S = 30.0
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Collected:
    """What has arrived."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._changed = threading.Condition()
        self._spans: list[Any] = []
        self.resources: list[dict[str, str]] = []

    def take(self, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service

        request = service.ExportTraceServiceRequest.FromString(body)
        with self._changed:
            for each in request.resource_spans:
                attributes = each.resource.attributes
                self.resources.append({a.key: a.value.string_value for a in attributes})
                for scope in each.scope_spans:
                    self._spans += scope.spans
            self._changed.notify_all()

    def of(self, trace_id: str, count: int) -> dict[str, Any]:
        """Name → span of one trace, waited for until there are so many."""

        def found() -> dict[str, Any]:
            return {s.name: s for s in self._spans if s.trace_id.hex() == trace_id}

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, WAIT_S), found().keys()
            return found()

    def named(self, name: str) -> Any:
        """A span of that name, waited for."""

        def found() -> list[Any]:
            return [span for span in self._spans if span.name == name]

        with self._changed:
            assert self._changed.wait_for(found, WAIT_S)
            return found()[0]


@contextmanager
def http_collector() -> Iterator[Collected]:
    """One that takes what is posted."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collected.take(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collected = Collected(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collected
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def grpc_collector() -> Iterator[Collected]:
    """One that is called."""

    def answer(data: bytes, _context: Any) -> bytes:
        collected.take(data)
        return b""

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            if details.method != _EXPORT:
                return None
            return grpc.unary_unary_rpc_method_handler(answer)

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=(Handler(),))
        port = server.add_insecure_port("127.0.0.1:0")
        collected = Collected(f"http://127.0.0.1:{port}")
        server.start()
        try:
            yield collected
        finally:
            server.stop(None).wait()
