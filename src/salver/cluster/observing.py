"""What the server of a node says of itself: its models, their versions, and how much they do.

It is asked over its Unix socket, where it answers REST whatever its ports do, and by the metrics
page, of which a few lines are read.
"""

import os
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import httpx
import orjson

from salver.cluster.reports import AVAILABLE, STATES, ModelReport, VersionReport
from salver.cluster.steady_sizes import SteadySizes
from salver.instruments.files import is_uri, local_path
from salver.peers.hops import FORWARDED, PRINCIPAL, TOKEN
from salver.vocabulary.servable import TRY_FAILED

__all__ = ["ROLE", "ServerLook", "Versions", "looker_at", "read_metrics"]

ROLE: Final = "cluster"
"""Of the agent's requests, where an `--auth_config_file` says who may do what."""

_AGENT: Final = b"node-agent"
_WHO, _KIND = "node agent", "cluster"
_TIMEOUT_S: Final = 5.0  # a machine with load; a server that answers later is reported as silent
_COARSEST_NS: Final = 2_000_000_000  # of the dates of file systems
_METRICS: Final = "/monitoring/prometheus/metrics"
_MODEL: Final = re.compile(rb'model_name="((?:[^"\\]|\\.)*)"(?:,version="(\d*)")?')
_ESCAPES: Final = {b"\\\\": b"\\", b'\\"': b'"', b"\\n": b"\n"}

_REQUESTS: Final = (b"salver_request_seconds_count", b"salver_failed_requests_total")
_BUSY: Final = b"salver_run_seconds_sum"
_QUEUED: Final = b"salver_in_flight_requests"
_RESERVED: Final = b"salver_reserved_memory_bytes"
_MEASURED: Final = b"salver_child_resident_memory_bytes"
_READ: Final = (*_REQUESTS, _BUSY, _QUEUED, _RESERVED, _MEASURED)


@dataclass(slots=True)
class _Amounts:
    """What there is to say of a model; `reserved` and `measured` are bytes by version."""

    requests: float = 0.0
    busy_s: float = 0.0
    queued: float = 0.0
    reserved: dict[str, int] = field(default_factory=dict)
    measured: dict[str, int] = field(default_factory=dict)

    def sizes(self) -> list[int]:
        """Bytes of each version: by its files, or as measured where that is more."""
        versions = self.reserved.keys() | self.measured.keys()
        return [max(self.reserved.get(v, 0), self.measured.get(v, 0)) for v in versions]

    def bound(self, memory_bytes: int) -> None:
        """Have the processes of all versions together take no more than this."""
        most = memory_bytes // max(1, len(self.measured))
        for version, taken in self.measured.items():
            self.measured[version] = min(taken, most)


class ServerLook:
    """A connection to the server of this node. Its methods raise `httpx.HTTPError`.

    Attributes:
        cold: model → its versions that `models` has found to be loaded when they are asked for. Of
            several processes the one that has answered says so.
    """

    def __init__(self, client: httpx.Client, memory_bytes: int = 0) -> None:
        """Look over a client, which is closed by `close`.

        Args:
            client: asks the server.
            memory_bytes: of the node. What runs there has no more, whatever was measured; 0 for
                unknown.
        """
        self._client = client
        self._memory_bytes = memory_bytes
        self._map = ("", 0)  # its tag and generation
        self.cold: Mapping[str, tuple[int, ...]] = {}
        self._steady = SteadySizes()

    def close(self) -> None:
        """Let go of the server."""
        self._client.close()

    def config_tag(self) -> str:
        """Which configuration it has; see `salver.config.model_documents.tag_of_all`."""
        answer = self._client.get("/admin/v1/config")
        answer.raise_for_status()
        return str(answer.headers.get("etag", "")).strip('"')

    def map_generation(self) -> int:
        """Of the map of peers that it has; 0 for none."""
        tag, generation = self._map
        fields = {"if-none-match": tag} if tag else {}
        answer = self._client.get("/cluster/v1/map", headers=fields)
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            return generation
        if answer.status_code != httpx.codes.OK:
            return 0
        found = int(orjson.loads(answer.content).get("generation", 0))
        self._map = str(answer.headers.get("etag", "")), found
        return found

    def metrics_page(self) -> str:
        """The page that Prometheus reads."""
        answer = self._client.get(_METRICS)
        answer.raise_for_status()
        return answer.text

    def models(self) -> dict[str, ModelReport]:
        """What there is to say of each model."""
        answer = self._client.get("/v1/models")
        answer.raise_for_status()
        page = self._client.get(_METRICS)
        amounts = read_metrics(page.content if page.status_code == httpx.codes.OK else b"")
        self._steady.smooth({name: each.measured for name, each in amounts.items()})
        for each in amounts.values() if self._memory_bytes else ():
            each.bound(self._memory_bytes)
        found = orjson.loads(answer.content)["models"]
        self.cold = {each["name"]: cold for each in found if (cold := _cold(each))}
        return {each["name"]: _report(each, amounts.get(each["name"])) for each in found}

    def bring_in(self, model: str) -> None:
        """Have a model loaded that is not in memory; does not wait for that."""
        self._client.post(f"/admin/v1/models/{quote(model, safe='')}:load").raise_for_status()


class _UnixTransport(httpx.HTTPTransport):
    """HTTP over a Unix socket. Httpcore leaks one that nobody takes, so it is knocked at first."""

    def __init__(self, path: str) -> None:
        super().__init__(uds=path)
        self._path = path

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_TIMEOUT_S)
            try:
                probe.connect(self._path)
            except OSError as error:
                raise httpx.ConnectError(str(error), request=request) from None
        return super().handle_request(request)


def looker_at(path: str, token: str = "", memory_bytes: int = 0) -> ServerLook:
    """Look at a server through its Unix socket.

    The requests are those of a peer, so that the answers are of this server alone; where access is
    controlled they are of the role `cluster`.

    Args:
        path: of the socket.
        token: of peers.
        memory_bytes: see `ServerLook`.
    """
    headers = {FORWARDED: _AGENT}
    if token:
        headers |= {TOKEN: token.encode(), PRINCIPAL: orjson.dumps([_WHO, _KIND, ROLE])}
    return ServerLook(
        httpx.Client(
            transport=_UnixTransport(path),
            base_url="http://localhost",
            timeout=_TIMEOUT_S,
            headers=list(headers.items()),
        ),
        memory_bytes,
    )


def _report(found: Mapping[str, Any], amounts: "_Amounts | None") -> ModelReport:
    amounts = amounts or _Amounts()
    sizes = amounts.sizes()
    return ModelReport(
        versions=tuple(_version(each) for each in found.get("model_version_status", ())),
        resident_bytes=sum(sizes),
        version_bytes=max(sizes, default=0),
        requests=int(amounts.requests),
        queued=int(amounts.queued),
        busy_s=amounts.busy_s,
    )


def _cold(found: Mapping[str, Any]) -> tuple[int, ...]:
    """Versions of a model that would be loaded by a request, and have not failed to be."""
    return tuple(
        int(each["version"])
        for each in found.get("model_version_status", ())
        if each.get("in_memory") is False
        and each.get("state") == AVAILABLE
        and not each.get("status", {}).get("error_message")
    )


def _version(found: Mapping[str, Any]) -> VersionReport:
    state = found.get("state", STATES[0])
    status = found.get("status", {})
    return VersionReport(
        int(found["version"]),
        state if state in STATES else STATES[0],
        str(status.get("error_message", "")) or _of_last_try(str(found.get("hint", ""))),
    )


def _of_last_try(hint: str) -> str:
    """Why a load failed that is tried again; empty where it did not."""
    return hint.removeprefix(TRY_FAILED) if hint.startswith(TRY_FAILED) else ""


def read_metrics(page: bytes) -> dict[str, "_Amounts"]:
    """What a metrics page says of each model."""
    amounts: dict[str, _Amounts] = {}
    for model, version, name, value in _samples(page.splitlines()):
        of = amounts.setdefault(model, _Amounts())
        if name in _REQUESTS:
            of.requests += value
        elif name == _BUSY:
            of.busy_s += value
        elif name == _QUEUED:
            of.queued += value
        elif name == _RESERVED:
            of.reserved[version] = int(value)
        else:
            of.measured[version] = int(value)
    return amounts


def _samples(lines: Iterable[bytes]) -> Iterator[tuple[str, str, bytes, float]]:
    for line in lines:
        if not line.startswith(_READ):
            continue
        name, _, rest = line.partition(b"{")
        labels, _, value = rest.rpartition(b"} ")
        if name in _READ and (model := _MODEL.search(labels)) is not None:
            yield _unescaped(model[1]), (model[2] or b"").decode(), name, float(value)


def _unescaped(text: bytes) -> str:
    return re.sub(rb"\\.", lambda found: _ESCAPES.get(found[0], found[0]), text).decode()


@dataclass(slots=True)
class Versions:
    """The versions at base paths of this machine, which are listed again when they change."""

    _known: dict[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict)

    def found(self, base_path: str) -> tuple[int, ...]:
        """The numbers of the versions that there are; none where nobody can say."""
        if is_uri(base_path):
            return ()
        try:
            path = local_path(base_path)
            changed_ns = os.stat(path).st_mtime_ns
            known = self._known.get(path)
            if known is not None and known[0] == changed_ns:
                return known[1]
            looked_ns = time.time_ns()
            with os.scandir(path) as entries:
                found = sorted(int(each.name) for each in entries if _is_version(each))
        except OSError:
            return ()
        if looked_ns - changed_ns > _COARSEST_NS:  # else what comes next may have the same date
            self._known[path] = changed_ns, tuple(found)
        return tuple(found)


def _is_version(entry: "os.DirEntry[str]") -> bool:
    return entry.name.isascii() and entry.name.isdigit() and entry.is_dir()
