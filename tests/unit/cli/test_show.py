import os
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import text_format

from salver._pb import message_class
from salver.cli.salver import main
from salver.cli.show import show
from salver.config.options import ServerOptions
from salver.errors import DataLoss, NotFound

_TEXT = """
saved_model_schema_version: 1
meta_graphs {
  meta_info_def { tags: "serve" }
  signature_def { key: "serving_default" value {
    inputs { key: "x" value { name: "x:0" dtype: DT_FLOAT
      tensor_shape { dim { size: -1 } dim { size: 28 } } } }
    inputs { key: "names" value { name: "n:0" dtype: DT_STRING
      tensor_shape { unknown_rank: true } } }
    outputs { key: "y" value { name: "y:0" dtype: DT_INT64_REF tensor_shape {} } }
    method_name: "tensorflow/serving/predict" } }
  signature_def { key: "init" value { method_name: "" } }
  signature_def { key: "__saved_model_init_op" value { method_name: "" } }
}
meta_graphs { meta_info_def { tags: "serve" tags: "gpu" } }
"""

_SHOWN = """\
MetaGraphDef with tag-set: 'serve' contains the following SignatureDefs:

signature_def['init']:
  inputs: none
  outputs: none
  method name:\x20

signature_def['serving_default']:
  inputs:
    inputs['names'] tensor_info:
        dtype: DT_STRING
        shape: unknown_rank
        name: n:0
    inputs['x'] tensor_info:
        dtype: DT_FLOAT
        shape: (-1, 28)
        name: x:0
  outputs:
    outputs['y'] tensor_info:
        dtype: DT_INT64
        shape: ()
        name: y:0
  method name: tensorflow/serving/predict

MetaGraphDef with tag-set: 'gpu, serve' contains the following SignatureDefs:"""


@pytest.fixture
def version(tmp_path: Path) -> Path:
    path = tmp_path / "m" / "3"
    path.mkdir(parents=True)
    model = text_format.Parse(_TEXT, message_class("tensorflow.SavedModel")())
    (path / "saved_model.pb").write_bytes(model.SerializeToString())
    return path


def test_everything_is_shown(version: Path) -> None:
    assert show(version) == f"SavedModel at {version} (version 3)\n\n{_SHOWN}"


def test_the_newest_version_of_a_model_directory_is_shown(version: Path) -> None:
    assert show(version.parent) == show(version)


def test_a_saved_model_without_a_version_says_none(version: Path, tmp_path: Path) -> None:
    plain = version.rename(tmp_path / "plain")
    assert show(plain) == f"SavedModel at {plain}\n\n{_SHOWN}"


def test_nothing_to_show_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        show(tmp_path)


def test_a_corrupt_file_is_said_to_be_corrupt(version: Path) -> None:
    (version / "saved_model.pb").write_bytes(b"\xff")
    with pytest.raises(DataLoss):
        show(version)


_LITE_SHOWN = """\
The file contains the following SignatureDefs:

signature_def['doubtful']:
  inputs:
    inputs['number'] tensor_info:
        dtype: DT_FLOAT
        shape: (-1)
        name: x_in
  outputs:
    outputs['half'] tensor_info:
        dtype: DT_FLOAT
        shape: (-1)
        name: y_out
  method name: some/method

signature_def['serving_default']:
"""


def test_a_tflite_file_is_shown(version_path: Callable[[str], Path]) -> None:
    path = version_path("lite_metadata")
    head = f"TFLite model at {path / 'model.tflite'} (version 1)\n\n"
    assert show(path.parent).startswith(head + _LITE_SHOWN)


def test_a_tflite_file_of_any_name_is_shown(
    version_path: Callable[[str], Path], tmp_path: Path
) -> None:
    file = tmp_path / "net.tflite"
    file.write_bytes((version_path("lite_metadata") / "model.tflite").read_bytes())
    assert show(file).startswith(f"TFLite model at {file}\n\n{_LITE_SHOWN}")


def test_a_tflite_file_is_shown_behind_the_saved_model_beside_it(
    version: Path, version_path: Callable[[str], Path]
) -> None:
    saved = show(version)
    file = version / "model.tflite"
    file.write_bytes((version_path("lite_metadata") / "model.tflite").read_bytes())
    both = show(version)
    assert both.startswith(f"{saved}\n\nTFLite model at {file} (version 3)\n\n{_LITE_SHOWN}")


_KERAS_SHOWN = """\
MetaGraphDef with tag-set: 'serve' contains the following SignatureDefs:
"""
_KERAS_SIGNATURE = """\
signature_def['serving_default']:
  inputs:
    inputs['left'] tensor_info:
        dtype: DT_FLOAT
        shape: (-1, 2)
"""


def test_a_keras_file_is_shown_as_it_would_be_served(model_path: Callable[[str], Path]) -> None:
    file = model_path("keras_branches") / "1" / "branches.keras"
    options = ServerOptions(conversion_cache=str(file.parents[2] / "conversions"))
    alone, version, base = (show(path, options) for path in (file, *file.parents[:2]))
    head = f"Keras model at {file}"
    assert alone.startswith(f"{head}\n\n{_KERAS_SHOWN}")
    assert version.startswith(f"{head} (version 1)\n\n{_KERAS_SHOWN}")
    assert version == base
    assert _KERAS_SIGNATURE in alone


def _main(*arguments: str) -> int:
    return main(["salver", "show", *arguments])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "digits" / "1"
    path.mkdir(parents=True)
    (path / "saved_model.pb").touch()
    return path.parent


def test_help_on_show_says_how_to_call_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert _main("--help") == 0
    assert capsys.readouterr().out.startswith("usage: salver show PATH [--flag=value ...]")


def test_show_describes_a_saved_model(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(str(model)) == 0
    assert capsys.readouterr().out.startswith(f"SavedModel at {model / '1'} (version 1)\n")


def test_show_ends_quietly_when_its_reader_has_seen_enough(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        assert _main(str(model)) == 0


def test_show_takes_the_flags_of_keras_files(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut.keras").touch()
    cache = f"--conversion_cache={tmp_path / 'cache'}"
    assert _main(str(tmp_path / "cut.keras"), cache, "--keras_safe_mode=false") == 1
    assert "cut.keras is no Keras file, or only a part of one" in capsys.readouterr().err
    assert _main(str(model), "--keras_safe_mode=maybe") == 2
    assert "keras_safe_mode" in capsys.readouterr().err
    assert _main(str(model), "--keras_safe=false") == 2
    assert "usage: salver show PATH" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("a", "b"), ("a", "--keras_safe=false")])
def test_a_command_line_that_makes_no_sense_is_refused(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(*arguments) == 2
    assert capsys.readouterr().err.startswith("salver: usage: salver show PATH")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "http://localhost:8501/v1/models/m",
            "salver: http://localhost:8501/v1/models/m is a URL, and show reads files. Of a server "
            "one asks the signatures so: curl http://localhost:8501/v1/models/NAME/metadata\n",
        ),
        (
            "hdfs://bucket/m",
            "salver: hdfs://bucket/m is not on this machine, and show reads local files alone.\n",
        ),
    ],
)
def test_what_is_no_path_is_refused_in_one_line(
    given: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(given) == 1
    assert capsys.readouterr().err == said


def test_each_model_of_a_directory_of_them_is_shown(version: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    (models / "first").mkdir(parents=True)
    (models / "first" / "3").symlink_to(version)
    (models / "second").mkdir()
    (models / "second" / "model.py").write_text(
        "class Model:\n"
        '    inputs = {"x": ("float32", [-1])}\n'
        '    outputs = {"y": ("int64", [-1])}\n'
    )
    text = show(models)
    assert f"SavedModel at {models / 'first' / '3'} (version 3)" in text
    assert f"Python model at {models / 'second' / 'model.py'}" in text
    assert "dtype: DT_INT64" in text
