"""Which module runs which platform, imported on first use."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, cast

from salver.backends.keras.options import KerasOptions
from salver.errors import ServingError
from salver.servable import ServableId

if TYPE_CHECKING:
    from salver.model import Model  # brings numpy, which `prepare` must not wait for

__all__ = [
    "DEFAULT_PLATFORM",
    "PLATFORMS",
    "AnyFormat",
    "Backend",
    "BackendOptions",
    "InternalBatching",
    "open_backend",
    "prepare",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendOptions:
    """What the flags say of how models are loaded.

    Attributes:
        saved_model_tags: the tag set to load.
        session_config: a serialized `tensorflow.ConfigProto`.
        custom_op_libraries: paths of shared objects that register operations.
        is_xla_enabled: whether graphs that ask for XLA get it.
        session_target: where sessions run; empty for this process.
        load_thread_pool: index of the thread pool of `session_config` that loads; None for any.
        has_session_metadata: whether a session is told the name and version of its model.
        prefer_tflite_model: serve a version's TFLite file where it has a SavedModel too.
        num_tflite_pools: how many requests to one TFLite model may run at once; at least one may.
        num_tflite_interpreters_per_pool: more than 1 makes TFLite models batch.
        keras: how Keras files are served.
        is_serving: whether loads are to stay behind requests; before there are any, they are to be
            as fast as they can.
    """

    saved_model_tags: Sequence[str] = ("serve",)
    session_config: bytes = b""
    custom_op_libraries: Sequence[str] = ()
    is_xla_enabled: bool = False
    session_target: str = ""
    load_thread_pool: int | None = None
    has_session_metadata: bool = False
    prefer_tflite_model: bool = False
    num_tflite_pools: int = 1
    num_tflite_interpreters_per_pool: int = 1
    keras: KerasOptions = field(default_factory=KerasOptions)
    is_serving: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True, kw_only=True)
class InternalBatching:
    """How a model wants its requests batched where no flag says it; `batching.plan.Parameters`.

    Attributes:
        num_batch_threads: how many batches run at once.
        max_batch_size: rows that one request may have.
        max_execution_batch_size: rows that are run at most in one piece; what is larger is split.
        max_enqueued_batches: more than these waiting, and requests are turned away.
        batch_timeout_micros: how long a batch waits for company while a thread is free.
        allowed_batch_sizes: none: a batch has as many rows as it has.
        pad_variable_length_inputs: no.
        enable_large_batch_splitting: yes.

    Source: TensorFlow Serving, `servables/tensorflow/tflite_session.cc`, Create.
    """

    num_batch_threads: int
    max_batch_size: int
    max_execution_batch_size: int
    max_enqueued_batches: int
    batch_timeout_micros: int = 0
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = True


class Backend(Protocol):
    """Loads the models of one platform. Thread-safe."""

    def load(self, directory: str, id: ServableId | None = None) -> "Model":
        """Load one version.

        Args:
            directory: of the version.
            id: what it is called; for sessions that are told.

        Raises:
            ServingError: whatever keeps it from being loaded.
        """
        ...


class AnyFormat(Backend, Protocol):
    """The backend of a platform: it may do slow things before a load, such as conversions."""

    def inspect(self, directory: str) -> bytes | None:
        """Look at a version without loading it: cheap, and no library is opened.

        Returns:
            Its signatures, a serialized `tensorflow.serving.SignatureDefMap`; None where only a
            load tells them.

        Raises:
            ServingError: it will not load; as `load`, as far as can be seen.
        """
        ...

    def stop(self) -> None:
        """Give up what is done before loads, now and for ever. Loads in it raise Unavailable."""
        ...


PLATFORMS: Final = {"tensorflow": "salver.backends.by_format"}
"""Platform, as `model_platform` names it → a module with functions `open_backend` and
`load_library`; the latter is slow."""

DEFAULT_PLATFORM: Final = "tensorflow"


def open_backend(platform: str, options: BackendOptions) -> AnyFormat:
    """The backend of a platform in `PLATFORMS`; cheap: libraries are opened at the first load."""
    module = import_module(PLATFORMS[platform])
    return cast("Callable[[BackendOptions], AnyFormat]", module.open_backend)(options)


def prepare(
    platform: str, base_paths: Sequence[str] = (), *, prefer_tflite: bool = False
) -> threading.Thread:
    """Begin to open a platform's library in a thread, while the rest of the server is imported.

    Opening TensorFlow takes 0.13 s and importing the server 0.12 s: one after the other, the first
    prediction came at 1.7 of a bare process's time, side by side at 1.4. What goes wrong is said by
    the first load, which tries again.

    Args:
        platform: the one of the models, as far as is known.
        base_paths: of the models, if they are known, so that only what they need is opened.
        prefer_tflite: see `BackendOptions.prefer_tflite_model`.
    """
    thread = threading.Thread(
        target=_prepare,
        args=(platform, base_paths, prefer_tflite),
        name="salver-prepare",
        daemon=True,
    )
    thread.start()
    return thread


def _prepare(platform: str, base_paths: Sequence[str], prefer_tflite: bool) -> None:
    try:
        import_module(PLATFORMS[platform]).load_library(base_paths, prefer_tflite=prefer_tflite)
    except ServingError:
        return
