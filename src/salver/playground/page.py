"""What answers on the paths of the playground.

| path | answer |
|---|---|
| `/` | the page |
| `/docs` | the page of the API, made of `/openapi.json` |
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
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from salver.about.assets import read_about, read_asset
from salver.about.document import plain
from salver.errors import NotFound, ServingError
from salver.instruments.threads import InThread
from salver.playground.static_files import SECURITY_HEADERS, StaticFiles
from salver.protocols.api import RestRoute
from salver.protocols.labels import EVERY_MODEL, find_labels
from salver.protocols.version_files import version_directory
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.access import Access, Verb
from salver.vocabulary.requests import ServableRequest

__all__ = ["About", "Playground"]

_STATIC: Final = Path(__file__).with_name("static")
_PREFIX: Final = "/playground/"
_READ: Final = ("GET", "HEAD")
_ABOUT: Final = r"/playground/about(?:[?#].*)?"
_VERSIONS: Final = r"/playground/(?:labels|description|example)(?:[?#].*)?"
_HISTORY: Final = r"/admin/v1/history(?:[?#].*)?"
_FILES: Final = r"/(?:favicon\.ico|docs|playground(?:/.*)?)?(?:[?#].*)?"
_FRESH: Final = (*SECURITY_HEADERS, ("Cache-Control", "no-store"))
_NO_PAGE: Final = ("Content-Disposition", "attachment")
_GREATEST_VERSION: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the page cannot see for itself.

    Attributes:
        version: of the server.
        grpc_port: for examples of requests; 0 without gRPC over TCP.
        metrics_path: where the Prometheus page is; empty where there is none.
        has_open_inference: whether the Open Inference Protocol is served.
    """

    version: str
    grpc_port: int = 0
    metrics_path: str = ""
    has_open_inference: bool = False


class Playground:
    """Answers GET and HEAD on its paths. Belongs to the loop."""

    def __init__(
        self,
        about: About,
        *,
        labels_files: Mapping[str, str],
        base_path_of: Callable[[str, int], str | None],
        in_thread: InThread,
        optional_of: Callable[[str, int], Mapping[str, Sequence[str]]] = lambda _name, _version: {},
        draw_history: Callable[[], Callable[[], bytes]] | None = None,
    ) -> None:
        """Read the files of the page.

        Args:
            about: told to the page.
            labels_files: model → file of its labels; see `parse_labels_flag`.
            base_path_of: where a version of a model is, in a directory named by its number; None
                for an unknown model, and for a version that is not on this machine.
            in_thread: see there.
            optional_of: signature → inputs that a request may leave out, of a version of a model;
                called in the loop.
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
        self._optional_of = optional_of
        self._draw_history = draw_history

    def routes(self) -> Sequence[RestRoute]:
        """Its table. The files are open: a browser shows no credentials before it has the page."""
        return (
            RestRoute(_ABOUT, self.tell_about, verb=Verb.METADATA, is_filtered=True),
            RestRoute(
                _VERSIONS, self.tell_of_version, servable=_servable_asked, verb=Verb.METADATA
            ),
            RestRoute(_HISTORY, self.tell_history, verb=Verb.METRICS),
            RestRoute(_FILES, self.answer_file, verb=Access.OPEN),
        )

    def answer_file(self, request: HttpRequest) -> HttpResponse | None:
        """What comes with the package; None for a request that is not for the playground."""
        if request.method not in _READ:
            return None
        path = request.target.partition("#")[0].partition("?")[0]
        if path == "/":
            return self._files.answer("index.html", request)
        if path == "/docs":
            return self._files.answer("docs.html", request)
        if path == "/favicon.ico":  # asked for beside JSON, too
            return self._files.answer("icon.svg", request)
        if path == "/playground":
            return HttpResponse(308, b"", None, (("Location", "/"),))
        return self._files.answer(path.removeprefix(_PREFIX), request)

    def tell_about(self, request: HttpRequest) -> HttpResponse | None:
        """What the page has to know of the server."""
        return self._about if request.method in _READ else None

    def tell_history(
        self, request: HttpRequest
    ) -> HttpResponse | Coroutine[Any, Any, HttpResponse] | None:
        """What the dashboard has missed; None where nothing of it is kept."""
        if request.method not in _READ or self._draw_history is None:
            return None
        return self._tell_history(self._draw_history())

    def tell_of_version(
        self, request: HttpRequest
    ) -> HttpResponse | Coroutine[Any, Any, HttpResponse] | None:
        """What a version of a model brings for the page."""
        if request.method not in _READ:
            return None
        path, _, query = request.target.partition("#")[0].partition("?")
        return self._of_version(path.removeprefix(_PREFIX), query)

    async def _tell_history(self, make: Callable[[], bytes]) -> HttpResponse:
        try:
            body: bytes = await self._in_thread(make)
        except ServingError as error:
            return _json({"error": error.message}, 503)
        return HttpResponse(200, body, headers=_FRESH)

    def _of_version(
        self, name: str, query: str
    ) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        asked = _fields_of(query)
        model, version = asked.get("model", ""), asked.get("version", "")
        is_number = version.isascii() and version.isdecimal() and len(version) < 20
        is_number = is_number and int(version) <= _GREATEST_VERSION
        base_path = self._base_path_of(model, int(version)) if is_number else None
        if base_path is None:
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
        optional = self._optional_of(model, version)
        body: bytes = await self._in_thread(
            lambda: json.dumps(
                {
                    **_describe(base_path, version),
                    **({"optional": optional} if optional else {}),
                    "labels_come_first": any(
                        name in self._labels_files for name in (model, EVERY_MODEL)
                    ),
                }
            ).encode()
        )
        return HttpResponse(200, body, headers=_FRESH)

    async def _example(self, file: str, version: int, base_path: str) -> HttpResponse:
        try:
            body = await self._in_thread(lambda: _example_file(base_path, version, file))
        except ServingError as error:
            return _json({"error": error.message}, 404)
        except OSError as error:
            return _json({"error": f"{file} cannot be read: {error.strerror}"}, 404)
        # Whatever it holds, no browser makes a page of it.
        return HttpResponse(200, body, "application/octet-stream", (*_FRESH, _NO_PAGE))


def _servable_asked(match: "re.Match[str]") -> ServableRequest | None:
    """Which model a target names; None for none."""
    model = _fields_of(match.string.partition("#")[0].partition("?")[2]).get("model")
    return ServableRequest(model) if model else None


def _fields_of(query: str) -> Mapping[str, str]:
    # The API takes names byte for byte, so those that are no UTF-8 come through here as well.
    return {key: values[0] for key, values in parse_qs(query, errors="surrogateescape").items()}


def _json(value: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(status, json.dumps(value).encode(), headers=_FRESH)


def _describe(base_path: str, version: int) -> dict[str, Any]:
    """The document of a version as JSON has it. Reads the disk.

    Returns:
        `about`, None where there is none; `warnings`; and `error` where the document is wrong.
    """
    directory = version_directory(base_path, version)
    try:
        about = None if directory is None else read_about(directory)
    except ServingError as error:
        return {"about": None, "warnings": [], "error": error.message}
    except OSError as error:
        why = f"assets/salver.json cannot be read: {error.strerror}"
        return {"about": None, "warnings": [], "error": why}
    if about is None:
        return {"about": None, "warnings": []}
    document = plain(about)
    return {"about": document, "warnings": document.pop("warnings", [])}


def _example_file(base_path: str, version: int, name: str) -> bytes:
    """A file that an example of a version names; no other. Reads the disk.

    Raises:
        NotFound: no example names it, or it is not there.
        ServingError: it may not be read.
        OSError: it cannot be read.
    """
    directory = version_directory(base_path, version)
    about = None if directory is None else read_about(directory)
    if directory is None or about is None or name not in about.files:
        raise NotFound(f"No example has a file {name!r}")
    return read_asset(directory, name)
