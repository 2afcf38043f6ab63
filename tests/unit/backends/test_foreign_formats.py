from pathlib import Path

import pytest

from salver.backends.foreign_formats import advice_on, foreign_files


@pytest.mark.parametrize(
    ("name", "what", "how"),
    [
        (
            "resnet.onnx",
            "an ONNX model",
            "onnx2tf -i resnet.onnx -osd -o resnet/1; and serve resnet",
        ),
        ("net.pt", "a PyTorch model", ".export('net.tflite'); and serve that"),
        ("net.PTH", "a PyTorch model", "pip install litert-torch"),
        ("net.safetensors", "a file of weights without a model", "export that"),
        ("net.weights.h5", "a file of Keras weights without a model", "model.save('net.keras')"),
        ("frozen.pb", "a TensorFlow graph without signatures", "simple_save(session, 'frozen/1'"),
        ("model.ckpt", "a TensorFlow checkpoint", "tf.saved_model.save(model, 'model/1')"),
        ("clf.joblib", "a pickled Python object, of scikit-learn perhaps", "tf.function"),
        ("trees.ubj", "a model of XGBoost", "tf.function"),
        ("m.mlmodel", "a Core ML model", "export the model it was made of"),
        ("chat.gguf", "a language model for llama.cpp", "llama-server"),
    ],
)
def test_a_file_is_told_by_its_ending(name: str, what: str, how: str) -> None:
    advice = advice_on(name)
    assert advice is not None
    assert advice.startswith(f"{name} is {what}, which is not served. ")
    assert how in advice
    assert advice.endswith(".")
    assert "{" not in advice
    assert "\n" not in advice


@pytest.mark.parametrize(
    "name",
    ["saved_model.pb", "fingerprint.pb", "model.tflite", "model.keras", "notes.txt", "a.xml"],
)
def test_nothing_is_said_of_what_is_served_or_not_known(name: str) -> None:
    assert advice_on(name) is None


def test_a_model_of_openvino_is_told_by_its_two_files(tmp_path: Path) -> None:
    (tmp_path / "a.xml").touch()
    (tmp_path / "b.xml").touch()
    (tmp_path / "b.bin").touch()
    (tmp_path / "saved_model.pb").touch()
    assert foreign_files(tmp_path) == ["b.xml"]
    advice = advice_on(tmp_path / "b.xml")
    assert advice is not None
    assert advice.startswith("b.xml is an OpenVINO model")


def test_a_directory_that_cannot_be_read_holds_none(tmp_path: Path) -> None:
    assert foreign_files(tmp_path / "absent") == []
