"""ModelConfig, ModelStatistics and the calls of the repository, over what REST answers as well.

Source: Triton, `docs/protocol/extension_{model_configuration,statistics,model_repository}.md`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from salver.codecs.oip.service_messages import decode_request, encode_response
from salver.oip.extensions import refuse_repository
from salver.oip.rpc.infer import servable_of
from salver.protocols.actors import actor_of
from salver.protocols.methods import Call, MethodTable
from salver.vocabulary.access import Actor, Principal
from salver.vocabulary.requests import ServableRequest

__all__ = ["ModelFacts", "ModelMethods"]


class ModelFacts(Protocol):
    """What is told of models, and done to them. Dicts have the names of the messages' fields."""

    async def config(self, request: ServableRequest) -> dict[str, Any]:
        """A `ModelConfig`.

        Raises:
            ServingError: the version is not available.
        """
        ...

    async def statistics(
        self, request: ServableRequest, principal: Principal | None = None
    ) -> Sequence[dict[str, Any]]:
        """`ModelStatistics` of each version of a model, or of one of them; without a name: of all.

        Of those alone that the principal may see, where there is one.

        Raises:
            ServingError: there is no such model or version.
        """
        ...

    def index(
        self, *, is_ready_only: bool, principal: Principal | None = None
    ) -> Sequence[dict[str, Any]]:
        """The models of the repository that a principal is shown.

        `name`, `version`, `state` and `reason` of each.
        """
        ...

    async def load(self, name: str, parameters: Iterable[str], actor: Actor) -> None:
        """Load a model, and wait for it.

        Args:
            name: of the model.
            parameters: names of what the request brings along.
            actor: who wants it.

        Raises:
            ServingError: it may not be loaded so, or cannot.
        """
        ...

    async def unload(self, name: str, parameters: Iterable[str], actor: Actor) -> None:
        """Unload a model, and wait for its end; see `load`."""
        ...

    def trace_settings(self) -> Mapping[str, Any]:
        """Name → value of the settings of traces."""
        ...

    async def change_trace(
        self, settings: Mapping[str, Sequence[str]], actor: Actor, *, model: str
    ) -> None:
        """Change what is traced, by all processes.

        Args:
            settings: name → values of those that change.
            actor: who requests it.
            model: whose they are to be; empty for all.

        Raises:
            ServingError: they may not be changed, or not like this.
        """
        ...

    async def change_log(self, settings: Mapping[str, object], actor: Actor) -> None:
        """Change what is logged, by all processes.

        Args:
            settings: name → value of those that change.
            actor: who requests it.

        Raises:
            ServingError: they may not be changed, or not like this.
        """
        ...


class ModelMethods:
    """Answers the calls. Belongs to the loop."""

    def __init__(self, facts: ModelFacts) -> None:
        """Answer what `facts` tell and do."""
        self._facts = facts

    def methods(self, service: str) -> MethodTable:
        """Their part of the table.

        Args:
            service: its full name, `/inference.GRPCInferenceService`.
        """
        return {
            f"{service}/ModelConfig": self.model_config,
            f"{service}/ModelStatistics": self.model_statistics,
            f"{service}/RepositoryIndex": self.repository_index,
            f"{service}/RepositoryModelLoad": self.load,
            f"{service}/RepositoryModelUnload": self.unload,
        }

    async def model_config(self, data: bytes, _call: Call) -> bytes:
        """ModelConfig: of one version."""
        request = decode_request("ModelConfigRequest", data)
        config = await self._facts.config(servable_of(request.name, request.version))
        return encode_response("ModelConfigResponse", {"config": config})

    async def model_statistics(self, data: bytes, call: Call) -> bytes:
        """ModelStatistics: of one version, of all versions of a model, or of all models."""
        request = decode_request("ModelStatisticsRequest", data)
        servable = servable_of(request.name, request.version)
        told = await self._facts.statistics(servable, call.principal)
        return encode_response("ModelStatisticsResponse", {"model_stats": list(told)})

    def repository_index(self, data: bytes, call: Call) -> bytes:
        """RepositoryIndex: of all repositories, of which there is one without a name.

        Raises:
            Unimplemented: one is named.
        """
        request = decode_request("RepositoryIndexRequest", data)
        _refuse_name(request)
        models = self._facts.index(is_ready_only=request.ready, principal=call.principal)
        return encode_response("RepositoryIndexResponse", {"models": list(models)})

    async def load(self, data: bytes, call: Call) -> bytes:
        """RepositoryModelLoad."""
        request = decode_request("RepositoryModelLoadRequest", data)
        _refuse_name(request)
        await self._facts.load(request.model_name, list(request.parameters), actor_of(call))
        return encode_response("RepositoryModelLoadResponse", {})

    async def unload(self, data: bytes, call: Call) -> bytes:
        """RepositoryModelUnload."""
        request = decode_request("RepositoryModelUnloadRequest", data)
        _refuse_name(request)
        await self._facts.unload(request.model_name, list(request.parameters), actor_of(call))
        return encode_response("RepositoryModelUnloadResponse", {})


def _refuse_name(request: Any) -> None:
    if request.repository_name:
        raise refuse_repository()
