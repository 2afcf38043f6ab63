"""Runs of ONNX models: what goes in and comes out, bound or not."""

import gc
import resource
import threading
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.onnx_models import (
    FLOAT,
    INT64,
    STRING,
    half_plus_two,
    identity,
    layers,
    looping,
    model,
    sequence,
    several,
    value,
    weights,
    words,
)

from salver.backends.onnxruntime.model import OnnxModel
from salver.errors import Code, ServingError
from salver.vocabulary.dtypes import data_type, numpy_dtype
from salver.vocabulary.requests import Array

Load = Callable[..., OnnxModel]


def run(loaded: OnnxModel, *feeds: Any, how: str = "run") -> list[Array]:
    """What `serving_default` gives, by one of the ways to run it."""
    answer: list[Array] = getattr(loaded.program("serving_default"), how)(list(feeds))
    return answer


def floats(*shape: int) -> Any:
    return np.arange(prod(shape), dtype=np.float32).reshape(shape)


def array(*numbers: float) -> Any:
    return np.array(numbers, np.float32)


@pytest.mark.parametrize("rows", [1, 3, 16383, 16384, 100_000])
@pytest.mark.parametrize("how", ["run", "run_in_caller", "run_inline"])
def test_small_and_large_runs_give_the_same(rows: int, how: str, load: Load) -> None:
    loaded = load(half_plus_two())
    for _ in range(2):
        (y,) = run(loaded, floats(rows), how=how)
        np.testing.assert_array_equal(y, floats(rows) / 2 + 2)


def test_inputs_and_outputs_are_in_the_order_of_their_names(load: Load) -> None:
    loaded = load(several())
    signature = loaded.signatures["serving_default"]
    assert list(signature.inputs) == ["a_bias", "z_matrix"]
    assert list(signature.outputs) == ["a_total", "z_sum"]
    bias, matrix = array(1, 2), floats(2, 3)
    total, summed = run(loaded, bias, matrix)
    expected = matrix @ floats(3, 2) + bias
    np.testing.assert_allclose(summed, expected)
    np.testing.assert_allclose(total, expected.sum())
    assert total.shape == ()
    (alone,) = loaded.program("serving_default", ["z_sum"]).run([bias, matrix])
    np.testing.assert_allclose(alone, expected)


_ELEMENTS = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    **{f"int{bits}": getattr(TensorProto, f"INT{bits}") for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": getattr(TensorProto, f"UINT{bits}") for bits in (8, 16, 32, 64)},
    "bool": TensorProto.BOOL,
}


@pytest.mark.parametrize("size", [0, 1, 5, 50_000])
@pytest.mark.parametrize("name", _ELEMENTS)
def test_elements_of_a_type_go_in_and_out_unchanged(name: str, size: int, load: Load) -> None:
    x = (np.arange(size) % 2 if name == "bool" else np.arange(size) % 100).astype(
        numpy_dtype(data_type(name))
    )
    loaded = load(identity(_ELEMENTS[name]))
    for how in ("run", "run_inline"):
        (y,) = run(loaded, x, how=how)
        assert y.dtype == x.dtype
        assert y.tobytes() == x.tobytes()


@pytest.mark.parametrize("name", ["int4", "uint4"])
def test_elements_of_four_bits_are_one_in_a_byte_outside_of_the_model(
    name: str, load: Load
) -> None:
    proto = model(
        [
            helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Cast", ["wide"], ["y"], to=getattr(TensorProto, name.upper())),
        ],
        [value("x", ["n"], getattr(TensorProto, name.upper()))],
        [value("y", ["n"], getattr(TensorProto, name.upper())), value("wide", ["n"])],
        opset=21,
        ir_version=10,
    )
    loaded = load(proto)
    numbers = range(-8, 8) if name == "int4" else range(16)
    for some in (list(numbers), list(numbers)[:7], []):
        x = np.array(some, numpy_dtype(data_type(name)))
        wide, y = run(loaded, x)
        assert wide.tolist() == some
        assert y.dtype == x.dtype
        assert y.astype(int).tolist() == some


def test_strings_go_in_and_out(load: Load) -> None:
    given = np.array([b"a", b"", "größer".encode(), b"x" * 100_000], object)
    loaded = load(words())
    for how in ("run", "run_inline"):
        assert run(loaded, given, how=how)[0].tolist() == [2 * each for each in given]


def test_strings_keep_every_byte_and_their_shape(load: Load) -> None:
    loaded = load(identity(STRING, ["a", "b"]))
    x = np.array([[b"a\0b", b""], [b"\0", b"\xff\xfe"]], object)
    (y,) = run(loaded, x)
    assert y.tolist() == x.tolist()
    (none,) = run(loaded, np.empty((0, 2), object))
    assert none.shape == (0, 2)


def test_what_is_fed_need_not_lie_in_order(load: Load) -> None:
    loaded = load(identity(FLOAT, ["a", "b"]))
    for size in (4, 400):
        x = floats(size, size).T[::2]
        np.testing.assert_array_equal(run(loaded, x)[0], x)
        octets = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:]  # at an odd address
        np.testing.assert_array_equal(run(loaded, octets.view(np.float32).reshape(x.shape))[0], x)


@pytest.mark.parametrize("size", [3, 100_000])
def test_an_answer_shares_no_memory_with_what_was_fed(size: int, load: Load) -> None:
    """An output that is an input: ONNX Runtime gives the very memory."""
    proto = model(
        [helper.make_node("Neg", ["x"], ["y"])],
        [value("x", ["n"])],
        [value("y", ["n"]), value("x", ["n"])],
    )
    loaded = load(proto)
    for how in ("run", "run_inline"):
        fed = floats(size)
        same, negative = run(loaded, fed, how=how)
        assert not np.shares_memory(same, fed)
        fed[:] = 7
        np.testing.assert_array_equal(same, floats(size))
        np.testing.assert_array_equal(negative, -floats(size))


def test_an_output_that_is_a_constant_of_the_graph_is_given_each_time(load: Load) -> None:
    proto = model(
        [helper.make_node("Neg", ["x"], ["y"])],
        [value("x", ["n"])],
        [value("y", ["n"]), value("c", [2])],
        [weights("c", array(4, 5))],
    )
    loaded = load(proto)
    for _ in range(3):
        constant, _y = run(loaded, floats(2))
        assert constant.tolist() == [4, 5]
        constant[:] = 0


def test_answers_of_earlier_runs_stay_as_they_were(load: Load) -> None:
    loaded = load(half_plus_two())
    for size in (2, 100_000):
        answers = [run(loaded, np.full(size, n, np.float32), how="run_inline")[0] for n in range(9)]
        assert [answer[-1] for answer in answers] == [n / 2 + 2 for n in range(9)]


def test_an_output_may_have_another_shape_than_the_model_declares(load: Load) -> None:
    """NonZero gives as many as there are, and this file says that there are two."""
    proto = model(
        [helper.make_node("NonZero", ["x"], ["y"])],
        [value("x", ["n"])],
        [value("y", [1, "n"], INT64)],
    )
    loaded = load(proto)
    for _ in range(2):
        for x in ([1, 0, 2], [1, 1, 1], [0, 0, 0], [0, 0, 5]):
            (y,) = run(loaded, array(*x))
            assert y.tolist() == [[at for at in range(3) if x[at]]]


def test_many_shapes_are_run_and_few_are_remembered(load: Load) -> None:
    loaded = load(half_plus_two())
    program = loaded.program("serving_default")
    for size in [*range(1, 60), *range(1, 60)]:
        (y,) = program.run([floats(size)])
        assert y.shape == (size,)


@pytest.mark.parametrize("how", ["run", "run_inline"])
@pytest.mark.parametrize(
    ("feed", "said"),
    [
        (np.zeros((1, 4), np.float32), "Got: 4 Expected: 3"),
        (np.zeros((1, 3), np.float64), "Unexpected input data type"),
        (np.zeros(3, np.float32), "Invalid rank for input"),
        (np.empty((1, 3), object), ""),
    ],
)
def test_what_does_not_fit_is_the_fault_of_the_request(
    feed: Array, said: str, how: str, load: Load
) -> None:
    if feed.dtype.hasobject:
        feed[:] = b""
    loaded = load(several())
    for bias in (np.zeros(2, np.float32),) * 2:
        with pytest.raises(ServingError) as raised:
            run(loaded, bias, feed, how=how)
        assert raised.value.code is Code.INVALID_ARGUMENT
        assert said in raised.value.message
    assert run(loaded, bias, np.zeros((1, 3), np.float32), how=how)[1].tolist() == [[0, 0]]


def test_a_dtype_that_onnx_has_not_is_refused_by_name(load: Load) -> None:
    with pytest.raises(ServingError, match="float8_e4m3b11fnuz") as raised:
        run(load(half_plus_two()), np.zeros(1, numpy_dtype(data_type("float8_e4m3b11fnuz"))))
    assert raised.value.code is Code.INVALID_ARGUMENT


def test_a_failing_operation_is_named(load: Load) -> None:
    proto = model(
        [helper.make_node("Gather", ["table", "at"], ["y"])],
        [value("at", ["n"], INT64)],
        [value("y", ["n"])],
        [weights("table", floats(4))],
    )
    loaded = load(proto)
    for how in ("run", "run_inline"):
        with pytest.raises(ServingError, match="Gather") as raised:
            run(loaded, np.array([0, 4]), how=how)
        assert raised.value.code is Code.INVALID_ARGUMENT
        assert run(loaded, np.array([3]), how=how)[0].tolist() == [3]


def test_a_sequence_of_tensors_of_one_shape_is_one_tensor(load: Load) -> None:
    loaded = load(sequence())
    (pieces,) = run(loaded, floats(6, 2))
    np.testing.assert_array_equal(pieces, floats(6, 2).reshape(3, 2, 2))
    with pytest.raises(ServingError, match="different shapes") as raised:
        run(loaded, floats(5, 2))
    assert raised.value.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize("how", ["run", "run_inline"])
def test_rows_of_a_model_for_one_are_run_one_by_one(how: str, load: Load) -> None:
    loaded = load(layers(8, 2, rows=1))
    flexible = load(layers(8, 2))
    x = floats(5, 8)
    for rows in (x[:1], x, x[:3], x):
        np.testing.assert_allclose(
            run(loaded, rows, how=how)[0], run(flexible, rows, how=how)[0], rtol=1e-5
        )
    with pytest.raises(ServingError, match="invalid dimensions"):
        run(loaded, x[:0], how=how)


def test_a_model_without_inputs_or_with_none_of_its_outputs_wanted_runs(load: Load) -> None:
    proto = model(
        [helper.make_node("Constant", [], ["y"], value=weights("c", array(1, 2)))],
        [],
        [value("y", [2])],
    )
    assert run(load(proto))[0].tolist() == [1, 2]


def test_many_threads_run_one_program(load: Load) -> None:
    program = load(half_plus_two()).program("serving_default")
    wrong: list[object] = []

    def work(number: int) -> None:
        for n in range(300):
            size = (n % 7 + 1) * (4000 if n % 5 == 0 else 1)
            x = np.full(size, number, np.float32)
            (y,) = (program.run if n % 2 else program.run_inline)([x])
            if y.shape != x.shape or (y != number / 2 + 2).any():
                wrong.append((number, n))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_run_of_a_graph_with_loops_says_so(load: Load) -> None:
    assert load(looping()).program("serving_default").can_loop
    assert not load(half_plus_two()).program("serving_default").can_loop


def test_results_outlive_their_model(load: Load) -> None:
    loaded = load(half_plus_two())
    kept = [run(loaded, floats(size))[0] for size in (3, 200_000, 300_000)]
    loaded.close()
    loaded.close = lambda: None  # type: ignore[method-assign]
    other = load(half_plus_two())
    for answer in kept:
        run(other, floats(answer.size))
        np.testing.assert_array_equal(answer, floats(answer.size) / 2 + 2)
        answer[:] = 1  # is the holder's own
    del kept, answer
    gc.collect()


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("large", [False, True], ids=["bound", "as they are"])
@pytest.mark.parametrize("fault", ["dtype", "shape", "operation"])
def test_runs_that_fail_keep_nothing(fault: str, large: bool, load: Load) -> None:
    proto = model(
        [helper.make_node("Gather", ["table", "at"], ["y"])],
        [value("at", ["n"], INT64)],
        [value("y", ["n", 1])],
        [weights("table", floats(4, 1))],
    )
    program = load(proto).program("serving_default")
    size = 20_000 if large else 2
    x: Any = {
        "dtype": np.zeros(size, np.float32),
        "shape": np.zeros((size, 1), np.int64),
        "operation": np.full(size, 9),
    }[fault]
    rounds = 3_000

    def fail() -> None:
        for n in range(rounds):
            with pytest.raises(ServingError):
                (program.run if n % 2 else program.run_inline)([x])

    fail()
    before = _peak_kb()
    fail()
    assert _peak_kb() - before < 8_000  # 3,000 inputs of 160 kB would be 480 MB
