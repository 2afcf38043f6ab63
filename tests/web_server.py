"""A web server for tests: files in memory with ETags and ranges, and faults."""

import hashlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["Hub", "WebServer", "serving"]


@dataclass
class WebServer:
    """What is served.

    Attributes:
        files: path → content.
        has_ranges: whether parts are answered.
        has_etags: whether ETags are told.
        asked: method, path and range of each request so far.
        headers: of each request so far.
        fault: called with the handler before each answer; True when it has answered itself.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    has_ranges: bool = True
    has_etags: bool = True
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    fault: Callable[[Any], bool] = lambda _handler: False
    url: str = ""

    def content(self, path: str) -> bytes | None:
        """What is at a path."""
        return self.files.get(path)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: WebServer

    def do_GET(self) -> None:
        wanted = self.headers.get("range", "")
        self.web.asked.append((self.command, self.path, wanted))
        self.web.headers.append({k.lower(): v for k, v in self.headers.items()})
        if self.web.fault(self):
            return
        content = self.web.content(unquote(urlsplit(self.path).path))
        if content is None:
            self.answer(404, b"nothing here")
            return
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        extra = {"ETag": etag} if self.web.has_etags else {}
        is_same = self.headers.get("if-range", etag) == etag
        if wanted and self.web.has_ranges and is_same:
            start, _, last = wanted.removeprefix("bytes=").partition("-")
            part = content[int(start) : int(last) + 1]
            extra["Content-Range"] = f"bytes {start}-{int(start) + len(part) - 1}/{len(content)}"
            self.answer(206, part, extra)
        else:
            self.answer(200, content, extra)

    do_HEAD = do_GET

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving(web: WebServer | None = None, tls: ssl.SSLContext | None = None) -> Iterator[WebServer]:
    """The server, on a free port of the loopback."""
    web = WebServer() if web is None else web
    handler = type("Handler", (_Handler,), {"web": web})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="web-server")
    thread.start()
    web.url = f"http{'' if tls is None else 's'}://127.0.0.1:{server.server_port}"
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Hub(WebServer):
    """A hub with one model, `owner/repo`.

    Attributes:
        commits: commit → files; the last is that of the main branch.
        dates: commit → when it was made.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    dates: dict[str, str] = field(default_factory=dict)
    token: str = ""

    def commit(self, commit: str, date: str, **files: bytes) -> None:
        """Make a commit."""
        self.commits[commit] = {name.replace("__", "/"): c for name, c in files.items()}
        self.dates[commit] = date

    def content(self, path: str) -> bytes | None:
        """What is at a path."""
        if self.token and self.headers[-1].get("authorization") != f"Bearer {self.token}":
            return None
        parts = path.strip("/").split("/")
        main = next(reversed(self.commits), "")
        if parts[:4] == ["api", "models", "owner", "repo"]:
            commit = main if len(parts) < 6 or parts[5] == "main" else parts[5]
            if commit not in self.commits:
                return None
            if parts[4:5] == ["commits"]:
                return json.dumps(
                    [{"id": commit, "date": self.dates[commit], "title": "", "authors": []}]
                ).encode()
            return json.dumps(self._info(commit)).encode()
        if parts[:3] == ["owner", "repo", "resolve"]:
            return self.commits.get(parts[3], {}).get("/".join(parts[4:]))
        return None

    def _info(self, commit: str) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = []
        for name, content in self.commits[commit].items():
            sibling: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": "x"}
            if name.endswith((".onnx", ".safetensors")):
                digest = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 1}
            siblings.append(sibling)
        return {"id": "owner/repo", "modelId": "owner/repo", "sha": commit, "siblings": siblings}
