from pathlib import Path

import pytest

from salver.backends.foreign_formats import advice_on, foreign_files


@pytest.mark.parametrize(
    ("name", "what", "how"),
    [
        (
            "net.PTH",
            "what torch.save writes: weights, or a pickled PyTorch module",
            "'net.pt2'); and serve that",
        ),
        ("net.safetensors", "a file of weights without a model", "Put a model.py beside it"),
        ("net.weights.h5", "a file of Keras weights without a model", "model.save('net.keras')"),
        ("frozen.pb", "a TensorFlow graph without signatures", "simple_save(session, 'frozen/1'"),
        ("model.ckpt", "a TensorFlow checkpoint", "tf.saved_model.save(model, 'model/1')"),
        ("clf.pickle", "a pickled Python object, of scikit-learn perhaps", "skops.io.dump"),
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
    [
        "saved_model.pb",
        "fingerprint.pb",
        "model.tflite",
        "model.keras",
        "m.onnx",
        "notes.txt",
        "a.xml",
    ],
)
def test_nothing_is_said_of_what_is_served_or_not_known(name: str) -> None:
    assert advice_on(name) is None


def test_a_directory_that_cannot_be_read_holds_none(tmp_path: Path) -> None:
    assert foreign_files(tmp_path / "absent") == []
