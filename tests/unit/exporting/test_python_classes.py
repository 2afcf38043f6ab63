from pathlib import Path

import numpy as np
import pytest
from tests.unit.exporting import written
from tests.unit.exporting.test_functions import loaded

from salver.errors import InvalidArgument
from salver.exporting import export, is_live, live_name


def test_the_class_of_a_python_model_is_written_with_all_it_needs(tmp_path: Path) -> None:
    assert live_name(written.Mine) == "Mine"
    model = loaded(written.Mine, tmp_path)
    assert model.inputs == written.Mine.inputs
    np.testing.assert_array_equal(model().predict({"x": np.array([2], np.float32)})["y"], [7])


def test_an_object_is_refused(tmp_path: Path) -> None:
    assert is_live(written.Mine())
    with pytest.raises(InvalidArgument, match="published as its class, not as an object of it"):
        export(written.Mine(), tmp_path / "1")


def test_what_does_not_stand_alone_is_refused_with_what_keeps_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"Caught .* uses BIG, a ndarray"):
        export(written.Caught, tmp_path / "1")


def test_a_class_without_a_signature_is_no_model() -> None:
    assert not is_live(dict)
    assert not is_live(type("Other", (), {"inputs": {}, "outputs": {}}))
