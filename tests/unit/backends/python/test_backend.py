from pathlib import Path
from textwrap import dedent

import pytest

from salver.backends.protocol import Listing
from salver.backends.python.backend import PythonBackend
from salver.backends.python.options import PythonOptions
from salver.backends.selection import Selector
from salver.errors import FailedPrecondition
from salver.vocabulary.dtypes import DataType

MODEL = """
    open("/nowhere/at/all")  # nobody runs this

    class Model:
        inputs = {"text": ("string", [-1]), "limit": ("int64", [], 10)}
        outputs: dict = {"score": ("float32", [-1])}
        signatures = {"embed": {"inputs": {}, "outputs": {"y": ("int8", [2])}}}
        def predict(self, inputs): ...
"""


def inspect(directory: Path, source: str) -> object:
    (directory / "model.py").write_text(dedent(source))
    return PythonBackend().inspect(directory, PythonOptions())


def names(directory: Path, *files: str) -> list[str] | None:
    for file in files:
        (directory / file).write_text(dedent(MODEL))
    match = PythonBackend().detect(Listing.of(directory), PythonOptions())
    assert match is None or match.runs_code == "a Python model"
    return None if match is None else list(match.files)


def test_a_look_reads_what_is_declared_and_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(dedent(MODEL))
    info = PythonBackend().inspect(tmp_path, PythonOptions())
    assert info is not None
    assert sorted(info.signatures) == ["embed", "serving_default"]
    signature = info.signatures["serving_default"]
    assert signature.inputs["text"].dtype is DataType.STRING
    assert signature.defaults["limit"] == 10


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nclass Model:\n  inputs = {'x': (np.int8, [])}\n  outputs = {}",
        "class Model(Base):\n  inputs = {'x': ('int8', [])}\n  outputs = {'y': ('int8', [])}",
        "class Model:\n  def __init__(self): self.inputs = {}",
        "@made\nclass Model:\n  inputs = {}\n  outputs = {'y': ('int8', [])}",
        "from elsewhere import Model",
        "Model = make()",
        "from elsewhere import *",
        "class TritonPythonModel:\n  def auto_complete_config(config): ...",
    ],
)
def test_what_is_computed_only_a_load_tells(tmp_path: Path, source: str) -> None:
    assert inspect(tmp_path, source) is None


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("class Model", "is no Python program"),
        ("x = 1", "has no class Model, and no TritonPythonModel"),
        ("class Model:\n  inputs = 3\n  outputs = {}", "model.py: inputs is a dict"),
        ("(" * 10_000, "is no Python program"),
        ("x = " + "-" * 100_000 + "1", "is no Python program"),
        ("\0", "is no Python program"),
    ],
)
def test_a_look_finds_what_is_wrong(tmp_path: Path, source: str, said: str) -> None:
    with pytest.raises(FailedPrecondition, match=said):
        inspect(tmp_path, source)


def test_a_model_py_is_taken_and_so_is_an_only_file(tmp_path: Path) -> None:
    assert names(tmp_path) is None
    assert names(tmp_path, "text.py", "requirements.txt") == ["text.py"]
    assert names(tmp_path, "other.py") is None
    assert names(tmp_path, "model.py") == ["model.py"]


def test_a_program_beside_a_model_is_no_model(tmp_path: Path) -> None:
    """Training scripts are often called so."""
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / "model.py").write_text("import tensorflow as tf\n")
    selected = Selector()(tmp_path)
    assert selected.backend.name == "tensorflow_savedmodel"


def test_a_model_beside_another_has_to_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / "model.py").write_text(dedent(MODEL))
    with pytest.raises(FailedPrecondition, match=r"Python model \(model.py\)") as caught:
        Selector()(tmp_path)
    assert 'model_platform: "tensorflow_savedmodel" or "python"' in (caught.value.hint or "")
    assert Selector()(tmp_path, "python").backend.name == "python"


def test_a_script_alone_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import numpy\n")
    assert names(tmp_path) is None
    (tmp_path / "train.py").rename(tmp_path / "model.py")
    assert names(tmp_path) == ["model.py"]


def test_weights_beside_it_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "model.py").write_text(dedent(MODEL))
    assert Selector()(tmp_path).backend.name == "python"


def test_options_of_the_model_are_handed_on(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(dedent(MODEL))
    selected = Selector()(tmp_path, own_options={"limit": "3", "name": "x"})
    assert selected.options.own == {"limit": "3", "name": "x"}
