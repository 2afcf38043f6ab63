"""What `import triton_python_backend_utils` gives to a model for Triton.

Names and behaviour are those of Triton's module, for what a model does with its own requests: the
models of others cannot be called from here (BLS), no tensor is on a GPU (DLPack), and there are no
metrics of a model's own. These raise, and say so.

Source: github.com/triton-inference-server/python_backend, README.md and
`src/resources/triton_python_backend_utils.py`.
"""

import enum
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, NoReturn, Protocol

import numpy as np

from salver.backends.python.triton.auto_complete import ModelConfig
from salver.instruments.notices import NOTICE

__all__ = [
    "TRITONSERVER_MEMORY_CPU",
    "TRITONSERVER_MEMORY_GPU",
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_END",
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_START",
    "TRITONSERVER_REQUEST_RELEASE_ALL",
    "TRITONSERVER_REQUEST_RELEASE_RESCHEDULE",
    "TRITONSERVER_RESPONSE_COMPLETE_FINAL",
    "TRITON_STRING_TO_NUMPY",
    "InferenceRequest",
    "InferenceResponse",
    "InferenceTrace",
    "Logger",
    "MemoryType",
    "Metric",
    "MetricFamily",
    "ModelConfig",
    "PreferredMemory",
    "ResponseSender",
    "Tensor",
    "TritonError",
    "TritonModelException",
    "get_input_config_by_name",
    "get_input_tensor_by_name",
    "get_output_config_by_name",
    "get_output_tensor_by_name",
    "is_model_ready",
    "load_model",
    "numpy_to_triton_type",
    "triton_string_to_numpy",
    "triton_to_numpy_type",
    "unload_model",
    "using_decoupled_model_transaction_policy",
]

_log = logging.getLogger("salver.models")

TRITONSERVER_REQUEST_FLAG_SEQUENCE_START: Final = 1
TRITONSERVER_REQUEST_FLAG_SEQUENCE_END: Final = 2
TRITONSERVER_RESPONSE_COMPLETE_FINAL: Final = 1
TRITONSERVER_REQUEST_RELEASE_ALL: Final = 1
TRITONSERVER_REQUEST_RELEASE_RESCHEDULE: Final = 2

TRITON_STRING_TO_NUMPY: Final[dict[str, Any]] = {
    "TYPE_BOOL": bool,
    **{f"TYPE_{name.upper()}": getattr(np, name)
       for name in ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")},
    "TYPE_FP16": np.float16,
    "TYPE_FP32": np.float32,
    "TYPE_FP64": np.float64,
    "TYPE_STRING": np.object_,
}  # fmt: skip
_BY_NUMBER: Final[Sequence[Any]] = (
    None, np.bool_, np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int16, np.int32,
    np.int64, np.float16, np.float32, np.float64, np.object_,
)  # fmt: skip


class TritonModelException(Exception):  # its name is Triton's
    """What a model raises for a failure of its own."""


class TritonError:
    """The error of one response."""

    UNKNOWN: ClassVar[int] = 0
    INTERNAL: ClassVar[int] = 1
    NOT_FOUND: ClassVar[int] = 2
    INVALID_ARG: ClassVar[int] = 3
    UNAVAILABLE: ClassVar[int] = 4
    UNSUPPORTED: ClassVar[int] = 5
    ALREADY_EXISTS: ClassVar[int] = 6
    CANCELLED: ClassVar[int] = 7

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        self._message = message
        self._code = code

    def message(self) -> str:
        return self._message

    def code(self) -> int:
        return self._code


class MemoryType(enum.IntEnum):
    """Where tensors are."""

    TRITONSERVER_MEMORY_CPU = 0
    TRITONSERVER_MEMORY_GPU = 2


TRITONSERVER_MEMORY_CPU: Final = MemoryType.TRITONSERVER_MEMORY_CPU
TRITONSERVER_MEMORY_GPU: Final = MemoryType.TRITONSERVER_MEMORY_GPU


class PreferredMemory:
    """Where the tensors of an answer should be: taken, and of no effect."""

    def __init__(self, preferred_memory_type: MemoryType, preferred_device_id: int = 0) -> None:
        self.preferred_memory_type = preferred_memory_type
        self.preferred_device_id = preferred_device_id


class Tensor:
    """A named array."""

    def __init__(self, name: str, numpy_array: Any) -> None:
        self._name = name
        self._array = np.asarray(numpy_array)

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Any:
        return self._array

    def triton_dtype(self) -> Any:
        return numpy_to_triton_type(self._array.dtype)

    def shape(self) -> list[int]:
        return list(self._array.shape)

    def is_cpu(self) -> bool:
        return True

    def to_dlpack(self) -> NoReturn:
        _refuse("Tensor.to_dlpack", "take as_numpy()")

    @staticmethod
    def from_dlpack(name: str, tensor: Any) -> NoReturn:
        del name, tensor
        _refuse("Tensor.from_dlpack", "give Tensor(name, array)")

    def __dlpack__(self, stream: Any = None) -> NoReturn:
        del stream
        _refuse("Tensor.__dlpack__", "take as_numpy()")

    def __dlpack_device__(self) -> NoReturn:
        _refuse("Tensor.__dlpack_device__", "take as_numpy()")


class InferenceTrace:
    """The trace of a request: there is none."""

    def get_context(self) -> None:
        return None


class InferenceResponse:
    """The answer to one request: tensors, or an error."""

    def __init__(
        self,
        output_tensors: Iterable[Tensor] = (),
        error: TritonError | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self._tensors = list(output_tensors or ())
        self._error = error
        self._parameters = dict(parameters or {})

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error

    def parameters(self) -> dict[str, Any]:
        return self._parameters


class Responses(Protocol):
    """Takes what a model sends; from any thread."""

    def respond(self, response: InferenceResponse, *, is_last: bool) -> None: ...
    def complete(self) -> None: ...
    def is_cancelled(self) -> bool: ...

    def abandon(self) -> None:
        """The model has dropped its sender, and has not said that it was complete."""
        ...


class ResponseSender:
    """Takes the responses of a decoupled model, any number of them, from any thread."""

    def __init__(self, responses: Responses | None = None) -> None:
        self._responses = responses
        self._is_complete = False

    def send(self, response: InferenceResponse | None = None, flags: int = 0) -> None:
        if self._is_complete:
            raise TritonModelException("The response sender has been closed")
        if flags not in (0, TRITONSERVER_RESPONSE_COMPLETE_FINAL):
            raise TritonModelException(f"Unknown flags of a response: {flags}")
        if response is None and not flags:
            raise TritonModelException("Without a response the flags must say that it is complete")
        self._is_complete = bool(flags)
        if self._responses is None:
            return
        if response is not None:
            self._responses.respond(response, is_last=bool(flags))
        if flags:
            self._responses.complete()

    def is_cancelled(self) -> bool:
        return self._responses is not None and self._responses.is_cancelled()

    def __del__(self) -> None:
        if not self._is_complete and self._responses is not None:
            self._responses.abandon()


class InferenceRequest:
    """One request, as a model is given it. It cannot be sent to another model."""

    def __init__(
        self,
        inputs: Sequence[Tensor],
        requested_output_names: Sequence[str],
        model_name: str,
        model_version: int = -1,
        request_id: str = "",
        correlation_id: int = 0,
        flags: int = 0,
        timeout: int = 0,
        preferred_memory: PreferredMemory | None = None,
        trace: InferenceTrace | None = None,
        parameters: Mapping[str, Any] | None = None,
        responses: Responses | None = None,
    ) -> None:
        del preferred_memory, parameters
        self._inputs = list(inputs)
        self._outputs = list(requested_output_names)
        self._model_name = model_name
        self._model_version = model_version
        self._request_id = request_id
        self._correlation_id = correlation_id
        self._flags = flags
        self._timeout = timeout
        self._trace = trace or InferenceTrace()
        self._sender = ResponseSender(responses)

    def inputs(self) -> list[Tensor]:
        return self._inputs

    def requested_output_names(self) -> list[str]:
        return self._outputs

    def model_name(self) -> str:
        return self._model_name

    def model_version(self) -> int:
        return self._model_version

    def request_id(self) -> str:
        return self._request_id

    def correlation_id(self) -> int:
        return self._correlation_id

    def flags(self) -> int:
        return self._flags

    def set_flags(self, flags: int) -> None:
        self._flags = flags

    def timeout(self) -> int:
        return self._timeout

    def parameters(self) -> str:
        return "{}"

    def trace(self) -> InferenceTrace:
        return self._trace

    def is_cancelled(self) -> bool:
        return self._sender.is_cancelled()

    def get_response_sender(self) -> ResponseSender:
        return self._sender

    def set_release_flags(self, flags: int) -> None:
        if flags != TRITONSERVER_REQUEST_RELEASE_ALL:
            _refuse("InferenceRequest.set_release_flags", "requests are not rescheduled")

    def exec(self, decoupled: bool = False) -> NoReturn:
        del decoupled
        _refuse("InferenceRequest.exec (BLS)", "call the other model by salver.Client")

    def async_exec(self, decoupled: bool = False) -> NoReturn:
        del decoupled
        _refuse("InferenceRequest.async_exec (BLS)", "call the other model by salver.Client")


class Logger:
    """Lines of a model among the server's."""

    class LogLevel(enum.IntEnum):
        """Triton's levels."""

        INFO = 0
        WARNING = 1
        ERROR = 2
        VERBOSE = 3

    INFO: ClassVar[LogLevel] = LogLevel.INFO
    WARNING: ClassVar[LogLevel] = LogLevel.WARNING
    ERROR: ClassVar[LogLevel] = LogLevel.ERROR
    VERBOSE: ClassVar[LogLevel] = LogLevel.VERBOSE

    _LEVELS: ClassVar[Mapping[int, int]] = {
        0: NOTICE, 1: logging.WARNING, 2: logging.ERROR, 3: logging.DEBUG,
    }  # fmt: skip

    @classmethod
    def log(cls, message: str, level: int = LogLevel.INFO) -> None:
        _log.log(cls._LEVELS[level], "%s", message)

    @classmethod
    def log_info(cls, message: str) -> None:
        cls.log(message)

    @classmethod
    def log_warn(cls, message: str) -> None:
        cls.log(message, cls.LogLevel.WARNING)

    @classmethod
    def log_error(cls, message: str) -> None:
        cls.log(message, cls.LogLevel.ERROR)

    @classmethod
    def log_verbose(cls, message: str) -> None:
        cls.log(message, cls.LogLevel.VERBOSE)


def get_input_tensor_by_name(inference_request: InferenceRequest, name: str) -> Tensor | None:
    """The input of that name; None where the request has none."""
    return _named(inference_request.inputs(), name)


def get_output_tensor_by_name(inference_response: InferenceResponse, name: str) -> Tensor | None:
    """The output of that name; None where the response has none."""
    return _named(inference_response.output_tensors(), name)


def _named(tensors: Iterable[Tensor], name: str) -> Tensor | None:
    return next((tensor for tensor in tensors if tensor.name() == name), None)


def get_input_config_by_name(model_config: Mapping[str, Any], name: str) -> Any:
    """What the configuration says of an input; None where it has none of that name."""
    return next((of for of in model_config.get("input", ()) if of["name"] == name), None)


def get_output_config_by_name(model_config: Mapping[str, Any], name: str) -> Any:
    """What the configuration says of an output; None where it has none of that name."""
    return next((of for of in model_config.get("output", ()) if of["name"] == name), None)


def using_decoupled_model_transaction_policy(model_config: Mapping[str, Any]) -> bool:
    """Whether a request may have any number of responses."""
    return bool(model_config.get("model_transaction_policy", {}).get("decoupled", False))


def triton_string_to_numpy(triton_type_string: str) -> Any:
    """`TYPE_FP32` → numpy's type."""
    return TRITON_STRING_TO_NUMPY[triton_type_string]


def triton_to_numpy_type(data_type: int) -> Any:
    """Triton's number of a type → numpy's type; None where there is none."""
    return _BY_NUMBER[data_type] if 0 < data_type < len(_BY_NUMBER) else None


def numpy_to_triton_type(data_type: Any) -> int | None:
    """A type of numpy → Triton's number of it; None where there is none."""
    kind = np.dtype(data_type)
    if kind.kind in "OSU":
        return len(_BY_NUMBER) - 1
    return next((n for n, of in enumerate(_BY_NUMBER) if of is not None and kind == of), None)


def _refuse(name: str, advice: str) -> NoReturn:
    raise TritonModelException(f"{name} is not supported by Salver: {advice}")


def _refused(name: str, advice: str) -> Callable[..., NoReturn]:
    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        _refuse(name, advice)

    return refuse


load_model: Final = _refused("load_model (BLS)", "name the model in the server's configuration")
unload_model: Final = _refused("unload_model (BLS)", "take it out of the server's configuration")
is_model_ready: Final = _refused("is_model_ready (BLS)", "ask the server's health pages")
Metric: Final = _refused("Metric", "the server counts requests and their times")
MetricFamily: Final = _refused("MetricFamily", "the server counts requests and their times")
