"""What answers on the paths of the playground.

| path | answer |
|---|---|
| `/` | the page |
| `/favicon.ico` | its icon |
| `/playground/FILE` | its style sheets and scripts |
| `/playground/about` | JSON: where gRPC and the metrics are, the server's version |
| `/playground/labels?model=M&version=N` | JSON: the names of a version's classes |
| `/playground/description?model=M&version=N` | JSON: what a version says of itself |
| `/admin/v1/history` | JSON: what the dashboard has missed; see `metrics.history` |
| `/playground/example?model=M&version=N&file=F` | a file that an example of it names |

Everything else the page needs it asks of the public API.
"""

import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from salver.errors import ServingError
from salver.playground.descriptions import describe, example_file
from salver.playground.labels import EVERY_MODEL, find_labels
from salver.playground.static_files import SECURITY_HEADERS, StaticFiles
from salver.transport.messages import HttpRequest, HttpResponse

__all__ = ["About", "Playground"]

_STATIC: Final = Path(__file__).with_name("static")
_PREFIX: Final = "/playground/"
_HISTORY: Final = "/admin/v1/history"
_FRESH: Final = (*SECURITY_HEADERS, ("Cache-Control", "no-store"))
_NO_PAGE: Final = ("Content-Disposition", "attachment")
_GREATEST_VERSION: Final = 2**63 - 1

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function that reads the disk, apart from the loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the page cannot see for itself.

    Attributes:
        version: of the server.
        grpc_port: for examples of requests; 0 without gRPC over TCP.
        metrics_path: where the Prometheus page is; empty where there is none.
    """

    version: str
    grpc_port: int = 0
    metrics_path: str = ""


class Playground:
    """Answers GET and HEAD on its paths. Belongs to the loop."""

    def __init__(
        self,
        about: About,
        *,
        labels_files: Mapping[str, str],
        base_path_of: Callable[[str], str | None],
        in_thread: InThread,
        draw_history: Callable[[], Callable[[], bytes]] | None = None,
    ) -> None:
        """Read the files of the page.

        Args:
            about: told to the page.
            labels_files: model → file of its labels; see `parse_labels_flag`.
            base_path_of: where the versions of a model are; None for an unknown model.
            in_thread: see there.
            draw_history: takes down what was counted, on the loop; what it returns makes the
                document of the past, in any thread. None where nothing of it is kept.

        Raises:
            OSError: the package lacks its files.
        """
        self._files = StaticFiles(_STATIC)
        self._about = _json(asdict(about))
        self._labels_files = labels_files
        self._base_path_of = base_path_of
        self._in_thread = in_thread
        self._draw_history = draw_history

    def __call__(
        self, request: HttpRequest
    ) -> HttpResponse | Coroutine[Any, Any, HttpResponse] | None:
        """Answer a request; None for one that is not for the playground."""
        if request.method not in ("GET", "HEAD"):
            return None
        path, _, query = request.target.partition("#")[0].partition("?")
        if path == "/":
            return self._files.answer("index.html", request)
        if path == "/favicon.ico":  # asked for beside JSON, too
            return self._files.answer("icon.svg", request)
        if path == _HISTORY and self._draw_history is not None:
            return self._tell_history(self._draw_history())
        if path == "/playground":
            return HttpResponse(308, b"", None, (("Location", "/"),))
        if not path.startswith(_PREFIX):
            return None
        name = path.removeprefix(_PREFIX)
        if name == "about":
            return self._about
        if name in ("labels", "description", "example"):
            return self._of_version(name, query)
        return self._files.answer(name, request)

    async def _tell_history(self, make: Callable[[], bytes]) -> HttpResponse:
        try:
            body: bytes = await self._in_thread(make)
        except ServingError as error:
            return _json({"error": error.message}, 503)
        return HttpResponse(200, body, headers=_FRESH)

    def _of_version(
        self, name: str, query: str
    ) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        # The API takes names byte for byte, so those that are no UTF-8 come through here as well.
        asked = {
            key: values[0] for key, values in parse_qs(query, errors="surrogateescape").items()
        }
        model, version = asked.get("model", ""), asked.get("version", "")
        is_number = version.isascii() and version.isdecimal() and len(version) < 20
        base_path = self._base_path_of(model)
        if base_path is None or not is_number or int(version) > _GREATEST_VERSION:
            return _json({"error": f"{name}?model=NAME&version=NUMBER: no such model"}, 404)
        if name == "labels":
            return self._read_labels(model, int(version), base_path)
        if name == "description":
            return self._describe(model, int(version), base_path)
        return self._example(asked.get("file", ""), int(version), base_path)

    async def _read_labels(self, model: str, version: int, base_path: str) -> HttpResponse:
        try:
            labels = await self._in_thread(
                lambda: find_labels(self._labels_files, model, version, base_path)
            )
        except ServingError as error:
            return _json({"labels": None, "error": error.message})
        except OSError as error:
            return _json({"labels": None, "error": f"The labels cannot be read: {error.strerror}"})
        return _json({"labels": labels})

    async def _describe(self, model: str, version: int, base_path: str) -> HttpResponse:
        body: bytes = await self._in_thread(
            lambda: json.dumps(
                {
                    **describe(base_path, version),
                    "labels_come_first": any(
                        name in self._labels_files for name in (model, EVERY_MODEL)
                    ),
                }
            ).encode()
        )
        return HttpResponse(200, body, headers=_FRESH)

    async def _example(self, file: str, version: int, base_path: str) -> HttpResponse:
        try:
            body = await self._in_thread(lambda: example_file(base_path, version, file))
        except ServingError as error:
            return _json({"error": error.message}, 404)
        except OSError as error:
            return _json({"error": f"{file} cannot be read: {error.strerror}"}, 404)
        # Whatever it holds, no browser makes a page of it.
        return HttpResponse(200, body, "application/octet-stream", (*_FRESH, _NO_PAGE))


def _json(value: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(status, json.dumps(value).encode(), headers=_FRESH)
