"""The batching parameters: from files in text form to a frozen dataclass.

Only what the reference looks at when it starts is checked here. What it checks when a model is
loaded is `batching.plan.BatchRules.of`.

Source: TensorFlow Serving `model_servers/server.cc`, BuildAndStart, and
`servables/tensorflow/bundle_factory_util.{h,cc}`.
"""

import os
from dataclasses import dataclass
from typing import Any, Final

from salver._pb import message_class
from salver.config.options import ServerOptions, schedulable_cpus
from salver.config.text_format import parse_text, read_file, read_text_file
from salver.errors import InvalidArgument

__all__ = [
    "PER_MODEL_FILE",
    "BatchingParameters",
    "BatchingSetup",
    "batching_setup",
    "from_message",
    "message_of",
    "read_batching_parameters",
    "read_version_parameters",
]

PER_MODEL_FILE: Final = "batching_params.pbtxt"
_MESSAGE = "tensorflow.serving.BatchingParameters"
_WRAPPED: Final = (
    "max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads",
    "thread_pool_name", "enable_large_batch_splitting", "max_execution_batch_size",
)  # fmt: skip
_LIBRARY_POOL_NAME = "batch_threads"
_FLAG_POOL_NAME = "model_server_batch_threads"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingParameters:
    """The fields of a `tensorflow.serving.BatchingParameters`; None where one is not set.

    Attributes:
        max_batch_size: rows.
        batch_timeout_micros: how long an open batch waits for company.
        max_enqueued_batches: per queue.
        num_batch_threads: of the whole server.
        thread_pool_name: what its threads are called.
        allowed_batch_sizes: rows, ascending; empty for any size.
        pad_variable_length_inputs: grow inner axes to the longest of the batch.
        enable_large_batch_splitting: put the pieces of a large task into several batches.
        max_execution_batch_size: rows; only looked at with splitting.
    """

    max_batch_size: int | None = None
    batch_timeout_micros: int | None = None
    max_enqueued_batches: int | None = None
    num_batch_threads: int | None = None
    thread_pool_name: str | None = None
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingSetup:
    """How a server batches.

    Attributes:
        parameters: of every model, unless each brings its own.
        is_per_model: a version is batched only as the file in its directory says.
        num_threads: of the one pool for all models.
        thread_pool_name: what its threads are called.
    """

    parameters: BatchingParameters
    is_per_model: bool
    num_threads: int
    thread_pool_name: str

    @classmethod
    def of(cls, parameters: BatchingParameters, *, is_per_model: bool) -> "BatchingSetup":
        """Fill in the defaults of the pool.

        Raises:
            InvalidArgument: there would be no thread.
        """
        threads = parameters.num_batch_threads
        if threads is not None and threads < 1:
            raise InvalidArgument(f"num_batch_threads must be positive; was {threads}")
        name = parameters.thread_pool_name
        return cls(
            parameters=parameters,
            is_per_model=is_per_model,
            num_threads=schedulable_cpus() if threads is None else threads,
            thread_pool_name=_LIBRARY_POOL_NAME if name is None else name,
        )

    def version_parameters(self, directory: str) -> BatchingParameters | None:
        """How the version in a directory is batched; None where it is not.

        Raises:
            ServingError: the file of the version cannot be read or is wrong.
        """
        return read_version_parameters(directory) if self.is_per_model else self.parameters


def batching_setup(options: ServerOptions) -> BatchingSetup | None:
    """What the flags and the file they name say; None without batching.

    Raises:
        InvalidArgument: the file is wrong, or names no thread.
        ServingError: it cannot be read.
    """
    if not options.enable_batching:
        return None
    if options.batching_parameters_file:
        parameters = read_batching_parameters(options.batching_parameters_file)
    else:
        parameters = BatchingParameters(thread_pool_name=_FLAG_POOL_NAME)
    return BatchingSetup.of(parameters, is_per_model=options.enable_per_model_batching_parameters)


def read_version_parameters(directory: str) -> BatchingParameters | None:
    """Read the file of a version directory; None where there is none.

    Raises:
        ServingError: it cannot be read, or is no BatchingParameters.
    """
    path = os.path.join(directory, PER_MODEL_FILE)
    if not os.path.exists(path):
        return None
    return from_message(parse_text(read_file(path), _MESSAGE, path))


def read_batching_parameters(path: str) -> BatchingParameters:
    """Read a file.

    Raises:
        ServingError: it cannot be read, or is no BatchingParameters.
    """
    return from_message(read_text_file(path, _MESSAGE))


def from_message(message: Any) -> BatchingParameters:
    """The fields of a `tensorflow.serving.BatchingParameters`, as set."""
    return BatchingParameters(
        **{name: getattr(message, name).value for name in _WRAPPED if message.HasField(name)},
        allowed_batch_sizes=tuple(message.allowed_batch_sizes),
        pad_variable_length_inputs=message.pad_variable_length_inputs,
    )


def message_of(parameters: BatchingParameters) -> Any:
    """The `tensorflow.serving.BatchingParameters` of parameters; back from `from_message`."""
    message = message_class(_MESSAGE)()
    for name in _WRAPPED:
        value = getattr(parameters, name)
        if value is not None and value is not False:  # which it is without it
            getattr(message, name).value = value
    message.allowed_batch_sizes.extend(parameters.allowed_batch_sizes)
    message.pad_variable_length_inputs = parameters.pad_variable_length_inputs
    return message
