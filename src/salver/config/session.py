"""How TensorFlow sessions are made, from the flags or from a SessionBundleConfig.

Source: TensorFlow Serving `model_servers/server.cc`, BuildAndStart, and
`servables/tensorflow/saved_model_bundle_factory.cc`.
"""

import logging
from dataclasses import dataclass
from typing import Any

from salver._pb import message_class
from salver.config.checks import check_parallelism
from salver.config.options import ServerOptions
from salver.config.text_format import read_text_file

__all__ = ["SessionConfig", "session_config", "session_config_of"]

_log = logging.getLogger(__name__)

_MESSAGE = "tensorflow.ConfigProto"
_TOGGLE_ON = 1  # RewriterConfig.Toggle.ON
_DEFAULT_TAG = "serve"


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """How every TensorFlow model is loaded.

    Attributes:
        config_proto: a serialized `tensorflow.ConfigProto`.
        saved_model_tags: the graph to load from a SavedModel has exactly these tags.
        custom_op_libraries: shared libraries to load before the first model.
        is_xla_enabled: whether graphs that ask for XLA get it; of the whole process.
        target: of the session; empty for this process.
        load_thread_pool: which of the thread pools of `config_proto` loads; None for the usual one.
        has_metadata: whether a session is told the name and version of its model.
    """

    config_proto: bytes
    saved_model_tags: tuple[str, ...]
    custom_op_libraries: tuple[str, ...] = ()
    is_xla_enabled: bool = False
    target: str = ""
    load_thread_pool: int | None = None
    has_metadata: bool = False

    @property
    def settings(self) -> dict[str, object]:
        """The same under the names that backends know them by; see `backends.options.pick`."""
        return {
            "session_config": self.config_proto,
            "saved_model_tags": self.saved_model_tags,
            "custom_op_libraries": self.custom_op_libraries,
            "is_xla_enabled": self.is_xla_enabled,
            "session_target": self.target,
            "load_thread_pool": self.load_thread_pool,
            "has_session_metadata": self.has_metadata,
        }


def session_config(options: ServerOptions) -> SessionConfig:
    """What the session flags say.

    Threads and GPU memory are always the flags', even where those say 0: they overwrite what the
    file says.

    Raises:
        InvalidArgument: all three parallelism flags are set, or the file is no ConfigProto.
        ServingError: the file cannot be read.
    """
    if options.tensorflow_session_config_file:
        config = read_text_file(options.tensorflow_session_config_file, _MESSAGE)
    else:
        config = message_class(_MESSAGE)()
    config.gpu_options.per_process_gpu_memory_fraction = options.per_process_gpu_memory_fraction
    check_parallelism(options)
    intra, inter = _parallelism(options)
    config.intra_op_parallelism_threads = _int32(intra)
    config.inter_op_parallelism_threads = _int32(inter)
    _mix_precision(config, options.mixed_precision)
    tags = options.saved_model_tags
    return SessionConfig(
        config_proto=config.SerializeToString(deterministic=True),
        saved_model_tags=tuple(tags.split(",")) if tags else (_DEFAULT_TAG,),
        custom_op_libraries=_custom_op_libraries(options),
        is_xla_enabled=_is_xla_enabled(options),
    )


def session_config_of(bundle: Any, options: ServerOptions) -> SessionConfig:
    """What a `tensorflow.serving.SessionBundleConfig` says, in place of the session flags.

    Args:
        bundle: the message.
        options: for what is of the whole process: operations and XLA.
    """
    config = message_class(_MESSAGE)()
    config.CopyFrom(bundle.session_config)
    _mix_precision(config, bundle.mixed_precision)
    index = bundle.session_run_load_threadpool_index
    return SessionConfig(
        config_proto=config.SerializeToString(deterministic=True),
        saved_model_tags=tuple(bundle.saved_model_tags) or (_DEFAULT_TAG,),
        custom_op_libraries=_custom_op_libraries(options),
        is_xla_enabled=_is_xla_enabled(options),
        target=bundle.session_target,
        load_thread_pool=index.value
        if bundle.HasField("session_run_load_threadpool_index")
        else None,
        has_metadata=bundle.enable_session_metadata,
    )


def _mix_precision(config: Any, mode: str) -> None:
    if mode == "bfloat16":
        _log.info("Running inference with bfloat16 auto mixed precision")
        rewriter = config.graph_options.rewrite_options
        rewriter.auto_mixed_precision_onednn_bfloat16 = _TOGGLE_ON
    elif mode:
        _log.warning("%s auto mixed precision is not supported. Valid option: bfloat16", mode)


def _custom_op_libraries(options: ServerOptions) -> tuple[str, ...]:
    return tuple(path for path in options.custom_op_libraries.split(",") if path)


def _is_xla_enabled(options: ServerOptions) -> bool:
    """By either flag, as there: TensorFlow has one switch for all devices.

    Source: `model_servers/main.cc`.
    """
    return options.xla_cpu_compilation_enabled or options.xla_gpu_compilation_enabled


def _parallelism(options: ServerOptions) -> tuple[int, int]:
    intra = options.tensorflow_intra_op_parallelism
    inter = options.tensorflow_inter_op_parallelism
    if intra > 0 or inter > 0:
        return intra, inter
    both = options.tensorflow_session_parallelism
    return both, both


def _int32(number: int) -> int:
    """A thread count as the field holds it: the flags are wider, and the reference wraps them."""
    return (number + (1 << 31)) % (1 << 32) - (1 << 31)
