"""What every API answers, in the same way."""

from collections.abc import Awaitable
from typing import Any

import numpy as np
import pytest

from salver.errors import Code
from tests.contract.api import Api, Features, Found, Refused, Which
from tests.messages import strings

F32 = np.dtype(np.float32)
I32 = np.dtype(np.int32)
I64 = np.dtype(np.int64)
TEXT = np.dtype(object)
EVERY = pytest.mark.parametrize("method", ["predict", "classify", "regress"])


def floats(*values: float) -> Any:
    return np.array(values, np.float32)


async def ask(api: Api, method: str, which: Which) -> Found:
    """A question that any half_plus_two answers."""
    if method == "predict":
        return await api.predict(which, {"y": F32}, x=floats(2))
    if method == "classify":
        signature = which.signature or "classify_x_to_y"
        which = Which(which.model, signature, which.version, which.label)
        return await api.classify(which, {"x": [2.0]})
    which = Which(which.model, which.signature or "regress_x_to_y", which.version, which.label)
    return await api.regress(which, {"x": [2.0]})


async def refused(answer: Awaitable[Any], code: Code) -> str:
    with pytest.raises(Refused) as raised:
        await answer
    assert code in raised.value.codes
    return raised.value.message


def same(found: Found, **expected: Any) -> None:
    for alias, array in expected.items():
        np.testing.assert_array_equal(found.value[alias], array)
        assert found.value[alias].shape == np.shape(array)


# -- predictions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["half_plus_two", "half_plus_two_tf2"])
@pytest.mark.parametrize(
    "x", [[1.0, 2.0, 5.0], [[1.0], [2.0]], [[[1.0, 2.0]]], 80.0, [], [[], []], [1e30, -0.0, 0.1]]
)
async def test_tensors_of_any_shape_are_answered(api: Api, model: str, x: Any) -> None:
    array = np.array(x, np.float32)
    found = await api.predict(Which(model), {"y": F32}, x=array)
    assert found.version == 123
    same(found, y=array * np.float32(0.5) + np.float32(2))


DTYPES: list[tuple[str, Any]] = [
    ("float", floats(1.5, -2, 1e38, 1e-38)),
    ("double", np.array([0.1, 1e300])),
    ("half", np.array([0.5, 65504], np.float16)),
    ("int32", np.array([2**31 - 1, -(2**31)], np.int32)),
    ("int16", np.array([32767, -32768], np.int16)),
    ("int8", np.array([127, -128], np.int8)),
    ("uint8", np.array([255, 0], np.uint8)),
    ("int64", np.array([2**63 - 1, -(2**63)])),
    ("uint32", np.array([2**32 - 1, 0], np.uint32)),
    ("uint64", np.array([2**64 - 1, 0], np.uint64)),
    ("bool", np.array([True, False])),
    ("string", strings(b"a", b"", "grün".encode(), b"x" * 1000)),
]


@pytest.mark.parametrize(("name", "array"), DTYPES, ids=[name for name, _ in DTYPES])
async def test_elements_of_every_type_come_back_as_they_went(
    api: Api, name: str, array: Any
) -> None:
    found = await api.predict(Which("every_dtype", name), {"y": array.dtype}, x=array)
    same(found, y=array)


@pytest.mark.parametrize("rows", [1, 3])
async def test_several_inputs_give_several_outputs(api: Api, rows: int) -> None:
    found = await api.predict(
        Which("several"),
        {"next": I32, "product": F32, "upper": TEXT},
        a=np.tile(floats(1, 2), (rows, 1)),
        b=np.full(rows, 3, np.int32),
        text=strings(*[b"word"] * rows),
    )
    same(found, next=[4] * rows, product=[[3.0, 6.0]] * rows, upper=[b"WORD"] * rows)


async def test_strings_become_numbers(api: Api) -> None:
    outputs = {"ids": I64, "lengths": I32}
    found = await api.predict(Which("strings"), outputs, words=strings(b"quick", b"cat", b""))
    same(found, ids=[1, 4, 4], lengths=[5, 3, 0])


async def test_outputs_without_a_row_for_each_input(api: Api) -> None:
    x = floats(1, 2, 3)
    same(await api.predict(Which("several", "scalar_output"), {"total": F32}, x=x), total=6.0)
    found = await api.predict(Which("several", "uneven"), {"all": F32, "most": F32}, x=x)
    same(found, all=[1.0, 2.0, 3.0], most=[2.0, 3.0])


async def test_numbers_that_are_not_finite(api: Api) -> None:
    found = await api.predict(Which("several", "not_finite"), {"y": F32}, x=floats(1, -1, 0))
    same(found, y=[np.inf, -np.inf, np.nan])


async def test_a_large_tensor(api: Api) -> None:
    x = np.arange(9 * 10_000, dtype=np.float32).reshape(-1, 3, 3)
    found = await api.predict(Which("matrix_half_plus_two"), {"y": F32}, x=x)
    same(found, y=x * np.float32(0.5) + np.float32(2))


@EVERY
@pytest.mark.parametrize("model", ["half_plus_two", "half_plus_two_tf2"])
async def test_each_method_runs_the_version_there_is(api: Api, method: str, model: str) -> None:
    assert (await ask(api, method, Which(model))).version == 123


# -- examples --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "name", "examples", "expected"),
    [
        ("half_plus_two", "regress_x_to_y", [{"x": [2.0]}, {"x": [80.0]}], [3.0, 42.0]),
        ("half_plus_two_tf2", "regress_x_to_y2", [{"x": [5.0]}], [5.5]),
        ("classes", "regress", [{}, {"scores": [1.0, 2.5]}], [1.0, 3.5]),
        ("classes", "regress", [{"any": [1, 2], "thing": [b"\xff"], "none": []}], [1.0]),
    ],
)
async def test_a_regression(
    api: Api, model: str, name: str, examples: list[Features], expected: list[float]
) -> None:
    assert (await api.regress(Which(model, name), *examples)).value == expected


@pytest.mark.parametrize(
    ("model", "name", "examples", "expected"),
    [
        (
            "classes",
            "",
            [{"scores": [0.5, 0.125]}, {}],
            [[("car", 0.5), ("bike", 0.125)], [("car", 0.25), ("bike", 0.75)]],
        ),
        ("classes", "labels", [{}], [[("car", 0.0), ("bike", 0.0)]]),
        ("half_plus_two", "classify_x_to_y", [{"x": [2.0]}], [[("", 3.0)]]),
    ],
)
async def test_a_classification(
    api: Api, model: str, name: str, examples: list[Features], expected: Any
) -> None:
    assert (await api.classify(Which(model, name), *examples)).value == expected


async def test_many_examples(api: Api) -> None:
    examples: list[Features] = [{"x": [float(number)]} for number in range(5000)]
    found = await api.regress(Which("half_plus_two", "regress_x_to_y"), *examples)
    assert found.value == [number / 2 + 2 for number in range(5000)]


@pytest.mark.parametrize(
    ("model", "method", "name", "message"),
    [
        ("half_plus_two", "classify", "nope", "No signature was found with the name: nope"),
        ("half_plus_two", "regress", "nope", "No signature was found with the name: nope"),
        ("several", "classify", "serving_default", "Expected one input Tensor."),
        ("several", "regress", "serving_default", "Expected one input Tensor."),
        ("several", "regress", "constant", "Expected one input Tensor."),
        ("classes", "regress", "serving_default", "Expected one output Tensor."),
        (
            "half_plus_two",
            "classify",
            "serving_default",
            "No classification inputs found in SignatureDef: inputs {",
        ),
        (
            "half_plus_two",
            "regress",
            "serving_default",
            "No regression inputs found in SignatureDef: inputs {",
        ),
        (
            "half_plus_two",
            "classify",
            "regress_x_to_y",
            "Expected classification signature outputs to contain at least one of "
            '"classes" or "scores". Signature was: inputs {',
        ),
        (
            "half_plus_two",
            "regress",
            "classify_x_to_y",
            "No regression outputs found in SignatureDef: inputs {",
        ),
    ],
)
async def test_a_signature_made_for_something_else(
    api: Api, model: str, method: str, name: str, message: str
) -> None:
    call = api.classify if method == "classify" else api.regress
    answer = call(Which(model, name), {"x": [1.0]})
    assert (await refused(answer, Code.INVALID_ARGUMENT)).startswith(message)


# -- which version ---------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize(
    ("which", "version"),
    [
        (Which("versions"), 124),
        (Which("versions", version=123), 123),
        (Which("versions", label="stable"), 123),
        (Which("versions", label="canary"), 124),
    ],
)
async def test_the_version_asked_for_answers(
    api: Api, method: str, which: Which, version: int
) -> None:
    assert (await ask(api, method, which)).version == version


ABSENT = pytest.mark.parametrize(
    ("which", "code", "message"),
    [
        (Which("nope"), Code.NOT_FOUND, "Servable not found for request: Latest(nope)"),
        (Which("broken"), Code.NOT_FOUND, "Servable not found for request: Latest(broken)"),
        (
            Which("nope", version=1),
            Code.NOT_FOUND,
            "Servable not found for request: Specific(nope, 1)",
        ),
        (
            Which("versions", version=0),
            Code.NOT_FOUND,
            "Servable not found for request: Specific(versions, 0)",
        ),
        (
            Which("versions", label="gone"),
            Code.NOT_FOUND,
            "Servable not found for request: Specific(versions, 99)",
        ),
        (
            Which("versions", label="l"),
            Code.INVALID_ARGUMENT,
            "Unrecognized servable version label: l",
        ),
        (
            Which("half_plus_two", label="stable"),
            Code.INVALID_ARGUMENT,
            "Unrecognized servable version label: stable",
        ),
    ],
)


@EVERY
@ABSENT
async def test_what_is_not_available_answers_nothing(
    api: Api, method: str, which: Which, code: Code, message: str
) -> None:
    assert await refused(ask(api, method, which), code) == message


@ABSENT
async def test_what_is_not_available_has_no_metadata(
    api: Api, which: Which, code: Code, message: str
) -> None:
    assert await refused(api.signatures(which), code) == message


# -- what goes wrong -------------------------------------------------------------------------------


async def test_an_unknown_signature_cannot_be_predicted(api: Api) -> None:
    # The code and the words differ, as in the reference; HTTP has one status for both.
    which = Which("half_plus_two", "nope")
    answer = api.predict(which, {"y": F32}, x=floats(1))
    assert "nope" in await refused(answer, Code.FAILED_PRECONDITION)


@pytest.mark.parametrize(
    ("name", "array", "code", "text"),
    [
        (
            "",
            floats(-1),
            Code.INVALID_ARGUMENT,
            "assertion failed: [x must not be negative:] [-1]",
        ),
        ("read_file", strings(b"/nope/nope"), Code.NOT_FOUND, "/nope/nope; No such file or dir"),
        ("divide", np.array([0], np.int32), Code.INVALID_ARGUMENT, "Integer division by zero"),
    ],
)
async def test_a_run_that_fails_says_why(
    api: Api, name: str, array: Any, code: Code, text: str
) -> None:
    inputs = {"path" if name == "read_file" else "x": array}
    answer = api.predict(Which("failing", name), {}, **inputs)
    assert text in await refused(answer, code)


@pytest.mark.parametrize("call", ["classify", "regress"])
async def test_an_example_the_model_refuses(api: Api, call: str) -> None:
    which = Which("half_plus_two", f"{call}_x_to_y")
    answer = getattr(api, call)(which, {"x": [b"text"]})
    message = await refused(answer, Code.INVALID_ARGUMENT)
    assert message.startswith("Name: <unknown>, Key: x, Index: 0.  Data types don't match.")


async def test_shapes_that_do_not_fit_each_other_fail_in_the_model(api: Api) -> None:
    answer = api.predict(
        Which("several"),
        {},
        a=floats(1, 2, 3, 4).reshape(2, 2),
        b=np.array([1, 2, 3], np.int32),
        text=strings(b"t"),
    )
    assert "Incompatible shapes: [3,1] vs. [2,2]" in await refused(answer, Code.INVALID_ARGUMENT)


# -- what is known of models -----------------------------------------------------------------------


@pytest.mark.parametrize("label", [None, "stable", "never heard of"])
async def test_the_versions_of_a_model_come_highest_first(api: Api, label: str | None) -> None:
    assert await api.versions(Which("versions", label=label)) == [
        (124, "AVAILABLE", "OK", ""),
        (123, "AVAILABLE", "OK", ""),
    ]


async def test_one_version_comes_alone(api: Api) -> None:
    found = await api.versions(Which("versions", version=123))
    assert found == [(123, "AVAILABLE", "OK", "")]


async def test_a_version_that_failed_says_why(api: Api) -> None:
    [(version, state, code, message)] = await api.versions(Which("broken"))
    assert (version, state, code) == (1, "END", "DATA_LOSS")
    assert message.endswith("saved_model.pb as binary proto")


@pytest.mark.parametrize(
    ("which", "message"),
    [
        (Which("nope"), "Could not find any versions of model nope"),
        (Which("nope", label="l"), "Could not find any versions of model nope"),
        (Which("nope", version=1), "Could not find version 1 of model nope"),
        (Which("versions", version=5), "Could not find version 5 of model versions"),
        (Which("versions", version=0), "Could not find version 0 of model versions"),
    ],
)
async def test_a_version_never_seen_is_not_found(api: Api, which: Which, message: str) -> None:
    assert await refused(api.versions(which), Code.NOT_FOUND) == message


@pytest.mark.parametrize(
    ("which", "version"),
    [(Which("versions"), 124), (Which("versions", label="stable"), 123), (Which("classes"), 1)],
)
async def test_metadata_is_of_the_version_asked_for(api: Api, which: Which, version: int) -> None:
    assert (await api.signatures(which)).version == version


async def test_metadata_has_every_signature_with_its_tensors(api: Api) -> None:
    found = (await api.signatures(Which("half_plus_two"))).value
    assert len(found) == 6
    assert found["serving_default"] == (
        {"x": ("x:0", "DT_FLOAT", (-1, 1))},
        {"y": ("y:0", "DT_FLOAT", (-1, 1))},
    )
    assert found["regress_x_to_y"][0] == {"inputs": ("tf_example:0", "DT_STRING", (-1,))}
    found = (await api.signatures(Which("counter"))).value
    assert found["incr_counter_by"][0] == {"delta": ("delta:0", "DT_FLOAT", None)}
    assert found["get_counter"][0] == {}
