"""A `TritonPythonModel` as a model: requests and responses around its `execute`."""

import asyncio
import inspect
import json
import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from salver.about.config_file import read_config
from salver.backends.python.event_loop import EventLoop
from salver.backends.python.failures import loading, message_of, running
from salver.backends.python.model import Method, PythonModel
from salver.backends.python.streams import Take
from salver.backends.python.triton import utils
from salver.backends.python.triton.decoupled import SentResponses
from salver.backends.python.triton.signature import signature_of
from salver.errors import Code, Internal, ServingError, error_of
from salver.vocabulary.model import Answers
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import DEFAULT_SIGNATURE

if TYPE_CHECKING:
    from salver.backends.python.loading import Context

__all__ = ["load_triton_model"]

_log = logging.getLogger(__name__)

_MODULE: Final = "triton_python_backend_utils"
_CODES: Final[Mapping[int, Code]] = {
    utils.TritonError.UNKNOWN: Code.UNKNOWN,
    utils.TritonError.INTERNAL: Code.INTERNAL,
    utils.TritonError.NOT_FOUND: Code.NOT_FOUND,
    utils.TritonError.INVALID_ARG: Code.INVALID_ARGUMENT,
    utils.TritonError.UNAVAILABLE: Code.UNAVAILABLE,
    utils.TritonError.UNSUPPORTED: Code.UNIMPLEMENTED,
    utils.TritonError.ALREADY_EXISTS: Code.ALREADY_EXISTS,
    utils.TritonError.CANCELLED: Code.CANCELLED,
}


def provide_utils() -> None:
    """Have `import triton_python_backend_utils` find ours."""
    sys.modules.setdefault(_MODULE, utils)


def load_triton_model(
    made: Any, context: "Context", what: str, undo: ExitStack, end: Callable[[], None]
) -> PythonModel:
    """Make the model, and have it initialize itself.

    Args:
        made: its class.
        context: of the version.
        what: names it in texts.
        undo: is given what ends what was begun, should this fail.
        end: is called when the model is closed.

    Raises:
        ServingError: whatever keeps it from being loaded.
    """
    config = read_config(context.directory, context.name)
    with loading(what):
        config = _completed(made, config)
        signatures = signature_of(config)
        instance = made()
        execute = instance.execute
    loop = None
    if inspect.iscoroutinefunction(execute):
        loop = EventLoop(f"salver-python-{context.name}"[:60])
        undo.callback(loop.close)
    with loading(what):
        if hasattr(instance, "initialize"):
            instance.initialize(_arguments(config, context))

    def close() -> None:
        if hasattr(instance, "finalize"):
            try:
                with running(f"finalize of {what}"):
                    instance.finalize()
            except ServingError as error:
                _log.warning("%s was not finalized: %s", what, error.message)
        end()

    signature = signatures[DEFAULT_SIGNATURE]
    caller = _Execute(execute, config, context, tuple(signature.outputs), signature.defaults)
    is_decoupled = utils.using_decoupled_model_transaction_policy(config)
    method = Method(
        replace(signature, streams=is_decoupled),
        caller.run_async if loop is not None else caller.run,
        is_async=loop is not None,
        begin=caller.begin if is_decoupled else None,
    )
    is_merged = "dynamic_batching" in config and not signature.defaults and not is_decoupled
    return PythonModel(
        context.name or what,
        {DEFAULT_SIGNATURE: method},
        max_batch_size=config["max_batch_size"] if is_merged else 0,
        loop=loop,
        on_close=close,
    )


def _completed(made: Any, config: dict[str, Any]) -> dict[str, Any]:
    complete = getattr(made, "auto_complete_config", None)
    if complete is None:
        return config
    completed = complete(utils.ModelConfig(json.dumps(config)))
    if not isinstance(completed, utils.ModelConfig):
        raise TypeError("auto_complete_config has returned no ModelConfig")
    return completed.as_dict()


def _arguments(config: Mapping[str, Any], context: "Context") -> dict[str, str]:
    name = context.name or config["name"]
    return {
        "model_config": json.dumps(config),
        "model_instance_kind": "CPU",
        "model_instance_name": f"{name}_0_0",
        "model_instance_device_id": "0",
        "model_repository": str(context.directory.parent),
        "model_version": str(context.version),
        "model_name": name,
    }


class _Execute:
    """Calls `execute` with one request."""

    def __init__(
        self,
        execute: Callable[[Sequence[utils.InferenceRequest]], Any],
        config: Mapping[str, Any],
        context: "Context",
        outputs: Sequence[str],
        optional: Mapping[str, Any],
    ) -> None:
        self._execute = execute
        self._context = context
        self._outputs = outputs
        self._optional = optional
        self._name = context.name or config["name"]

    def begin(
        self, inputs: dict[str, Array], take: Take, answers: Answers, loop: EventLoop | None
    ) -> "Future[None]":
        """Begin a run of a decoupled model; see `Begin`."""
        responses = SentResponses(lambda given: take(self._outputs_in(given)), answers)
        request = self._request(inputs, responses)
        if loop is None:
            try:
                self._guarded(self._execute, [request])
            except BaseException:
                responses.forget()
                raise
            return responses.future
        return loop.start(self._begin_async(request, responses))

    async def _begin_async(self, request: utils.InferenceRequest, responses: SentResponses) -> None:
        responses.loop_thread = threading.get_ident()
        requests = [request]
        del request
        try:
            with running(f"execute of {self._name}", is_async=True):
                try:
                    await self._execute(requests)
                except (ValueError, utils.TritonModelException) as error:
                    raise Internal(message_of(error)) from error
            requests.clear()
            await asyncio.wrap_future(responses.future)
        finally:
            responses.forget()

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        request = self._request(inputs)
        return self._outputs_of(self._guarded(self._execute, [request]))

    async def run_async(self, inputs: dict[str, Array]) -> dict[str, Array]:
        request = self._request(inputs)
        try:
            answer = await self._execute([request])
        except (ValueError, utils.TritonModelException) as error:
            raise Internal(message_of(error)) from error
        return self._outputs_of(answer)

    def _guarded(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        # A ValueError is no request's fault here, as in Triton.
        except (ValueError, utils.TritonModelException) as error:
            _log.exception("execute of %s has failed", self._name)
            raise Internal(message_of(error)) from error

    def _request(
        self, inputs: Mapping[str, Array], responses: SentResponses | None = None
    ) -> utils.InferenceRequest:
        tensors = [
            utils.Tensor(name, array)
            for name, array in inputs.items()
            if array.size or name not in self._optional
        ]
        return utils.InferenceRequest(
            *(tensors, self._outputs, self._name, self._context.version), responses=responses
        )

    def _outputs_of(self, answer: Any) -> dict[str, Array]:
        if not isinstance(answer, Sequence) or len(answer) != 1:
            raise Internal("execute has not returned a list of one response for each request")
        return self._outputs_in(answer[0])

    @staticmethod
    def _outputs_in(response: Any) -> dict[str, Array]:
        if not isinstance(response, utils.InferenceResponse):
            raise Internal("execute has given no InferenceResponse")
        error: Any = response.error()  # a model may put anything there
        if error is not None:
            text = getattr(error, "message", lambda: str(error))()
            code = error.code() if isinstance(error, utils.TritonError) else 1
            raise error_of(_CODES.get(code, Code.INTERNAL), str(text))
        return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
