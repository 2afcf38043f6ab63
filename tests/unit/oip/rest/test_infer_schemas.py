from typing import Any

import jsonschema
import pytest

from salver.about.document import About, Example, InputAbout, SignatureAbout
from salver.oip.rest.description import describe
from salver.oip.rest.infer_schemas import infer_bodies, is_sendable, schema_name, schemas_of
from salver.openapi.description import ServedModel
from salver.openapi.parts import shared_components
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature, TensorSpec

F, S, L = DataType.FLOAT32, DataType.STRING, DataType.INT64


def model(
    *examples: Example,
    dtype: DataType = F,
    shape: "tuple[int, ...] | None" = (-1, 2),
    name: str = DEFAULT_SIGNATURE,
) -> ServedModel:
    spec = TensorSpec(dtype, shape)
    signature = Signature({"x": spec, "z": TensorSpec(L, ())}, {"y": spec})
    said = SignatureAbout(examples=examples, inputs={"z": InputAbout(title="Limit", range=(1, 9))})
    return ServedModel(
        name="m",
        version=1,
        key="m.v1",
        signatures={name: signature},
        about=About(signatures={name: said}),
    )


def takes(of: ServedModel, body: Any) -> bool:
    (name,) = of.signatures
    schemas = {**shared_components()["schemas"], **describe().schemas, **schemas_of(of)}
    whole = {
        "$ref": f"#/components/schemas/{schema_name(of, name)}",
        "components": {"schemas": schemas},
    }
    return bool(jsonschema.Draft202012Validator(whole).is_valid(body))


def body(data: Any, **more: Any) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": data},
            {"name": "z", "datatype": "INT64", "shape": [], "data": [1]},
        ],
        **more,
    }


def test_data_is_flat_or_nested() -> None:
    assert takes(model(), body([1, 2]))
    assert takes(model(), body([[1, 2]]))
    assert not takes(model(), body([["a", 2]]))


@pytest.mark.parametrize("change", [{"datatype": "INT32"}, {"name": "q"}, {"shape": [1, 3]}])
def test_another_input_is_not_taken(change: dict[str, Any]) -> None:
    wrong = body([1, 2])
    wrong["inputs"][0] |= change
    assert not takes(model(), wrong)


def test_a_signature_that_is_not_the_default_has_to_be_named() -> None:
    of = model(name="other")
    assert not takes(of, body([1, 2]))
    assert takes(of, body([1, 2], parameters={"signature_name": "other"}))


def test_an_example_has_the_shape_of_its_values() -> None:
    of = model(Example(title="one", inputs={"x": [[1, 2], [3, 4]], "z": 5}))
    ((title, made),) = infer_bodies(of)
    assert title == "one"
    assert [each["shape"] for each in made["inputs"]] == [[2, 2], []]
    assert [each["data"] for each in made["inputs"]] == [[1, 2, 3, 4], [5]]
    assert takes(of, made)


@pytest.mark.parametrize("shape", [(-1, 2), (3,), (), None])
@pytest.mark.parametrize("dtype", [F, L, DataType.BOOL, DataType.FLOAT16, DataType.UINT8])
def test_a_body_that_is_made_up_is_one_that_the_schema_takes(
    dtype: DataType, shape: "tuple[int, ...] | None"
) -> None:
    of = model(dtype=dtype, shape=shape)
    ((_, made),) = infer_bodies(of)
    assert takes(of, made)


def test_text_goes_as_text_and_bytes_that_are_none_are_left_out() -> None:
    of = model(dtype=S, shape=(-1,))
    ((_, made),) = infer_bodies(of)
    assert made["inputs"][0] == {"name": "x", "shape": [1], "datatype": "BYTES", "data": ["text"]}
    raw = model(Example(inputs={"x": [{"b64": "AA=="}], "z": 1}), dtype=S, shape=(-1,))
    assert not any({"b64": "AA=="} in each["inputs"][0]["data"] for _, each in infer_bodies(raw))


def test_what_the_protocol_has_no_name_for_is_left_out() -> None:
    of = model(dtype=DataType.COMPLEX64)
    assert not is_sendable(of.signatures[DEFAULT_SIGNATURE])
    assert schemas_of(of) == {}
    assert list(infer_bodies(of)) == []
