from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from salver.codecs.json.exact import ExactBody
from salver.codecs.json.reading import PredictInputs
from salver.codecs.json.syntax import parse
from salver.errors import InvalidArgument, ServingError, Unimplemented
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.signature import Signature, TensorSpec


def signature(**inputs: DataType) -> Signature:
    specs = {name: TensorSpec(inputs[name], (-1,)) for name in sorted(inputs)}
    return Signature(specs, {})


FLOAT = signature(x=DataType.FLOAT32)
INT = signature(x=DataType.INT32)
STRING = signature(x=DataType.STRING)
TWO = signature(a=DataType.INT32, b=DataType.FLOAT32)


def read(body: str, wanted: Signature) -> PredictInputs:
    return ExactBody(parse(body.encode())).inputs(wanted.inputs)


def refusal(body: str, wanted: Signature) -> ServingError:
    with pytest.raises(ServingError) as refused:
        read(body, wanted)
    return refused.value


def show(text: str) -> str:
    return "{\n    " + text + "\n}"


ROW = "Failed to process element: {} of 'instances' list. Error: INVALID_ARGUMENT: "
KEY = "Failed to process element: {} key: {} of 'instances' list. Error: INVALID_ARGUMENT: "
WRONG = " is not of expected type: "

REFUSED = [
    # What is asked.
    ("{}", FLOAT, "Missing 'inputs' or 'instances' key"),
    ('{"data": 1}', FLOAT, "Missing 'inputs' or 'instances' key"),
    (
        '{"instances": 1, "inputs": 2}',
        FLOAT,
        "JSON Value: " + show('"instances": 1,\n    "inputs": 2')
        + " Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
    ),
    (
        '{"instances": {"x": 1}}',
        FLOAT,
        "JSON Value: " + show('"instances": {\n        "x": 1\n    }')
        + " Expecting 'instances' to be an list/array",
    ),
    (
        '{"instances": []}',
        FLOAT,
        "JSON Value: " + show('"instances": []') + " No values in 'instances' array",
    ),
    # Plain rows and rows of names.
    (
        '{"instances": [1, 2]}',
        TWO,
        "instances is a plain list, but expecting list of objects as multiple "
        "input tensors required as per tensorinfo_map",
    ),
    (
        '{"instances": [{"b64": "aGk="}]}',
        TWO,
        "instances is a plain list, but expecting list of objects as multiple "
        "input tensors required as per tensorinfo_map",
    ),
    (
        '{"instances": [1, {"x": 2}]}',
        FLOAT,
        "Expecting value/list but got object at item 1 of input list",
    ),
    (
        '{"instances": [{"x": 1}, [2]]}',
        FLOAT,
        "Expecting object but got list at item 1 of input list",
    ),
    (
        '{"instances": [{"x": 1}, {"b64": "aGk="}]}',
        STRING,
        KEY.format(0, "x") + "JSON Value: 1 Type: Number" + WRONG + "string",
    ),
    (
        '{"instances": [{"x": "1"}, {"b64": "aGk="}]}',
        STRING,
        "Expecting object but got list at item 1 of input list",
    ),
    (
        '{"instances": [{"a": 1, "b": 1}, {"a": 2}]}',
        TWO,
        "Failed to process element: 1 of 'instances' list. JSON object: "
        + show('"a": 2') + " keys must be equal to: a,b",
    ),
    (
        '{"instances": [{}]}',
        TWO,
        "Failed to process element: 0 of 'instances' list. JSON object: {} "
        "keys must be equal to: a,b",
    ),
    (
        '{"instances": [{"a": 1, "b": 1, "c": 1}]}',
        TWO,
        KEY.format(0, "c") + "JSON object: does not have named input: c",
    ),
    # Rows of one size and shape. The size is compared first.
    (
        '{"instances": [[1,2],[3,4],[5,6,7]]}',
        INT,
        ROW.format(2) + "Expecting tensor size: 2 but got: 3",
    ),
    ('{"instances": [1,[1]]}', INT, ROW.format(1) + "Expecting shape [] but got: [1]"),
    (
        '{"instances": [[1,2],[3,4],[[5,6]]]}',
        INT,
        ROW.format(2) + "Expecting shape [2] but got: [1,2]",
    ),
    (
        '{"instances": [{"x": [1]}, {"x": [1, 2]}]}',
        INT,
        KEY.format(1, "x") + "Expecting tensor size: 1 but got: 2",
    ),
    ('{"instances": [{"x": [1], "x": [[2]]}]}', INT,
     KEY.format(0, "x") + "Expecting shape [1] but got: [1,1]"),
    # Columns.
    (
        '{"inputs": [1]}',
        TWO,
        "inputs is a plain value/list, but expecting an object as multiple "
        "input tensors required as per tensorinfo_map",
    ),
    (
        '{"inputs": {"b64": "aGk="}}',
        TWO,
        "inputs is a plain value/list, but expecting an object as multiple "
        "input tensors required as per tensorinfo_map",
    ),
    ('{"inputs": {"b": 1}}', TWO, "Missing named input: a in 'inputs' object."),
    # Nesting.
    (
        '{"inputs": [[1,2],[3]]}',
        INT,
        "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    ),
    ('{"inputs": [1,[2]]}', INT, "Encountered list at unexpected level: 1 expected < 1"),
    (
        '{"inputs": [[1],2]}',
        INT,
        "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
    ),
    (
        '{"instances": [[[1],2]]}',
        INT,
        ROW.format(0)
        + "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
    ),
    # Types.
    ('{"inputs": [null]}', FLOAT, "JSON Value: null Type: Null" + WRONG + "float"),
    ('{"inputs": [true]}', FLOAT, "JSON Value: true Type: True" + WRONG + "float"),
    ('{"inputs": [false]}', INT, "JSON Value: false Type: False" + WRONG + "int32"),
    ('{"inputs": ["1"]}', FLOAT, 'JSON Value: "1" Type: String' + WRONG + "float"),
    (
        '{"inputs": [{"a": 1}]}',
        FLOAT,
        "JSON Value: " + show('"a": 1') + " Type: Object" + WRONG + "float",
    ),
    ('{"inputs": [1.0]}', INT, "JSON Value: 1.0 Type: Number" + WRONG + "int32"),
    ('{"inputs": [NaN]}', INT, "JSON Value:  Type: Number" + WRONG + "int32"),
    ('{"inputs": [2147483648]}', INT, "JSON Value: 2147483648 Type: Number" + WRONG + "int32"),
    (
        '{"inputs": [2147483648]}',
        signature(x=DataType.UINT8),
        "JSON Value: 2147483648 Type: Number" + WRONG + "uint8",
    ),
    (
        '{"inputs": [-1]}',
        signature(x=DataType.UINT32),
        "JSON Value: -1 Type: Number" + WRONG + "uint32",
    ),
    (
        '{"inputs": [-1]}',
        signature(x=DataType.UINT64),
        "JSON Value: -1 Type: Number" + WRONG + "uint64",
    ),
    (
        '{"inputs": [9223372036854775808]}',
        signature(x=DataType.INT64),
        "JSON Value: 9223372036854775808 Type: Number" + WRONG + "int64",
    ),
    (
        '{"inputs": ["5"]}',
        signature(x=DataType.INT64),
        'JSON Value: "5" Type: String' + WRONG + "int64",
    ),
    ('{"inputs": [1]}', signature(x=DataType.BOOL), "JSON Value: 1 Type: Number" + WRONG + "bool"),
    ('{"inputs": [1]}', STRING, "JSON Value: 1 Type: Number" + WRONG + "string"),
    (
        '{"inputs": [{}]}',
        signature(x=DataType.COMPLEX64),
        "JSON Value: {} Type: Object" + WRONG + "complex64",
    ),
    # Strings in base64.
    ('{"inputs": [{"b": 1}]}', STRING,
     "JSON Value: " + show('"b": 1') + " not formatted correctly for base64 data"),
    (
        '{"inputs": [{"b64": 1}]}',
        STRING,
        "JSON Value: " + show('"b64": 1') + " not formatted correctly for base64 data",
    ),
    ('{"inputs": [{"b64": "?"}]}', STRING, "Unable to base64 decode"),
    ('{"instances": [{"b64": "?"}]}', STRING, ROW.format(0) + "Unable to base64 decode"),
    (
        '{"instances": [1]}',
        signature(x=DataType.UINT16),
        "Failed to process element: 0 of 'instances' list. "
        "Error: UNIMPLEMENTED: Conversion of JSON Value: 1 to type: uint16",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("body", "wanted", "message"), REFUSED)
def test_refuses_in_the_reference_s_words(body: str, wanted: Signature, message: str) -> None:
    found = refusal(body, wanted)
    assert found.message == message
    assert isinstance(found, InvalidArgument)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (DataType.UINT16, "uint16"),
        (DataType.COMPLEX64, "complex64"),
        (DataType.COMPLEX128, "complex128"),
        (DataType.QINT8, "qint8"),
        (DataType.RESOURCE, "resource"),
        (DataType.VARIANT, "variant"),
    ],
)
def test_a_column_of_a_dtype_json_cannot_feed_is_unimplemented(dtype: DataType, name: str) -> None:
    found = refusal('{"inputs": [1.5]}', signature(x=dtype))
    assert isinstance(found, Unimplemented)
    assert found.message == f"Conversion of JSON Value: 1.5 to type: {name}"


def test_an_empty_list_is_a_tensor_of_any_dtype_an_array_can_hold() -> None:
    assert read('{"inputs": []}', signature(x=DataType.COMPLEX64)).arrays[0].shape == (0,)
    found = refusal('{"inputs": []}', signature(x=DataType.RESOURCE))
    assert found.message == "Conversion of JSON Value: [] to type: resource"


@pytest.mark.parametrize(
    ("body", "wanted", "arrays"),
    [
        ('{"instances": [1, 2.5, NaN]}', FLOAT, [[1, 2.5, np.nan]]),
        ('{"instances": [[[1], [2]]]}', FLOAT, [[[[1], [2]]]]),
        ('{"instances": [[], []]}', FLOAT, [[[], []]]),
        ('{"instances": [{"b": 1, "a": 2}, {"a": 3, "b": 4}]}', TWO, [[2, 3], [1, 4]]),
        ('{"instances": [{"x": [1, 2]}]}', FLOAT, [[[1, 2]]]),
        ('{"instances": [{"x": 1, "x": 2}, {"x": 3}]}', FLOAT, [[1, 3]]),
        ('{"instances": ["a", {"b64": "aGk="}]}', STRING, [[b"a", b"hi"]]),
        ('{"instances": [{"x": "a"}, {"x": {"b64": ""}}]}', STRING, [[b"a", b""]]),
        ('{"inputs": 5}', FLOAT, [5]),
        ('{"inputs": [18446744073709551616, -9223372036854775809]}', FLOAT, [[2**64, -(2**63)]]),
        ('{"inputs": {"b64": "aGk="}}', STRING, [b"hi"]),
        ('{"inputs": "a"}', STRING, [b"a"]),
        ('{"inputs": {"b": [1], "a": [[2]], "more": null}}', TWO, [[[2]], [1]]),
        ('{"inputs": {"x": 1, "x": "no"}}', FLOAT, [1]),
        ('{"inputs": [true, false]}', signature(x=DataType.BOOL), [[True, False]]),
        ('{"inputs": [18446744073709551615]}', signature(x=DataType.UINT64), [[2**64 - 1]]),
        ('{"inputs": [4294967295]}', signature(x=DataType.UINT32), [[2**32 - 1]]),
        ('{"inputs": [-9223372036854775808]}', signature(x=DataType.INT64), [[-(2**63)]]),
        ('{"inputs": [300, -1]}', signature(x=DataType.UINT8), [[44, 255]]),
        ('{"inputs": [40000]}', signature(x=DataType.INT16), [[-25536]]),
        ('{"inputs": [1e39, -1e39, 1e-60]}', FLOAT, [[np.inf, -np.inf, 0]]),
        ('{"inputs": [0.5, 1e9]}', signature(x=DataType.FLOAT16), [[0.5, np.inf]]),
        ('{"inputs": [0.5, 1]}', signature(x=DataType.BFLOAT16), [[0.5, 1]]),
    ],
)  # fmt: skip
def test_accepts_what_the_reference_accepts(
    body: str, wanted: Signature, arrays: list[Any]
) -> None:
    found = read(body, wanted)
    assert found.is_row == ("instances" in body)
    for array, expected, spec in zip(found.arrays, arrays, wanted.inputs.values(), strict=True):
        assert array.dtype == numpy_dtype(spec.dtype)
        np.testing.assert_array_equal(array.tolist(), expected)


@pytest.mark.parametrize("levels", [65, 100_000])
@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_more_dimensions_than_an_array_has_are_refused(levels: int, key: str) -> None:
    found = refusal(f'{{"{key}": {"[" * (levels + 1)}1{"]" * (levels + 1)}}}', FLOAT)
    assert "dimensions, more than are supported" in found.message


def test_a_row_of_the_most_dimensions_is_one_too_many_once_stacked() -> None:
    found = refusal(f'{{"instances": {"[" * 65}1{"]" * 65}}}', FLOAT)
    assert found.message == ("Tensor name: x has more than 64 dimensions, more than are supported")


@pytest.mark.parametrize(
    ("body", "wanted", "advice"),
    [
        ('{"data": 1}', FLOAT, "It has 'data'"),
        ('{"instances": 1}', FLOAT, "one element per row"),
        ('{"instances": [1.5]}', INT, "write 1, not 1.0"),
        ('{"instances": [[1], [2, 3]]}', FLOAT, "declared as float, shape [-1]"),
        ('{"inputs": [[1], 2]}', FLOAT, "declared as float, shape [-1]"),
        ('{"instances": [{"c": 1}]}', TWO, "'a' (int32, shape [-1]), 'b' (float, shape [-1])"),
        ('{"instances": [1]}', TWO, "'a' (int32"),
        ('{"inputs": {}}', TWO, "'a' (int32"),
        ('{"inputs": [{"b": 1}]}', STRING, "<base64>"),
        ('{"inputs": [{"b64": "?"}]}', STRING, "standard base64"),
        ('{"instances": [{"b64": "aGk="}]}', FLOAT, "not encoded bytes"),
        ('{"instances": [1, {"x": 1}]}', FLOAT, "of one kind"),
    ],
)
def test_a_lost_newcomer_gets_a_hint(body: str, wanted: Signature, advice: str) -> None:
    found = refusal(body, wanted)
    assert advice in (found.hint or "")
    assert advice not in found.message


@given(
    st.sampled_from([np.float32, np.float64, np.int8, np.int32, np.int64, np.uint64, np.bool_])
    .flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(max_dims=4, max_side=3)))
)  # fmt: skip
def test_arrays_come_back_as_they_were(array: Any) -> None:
    by_storage = {numpy_dtype(dtype): dtype for dtype in (
        DataType.FLOAT32, DataType.FLOAT64, DataType.INT8, DataType.INT32, DataType.INT64,
        DataType.UINT64, DataType.BOOL,
    )}  # fmt: skip
    document = {"inputs": array.tolist()}
    [found] = ExactBody(document).inputs(signature(x=by_storage[array.dtype]).inputs).arrays
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
