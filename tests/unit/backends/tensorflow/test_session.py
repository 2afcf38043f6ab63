import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salver._pb import message_class
from salver.backends.protocol import LoadStage
from salver.backends.tensorflow.backend import TensorFlowBackend
from salver.backends.tensorflow.library import Library
from salver.backends.tensorflow.options import TensorFlowOptions
from salver.backends.tensorflow.session import SavedModel, load_saved_model
from salver.errors import InvalidArgument, NotFound, ServingError, Unimplemented
from salver.vocabulary.dtypes import DTYPES, DataType, numpy_dtype
from salver.vocabulary.model import Program
from salver.vocabulary.requests import Array
from salver.vocabulary.tensorflow_types import short_text

Load = Callable[[str], SavedModel]
Paths = Callable[[str], Path]
WAYS = ("run", "run_in_caller", "run_inline")
MIB = 1 << 20


@pytest.fixture
def loaded(load: Load) -> Iterator[Load]:
    """Load a generated model and close it when the test ends."""
    models: list[SavedModel] = []

    def opened(name: str) -> SavedModel:
        models.append(load(name))
        return models[-1]

    yield opened
    for model in models:
        model.close()


def program_of(model: SavedModel, signature_name: str = "serving_default") -> Program:
    return model.program(signature_name)


def ask(
    model: SavedModel, signature_name: str, way: Any = "run", **feeds: Array
) -> dict[str, Array]:
    signature = model.signatures[signature_name]
    run = getattr(program_of(model, signature_name), way)
    outputs = run([feeds[alias] for alias in signature.inputs])
    return dict(zip(signature.outputs, outputs, strict=True))


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


def texts(*values: bytes) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def example(**features: float) -> bytes:
    made = message_class("tensorflow.Example")()
    for name, value in features.items():
        made.features.feature[name].float_list.value.append(value)
    return bytes(made.SerializeToString())


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["half_plus_two", "half_plus_two_tf2"])
def test_half_plus_two_halves_and_adds_two(loaded: Load, name: str, way: str) -> None:
    outputs = ask(loaded(name), "serving_default", way, x=floats(1, 2, 5))
    np.testing.assert_array_equal(outputs["y"], floats(2.5, 3, 4.5))


@pytest.mark.parametrize(
    ("fed", "expected"),
    [(1.0, 2.5), ([[1, 2], [3, 4]], [[2.5, 3], [3.5, 4]]), ([], []), (np.zeros((0, 1)), [[]])],
    ids=["scalar", "matrix", "no rows", "no rows of one"],
)
def test_any_shape_is_fed_whatever_the_signature_declares(
    loaded: Load, fed: object, expected: object
) -> None:
    x = np.array(fed, np.float32)
    y = ask(loaded("half_plus_two"), "serving_default", x=x)["y"]
    assert y.shape == x.shape
    assert y.ravel().tolist() == np.ravel(np.array(expected, np.float32)).tolist()


def test_variables_assets_and_tables_are_restored(loaded: Load) -> None:
    outputs = ask(loaded("strings"), "serving_default", words=texts(b"fox", b"quick", b"wolf"))
    assert outputs["ids"].tolist() == [3, 1, 4]
    assert (outputs["ids"].dtype, outputs["lengths"].tolist()) == (np.int64, [3, 5, 4])


@pytest.mark.parametrize("name", ["half_plus_two", "half_plus_two_tf2"])
def test_examples_are_parsed(loaded: Load, name: str) -> None:
    examples = texts(example(x=2.0), example(x=80.0))
    outputs = ask(loaded(name), "regress_x_to_y", inputs=examples)
    assert outputs["outputs"].tolist() == [[3.0], [42.0]]


def test_a_keras_model_runs(loaded: Load) -> None:
    model = loaded("mlp")
    [scores] = program_of(model).run([np.zeros((2, 28, 28), np.float32)])
    assert scores.shape == (2, 10)
    np.testing.assert_allclose(scores.sum(axis=1), [1, 1], rtol=1e-5)


def test_signatures_that_lie_about_shape_and_type_are_run_as_the_graph_is(loaded: Load) -> None:
    model = loaded("half_plus_three")
    assert ask(model, "serving_default", x=floats(1, 2, 5))["y"].tolist() == [3.5, 4.0, 5.5]
    assert model.signatures["tensorflow/serving/regress"].inputs["inputs"].dtype is DataType.FLOAT32
    outputs = ask(model, "tensorflow/serving/regress", inputs=texts(example(x=1.0)))
    assert outputs["outputs"].tolist() == [[3.5]]


def test_the_state_of_a_model_lives_in_the_loaded_version(loaded: Load) -> None:
    model = loaded("counter")

    def count(signature_name: str, **feeds: Array) -> float:
        return float(ask(model, signature_name, **feeds)["output"])

    def sequence() -> list[float]:
        return [
            count("get_counter"),
            count("incr_counter"),
            count("incr_counter_by", delta=np.array(3, np.float32)),
            count("get_counter"),
            count("reset_counter"),
            count("get_counter"),
        ]

    assert sequence() == [0, 1, 4, 4, 0, 0]
    count("incr_counter")
    assert ask(loaded("counter"), "get_counter")["output"] == 0


def test_several_inputs_and_outputs_keep_their_names(loaded: Load) -> None:
    outputs = ask(
        loaded("several"),
        "serving_default",
        a=np.array([[1, 2], [3, 4]], np.float32),
        b=np.array([10, 100], np.int32),
        text=texts(b"one", b"two"),
    )
    assert {alias: output.tolist() for alias, output in outputs.items()} == {
        "product": [[10, 20], [300, 400]],
        "next": [11, 101],
        "upper": [b"ONE", b"TWO"],
    }


def test_a_signature_without_inputs_runs(loaded: Load) -> None:
    assert ask(loaded("several"), "constant")["y"].tolist() == [1.0, 2.0]


def test_an_output_may_be_asked_for_twice(loaded: Load) -> None:
    program = loaded("half_plus_two").graph.program(["x:0"], ["y:0", "y2:0", "y:0"])
    assert [output.tolist() for output in program.run([floats(2)])] == [[3.0], [4.0], [3.0]]


def test_what_is_not_finite_comes_out_as_it_is(loaded: Load) -> None:
    y = ask(loaded("several"), "not_finite", x=floats(1, -1, 0))["y"]
    np.testing.assert_array_equal(y, floats(np.inf, -np.inf, np.nan))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [d for d in DTYPES.values() if d.name not in (
    "invalid", "string", "resource", "variant")], ids=lambda dtype: dtype.name)  # fmt: skip
def test_every_dtype_goes_in_and_comes_out(loaded: Load, dtype: DataType, way: str) -> None:
    model = loaded("every_dtype")
    name = short_text(dtype)
    if name not in model.signatures:
        pytest.skip(f"this TensorFlow has no {name}")
    assert model.signatures[name].inputs["x"].dtype is dtype
    x = np.array([0, 1, 1, 0]).astype(np.float32).astype(numpy_dtype(dtype))
    try:
        y = ask(model, name, way, x=x)["y"]
    except ServingError as error:
        assert "No registered" in error.message, error.message  # noqa: PT017
        pytest.skip(f"this TensorFlow has no kernel for {name}")
    assert (y.dtype, y.shape, y.tobytes()) == (x.dtype, x.shape, x.tobytes())


def test_strings_are_bytes(loaded: Load) -> None:
    words = [b"", b"x" * 22, b"x" * 23, b"\xff\0\xfe", "grün".encode(), b"x" * 100_000]
    outputs = ask(loaded("strings"), "echo_bytes", image_bytes=texts(*words))
    assert outputs["image_bytes"].tolist() == outputs["text"].tolist() == words


@pytest.mark.parametrize("way", WAYS)
def test_no_strings_are_fed_and_fetched(loaded: Load, way: str) -> None:
    outputs = ask(loaded("strings"), "echo_bytes", way, image_bytes=texts())
    assert outputs["image_bytes"].shape == (0,)


def test_strings_come_out_in_their_shape(loaded: Load) -> None:
    [characters] = ask(loaded("strings"), "split", text=texts(b"ab", b"c")).values()
    assert characters.tolist() == [[b"a", b"b"], [b"c", b""]]


@pytest.mark.parametrize("rows", [1, 20])
def test_large_tensors_go_in_and_come_out(loaded: Load, rows: int) -> None:
    x = np.arange(rows * 150_528, dtype=np.float32)
    y = ask(loaded("half_plus_two"), "serving_default", x=x)["y"]
    np.testing.assert_array_equal(y, x / 2 + 2)


def test_arrays_in_another_order_are_fed_by_their_elements(loaded: Load) -> None:
    x = np.arange(40_000, dtype=np.float32).reshape(200, 200)
    model = loaded("half_plus_two")
    for other in (x.T, x[::2, ::-1], np.asfortranarray(x), x[:3, :3].T):
        y = ask(model, "serving_default", x=other)["y"]
        np.testing.assert_array_equal(y, other / 2 + 2)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("fed", "actual"),
    [
        (np.array([1], np.int64), "int64"),
        (np.array([1.5], np.float64), "double"),
        (texts(b"a"), "string"),
    ],
    ids=["int64", "double", "string"],
)
def test_a_wrong_dtype_is_told_in_tensorflows_words_and_the_model_goes_on(
    loaded: Load, way: str, fed: Array, actual: str
) -> None:
    model = loaded("half_plus_two")
    with pytest.raises(InvalidArgument, match=actual) as raised:
        ask(model, "serving_default", way, x=fed)
    assert re.search("Type mismatch|Expects arg", raised.value.message)
    assert ask(model, "serving_default", way, x=floats(2))["y"].tolist() == [3.0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("signature_name", "feeds", "code", "text"),
    [
        (
            "serving_default",
            {"x": floats(-1)},
            "INVALID_ARGUMENT",
            "assertion failed: [x must not be negative:] [-1]",
        ),
        ("divide", {"x": np.array([0], np.int32)}, "INVALID_ARGUMENT", "Integer division by zero"),
        (
            "read_file",
            {"path": texts(b"/nonexistent")},
            "NOT_FOUND",
            "/nonexistent; No such file or directory",
        ),
    ],
)
def test_a_failing_run_keeps_its_code_and_text_and_the_model_goes_on(
    loaded: Load, way: str, signature_name: str, feeds: dict[str, Array], code: str, text: str
) -> None:
    model = loaded("failing")
    for _ in range(3):
        with pytest.raises(ServingError) as raised:
            ask(model, signature_name, way, **feeds)
        assert raised.value.code.name == code
        assert raised.value.message.startswith(text + "\n\t [[")
    assert ask(model, "serving_default", way, x=floats(4))["y"].tolist() == [2.0]


def test_a_missing_feature_is_named(loaded: Load) -> None:
    with pytest.raises(InvalidArgument) as raised:
        ask(loaded("half_plus_two"), "regress_x_to_y", inputs=texts(example(x2=1.0)))
    assert raised.value.message.startswith(
        "Name: <unknown>, Feature: x (data type: float) is required but could not be found."
    )


def test_too_few_feeds_are_the_callers_fault_and_the_model_goes_on(loaded: Load) -> None:
    program = program_of(loaded("several"))
    with pytest.raises(ValueError, match="zip"):
        program.run([np.zeros((1, 2), np.float32)])
    outputs = program.run([np.zeros((1, 2), np.float32), np.ones(1, np.int32), texts(b"a")])
    assert outputs[0].tolist() == [2]


def test_a_feed_no_tensor_holds_leaves_the_program_usable(loaded: Load) -> None:
    program = program_of(loaded("half_plus_two"))
    with pytest.raises(InvalidArgument, match="No tensor holds elements of type <U1"):
        program.run([np.array(["a"])])
    assert program.run([floats(2)])[0].tolist() == [3.0]


@pytest.mark.parametrize("name", ["nope:0", "x:1", "x:one", "x:-1", "", ":0", "nope"])
def test_an_unknown_tensor_is_named(loaded: Load, name: str) -> None:
    shown = name if ":" in name else f"{name}:0"
    for feeds, fetches in ((["x:0"], [name]), ([name], ["y:0"])):
        with pytest.raises(InvalidArgument) as raised:
            loaded("half_plus_two").graph.program(feeds, fetches)
        assert raised.value.message == (
            f"Tensor {shown}, specified in either feed_devices or fetch_devices "
            "was not found in the Graph"
        )


def test_a_tensor_name_without_an_index_means_the_first_output(loaded: Load) -> None:
    assert loaded("half_plus_two").graph.program(["x"], ["y"]).run([floats(2)])[0].tolist() == [3.0]


def test_an_output_that_is_no_tensor_cannot_be_asked_for(loaded: Load) -> None:
    with pytest.raises(InvalidArgument, match=r"^Tensor NoOp:0, specified in either"):
        program_of(loaded("half_plus_two_tf2"), "__saved_model_init_op")


def test_a_resource_cannot_leave_the_model(library: Library, loaded: Load) -> None:
    model = loaded("half_plus_two_tf2")
    handle = next(name for name in operations(library, model) if name.startswith("Variable"))
    with pytest.raises(Unimplemented, match=r"^Tensors of type resource cannot leave the model$"):
        model.graph.program([], [handle]).run([])


def operations(library: Library, model: SavedModel) -> Iterator[str]:
    from ctypes import byref, c_char_p, c_size_t, c_void_p

    following, name_of = library.quick.TF_GraphNextOperation, library.quick.TF_OperationName
    following.argtypes, following.restype = (c_void_p, c_void_p), c_void_p
    name_of.argtypes, name_of.restype = (c_void_p,), c_char_p
    position = c_size_t(0)
    while operation := following(model._graph, byref(position)):
        yield name_of(operation).decode()


def test_nodes_can_be_run_to_without_an_output(loaded: Load) -> None:
    model = loaded("half_plus_two")
    assert model.graph.program(["x:0"], [], ["y"]).run([floats(2)]) == []
    [y] = model.graph.program(["x:0"], ["y:0"], ["y2", "y"]).run_inline([floats(2)])
    assert y.tolist() == [3.0]
    with pytest.raises(InvalidArgument, match=r"^Must specify at least one target to fetch or"):
        model.graph.program([], []).run([])


@pytest.mark.parametrize("name", ["nope", "y:0", ""])
def test_a_node_there_is_not_cannot_be_run_to(loaded: Load, name: str) -> None:
    with pytest.raises(NotFound) as raised:
        loaded("half_plus_two").graph.program(["x:0"], ["y:0"], [name])
    assert raised.value.message == f"PruneForTargets: Some target nodes not found: {name}"


def test_a_program_that_is_dropped_leaves_nothing_to_its_model(loaded: Load) -> None:
    model = loaded("half_plus_two")
    for _ in range(3):
        model.graph.program(["x:0"], ["y:0"]).run([floats(2)])
    assert len(model._session.statuses) == 1


def test_a_variant_is_chosen_by_its_tags(library: Library, version_path: Paths) -> None:
    directory = str(version_path("two_tags"))
    for tags, expected in ((("serve",), 3.0), (("gpu", "serve"), 20.0), (("serve", "gpu"), 20.0)):
        model = load_saved_model(library, directory, tags=tags, session_config=b"")
        assert ask(model, "serving_default", x=floats(2))["y"].tolist() == [expected]
        model.close()


def test_an_unknown_variant_does_not_load(library: Library, version_path: Paths) -> None:
    directory = str(version_path("two_tags"))
    with pytest.raises(NotFound, match=r"matching supplied tags: \{ tpu \}") as raised:
        load_saved_model(library, directory, tags=("tpu",), session_config=b"")
    assert raised.value.hint == f"{directory} has the tag sets: {{serve}}, {{gpu,serve}}"


def test_variables_that_are_lost_keep_a_version_from_loading(
    library: Library, version_path: Paths
) -> None:
    directory = version_path("lost_variables")
    with pytest.raises(NotFound) as raised:
        load_saved_model(library, str(directory), tags=("serve",), session_config=b"")
    assert raised.value.message.startswith(
        f"{directory}/variables/variables.data-00000-of-00001; No such file or directory"
    )


@pytest.mark.parametrize("config", [b"\xff", b"\x10\xff"])
def test_a_session_config_that_is_none_keeps_a_version_from_loading(
    library: Library, version_path: Paths, config: bytes
) -> None:
    directory = str(version_path("half_plus_two"))
    with pytest.raises(InvalidArgument, match=r"^Unpars.* ConfigProto$"):
        load_saved_model(library, directory, tags=("serve",), session_config=config)


def test_the_session_config_is_obeyed(library: Library, version_path: Paths) -> None:
    # Without a device nothing can be placed: only a session that reads its config fails so.
    config = message_class("tensorflow.ConfigProto")(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=1
    )
    config.device_count["CPU"] = 0
    with pytest.raises(ServingError):
        load_saved_model(
            library,
            str(version_path("half_plus_two")),
            tags=("serve",),
            session_config=config.SerializeToString(),
        )


def test_a_directory_with_an_unusual_name_loads(
    library: Library, version_path: Paths, tmp_path: Path
) -> None:
    strange = tmp_path / "größe \udcff 1"
    strange.symlink_to(version_path("matrix_half_plus_two"))
    model = load_saved_model(library, str(strange), tags=("serve",), session_config=b"")
    x = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    y = ask(model, "serving_default", x=x)["y"]
    assert y.tolist() == [[[2, 2.5, 3], [3.5, 4, 4.5], [5, 5.5, 6]]]
    model.close()


def test_many_threads_run_one_program_at_the_same_time(loaded: Load) -> None:
    program = program_of(loaded("several"))
    start = threading.Barrier(8)

    def work(thread: int) -> None:
        run = program.run if thread % 2 else program.run_inline
        start.wait()
        for turn in range(150):
            rows = 1 + (thread + turn) % 7
            word = b"t%dr%d" % (thread, turn) * 5
            outputs = run(
                [
                    np.full((rows, 2), thread, np.float32),
                    np.full(rows, turn, np.int32),
                    texts(*[word] * rows),
                ]
            )
            assert outputs[0].tolist() == [turn + 1] * rows
            assert outputs[1].tolist() == [[thread * turn] * 2] * rows
            assert outputs[2].tolist() == [word.upper()] * rows

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, thread) for thread in range(8)]:
            done.result()


def test_other_threads_run_while_a_pooled_run_lasts(loaded: Load) -> None:
    program = program_of(loaded("slow"))
    turns = 0
    done = threading.Event()

    def work() -> None:
        program.run([floats(200)])
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        turns += 1
    thread.join()
    assert turns > 10_000


def test_runs_leave_no_memory_behind(loaded: Load) -> None:
    program = program_of(loaded("strings"), "echo_bytes")
    words = texts(*[b"x" * 10_000] * 20)

    def rounds(count: int) -> None:
        for _ in range(count):
            program.run([words])
            program.run_inline([words])
            with pytest.raises(InvalidArgument):
                program.run_inline([floats(1)])

    rounds(50)
    before = resident_bytes()
    rounds(150)  # 60 MB of strings in, 120 MB out
    assert resident_bytes() - before < 10 * MIB


def cycles(load: Load, count: int) -> None:
    for _ in range(count):
        model = load("big")
        assert ask(model, "serving_default", x=floats(1))["y"].tolist() == [2.0]
        model.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_and_closing_leaves_no_memory_behind(load: Load) -> None:
    cycles(load, 2)
    before = resident_bytes()
    cycles(load, 4)
    assert resident_bytes() - before < 64 * MIB


@pytest.mark.stress
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_hundred_loads_leave_no_memory_behind(load: Load) -> None:
    cycles(load, 5)
    before = resident_bytes()
    cycles(load, 100)
    assert resident_bytes() - before < 64 * MIB


def threads_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that load and close in the background, as they come."""
    names: list[str] = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        names.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    return names


def test_the_first_load_makes_the_pools_that_all_share_and_later_ones_step_back(
    library: Library, version_path: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "has_pools", False)
    names = threads_of(monkeypatch)
    directory = str(version_path("half_plus_two"))
    for _ in range(2):
        model = load_saved_model(library, directory, tags=["serve"], session_config=b"")
        assert ask(model, "serving_default", x=floats(1.0))["y"].tolist() == [2.5]
        model.close()
    assert names == ["salver-free", "salver-restore", "salver-free"]


def test_a_load_that_holds_up_nobody_does_not_step_back(
    library: Library, version_path: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "has_pools", True)
    names = threads_of(monkeypatch)
    stage = LoadStage(is_serving=lambda: False)
    TensorFlowBackend().load(version_path("half_plus_two"), TensorFlowOptions(), stage).close()
    assert names == ["salver-free"]


@pytest.mark.parametrize(
    "settings",
    [{"use_per_session_threads": True}, {"session_inter_op_thread_pool": [{"num_threads": 1}]}],
)
def test_a_session_with_pools_of_its_own_is_not_loaded_by_a_thread_that_steps_back(
    library: Library,
    version_path: Paths,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
) -> None:
    monkeypatch.setattr(library, "has_pools", True)
    config = message_class("tensorflow.ConfigProto")(**settings).SerializeToString()
    names = threads_of(monkeypatch)
    directory = str(version_path("half_plus_two"))
    load_saved_model(library, directory, tags=["serve"], session_config=config).close()
    assert names == ["salver-free"]


def test_a_device_with_pools_of_its_own_is_none_either(
    library: Library, version_path: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "has_pools", True)
    monkeypatch.setenv("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")
    names = threads_of(monkeypatch)
    directory = str(version_path("half_plus_two"))
    load_saved_model(library, directory, tags=["serve"], session_config=b"").close()
    assert names == ["salver-free"]


def test_a_picture_with_too_few_axes_is_refused_and_nobody_dies_of_it(loaded: Load) -> None:
    """With oneDNN such a convolution ends the process."""
    model = loaded("convnet")
    (alias,) = model.signatures["serving_default"].inputs
    for way in WAYS:
        for shape in ((8, 8, 1), (2, 8, 8), (2, 64), (64,), ()):
            with pytest.raises(InvalidArgument, match="input must be 4-dimensional"):
                ask(model, "serving_default", way, **{alias: np.ones(shape, np.float32)})
        (scores,) = ask(
            model, "serving_default", way, **{alias: np.ones((2, 8, 8, 1), np.float32)}
        ).values()
        assert scores.shape == (2, 10)
