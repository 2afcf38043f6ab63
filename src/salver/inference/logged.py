"""What a request log is told of a call, in the forms the front doors have it in anyway.

Nothing is converted or copied here: a call is handed over on the loop, and whoever writes the log
makes of it what is written, in a thread of its own. Nobody changes what is handed over.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

import numpy as np

from salver.requests import Array, ServableRequest

__all__ = [
    "NO_LOGS",
    "Bodies",
    "CallLogger",
    "CallLogs",
    "Examples",
    "LogCall",
    "LoggedCall",
    "Messages",
    "Method",
    "Tensors",
    "log_of_bodies",
    "log_of_messages",
]

Method = Literal["predict", "classify", "regress", "multi_inference", "session_run"]

_COUNTED: Final = 256  # strings that are counted; of more the mean is taken


@dataclass(frozen=True, slots=True)
class Messages:
    """Request and response as gRPC carried them."""

    request: bytes
    response: bytes

    @property
    def n_bytes(self) -> int:
        return len(self.request) + len(self.response)


@dataclass(frozen=True, slots=True)
class Bodies:
    """Request and response as REST carried them, in JSON."""

    request: bytes
    response: bytes

    @property
    def n_bytes(self) -> int:
        return len(self.request) + len(self.response)


@dataclass(frozen=True, slots=True)
class Tensors:
    """What was fed to a signature and what it gave, by alias."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]

    @property
    def n_bytes(self) -> int:
        return _held_bytes(self.inputs) + _held_bytes(self.outputs)


@dataclass(frozen=True, slots=True)
class Examples:
    """Serialized `tensorflow.Example` messages, and what the signature gave for them, by alias."""

    examples: Sequence[bytes]
    outputs: Mapping[str, Array]

    @property
    def n_bytes(self) -> int:
        return _mean_bytes(self.examples) + _held_bytes(self.outputs)


def _held_bytes(arrays: Mapping[str, Array]) -> int:
    """The memory that lives as long as these arrays; a part of a batch keeps all of it."""
    size = 0
    for array in arrays.values():
        whole = array.base if isinstance(array.base, np.ndarray) else array
        size += whole.nbytes
        if array.dtype.hasobject:
            size += _mean_bytes(array.reshape(-1))
    return size


def _mean_bytes(strings: "Sequence[bytes] | Array") -> int:
    counted = min(len(strings), _COUNTED)
    if not counted:
        return 0
    return sum(map(len, strings[:counted])) * len(strings) // counted


@dataclass(frozen=True, slots=True)
class LoggedCall:
    """One call that was answered.

    Attributes:
        method: what was called.
        asked: which servable the request named.
        version: the one that answered.
        signature_name: as the request has it, empty where it has none.
        content: what was asked and answered.
    """

    method: Method
    asked: ServableRequest
    version: int
    signature_name: str
    content: Messages | Bodies | Tensors | Examples


class CallLogger(Protocol):
    """Takes the calls of a model."""

    @property
    def wants_bodies(self) -> bool:
        """Whether of a REST call it wants `Bodies`, not arrays."""
        ...

    def is_sampled(self) -> bool:
        """Whether the next call is to be logged."""
        ...

    def log(self, call: LoggedCall) -> None:
        """Have a call written some time; neither waits nor raises. Called on the loop."""
        ...


class CallLogs(Protocol):
    """The loggers of a server."""

    @property
    def loggers(self) -> Mapping[str, CallLogger]:
        """By name of the model; empty where nothing is logged. Replaced, never changed."""
        ...


class _NoLogs:
    loggers: Mapping[str, CallLogger] = MappingProxyType({})


NO_LOGS: Final[CallLogs] = _NoLogs()
"""Nothing is logged."""

LogCall = Callable[[list[Array], Any], None]
"""Logs a call, once there are outputs and an answer."""


def log_of_messages(
    logs: CallLogs,
    method: Method,
    asked: ServableRequest,
    version: int,
    signature_name: str,
    request: bytes,
) -> LogCall | None:
    """How to log a gRPC call; None where it is not to be.

    Args:
        logs: ask `logs.loggers` first, which costs less than this call.
        method: see `LoggedCall`; so are the next three.
        asked: which servable.
        version: that answers.
        signature_name: as it came.
        request: the message.
    """
    logger = logs.loggers.get(asked.name)
    if logger is None or not logger.is_sampled():
        return None
    log = logger.log

    def log_call(_outputs: list[Array], answer: bytes) -> None:
        log(LoggedCall(method, asked, version, signature_name, Messages(request, answer)))

    return log_call


class _HasBody(Protocol):
    def whole(self) -> bytes: ...


def log_of_bodies(
    logs: CallLogs,
    method: Method,
    asked: ServableRequest,
    version: int,
    signature_name: str,
    body: bytes,
    content: Callable[[list[Array]], Tensors | Examples],
) -> LogCall | None:
    """How to log a REST call; see `log_of_messages`.

    Args:
        logs: see there; so are the next four.
        method: what is called.
        asked: which servable.
        version: that answers.
        signature_name: as it came.
        body: of the request.
        content: makes what is logged of the outputs, for a logger that wants arrays.
    """
    logger = logs.loggers.get(asked.name)
    if logger is None or not logger.is_sampled():
        return None
    log, wants_bodies = logger.log, logger.wants_bodies

    def log_call(outputs: list[Array], answer: _HasBody) -> None:
        made = Bodies(body, answer.whole()) if wants_bodies else content(outputs)
        log(LoggedCall(method, asked, version, signature_name, made))

    return log_call
