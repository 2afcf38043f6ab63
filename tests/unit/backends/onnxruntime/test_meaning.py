"""What can be asked of an ONNX model, as its file says it; and that it answers so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.onnx_models import (
    FLOAT,
    STRING,
    classifier,
    half_plus_two,
    model,
    regressor,
    save,
    sequence,
    value,
)

from salver.backends.onnxruntime.files import examine
from salver.backends.onnxruntime.meaning import Meaning
from salver.backends.onnxruntime.model import OnnxModel
from salver.errors import Code, ServingError
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import (
    CLASSIFY_METHOD_NAME,
    PREDICT_METHOD_NAME,
    REGRESS_METHOD_NAME,
    TensorSpec,
)

Load = Callable[..., OnnxModel]


def meaning(proto: Any, directory: Path) -> Meaning:
    return examine(save(proto, directory), max_nodes=1000).meaning


def test_a_graph_is_one_signature(tmp_path: Path) -> None:
    found = meaning(half_plus_two(), tmp_path)
    (signature,) = found.signatures.values()
    assert signature.inputs == {"x": TensorSpec(DataType.FLOAT32, (-1,))}
    assert signature.outputs == {"y": TensorSpec(DataType.FLOAT32, (-1,))}
    assert signature.method_name == PREDICT_METHOD_NAME


@pytest.mark.parametrize("labels", [("cat", "dog", "eel"), (7, -1, 2**40)])
def test_a_list_of_maps_is_the_matrix_it_was_made_of(
    labels: tuple[Any, ...], tmp_path: Path, load: Load
) -> None:
    """Against ONNX Runtime's own list of maps."""
    import onnxruntime

    loaded = load(classifier(labels=labels))
    assert loaded.signatures["serving_default"].outputs["probabilities"] == TensorSpec(
        DataType.FLOAT32, (-1, 3)
    )
    x = np.arange(12, dtype=np.float32).reshape(3, 4) / 10
    label, matrix = loaded.program("serving_default").run([x])
    path = str(save(classifier(labels=labels), tmp_path / "own"))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    labels_wanted, maps = session.run(None, {"x": x})
    assert (
        [each.decode() for each in label] == list(labels_wanted)
        if isinstance(labels[0], str)
        else label.tolist() == labels_wanted.tolist()
    )
    for row, wanted in zip(matrix, maps, strict=True):
        assert {key: pytest.approx(wanted[key]) for key in labels} == dict(
            zip(labels, row.tolist(), strict=True)
        )


@pytest.mark.parametrize("zip_map", [True, False])
def test_a_classifier_classifies(zip_map: bool, load: Load) -> None:
    loaded = load(classifier(zip_map=zip_map))
    signature = loaded.signatures["classify"]
    assert signature.method_name == CLASSIFY_METHOD_NAME
    assert list(signature.inputs) == ["inputs"]
    assert list(signature.outputs) == ["classes", "scores"]


def test_a_regressor_regresses(load: Load) -> None:
    signature = load(regressor()).signatures["regress"]
    assert signature.method_name == REGRESS_METHOD_NAME
    assert list(signature.outputs) == ["outputs"]


def test_a_sequence_of_tensors_is_declared_as_one(tmp_path: Path) -> None:
    outputs = meaning(sequence(), tmp_path).signatures["serving_default"].outputs
    assert outputs == {"pieces": TensorSpec(DataType.FLOAT32, (-1, -1, 2))}


def _typed(of: Any) -> Any:
    return helper.make_value_info("odd", of)


_TENSOR = helper.make_tensor_type_proto(FLOAT, [1])
_MAP = helper.make_map_type_proto(STRING, _TENSOR)
ODD = [
    (helper.make_sequence_type_proto(_MAP), "a sequence of maps"),
    (_MAP, "a map"),
    (helper.make_optional_type_proto(_TENSOR), "an optional value"),
    (helper.make_sparse_tensor_type_proto(FLOAT, [1]), "a sparse tensor"),
]


@pytest.mark.parametrize(
    ("of", "said"),
    [*ODD, (helper.make_sequence_type_proto(_TENSOR), "a sequence of tensors")],
    ids=lambda each: each.replace(" ", "-") if isinstance(each, str) else "",
)
def test_an_input_that_is_no_tensor_is_refused_by_name(of: Any, said: str, tmp_path: Path) -> None:
    proto = half_plus_two()
    proto.graph.input.append(_typed(of))
    with pytest.raises(ServingError, match=f"Input odd of .* is {said}: only tensors") as raised:
        meaning(proto, tmp_path)
    assert raised.value.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("of", "said"), ODD, ids=lambda each: each.replace(" ", "-") if isinstance(each, str) else ""
)
def test_so_is_an_output(of: Any, said: str, tmp_path: Path) -> None:
    proto = half_plus_two()
    proto.graph.output.append(_typed(of))
    with pytest.raises(ServingError, match=f"Output odd of .* is {said}: only tensors") as raised:
        meaning(proto, tmp_path)
    assert raised.value.code is Code.UNIMPLEMENTED


def test_elements_that_nothing_holds_are_refused_by_name(tmp_path: Path) -> None:
    proto = half_plus_two()
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT4E2M1
    with pytest.raises(ServingError, match=r"Input x of .* elements of ONNX's type 23") as raised:
        meaning(proto, tmp_path)
    assert raised.value.code is Code.UNIMPLEMENTED


def test_an_output_without_a_type_is_refused_by_name(tmp_path: Path) -> None:
    proto = half_plus_two()
    proto.graph.output[0].ClearField("type")
    with pytest.raises(ServingError, match=r"Output y of .* declared without a type"):
        meaning(proto, tmp_path)


def test_a_classifier_whose_labels_are_not_for_its_scores_only_predicts(tmp_path: Path) -> None:
    proto = classifier(zip_map=False)
    proto.graph.output[1].type.tensor_type.shape.dim[1].dim_value = 7
    assert list(meaning(proto, tmp_path).signatures) == ["serving_default"]


def test_a_classifier_of_pictures_takes_no_examples(tmp_path: Path) -> None:
    proto = classifier(zip_map=False)
    proto.graph.input.append(value("picture", ["n", 3, 4]))
    assert list(meaning(proto, tmp_path).signatures) == ["serving_default"]


def test_a_model_of_skl2onnx_is_served_whole(load: Load) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    x, y = load_iris(return_X_y=True)
    fitted = RandomForestClassifier(n_estimators=5, random_state=1).fit(x, y)
    loaded = load(skl2onnx.to_onnx(fitted, x[:1].astype(np.float32), target_opset=15))
    rows = x.astype(np.float32)[::10]
    label, probabilities = loaded.program("serving_default").run([rows])
    np.testing.assert_array_equal(label, fitted.predict(rows))
    np.testing.assert_allclose(probabilities, fitted.predict_proba(rows), atol=1e-6)
    assert "classify" in loaded.signatures


def test_labels_are_numbers_or_texts(tmp_path: Path) -> None:
    assert meaning(classifier(labels=(3, -4)), tmp_path / "a").labels == (b"3", b"-4")
    proto = model(
        [
            helper.make_node(
                "ZipMap", ["x"], ["maps"], domain="ai.onnx.ml", classlabels_strings=["a", "ö"]
            )
        ],
        [value("x", ["n", 2])],
        [
            helper.make_value_info(
                "maps",
                helper.make_sequence_type_proto(
                    helper.make_map_type_proto(STRING, helper.make_tensor_type_proto(FLOAT, None))
                ),
            )
        ],
    )
    assert meaning(proto, tmp_path / "b").labels == (b"a", "ö".encode())
