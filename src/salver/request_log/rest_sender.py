"""Sends calls of a log over REST, whatever form they were logged in."""

import http.client
import json
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import quote, urlsplit

from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.predict_message import decode_predict_request
from salver.codecs.protobuf.prediction_log import LogKind
from salver.errors import DataLoss, InvalidArgument, Unavailable, Unimplemented, Unknown
from salver.request_log.answers import Answer, answer_of_json
from salver.request_log.json_forms import request_json
from salver.request_log.reading import LoggedRecord
from salver.request_log.sending import Redirection

__all__ = ["RestSender"]

_VERBS: Final = {
    LogKind.PREDICT: "predict",
    LogKind.CLASSIFY: "classify",
    LogKind.REGRESS: "regress",
}


class RestSender:
    """Asks over REST, with one connection per thread."""

    def __init__(
        self,
        url: str,
        redirection: Redirection,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Connect to nobody yet; `headers` are sent with each call.

        Raises:
            InvalidArgument: the URL has no host.
        """
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host:
            raise InvalidArgument(f"{url} is no server")
        self._is_tls = parts.scheme == "https"
        self._host: str = host
        self._port = port
        self._path = parts.path.rstrip("/")
        self._redirection = redirection
        self._timeout_s = timeout_s
        self._local = threading.local()
        self._opened: list[http.client.HTTPConnection] = []  # of all threads

    def __call__(self, record: LoggedRecord) -> Answer:
        """See `Sender`."""
        verb = _VERBS.get(record.kind)
        if verb is None:
            raise Unimplemented(f"REST has no {record.kind.name.lower()}: send it over gRPC")
        spec = self._redirection.of(record.spec)
        where = ""
        if spec.version is not None:
            where = f"/versions/{spec.version}"
        elif spec.label is not None:
            where = f"/labels/{quote(spec.label, safe='')}"
        path = f"{self._path}/v1/models/{quote(spec.name, safe='')}{where}:{verb}"
        status, body = self._post(path, _body(record, spec))
        if status != http.HTTPStatus.OK:
            raise Unknown(f"HTTP {status}: {_error_text(body)}")
        try:
            value = json.loads(body)
        except ValueError as error:
            raise DataLoss(f"The answer is no JSON: {error}") from error
        return _filtered(answer_of_json(record.kind, value), record)

    def close(self) -> None:
        """See `Sender`."""
        for connection in self._opened:
            connection.close()

    def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        is_fresh = False
        while True:
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self._connect()
                self._opened.append(connection)
                is_fresh = True
            try:
                connection.request("POST", path, body, self._headers)
                response = connection.getresponse()
                return response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self._local.connection = None
                # A server may close a connection that was idle, which says nothing of the call.
                if is_fresh or not isinstance(error, (ConnectionError, http.client.BadStatusLine)):
                    raise Unavailable(f"{self._host}: {str(error) or repr(error)}") from error

    def _connect(self) -> http.client.HTTPConnection:
        if self._is_tls:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout_s, context=context
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)


def _body(record: LoggedRecord, spec: ModelSpec) -> bytes:
    request = record.request
    if isinstance(request, bytes):
        text = request_json(record.kind, request)
        if spec.signature_name == record.spec.signature_name:
            return text
        request = json.loads(text)
    if spec.signature_name:
        request = {**request, "signature_name": spec.signature_name}
    return json.dumps(request).encode()


def _error_text(body: bytes) -> str:
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(body)["error"])
    return body[:200].decode(errors="replace")


def _filtered(answer: Answer, record: LoggedRecord) -> Answer:
    """Only the outputs that the request asked for: REST always gives all of them."""
    wanted = record.output_filter
    if not wanted and record.kind is LogKind.PREDICT and isinstance(record.request, bytes):
        wanted = decode_predict_request(record.request).output_filter
    if not wanted or not set(wanted) <= answer.outputs.keys():
        return answer
    return Answer({name: answer.outputs[name] for name in wanted}, answer.is_typed)
