"""What compares the codecs runs: it uses names that other benchmarks do not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import Signature, TensorSpec


def test_the_way_of_a_body_is_traced_to_its_feeds(module_named: Callable[[str], Any]) -> None:
    signature = Signature({"x": TensorSpec(DataType.FLOAT32, None)}, {})
    stops = module_named("json_stops").trace(b'{"instances": [1.0]}', signature).stops()
    assert "codecs/json/plain.py" in {file for file, _ in stops}


def test_tensors_are_compared_with_the_general_parser(
    module_named: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    codec = module_named("tensor_codec")
    monkeypatch.setattr(codec, "best_of", lambda *calls: [call() and 1.0 for call in calls])
    codec.compare("three", np.ones(3, np.float32), as_content=False)
    assert "/ protobuf  1.0000" in capsys.readouterr().out
