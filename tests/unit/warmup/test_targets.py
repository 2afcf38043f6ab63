from pathlib import Path

import pytest

from salver.backends.selection import Selector
from salver.errors import InvalidArgument
from salver.warmup.targets import target_of

COMPUTED = """
class Model:
    inputs = {"x": ("float32", [-1])} if True else {}
    outputs = {"y": ("float32", [-1])}

    def predict(self, inputs):
        return {"y": inputs["x"]}
"""


def _model(tmp_path: Path, text: str) -> Path:
    (tmp_path / "model.py").write_text(text)
    return tmp_path


def test_what_files_tell_is_what_requests_are_made_for(tmp_path: Path) -> None:
    version = _model(tmp_path, COMPUTED.replace(" if True else {}", ""))
    target = target_of(Selector()(version), "m", may_convert=False)
    assert target.model_name == "m"
    assert list(target.signatures["serving_default"].inputs) == ["x"]


@pytest.mark.parametrize("may_convert", [False, True])
def test_where_only_a_load_tells_that_is_said(tmp_path: Path, may_convert: bool) -> None:
    found = Selector()(_model(tmp_path, COMPUTED))
    with pytest.raises(InvalidArgument, match="a Python model: only a load tells") as caught:
        target_of(found, "m", may_convert=may_convert)
    assert (caught.value.hint is None) == may_convert
