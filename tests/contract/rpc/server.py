"""The gRPC API of a whole server in this process, less its transport."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from salver.config.models import ModelConfig
from salver.errors import ServingError
from salver.lifecycle.callers import Caller
from salver.management.core import ServerCore
from salver.protocols.methods import Call, MethodTable, Stream
from salver.scheduling.run_pool import RunPool
from salver.tfs.rpc.models import ModelService
from salver.tfs.rpc.prediction import PredictionService
from salver.tfs.rpc.session import SessionService
from tests.messages import method_types
from tests.shelf import response_of

__all__ = ["Rpc", "refusal", "rpc_of"]

SERVING = "/tensorflow.serving."


@dataclass(frozen=True, slots=True)
class Rpc:
    """The methods of a server, asked as a transport asks them."""

    table: MethodTable

    async def ask(self, method: str, *, timeout_s: float | None = None, **request: Any) -> Any:
        """One call, `ask("PredictionService/Predict", model_spec=…)`; gives the response.

        Raises:
            ServingError: as the method does.
        """
        path = SERVING + method
        request_type, response_type = method_types(path)
        return response_type.FromString(
            await self.send(path, request_type(**request).SerializeToString(), timeout_s)
        )

    async def send(self, path: str, data: bytes, timeout_s: float | None = None) -> bytes:
        """The same in bytes."""
        method = self.table[path]
        assert not isinstance(method, Stream)
        return await response_of(method(data, Call(timeout_s)))

    async def predict(self, **request: Any) -> Any:
        return await self.ask("PredictionService/Predict", **request)

    async def classify(self, **request: Any) -> Any:
        return await self.ask("PredictionService/Classify", **request)

    async def regress(self, **request: Any) -> Any:
        return await self.ask("PredictionService/Regress", **request)

    async def multi_inference(self, **request: Any) -> Any:
        return await self.ask("PredictionService/MultiInference", **request)

    async def metadata(self, **request: Any) -> Any:
        return await self.ask("PredictionService/GetModelMetadata", **request)

    async def status(self, **request: Any) -> Any:
        return await self.ask("ModelService/GetModelStatus", **request)

    async def session_run(self, **request: Any) -> Any:
        return await self.ask("SessionService/SessionRun", **request)


def rpc_of(core: ServerCore, pool: RunPool, *, is_method_checked: bool = False) -> Rpc:
    """The gRPC API of a server whose configuration stays as it is."""

    async def in_pool(call: Callable[[], Any], size: int = 0) -> Any:
        return await asyncio.wrap_future(pool.submit(call))

    def apply(models: tuple[ModelConfig, ...], *, caller: Caller) -> None:
        raise AssertionError(models)

    prediction = PredictionService(core, in_pool=in_pool, is_method_checked=is_method_checked)
    session = SessionService(core, in_pool=in_pool)
    models = ModelService(core, apply, in_pool)
    return Rpc({**prediction.methods(), **models.methods(), **session.methods()})


async def refusal(answer: Any) -> ServingError:
    """How a call fails."""
    try:
        response = await answer
    except ServingError as error:
        return error
    raise AssertionError(f"It was answered: {response}")
