"""`/openapi.json`: the REST APIs and the models that are served now, for programs.

Made when it is asked for and the models are not those of the last time, one at a time, in a thread:
it reads what versions say of themselves. `?model=NAME` is about that model alone.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from salver import __version__
from salver.about.assets import read_about
from salver.about.document import About
from salver.errors import NotFound, ServingError
from salver.inference.serving import Serving, info_of
from salver.instruments.threads import InThread
from salver.lifecycle.monitor import VersionState
from salver.openapi.description import Address, ApiDescription, ServedModel
from salver.openapi.document import (
    MOST_MODELS,
    MOST_SIGNATURES,
    Addressed,
    Described,
    document,
    schema_key,
)
from salver.operations.description import describe_document
from salver.protocols.api import Api, ApiParts, IsShown, RestRoute, everything_is_shown
from salver.protocols.etags import etag_of, is_known_to
from salver.protocols.rest_errors import error_page
from salver.protocols.version_files import base_path_of, version_directory
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.access import Verb
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.requests import ServableRequest
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature, is_internal

__all__ = ["OpenApiPage", "make_openapi_api"]

_PATH: Final = r"/openapi\.json(?:[?#].*)?"
_MOST_ADDRESSES: Final = 8  # of a model: versions and labels beside the newest
_MOST_KEPT_BYTES: Final = 16 << 20  # of documents, beside the one that is asked for
_CACHING: Final = ("Cache-Control", "no-cache")
_CORS: Final = ("Access-Control-Allow-Origin", "*")


def make_openapi_api(apis: Sequence[Api], parts: ApiParts) -> Api:
    """The document of some APIs, and of itself."""
    models = parts.models

    def directory_of(name: str, version: int) -> Path | None:
        base_path = base_path_of(models, name, version)
        return None if base_path is None else version_directory(base_path, version)

    page = OpenApiPage(
        [*(api.describe for api in apis if api.describe is not None), describe_document],
        models,
        directory_of,
        in_thread=parts.in_control,
        is_shown=parts.is_shown,
        is_guarded=parts.configuration.auth is not None,
    )
    is_open = parts.configuration.options.rest_api_enable_cors_support
    return Api(
        routes=(
            RestRoute(
                _PATH,
                page,
                ("GET", "HEAD"),
                _servable_asked,
                verb=Verb.METADATA,
                is_filtered=True,
            ),
        ),
        headers=(_CORS,) if is_open else (),
        describe=describe_document,
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """A model as it answers now: the ways to it, and what is behind each."""

    name: str
    answers: tuple[tuple[Address, int, ModelInfo], ...]

    @property
    def mark(self) -> tuple[Any, ...]:
        """The same as long as the same loaded versions answer under the same addresses."""
        return self.name, *((at, version, id(info)) for at, version, info in self.answers)


@dataclass(frozen=True, slots=True)
class _Made:
    """A document, and of what; that is kept, so that no other object gets its identity."""

    mark: tuple[Any, ...]
    seen: tuple[_Seen, ...]
    body: bytes
    etag: str


class OpenApiPage:
    """Answers GET and HEAD. Belongs to the loop."""

    def __init__(
        self,
        describe: Sequence[Callable[[], ApiDescription]],
        serving: Serving,
        directory_of: Callable[[str, int], Path | None],
        *,
        in_thread: InThread,
        version: str = __version__,
        is_shown: IsShown = everything_is_shown,
        is_guarded: bool = False,
    ) -> None:
        """Make nothing yet.

        Args:
            describe: make the descriptions of the APIs, once.
            serving: knows the models.
            directory_of: where a version is; None for nowhere here. Reads the disk.
            in_thread: see there.
            version: of the server.
            is_shown: see there.
            is_guarded: whether the server asks who asks.
        """
        self._is_shown = is_shown
        self._is_guarded = is_guarded
        self._describe = describe
        self._descriptions: list[ApiDescription] | None = None
        self._serving = serving
        self._directory_of = directory_of
        self._in_thread = in_thread
        self._version = version
        self._made: OrderedDict[tuple[str, ...], _Made] = OrderedDict()
        self._turn = asyncio.Lock()

    def __call__(self, request: HttpRequest) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        """Answer with the document, made anew where the models have changed."""
        name = _name_asked(request.target)
        names = tuple(
            each for each in self._serving.model_names() if self._is_shown(request.principal, each)
        )
        if name is not None:
            if name not in names:
                return error_page(404, f"Model {name} is not configured")
            names = (name,)
        made = self._current(names)
        return self._answer(request, names) if made is None else _respond(request, made)

    async def _answer(self, request: HttpRequest, names: tuple[str, ...]) -> HttpResponse:
        async with self._turn:  # who waited finds what the one before made
            made = self._current(names)
            if made is None:
                made = await self._make(names)
        return _respond(request, made)

    def _current(self, names: tuple[str, ...]) -> _Made | None:
        made = self._made.get(names)
        if made is None or made.mark != _mark(self._look(names)):
            return None
        self._made.move_to_end(names)
        return made

    async def _make(self, names: tuple[str, ...]) -> _Made:
        seen = self._look(names)
        body: bytes = await self._in_thread(lambda: self._written(seen, names))
        made = _Made(_mark(seen), seen, body, etag_of(body))
        self._made[names] = made
        self._made.move_to_end(names)
        while len(self._made) > 1 and self._kept_bytes() > _MOST_KEPT_BYTES:
            self._made.popitem(last=False)
        return made

    def _kept_bytes(self) -> int:
        return sum(len(made.body) for made in self._made.values())

    # -- what answers now ------------------------------------------------------------------------

    def _look(self, names: tuple[str, ...]) -> tuple[_Seen, ...]:
        return tuple(_Seen(each, tuple(self._answers(each))) for each in names[:MOST_MODELS])

    def _answers(self, name: str) -> list[tuple[Address, int, ModelInfo]]:
        found = []
        for address, request in self._addresses(name):
            try:
                id, info = info_of(self._serving, request)
            except ServingError:  # nothing answers there, or nothing is known of it yet
                continue
            found.append((address, id.version, info))
        return found

    def _addresses(self, name: str) -> list[tuple[Address, ServableRequest]]:
        try:
            statuses = self._serving.statuses(name)
        except NotFound:
            return []
        versions = [s.id.version for s in statuses if s.state is VersionState.AVAILABLE]
        labels = sorted(self._serving.labels(name))
        return [
            (Address("newest"), ServableRequest(name)),
            *(
                (Address("version", str(version)), ServableRequest(name, version))
                for version in versions[:_MOST_ADDRESSES]
                if len(versions) > 1
            ),
            *(
                (Address("label", label), ServableRequest(name, None, label))
                for label in labels[:_MOST_ADDRESSES]
            ),
        ]

    # -- in a thread -----------------------------------------------------------------------------

    def _written(self, seen: Sequence[_Seen], names: Sequence[str]) -> bytes:
        if self._descriptions is None:
            self._descriptions = [describe() for describe in self._describe]
        models = [self._described(each) for each in seen]
        return document(
            self._descriptions,
            models,
            version=self._version,
            names=names,
            is_guarded=self._is_guarded,
        )

    def _described(self, seen: _Seen) -> Described:
        versions: dict[int, Addressed] = {}
        for address, version, info in seen.answers:
            known = versions.get(version)
            if known is None:
                known = Addressed(self._served(seen.name, version, info), ())
            versions[version] = Addressed(known.model, (*known.addresses, address))
        return Described(seen.name, tuple(versions.values()))

    def _served(self, name: str, version: int, info: ModelInfo) -> ServedModel:
        return ServedModel(
            name=name,
            version=version,
            key=schema_key(name, f"v{version}"),
            signatures=_callable(info),
            about=self._about(name, version),
        )

    def _about(self, name: str, version: int) -> About:
        try:
            directory = self._directory_of(name, version)
            about = None if directory is None else read_about(directory)
        except (ServingError, OSError):  # the playground says why
            about = None
        return about or About()


def _name_asked(target: str) -> str | None:
    asked = parse_qs(target.partition("#")[0].partition("?")[2], errors="surrogateescape")
    return asked["model"][0] if "model" in asked else None


def _servable_asked(match: "re.Match[str]") -> ServableRequest | None:
    name = _name_asked(match.string)
    return None if name is None else ServableRequest(name)


def _mark(seen: Sequence[_Seen]) -> tuple[Any, ...]:
    return tuple(each.mark for each in seen)


def _callable(info: ModelInfo) -> dict[str, Signature]:
    """Signatures for people, the default one first, a few of very many."""
    names = sorted(
        (name for name in info.signatures if not is_internal(name)),
        key=lambda name: (name != DEFAULT_SIGNATURE, name),
    )
    return {name: info.signatures[name] for name in names[:MOST_SIGNATURES]}


def _respond(request: HttpRequest, made: _Made) -> HttpResponse:
    headers = (_CACHING, ("ETag", made.etag))
    if is_known_to(request, made.etag):
        return HttpResponse(304, b"", None, headers)
    return HttpResponse(200, made.body, headers=headers)
