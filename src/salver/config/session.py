"""The ConfigProto that TensorFlow sessions are made with, from the flags.

Source: TensorFlow Serving `model_servers/server.cc`, BuildAndStart, and
`servables/tensorflow/saved_model_bundle_factory.cc`.
"""

import logging
from dataclasses import dataclass

from salver._pb import message_class
from salver.config.checks import check_parallelism
from salver.config.options import ServerOptions
from salver.config.text_format import read_text_file

__all__ = ["SessionConfig", "session_config"]

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
    """

    config_proto: bytes
    saved_model_tags: tuple[str, ...]
    custom_op_libraries: tuple[str, ...]


def session_config(options: ServerOptions) -> SessionConfig:
    """Combine the session flags.

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
    if options.mixed_precision == "bfloat16":
        _log.info("Running inference with bfloat16 auto mixed precision")
        rewriter = config.graph_options.rewrite_options
        rewriter.auto_mixed_precision_onednn_bfloat16 = _TOGGLE_ON
    elif options.mixed_precision:
        _log.warning(
            "%s auto mixed precision is not supported. Valid option: bfloat16",
            options.mixed_precision,
        )
    return SessionConfig(
        config_proto=config.SerializeToString(deterministic=True),
        saved_model_tags=tuple(options.saved_model_tags.split(","))
        if options.saved_model_tags
        else (_DEFAULT_TAG,),
        custom_op_libraries=tuple(path for path in options.custom_op_libraries.split(",") if path),
    )


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
