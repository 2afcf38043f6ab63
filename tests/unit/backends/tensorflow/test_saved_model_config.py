import base64
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from salver._pb import message_class
from salver.backends.tensorflow.saved_model_config import override_session


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def _config(**fields: Any) -> Any:
    return message_class("tensorflow.serving.SavedModelConfig")(**fields)


def _put(directory: Path, content: bytes) -> Path:
    path = directory / "assets.extra" / "saved_model_config.pb"
    path.parent.mkdir()
    path.write_bytes(content)
    return path


def _overridden(directory: Path, session_config: bytes = b"") -> Any:
    serialized = override_session(session_config, str(directory))
    return message_class("tensorflow.ConfigProto").FromString(serialized)


_REMAP = {"model_name_remap": {"a": "b"}, "propagate_version": True}
_BATCHES = {"batch_options": {"m": {"max_batch_size": 8, "allowed_batch_sizes": [2, 8]}}}


def test_version_without_the_file_takes_what_all_take(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert override_session(b"as it is", str(tmp_path)) == b"as it is"
    assert caplog.messages == []


def test_file_without_overrides_changes_nothing(tmp_path: Path) -> None:
    _put(tmp_path, _config(critical=True, tfrt_runtime_config=b"x").SerializeToString())
    assert override_session(b"as it is", str(tmp_path)) == b"as it is"


def test_empty_file_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = _put(tmp_path, b"")
    assert override_session(b"as it is", str(tmp_path)) == b"as it is"
    assert caplog.messages == [
        f"Loading model config from {path}",
        f"Finished loading model config from {path}:",
    ]


def test_overrides_become_optimizers_and_their_parameters(tmp_path: Path) -> None:
    overrides = {
        "remote_op_remap_config": _REMAP,
        "batch_op_rewriter_config": _BATCHES,
        "disable_meta_optimizer": True,
    }
    _put(tmp_path, _config(session_overrides=overrides).SerializeToString())
    config = _overridden(tmp_path, b"\x10\x03")
    assert config.intra_op_parallelism_threads == 3
    rewriter = config.graph_options.rewrite_options
    assert rewriter.disable_meta_optimizer
    names = ["remote_op_config_rewrite", "batch_op_rewriter"]
    assert [optimizer.name for optimizer in rewriter.custom_optimizers] == names
    [remap, batches] = [dict(optimizer.parameter_map) for optimizer in rewriter.custom_optimizers]
    [(key, value)] = remap.items()
    assert key == "remote_op_rewrite_config"
    sent = message_class("tensorflow.serving.tools.RemoteOpRemapConfig")
    assert sent.FromString(base64.b64decode(value.s)) == sent(**_REMAP)
    [(key, value)] = batches.items()
    assert key == "batch_op_rewrite_config"
    sent = message_class("tensorflow.serving.BatchOpRewriteConfig")
    assert sent.FromString(base64.b64decode(value.s)) == sent(**_BATCHES)


def test_optimizer_that_all_have_gets_the_parameter_of_the_version(tmp_path: Path) -> None:
    every = message_class("tensorflow.ConfigProto")()
    rewriter = every.graph_options.rewrite_options
    rewriter.custom_optimizers.add(name="other")
    rewriter.custom_optimizers.add(name="batch_op_rewriter").parameter_map["kept"].i = 3
    _put(
        tmp_path,
        _config(session_overrides={"batch_op_rewriter_config": _BATCHES}).SerializeToString(),
    )
    [_, optimizer] = _overridden(
        tmp_path, every.SerializeToString()
    ).graph_options.rewrite_options.custom_optimizers
    assert set(optimizer.parameter_map) == {"kept", "batch_op_rewrite_config"}


def test_overrides_that_say_nothing_turn_the_meta_optimizer_on(tmp_path: Path) -> None:
    every = message_class("tensorflow.ConfigProto")()
    every.graph_options.rewrite_options.disable_meta_optimizer = True
    _put(tmp_path, _config(session_overrides={}).SerializeToString())
    config = _overridden(tmp_path, every.SerializeToString())
    assert not config.graph_options.rewrite_options.disable_meta_optimizer


def test_file_that_cannot_be_parsed_is_warned_of_and_the_load_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _put(tmp_path, b"\x0a\xff")
    assert override_session(b"as it is", str(tmp_path)) == b"as it is"
    assert caplog.record_tuples[-1][1:] == (
        logging.WARNING,
        f"Failed to load saved model config: INTERNAL: Unable to parse SavedModelConfig: {path}",
    )


def test_file_that_cannot_be_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "assets.extra" / "saved_model_config.pb"
    path.mkdir(parents=True)
    assert override_session(b"as it is", str(tmp_path)) == b"as it is"
    assert caplog.messages[-1] == (
        f"Failed to load saved model config: FAILED_PRECONDITION: {path}; Is a directory"
    )


def test_the_references_own_example_is_read(
    reference_model: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    [version] = reference_model("saved_model_half_plus_two_cpu_with_saved_model_config").iterdir()
    config = _overridden(version)
    assert [o.name for o in config.graph_options.rewrite_options.custom_optimizers] == [
        "remote_op_config_rewrite",
        "batch_op_rewriter",
    ]
    assert os.path.join("assets.extra", "saved_model_config.pb") in caplog.messages[0]
