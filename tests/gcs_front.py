"""What fake-gcs-server lacks of Google's XML API, by which objects are written: in front of it.

Reads go on as they are. A write becomes one of the JSON API, with its condition.
"""

import itertools
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

import httpx

__all__ = ["writable"]

_HOP = ("connection", "transfer-encoding", "content-length", "content-encoding", "keep-alive")


class _Front(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = behind
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.numbers = itertools.count(1)
        self.lock = threading.Lock()  # the server behind looks at a condition and then writes
        self.client = httpx.Client(timeout=30)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is nobody's fault."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Front

    def log_message(self, *_words: object) -> None: ...

    def _pass_on(self) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        url = self.server.behind + self.path  # which knows itself by its own name alone
        self._answer(self.server.client.request(self.command, url, headers=headers))

    do_GET = do_HEAD = _pass_on

    def do_DELETE(self) -> None:
        bucket, name, query = self._object()
        if "uploadId" in query:
            self._say(204)
            return
        url = f"{self.server.behind}/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
        found = self.server.client.delete(url)
        self._say(204 if found.is_success else found.status_code)

    def do_PUT(self) -> None:
        bucket, name, query = self._object()
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if "partNumber" in query:
            self.server.uploads[query["uploadId"]][int(query["partNumber"])] = body
            self._say(200, etag=f'"{query["partNumber"]}"')
            return
        self._write(bucket, name, body, self.headers.get("x-goog-if-generation-match"))

    def do_POST(self) -> None:
        bucket, name, query = self._object()
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if "uploads" in query:
            upload = str(next(self.server.numbers))
            self.server.uploads[upload] = {}
            self._say(200, _INITIATED.format(bucket=bucket, name=name, upload=upload))
            return
        parts = self.server.uploads.pop(query["uploadId"])
        content = b"".join(parts[number] for number in sorted(parts))
        self._write(bucket, name, content, None, _COMPLETED.format(bucket=bucket, name=name))

    def _write(
        self, bucket: str, name: str, body: bytes, generation: str | None, text: str = ""
    ) -> None:
        params = {"uploadType": "media", "name": name}
        if generation is not None:
            params["ifGenerationMatch"] = generation
        with self.server.lock:
            url = f"{self.server.behind}/upload/storage/v1/b/{bucket}/o"
            found = self.server.client.post(url, params=params, content=body)
        etag = str(found.json().get("etag", "")) if found.is_success else ""
        self._say(found.status_code, text, etag=etag)

    def _object(self) -> tuple[str, str, dict[str, str]]:
        parts = urlsplit(self.path)
        bucket, _, name = parts.path.lstrip("/").partition("/")
        query = parse_qs(parts.query, keep_blank_values=True)
        return bucket, unquote(name), {key: values[0] for key, values in query.items()}

    def _answer(self, found: httpx.Response) -> None:
        self.send_response(found.status_code)
        for name, value in found.headers.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        length = found.headers.get("content-length") if self.command == "HEAD" else None
        self.send_header("content-length", length or str(len(found.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(found.content)

    def _say(self, status: int, text: str = "", *, etag: str = "") -> None:
        self.send_response(status)
        if etag:
            self.send_header("etag", etag)
        if status != 204:
            self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


_INITIATED = re.sub(
    r"\n\s*",
    "",
    """<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{name}</Key>
    <UploadId>{upload}</UploadId></InitiateMultipartUploadResult>""",
)
_COMPLETED = re.sub(
    r"\n\s*",
    "",
    """<CompleteMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{name}</Key>
    <ETag>whole</ETag></CompleteMultipartUploadResult>""",
)


@contextmanager
def writable(behind: str) -> Iterator[str]:
    """The URL of a server in front of fake-gcs-server that can be written to."""
    front = _Front(behind)
    thread = threading.Thread(target=front.serve_forever, name="gcs-front", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{front.server_address[1]}"
    finally:
        front.shutdown()
        thread.join()
        front.server_close()
        front.client.close()
