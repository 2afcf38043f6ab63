"""What a person is told of the models: how they come up, where they answer, what comes later."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from salver.config.models import ModelConfig
from salver.config.options import Announcement, LoadProgress, ServedModel, ServeMode
from salver.config.start_up import Configuration
from salver.errors import NotFound, ServingError
from salver.instruments.notices import NOTICE
from salver.lifecycle.fetching import FETCHING
from salver.lifecycle.monitor import VersionState
from salver.lifecycle.placeholders import NotLoaded
from salver.management.core import ServerCore
from salver.server.ports import crossing_of
from salver.vocabulary.requests import ServableRequest

__all__ = ["ANNOUNCE_AFTER_S", "Announcer", "announcement", "served_models"]

_log = logging.getLogger(__name__)

ANNOUNCE_AFTER_S: Final = 5.0
"""So long the start waits for models that load, and the announcement for models without files."""

_LOOK_S: Final = 0.2  # between two looks at models that load
_LOOKED_AT: Final = 100  # models that load, to find one that is being fetched
_END_S: Final = 1.0


class Announcer:
    """Announces a server when its first models are up, and after that each version that comes.

    In a thread of its own: a model may load for minutes, and whoever prints may block.
    """

    def __init__(
        self,
        core: ServerCore,
        configuration: Configuration,
        mode: ServeMode,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Announce nothing yet.

        Args:
            core: knows how the models are.
            configuration: the first one.
            mode: says whom to tell; where nobody is, nothing is done.
            clock: seconds.
        """
        self._core = core
        self._configuration = configuration
        self._mode = mode
        self._clock = clock
        self._began_s = clock()
        self._woken = threading.Condition()
        self._changed: set[str] = set()
        self._is_stopped = False
        self._place: tuple[str, Sequence[str]] | None = None
        self._available: dict[str, frozenset[int]] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to tell how far the models are."""
        if self._mode.announce is not None:
            self._thread = threading.Thread(target=self._run, name="salver-announce", daemon=True)
            self._thread.start()

    def opened(self, rest_url: str, grpc_addresses: Iterable[str]) -> None:
        """The server answers there, and has started as far as that does not wait for models."""
        with self._woken:
            self._place = rest_url, tuple(grpc_addresses)
            self._woken.notify_all()

    def changed(self, name: str) -> None:
        """The states of a model have changed. Returns at once."""
        if self._thread is None:
            return
        with self._woken:
            self._changed.add(name)
            self._woken.notify_all()

    def stop(self) -> None:
        """Tell nothing any more."""
        with self._woken:
            self._is_stopped = True
            self._woken.notify_all()
        if self._thread is not None:
            self._thread.join(_END_S)  # who prints may be held up for ever

    def _run(self) -> None:
        announced = self._until_settled()
        if announced is None or self._mode.announce is None:
            return
        self._available = {model.name: frozenset(model.versions) for model in announced.models}
        self._mode.announce(announced)
        while (name := self._next_change()) is not None:
            self._tell_of(name)

    def _until_settled(self) -> Announcement | None:
        """Wait for the models; None when it is stopped meanwhile."""
        while True:
            with self._woken:
                if self._is_stopped:
                    return None
                place = self._place
            seconds = self._clock() - self._began_s
            names = [model.name for model in self._configuration.models or ()]
            loading = tuple([name for name in names if not self._is_settled(name, seconds)])
            if place is not None and self._is_late(loading) and self._is_any_available(names):
                loading = ()  # those that are there are not to wait for what may never come
            if place is not None and not loading:
                rest_url, grpc_addresses = place
                return announcement(
                    self._core,
                    self._configuration,
                    rest_url=rest_url,
                    grpc_addresses=grpc_addresses,
                )
            if self._mode.progress is not None:
                self._mode.progress(
                    LoadProgress(
                        rest_url=place[0] if place is not None else "",
                        total=len(names),
                        loading=loading,
                        seconds=seconds,
                        fetching=self._fetching(loading),
                    )
                )
            with self._woken:  # not at each change: a thousand models would be looked at each time
                self._woken.wait_for(partial(self._is_elsewhere, place), _LOOK_S)

    def _fetching(self, loading: Sequence[str]) -> str:
        """What the status says of the first of some models that is being fetched."""
        problems = (self._core.problem(name) or "" for name in loading[:_LOOKED_AT])
        return next((text for text in problems if text.startswith(FETCHING)), "")

    def _is_elsewhere(self, place: object) -> bool:
        return self._is_stopped or self._place != place

    def _is_settled(self, name: str, seconds: float) -> bool:
        try:
            statuses = self._core.statuses(name)
        except NotFound:  # no files yet, or nobody has looked
            return seconds >= ANNOUNCE_AFTER_S
        is_available = any(status.state is VersionState.AVAILABLE for status in statuses)
        return is_available or self._core.last_error(name) is not None

    def _is_late(self, loading: Iterable[str]) -> bool:
        """Whether each load has been told of already, since it has not returned for so long."""
        try:
            return all(_note_of(self._core, name) is not None for name in loading)
        except NotFound:  # nobody has looked yet
            return False

    def _is_any_available(self, names: Iterable[str]) -> bool:
        return any(map(self._versions, names))

    def _versions(self, name: str) -> frozenset[int]:
        try:
            return frozenset(_available(self._core, name))
        except NotFound:
            return frozenset()

    def _next_change(self) -> str | None:
        with self._woken:
            while not (self._changed or self._is_stopped):
                self._woken.wait()
            return None if self._is_stopped else self._changed.pop()

    def _tell_of(self, name: str) -> None:
        now = self._versions(name)
        for version in sorted(now - self._available.get(name, frozenset())):
            _log.log(NOTICE, "%s: version %d is ready", name, version)
        self._available[name] = now


def announcement(
    core: ServerCore, configuration: Configuration, *, rest_url: str, grpc_addresses: Iterable[str]
) -> Announcement:
    """What is to be announced of a server that answers there."""
    for wildcard in ("//0.0.0.0:", "//[::]:"):  # no name of a machine, nor in a certificate
        rest_url = rest_url.replace(wildcard, "//localhost:")
    has_page = configuration.options.enable_playground and rest_url
    grpc_address = next(iter(grpc_addresses), "")
    if not grpc_address and crossing_of(configuration).grpc_on_rest:
        grpc_address = rest_url.partition("://")[2]
    return Announcement(
        rest_url=rest_url,
        grpc_address=grpc_address,
        playground_url=f"{rest_url}/" if has_page else "",
        needs_key=bool(configuration.options.auth_config_file),
        models=served_models(core, configuration.models or ()),
    )


def served_models(core: ServerCore, models: Iterable[ModelConfig]) -> tuple[ServedModel, ...]:
    """Each model with its available versions, or with what keeps it from having one."""
    return tuple(_served(core, model) for model in models)


def _served(core: ServerCore, model: ModelConfig) -> ServedModel:
    try:
        handle = core.acquire(ServableRequest(model.name))
    except NotLoaded:
        return ServedModel(
            name=model.name, base_path=model.base_path, versions=_available(core, model.name)
        )
    except ServingError:
        error = _error_of(core, model.name)
        return ServedModel(name=model.name, base_path=model.base_path, error=error)
    try:
        versions = _available(core, model.name)
        signatures = handle.model.signatures
    finally:
        handle.release()
    return ServedModel(
        name=model.name, base_path=model.base_path, versions=versions, signatures=signatures
    )


def _available(core: ServerCore, name: str) -> tuple[int, ...]:
    return tuple(s.id.version for s in core.statuses(name) if s.state is VersionState.AVAILABLE)


def _error_of(core: ServerCore, name: str) -> str:
    error = core.last_error(name)
    if error is not None:
        return error.message
    try:
        return _note_of(core, name) or "still loading"
    except NotFound:
        return "no version found on disk"


def _note_of(core: ServerCore, name: str) -> str | None:
    """What is told of a load that takes unusually long."""
    return next((status.note for status in core.statuses(name) if status.note is not None), None)
