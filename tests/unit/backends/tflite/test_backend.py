from collections.abc import Callable
from pathlib import Path
from typing import Any

from salver.backends.registry import BackendOptions
from salver.backends.tflite.backend import open_backend
from salver.servable import ServableId


def test_a_version_is_loaded_as_the_options_say(
    litert: Any, version_path: Callable[[str], Path]
) -> None:
    backend = open_backend(BackendOptions(num_tflite_pools=2, num_tflite_interpreters_per_pool=5))
    model = backend.load(str(version_path("lite_plain")), ServableId("m", 1))
    assert model.internal_batching is not None
    assert model.internal_batching.num_batch_threads == 2
    model.close()
