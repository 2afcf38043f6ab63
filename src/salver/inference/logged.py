"""What a request log is told of a call, in the forms the APIs have it in anyway.

Nothing is converted or copied here: a call is handed over on the loop, and whoever writes the log
makes of it what is written, in a thread of its own. Nobody changes what is handed over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, Protocol

import numpy as np

from salver.vocabulary.requests import Array, ServableRequest

__all__ = [
    "NO_LOGS",
    "Bodies",
    "CallLogger",
    "CallLogs",
    "Examples",
    "LoggedCall",
    "Messages",
    "Method",
    "Tensors",
]

Method = Literal["predict", "classify", "regress", "multi_inference", "session_run"]

_COUNTED: Final = 256  # strings that are counted; of more the mean is taken


@dataclass(frozen=True)
class _Carried:
    request: bytes
    response: bytes

    @property
    def n_bytes(self) -> int:
        return len(self.request) + len(self.response)


class Messages(_Carried):
    """Request and response as gRPC carried them."""


class Bodies(_Carried):
    """Request and response as REST carried them, in JSON."""


@dataclass(frozen=True, slots=True)
class Tensors:
    """What was fed to a signature and what it gave, by alias.

    Attributes:
        output_filter: the outputs that the request names; none where it is answered with all.
    """

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    output_filter: tuple[str, ...] = ()

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
        servable: that the request named.
        version: the one that answered.
        signature_name: as the request has it, empty where it has none.
        content: request and answer.
        principal: whom the request was from; None where nobody has looked.
    """

    method: Method
    servable: ServableRequest
    version: int
    signature_name: str
    content: Messages | Bodies | Tensors | Examples
    principal: str | None = None


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
