from collections.abc import Callable
from pathlib import Path
from typing import Any

from salver.backends.protocol import LoadStage
from salver.backends.tflite.backend import TFLiteBackend
from salver.backends.tflite.options import TFLiteOptions


def test_a_version_is_loaded_as_the_options_say(
    litert: Any, version_path: Callable[[str], Path]
) -> None:
    options = TFLiteOptions(num_pools=2, num_interpreters_per_pool=5)
    model = TFLiteBackend().load(version_path("lite_plain"), options, LoadStage())
    assert model.batching is not None
    assert model.batching.num_batch_threads == 2
    model.close()


def test_the_only_file_may_have_any_name(
    litert: Any, version_path: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "digits.tflite").symlink_to(version_path("lite_plain") / "model.tflite")
    TFLiteBackend().load(tmp_path, TFLiteOptions(), LoadStage()).close()
