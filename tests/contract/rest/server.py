"""The REST API of a whole server in this process, less its sockets."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salver.backends.selection import Selector
from salver.config.model_options import LoadSettings
from salver.config.models import ModelConfig
from salver.inference.servable import Runner, Servable
from salver.lifecycle.loader import LoadOptions
from salver.lifecycle.monitor import VersionState
from salver.management.core import CoreOptions, ServerCore
from salver.management.waits import ModelsUnavailable
from salver.protocols.router import Router
from salver.scheduling.run_pool import RunPool
from salver.transport.messages import HttpRequest
from salver.vocabulary.servable import Latest, ServableId, VersionPolicy
from tests.local_sources import local_sources
from tests.routers import router_of
from tests.shelf import WAIT_S, response_of

__all__ = ["Answer", "Never", "Rest", "config", "serve", "wait_until_available"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    content_type: str | None
    version: str | None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


@dataclass(frozen=True, slots=True)
class Rest:
    """The REST API of a whole server, less its sockets."""

    router: Router

    async def ask(self, method: str, target: str, body: Any = b"") -> Answer:
        """One request; a body that is no text is written as JSON."""
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        response = await response_of(self.router(HttpRequest(method, target, body=body)))
        version = dict(response.headers).get("salver-model-version")
        return Answer(response.status, response.body, response.content_type, version)

    async def get(self, target: str) -> Answer:
        return await self.ask("GET", f"/v1/models{target}")

    async def predict(self, model: str, body: Any) -> Answer:
        return await self.ask("POST", f"/v1/models/{model}:predict", body)

    async def classify(self, model: str, body: Any) -> Answer:
        return await self.ask("POST", f"/v1/models/{model}:classify", body)

    async def regress(self, model: str, body: Any) -> Answer:
        return await self.ask("POST", f"/v1/models/{model}:regress", body)


def serve(
    pool: RunPool, runner: Runner, models: tuple[ModelConfig, ...]
) -> tuple[ServerCore, Rest]:
    """A server of these models, those that do not load included."""
    select = Selector()

    def load(settings: LoadSettings, id: ServableId, directory: str) -> Servable:
        return Servable(select(directory).load(), runner)

    core = ServerCore(
        load,
        ("tensorflow",),
        CoreOptions(
            load=LoadOptions(max_num_load_retries=0),
            allow_version_labels_for_unavailable_models=True,
        ),
        local_sources(0),
    )
    with suppress(ModelsUnavailable):
        core.apply(models)

    async def in_pool(call: Callable[[], Any], size: int = 0) -> Any:
        return await asyncio.wrap_future(pool.submit(call))

    return core, Rest(router_of(core, in_pool=in_pool))


def wait_until_available(core: ServerCore, name: str, version: int) -> None:
    """Wait for a version that a configuration does not wait for: one beside the highest."""
    monitor = core._monitor

    def is_there() -> bool:
        status = monitor.status(ServableId(name, version))
        return status is not None and status.state is VersionState.AVAILABLE

    with monitor._changed:
        assert monitor._changed.wait_for(is_there, WAIT_S)


def config(
    name: str, path: Path, policy: VersionPolicy | None = None, **labels: int
) -> ModelConfig:
    return ModelConfig(
        name=name,
        base_path=str(path),
        model_platform="tensorflow",
        version_policy=policy or Latest(),
        version_labels=labels,
    )


class Never:
    """A clock by which every run takes a second: none is ever made in the loop."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s
