"""What a version says of its own session, in `assets.extra/saved_model_config.pb`.

Only its `session_overrides` are looked at, as in the reference. They end up in the rewriter's part
of the ConfigProto, from where TensorFlow takes what it knows.

Source: TensorFlow Serving `servables/tensorflow/saved_model_config_util.cc`.
"""

import base64
import logging
import os
from typing import Any, Final

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from salver._pb import POOL, message_class
from salver.errors import Internal, ServingError
from salver.instruments.files import error_of_os, read_regular

__all__ = ["override_session"]

_log = logging.getLogger(__name__)

_PATH: Final = os.path.join("assets.extra", "saved_model_config.pb")
_MESSAGE: Final = "tensorflow.serving.SavedModelConfig"
_MOST_BYTES: Final = 1 << 26
# Field → name and parameter of the graph optimizer that is to have it, if it is linked in.
_OPTIMIZERS: Final = {
    "remote_op_remap_config": ("remote_op_config_rewrite", "remote_op_rewrite_config"),
    "batch_op_rewriter_config": ("batch_op_rewriter", "batch_op_rewrite_config"),
}


def override_session(session_config: bytes, directory: str) -> bytes:
    """The serialized ConfigProto for the session of one version.

    A file that cannot be read or parsed is warned of and changes nothing.

    Args:
        session_config: a serialized `tensorflow.ConfigProto`, for all versions.
        directory: of the version.
    """
    path = os.path.join(directory, _PATH)
    if not os.path.exists(path):
        return session_config
    try:
        message = _read(path)
    except ServingError as error:
        _log.warning("Failed to load saved model config: %s", error.status)
        return session_config
    if not message.HasField("session_overrides"):
        return session_config
    config = message_class("tensorflow.ConfigProto").FromString(session_config)
    _update(config.graph_options.rewrite_options, message.session_overrides)
    serialized: bytes = config.SerializeToString(deterministic=True)
    return serialized


def _read(path: str) -> Any:
    _log.info("Loading model config from %s", path)
    try:
        content = read_regular(path, _MOST_BYTES)
    except OSError as error:
        raise error_of_os(path, error) from error
    try:
        message = message_class(_MESSAGE).FromString(content)
    except DecodeError as error:
        raise Internal(f"Unable to parse SavedModelConfig: {path}") from error
    shown = text_format.MessageToString(message, descriptor_pool=POOL)
    _log.info("Finished loading model config from %s:%s", path, shown)
    return message


def _update(rewriter: Any, overrides: Any) -> None:
    for field, (name, parameter) in _OPTIMIZERS.items():
        if overrides.HasField(field):
            value = getattr(overrides, field).SerializeToString(deterministic=True)
            optimizer = _optimizer(rewriter, name)
            optimizer.parameter_map[parameter].s = base64.b64encode(value)
    rewriter.disable_meta_optimizer = overrides.disable_meta_optimizer


def _optimizer(rewriter: Any, name: str) -> Any:
    for optimizer in rewriter.custom_optimizers:
        if optimizer.name == name:
            return optimizer
    return rewriter.custom_optimizers.add(name=name)
