"""What the calls about models tell and do, over REST and gRPC; see `rpc.models.ModelFacts`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from salver.errors import Unavailable, Unimplemented
from salver.inference.serving import Serving, info_of
from salver.oip.extensions import (
    new_log_level,
    new_sampling,
    refuse_log_settings,
    refuse_trace_settings,
    trace_settings,
)
from salver.oip.model_config import config_of_files, model_config
from salver.oip.reports import platform_name
from salver.oip.repository import Repository
from salver.oip.serving import unknown_model
from salver.oip.statistics import model_statistics
from salver.protocols.api import ApiParts
from salver.protocols.version_files import base_path_of
from salver.vocabulary.access import Actor, Principal
from salver.vocabulary.requests import ServableRequest

__all__ = ["ServedFacts"]


class ServedFacts:
    """Of the models of a server. Belongs to the loop."""

    def __init__(self, parts: ApiParts, serving: Serving) -> None:
        """Make it.

        Args:
            parts: of the server.
            serving: its models, refusing in the words of this protocol.
        """
        self._parts = parts
        self._serving = serving
        self._sampling = None if parts.tracer is None else parts.tracer.sampling
        self._is_explicit = parts.configuration.options.model_control_mode == "explicit"
        self._repository = Repository(parts.models, parts.in_control, is_explicit=self._is_explicit)

    async def config(self, request: ServableRequest) -> dict[str, Any]:
        """See `ModelFacts`."""
        id, info = info_of(self._serving, request)
        applied = self._parts.models.configured
        model = next((each for each in applied if each.name == id.name), None)
        if model is None:
            raise Unavailable(f"The configuration of model '{id.name}' is being changed")
        platform = platform_name(info.backend)
        base_path = base_path_of(self._parts.models, id.name, id.version)

        def made() -> dict[str, Any]:
            config = config_of_files(base_path, id.version)
            return model_config(model, info, platform, config)

        config: dict[str, Any] = await self._parts.in_pool(made)
        return config

    async def statistics(
        self, request: ServableRequest, principal: Principal | None = None
    ) -> Sequence[dict[str, Any]]:
        """See `ModelFacts`."""
        version = request.version
        if request.label is not None:
            version = self._serving.labels(request.name).get(request.label)
            if version is None:
                raise unknown_model(self._serving, request)
        read = self._parts.read_report()

        def made() -> list[dict[str, Any]]:
            return model_statistics(
                self._serving,
                read(),
                request.name,
                version,
                is_shown=lambda name: self._parts.is_shown(principal, name),
            )

        found: list[dict[str, Any]] = await self._parts.in_pool(made)
        return found

    def index(
        self, *, is_ready_only: bool, principal: Principal | None = None
    ) -> Sequence[dict[str, Any]]:
        """See `ModelFacts`."""
        is_shown = self._parts.is_shown
        index = self._repository.index(is_ready_only=is_ready_only)
        return [each for each in index if is_shown(principal, each["name"])]

    def names(self, principal: Principal | None = None) -> list[str]:
        """The models that a principal is shown, in the order of the configuration."""
        is_shown = self._parts.is_shown
        return [name for name in self._repository.names() if is_shown(principal, name)]

    def check_model(self, request: ServableRequest) -> None:
        """Before something is told of a model that is the same of all.

        Raises:
            NotFound: there is none of its name.
        """
        if request.name not in self._serving.model_names():
            raise unknown_model(self._serving, request)

    async def load(self, name: str, parameters: Iterable[str], actor: Actor) -> None:
        """See `ModelFacts`."""
        await self._repository.load(name, parameters, actor=actor)

    async def unload(self, name: str, parameters: Iterable[str], actor: Actor) -> None:
        """See `ModelFacts`."""
        await self._repository.unload(name, parameters, actor=actor)

    def trace_settings(self) -> dict[str, Any]:
        """See `ModelFacts`."""
        tracer = self._parts.tracer
        return trace_settings(tracer.sampling if tracer and tracer.is_exporting else None)

    async def change_trace(
        self, settings: Mapping[str, Sequence[str]], actor: Actor, *, model: str
    ) -> None:
        """See `ModelFacts`."""
        tracer = self._parts.tracer
        if tracer is None or not tracer.is_exporting:
            raise refuse_trace_settings()
        if not self._is_explicit:
            raise refuse_trace_settings(is_traced=True)
        if model:
            raise Unimplemented("trace settings are those of all models")
        sampling = new_sampling(settings, tracer.sampling, self._sampling or tracer.sampling)
        await self._parts.in_control(lambda: self._parts.set_sampling(sampling, actor))

    async def change_log(self, settings: Mapping[str, object], actor: Actor) -> None:
        """See `ModelFacts`."""
        if not self._is_explicit:
            raise refuse_log_settings()
        level = new_log_level(settings)
        if level is not None:
            await self._parts.in_control(lambda: self._parts.set_log_level(level, actor))
