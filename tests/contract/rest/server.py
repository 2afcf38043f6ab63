"""The REST API of a whole server in this process, less its sockets."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salver.backends.registry import BackendOptions, open_backend
from salver.batching.run_pool import RunPool
from salver.config.models import Latest, ModelConfig, VersionPolicy
from salver.inference.servable import Runner, Servable
from salver.lifecycle.loader import LoadOptions
from salver.lifecycle.monitor import VersionState
from salver.rest.calls import InferenceCalls
from salver.rest.front import RestFront
from salver.servable import ServableId
from salver.server.core import CoreOptions, ModelsUnavailable, ServerCore
from salver.transport.messages import HttpRequest
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

    front: RestFront

    async def ask(self, method: str, target: str, body: Any = b"") -> Answer:
        """One request; a body that is no text is written as JSON."""
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        response = await response_of(self.front(HttpRequest(method, target, body=body)))
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
    backend = open_backend("tensorflow", BackendOptions())

    def load(platform: str, id: ServableId, directory: str) -> Servable:
        return Servable(backend.load(directory), runner)

    core = ServerCore(
        load,
        ("tensorflow",),
        CoreOptions(
            load=LoadOptions(max_num_load_retries=0),
            file_system_poll_wait_seconds=0,
            is_watching=False,
            allow_version_labels_for_unavailable_models=True,
        ),
    )
    with suppress(ModelsUnavailable):
        core.apply(models)

    async def in_pool(call: Callable[[], Any], size: int = 0) -> Any:
        return await asyncio.wrap_future(pool.submit(call))

    calls = InferenceCalls(core, in_pool=in_pool, timeout_s=30.0)
    return core, Rest(RestFront(core, calls, unready=lambda: None))


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
