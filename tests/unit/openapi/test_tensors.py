import jsonschema
import pytest

from salver.about.document import InputAbout, InputKind, Layout, OutputAbout
from salver.openapi.parts import shared_components
from salver.openapi.tensors import (
    has_rows,
    input_schema,
    output_schema,
    row_of,
    rows_of,
    sample,
    shape_text,
)
from salver.vocabulary.dtypes import DTYPES, DataType
from salver.vocabulary.signature import TensorSpec

F, S, B, L = DataType.FLOAT32, DataType.STRING, DataType.BOOL, DataType.INT64


def takes(schema: dict[str, object], value: object) -> bool:
    whole = {**schema, "components": shared_components()}
    return bool(jsonschema.Draft202012Validator(whole).is_valid(value))


@pytest.mark.parametrize(
    ("spec", "good", "bad"),
    [
        (TensorSpec(F, (-1, 2)), [[1, 2.5], [3, 4]], [[1, 2, 3]]),
        (TensorSpec(F, ()), 1.5, [1.5]),
        (TensorSpec(L, (-1,)), [1, 2], [1.5]),
        (TensorSpec(DataType.INT8, (1,)), [-128], [128]),
        (TensorSpec(DataType.UINT64, (1,)), [2**64 - 1], [-1]),
        (TensorSpec(B, (-1,)), [True], [1]),
        (TensorSpec(S, (-1,)), ["a", {"b64": "AA=="}], [1]),
        (TensorSpec(S, (-1,)), ["a"], [{"b64": "AA==", "more": 1}]),
    ],
)
def test_a_schema_takes_what_the_signature_says(
    spec: TensorSpec, good: object, bad: object
) -> None:
    schema = input_schema(spec, None)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert takes(schema, good)
    assert not takes(schema, bad)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=lambda dtype: dtype.name)
def test_every_dtype_has_a_schema(dtype: DataType) -> None:
    for shape in (None, (), (-1, 2), (1,) * 40):
        jsonschema.Draft202012Validator.check_schema(input_schema(TensorSpec(dtype, shape), None))


def test_a_shape_that_nobody_told_takes_anything() -> None:
    schema = input_schema(TensorSpec(F, None), None)
    assert takes(schema, [[1]])
    assert schema["description"] == "float32 of any shape"


def test_what_becomes_infinity_is_not_sent() -> None:
    assert not takes(input_schema(TensorSpec(F, ()), None), 1e39)
    assert takes(input_schema(TensorSpec(DataType.FLOAT64, ()), None), 1e39)


def test_a_range_narrows_the_numbers_and_never_widens_the_dtype() -> None:
    schema = input_schema(TensorSpec(DataType.UINT8, (1,)), InputAbout(range=(-1.5, 16.5)))
    assert takes(schema, [16])
    assert not takes(schema, [17])
    assert not takes(schema, [-1])


def test_choices_are_the_only_values() -> None:
    schema = input_schema(TensorSpec(S, (-1,)), InputAbout(choices=("north", "south")))
    assert takes(schema, ["north"])
    assert not takes(schema, ["east"])


def test_of_texts_for_a_number_the_number_of_the_choice_is_sent() -> None:
    schema = input_schema(TensorSpec(L, (-1,)), InputAbout(choices=("north", "south")))
    assert takes(schema, [0, 1])
    assert not takes(schema, [2])
    assert schema["items"]["oneOf"][1] == {"const": 1, "title": "south"}
    yes_or_no = input_schema(TensorSpec(B, (-1,)), InputAbout(choices=("no", "yes")))
    assert takes(yes_or_no, [True, False])


def test_very_many_choices_are_counted_only() -> None:
    about = InputAbout(choices=tuple(f"c{n}" for n in range(10_000)))
    schema = input_schema(TensorSpec(S, (-1,)), about)
    assert "10000 choices" in schema["description"]
    assert len(str(schema)) < 500


def test_columns_have_names_and_units() -> None:
    about = InputAbout(names=("area", "rooms"), units=("m²", ""))
    schema = input_schema(row_of(TensorSpec(F, (-1, 2))), about)
    assert [column["title"] for column in schema["prefixItems"]] == ["area", "rooms"]
    assert schema["prefixItems"][0]["description"] == "In m²."
    assert takes(schema, [60, 2])
    assert not takes(schema, [60, 2, 1])


def test_the_words_of_the_model_stand_before_the_shape() -> None:
    about = InputAbout(title="Digit", description="One.", kind=InputKind.IMAGE, layout=Layout.HW)
    schema = input_schema(TensorSpec(F, (-1, 8, 8)), about)
    assert schema["title"] == "Digit"
    assert schema["description"] == "One. A picture, HW. float32 [?, 8, 8]"
    answer = output_schema(TensorSpec(F, (-1, 2)), OutputAbout(labels=("a", "b"), threshold=0.5))
    assert answer["description"] == "Classes: a, b. Counts from 0.5 on. float32 [?, 2]"


@pytest.mark.parametrize(
    ("value", "shape", "rows"),
    [
        ([1, 2], (-1, 2), [[1, 2]]),
        ([[1, 2], [3, 4]], (-1, 2), [[1, 2], [3, 4]]),
        ("a", (-1,), ["a"]),
        (["a", "b"], (-1,), ["a", "b"]),
        ([[[1]]], (-1,), None),
        (5, (), [5]),
        ([1], None, [1]),
        (1, None, [1]),
        ([], (-1,), []),
    ],
)
def test_an_example_is_one_row_or_several(
    value: object, shape: "tuple[int, ...] | None", rows: object
) -> None:
    assert rows_of(value, TensorSpec(F, shape)) == rows


def test_a_made_up_value_is_one_that_the_schema_takes() -> None:
    for about in (
        None,
        InputAbout(range=(3, 5)),
        InputAbout(choices=("a", "b")),
    ):
        for dtype in (F, L, B, S, DataType.UINT8):
            spec = TensorSpec(dtype, (-1, 2))
            if about is not None and about.range and dtype in (B, S):
                continue
            assert takes(input_schema(spec, about), sample(spec, about)), (dtype, about)


def test_no_long_value_is_made_up() -> None:
    assert sample(TensorSpec(F, (-1, 224, 224, 3)), None) is None
    assert sample(TensorSpec(F, (2**40, 2**40)), None) is None


def test_rows_need_an_axis_that_counts_them() -> None:
    assert has_rows(TensorSpec(F, None))
    assert has_rows(TensorSpec(F, (1, 3)))
    assert not has_rows(TensorSpec(F, (5, 3)))
    assert not has_rows(TensorSpec(F, ()))
    assert shape_text(row_of(TensorSpec(F, (-1, 3)))) == "float32 [3]"
