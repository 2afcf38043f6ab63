import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salver.backends.tensorflow.library import load_library as load_tensorflow
from salver.backends.tensorflow.session import load_saved_model
from salver.backends.tflite.model import TFLiteModel, TFLiteProgram, load_model
from salver.errors import Internal, InvalidArgument, NotFound
from salver.scheduling.plan import BatchRules
from salver.vocabulary.dtypes import numpy_dtype
from salver.vocabulary.model import InternalBatching
from salver.vocabulary.requests import Array

Load = Callable[..., TFLiteModel]
VersionPath = Callable[[str], Path]


def _program(model: Any, name: str = "serving_default") -> TFLiteProgram:
    made: TFLiteProgram = model.program(name)
    return made


def _both(program: TFLiteProgram, *feeds: Array) -> list[Array]:
    """The outputs, which must be the same from a thread's run and from an inline one."""
    outputs = program.run(feeds)
    inline = program.run_inline(feeds)
    assert all(np.array_equal(a, b) for a, b in zip(outputs, inline, strict=True))
    return outputs


def _same_as_the_saved_model(
    directory: Path, model: TFLiteModel, name: str, feeds: Sequence[Array]
) -> None:
    saved = load_saved_model(load_tensorflow(), str(directory), tags=("serve",), session_config=b"")
    try:
        expected = _program(saved, name).run(feeds)
    finally:
        saved.close()
    for output, wanted in zip(_both(_program(model, name), *feeds), expected, strict=True):
        assert (output.dtype, output.shape) == (wanted.dtype, wanted.shape)
        if output.dtype.kind == "f":
            np.testing.assert_allclose(output, wanted, rtol=2e-6, atol=1e-6)
        else:
            assert output.tolist() == wanted.tolist()


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_net_answers_as_the_saved_model_it_was_made_from_for_any_number_of_rows(
    rows: int, load: Load, version_path: VersionPath
) -> None:
    images = np.random.default_rng(seed=1).uniform(0, 1, (rows, 8, 8, 1)).astype(np.float32)
    model = load("lite_net")
    _same_as_the_saved_model(version_path("lite_net"), model, "serving_default", [images])


def test_several_signatures_answer_as_those_of_the_saved_model(
    load: Load, version_path: VersionPath
) -> None:
    model, directory = load("lite"), version_path("lite")
    a, b = np.array([[1.5, 2.0], [3.0, -4.0]], np.float32), np.array([2, 3], np.int32)
    text = np.array([b"a\x00b", b"\xff\xc3", b""], object)
    _same_as_the_saved_model(directory, model, "serving_default", [b.astype(np.float32)])
    _same_as_the_saved_model(directory, model, "mixed", [a, b])
    _same_as_the_saved_model(directory, model, "mixed", [a[:0], b[:0]])
    _same_as_the_saved_model(directory, model, "strings", [text])
    _same_as_the_saved_model(directory, model, "regress", [text])
    _same_as_the_saved_model(directory, model, "classify", [text])


VALUES: dict[str, list[Any]] = {
    "bool": [True, False],
    "string": [b"one", b"\x00"],
    "complex64": [1 + 2j, -0.5j],
    "uint64": [0, 2**64 - 1],
    "int64": [-(2**63), 7],
    "float16": [0.5, 65504.0],
}
NAMES = [
    *("float32", "float16", "float64", "complex64", "bool", "string"),
    *("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
]


@pytest.mark.parametrize("name", NAMES)
def test_every_element_type_goes_in_and_comes_out(name: str, load: Load) -> None:
    model = load("lite_dtypes", pools=1)
    (spec,) = model.signatures[name].inputs.values()
    x = np.array(VALUES.get(name, [1, 100]), numpy_dtype(spec.dtype))
    (y,) = _both(_program(model, name), x)
    assert (y.dtype, y.shape) == (x.dtype, (2, 1))
    assert y[:, 0].tolist() == x.tolist()


def test_a_quantized_model_takes_and_gives_bytes(load: Load, version_path: VersionPath) -> None:
    quantized, exact = load("lite_quantized"), load("lite_net")
    image = np.random.default_rng(seed=2).uniform(0, 1, (3, 8, 8, 1)).astype(np.float32)
    (whole,) = _both(_program(quantized), np.round(image * 255).astype(np.uint8))
    (wanted,) = _both(_program(exact), image)
    assert (whole.dtype, whole.shape) == (np.int8, (3, 10))
    np.testing.assert_allclose((whole.astype(np.float32) + 128) / 256, wanted, atol=0.06)


def test_one_of_the_references_models_answers(
    litert: Any, reference_model: Callable[[str], Path]
) -> None:
    for name in (
        "saved_model_half_plus_two_tflite",
        "saved_model_half_plus_two_tflite_with_sigdef",
    ):
        path = reference_model(name) / "00000123" / "model.tflite"
        model = load_model(litert, path, num_pools=0, interpreters_per_pool=1)
        assert list(model.signatures["serving_default"].inputs) == ["x"]
        (y,) = _both(_program(model), np.array([[2.0], [4.0]], np.float32))
        assert y.tolist() == [[3.0], [4.0]]
        model.close()


def test_only_a_model_with_loops_may_take_longer_for_other_values(load: Load) -> None:
    assert not _program(load("lite")).can_loop
    loop = _program(load("lite_loop"))
    assert loop.can_loop
    assert loop.run([np.array(5, np.int32)])[0].tolist() == 5


def test_a_wrong_dtype_is_told_in_tensorflows_words(load: Load) -> None:
    program = _program(load("lite"), "mixed")
    a, b = np.zeros((1, 2), np.float32), np.zeros(1, np.int64)
    for run in (program.run, program.run_inline):
        with pytest.raises(InvalidArgument) as raised:
            run([a, b])
        assert raised.value.message == "Expects arg[1] to be int32 but int64 is provided"
        assert raised.value.hint == "arg[1] is the tensor mixed_b:0."


def test_a_wrong_shape_is_told_in_the_references_words(load: Load) -> None:
    program = _program(load("lite_fixed"))
    with pytest.raises(Internal, match=r"^Failed to allocate tensors: .*failed to prepare"):
        program.run([np.zeros((3, 4), np.float32)])
    assert program.run([np.zeros((1, 4), np.float32)])[0].shape == (2, 2)


@pytest.mark.parametrize("axes", [7, 8, 11, 20, 64])
def test_more_axes_than_litert_survives_are_refused(axes: int, load: Load) -> None:
    program = _program(load("lite_fixed"))
    for run in (program.run, program.run_inline):
        with pytest.raises(InvalidArgument, match=f"has {axes} dimensions, more than 6"):
            run([np.ones((1,) * axes, np.float32)])


def test_a_size_that_litert_has_no_number_for_is_refused(load: Load) -> None:
    program = _program(load("lite_fixed"))
    with pytest.raises(InvalidArgument, match="has a dimension over 2147483647"):
        program.run([np.ones((0, 2**31), np.float32)])


def test_a_broadcast_that_cannot_be_is_an_error_and_the_next_request_is_answered(
    load: Load,
) -> None:
    program = _program(load("lite", pools=1), "mixed")
    with pytest.raises(Internal, match=r"^Failed to "):
        program.run([np.zeros((3, 2), np.float32), np.zeros(2, np.int32)])
    product = program.run([np.ones((2, 2), np.float32), np.array([2, 3], np.int32)])
    assert [output.tolist() for output in product] == [[3, 4], [[2.0, 2.0], [3.0, 3.0]]]


def test_some_outputs_can_be_fetched_alone_and_targets_mean_nothing(load: Load) -> None:
    model = load("lite")
    names = model.graph.names["mixed"]
    feeds = [names.inputs[alias] for alias in ("b", "a")]
    program = model.graph.program(feeds, [names.outputs["next"]], ["anything"])
    (out,) = program.run([np.array([2], np.int32), np.zeros((1, 2), np.float32)])
    assert out.tolist() == [3]


@pytest.mark.parametrize(
    ("feeds", "fetches", "text"),
    [
        (["mixed_a:0"], [], "Missing input TFLite tensor: mixed_b:0"),
        ([], [], "Missing input TFLite tensor: "),
        (
            ["mixed_a:0", "mixed_b:0", "mixed_a:0"],
            [],
            "A TFLite tensor is fed twice: mixed_a:0, mixed_b:0, mixed_a:0",
        ),
        (
            ["mixed_a:0", "strings_text:0"],
            [],
            "Tensors of different functions of a TFLite model cannot be run together: "
            "mixed_a:0, strings_text:0",
        ),
    ],
)
def test_feeds_that_make_no_run_are_refused(
    feeds: list[str], fetches: list[str], text: str, load: Load
) -> None:
    model = load("lite")
    with pytest.raises(InvalidArgument) as raised:
        model.graph.program(feeds, fetches)
    assert raised.value.message.startswith(text)


def test_an_output_of_a_name_there_is_not_is_refused(load: Load) -> None:
    model = load("lite_plain")
    with pytest.raises(Internal, match="Missing output TFLite tensor: nowhere"):
        model.graph.program(["x_in:0"], ["nowhere"])
    assert model.graph.program(["x_in:0"], ["y_out:0"]).run([np.zeros(1, np.float32)])


def test_eight_threads_get_their_own_answers(load: Load) -> None:
    program = _program(load("lite", pools=2))
    start = threading.Barrier(8)

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        start.wait(30)
        for turn in range(200):
            x = random.uniform(-9, 9, random.integers(0, 5)).astype(np.float32)
            (y,) = program.run_inline([x]) if turn % 3 == 0 else program.run([x])
            np.testing.assert_array_equal(y, x * np.float32(0.5) + np.float32(2))

    with ThreadPoolExecutor(8) as threads:
        for each in [threads.submit(work, seed) for seed in range(8)]:
            each.result()


def test_what_was_answered_stays_as_it_was(load: Load) -> None:
    program = _program(load("lite", pools=1))
    (first,) = program.run([np.array([2.0], np.float32)])
    program.run([np.array([9.0], np.float32)])
    assert first.tolist() == [3.0]


def test_an_unknown_tensor_in_a_signature_keeps_the_model_from_loading(load: Load) -> None:
    with pytest.raises(Internal) as raised:
        load("lite_unknown_tensor")
    assert raised.value.message == (
        "Unknown tensor 'elsewhere:0'.\n\tSignature output y references an unknown tensor"
    )


def test_a_directory_without_the_file_is_not_found(litert: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"model\.tflite; No such file"):
        load_model(litert, tmp_path / "model.tflite", num_pools=1, interpreters_per_pool=1)


def test_the_signatures_are_also_a_message(load: Load) -> None:
    from salver._pb import message_class

    found = message_class("tensorflow.serving.SignatureDefMap").FromString(load("lite").definitions)
    assert sorted(found.signature_def) == sorted(load("lite").signatures)


def test_one_interpreter_per_pool_asks_for_no_batches(load: Load) -> None:
    assert load("lite_plain").batching is None


def test_more_interpreters_per_pool_ask_for_batches_of_a_share_of_the_largest(load: Load) -> None:
    assert load("lite_plain", pools=3, per_pool=4).batching == InternalBatching(
        num_batch_threads=3,
        max_batch_size=500,
        max_execution_batch_size=125,
        max_enqueued_batches=300,
    )


def test_rows_of_a_model_exported_for_one_row_are_shared_out_too(load: Load) -> None:
    batching = load("lite_fixed", pools=1, per_pool=3).batching
    assert batching is not None
    assert batching.max_execution_batch_size == 167


def test_the_batches_asked_for_are_ones_the_scheduler_can_make(load: Load) -> None:
    batching = load("lite_plain", per_pool=4).batching
    assert batching is not None
    rules = BatchRules.of(batching)
    assert (rules.max_task_rows, rules.max_batch_rows, rules.timeout_s) == (500, 125, 0.0)
    assert (rules.is_splitting, rules.max_enqueued_batches) == (True, 200)
