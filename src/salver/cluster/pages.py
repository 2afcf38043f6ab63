"""A cluster's pages: how it is, for people and programs, and the metrics of all nodes on one page.

`/` is a page that looks again each few seconds, `/status` is the same as JSON, `/metrics` the sums
over all nodes and `/metrics/nodes` each sample with its node, as Prometheus reads them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Protocol

from salver.cluster.metrics_page import CONTENT_TYPE, merged_page, per_node_page
from salver.errors import FailedPrecondition, ServingError

__all__ = ["Page", "Source", "page_of", "page_server"]

_HTML: Final = "text/html; charset=utf-8"
_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"
_LOOK_S: Final = 3
_STYLE: Final = "body{font:14px system-ui;margin:2em;color-scheme:light dark}pre{font-size:13px}"


class Source(Protocol):
    """Where a cluster's state is from: see `Deployment`."""

    def status(self) -> Mapping[str, Any]:
        """How it is."""
        ...

    def metrics_pages(self) -> Mapping[str, str]:
        """The metrics page of each node."""
        ...


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    status: int
    content_type: str
    body: str


def page_of(
    path: str, source: Source, lines_of: Callable[[Mapping[str, Any]], Sequence[str]]
) -> Page:
    """The page at a path.

    Args:
        path: of the request.
        source: see there.
        lines_of: writes a status for a person.
    """
    try:
        match path.partition("?")[0]:
            case "/":
                return Page(200, _HTML, _html(source.status(), lines_of))
            case "/status":
                return Page(200, _JSON, json.dumps(source.status()))
            case "/metrics":
                return Page(200, CONTENT_TYPE, merged_page(source.metrics_pages())[0])
            case "/metrics/nodes":
                return Page(200, CONTENT_TYPE, per_node_page(source.metrics_pages())[0])
            case _:
                return Page(404, _TEXT, "There are /, /status, /metrics and /metrics/nodes\n")
    except ServingError as error:  # the controller is away
        return Page(503, _TEXT, f"{error.message}\n")


def _html(status: Mapping[str, Any], lines_of: Callable[[Mapping[str, Any]], Sequence[str]]) -> str:
    text = escape("\n".join(lines_of(status)))
    name = escape(str(status["name"]))
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{name}</title>"
        f"<meta http-equiv=refresh content={_LOOK_S}><style>{_STYLE}</style></head>"
        f"<body><pre>{text}</pre></body></html>\n"
    )


def page_server(
    host: str,
    port: int,
    source: Source,
    lines_of: Callable[[Mapping[str, Any]], Sequence[str]],
) -> ThreadingHTTPServer:
    """A server of these pages, which its `serve_forever` runs.

    Raises:
        FailedPrecondition: the port cannot be had.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 30  # of a client that says nothing

        def do_GET(self) -> None:
            # A web page may have its own name lead here; see `transport/host_rules`.
            called = (self.headers.get("Host") or "").rpartition(":")[0].strip("[]")
            if called not in (host, "localhost", "127.0.0.1", "::1"):
                page = Page(403, _TEXT, "This server is not known by that name\n")
            else:
                page = page_of(self.path, source, lines_of)
            body = page.body.encode()
            self.send_response(page.status)
            self.send_header("Content-Type", page.content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:  # it is looked at each few seconds
            pass

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise FailedPrecondition(f"{host}:{port} cannot be listened on: {error}") from None
