"""With PyTorch itself."""

import logging
import textwrap
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.models.pt2 import members, write
from tests.with_torch import marks_with_torch

from salver.backends.protocol import LoadStage
from salver.backends.pytorch.backend import PyTorchBackend
from salver.backends.pytorch.options import PyTorchOptions
from salver.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, ServingError
from salver.vocabulary.dtypes import DTYPES, DataType, numpy_dtype
from salver.vocabulary.model import Model
from salver.vocabulary.signature import TensorSpec

pytestmark = marks_with_torch()

SERVED = "serving_default"


@pytest.fixture
def torch() -> Any:
    return import_module("torch")


def load(path: Path, **options: Any) -> Model:
    backend = PyTorchBackend()
    loaded = backend.load(path, PyTorchOptions(**options), LoadStage())
    info = backend.inspect(path, PyTorchOptions(**options))
    if info is not None:
        assert info.signatures == loaded.signatures
    return loaded


@pytest.fixture
def export(torch: Any, tmp_path: Path) -> Callable[..., Path]:
    """Write `model.pt2` of a function; axis 0 of every tensor is open unless shapes are given."""

    def make(forward: Callable[..., Any], *example: Any, shapes: Any = None, **named: Any) -> Path:
        module = type("Net", (torch.nn.Module,), {"forward": forward})()
        rows = {0: torch.export.Dim.AUTO}
        given = [rows if hasattr(of, "dim") and of.dim() else None for of in example]
        dynamic = tuple(given) if shapes is None else shapes
        program = torch.export.export(module, tuple(example), named, dynamic_shapes=dynamic)
        torch.export.save(program, str(tmp_path / "model.pt2"))
        return tmp_path

    return make


def run(model: Model, *feeds: Any, outputs: list[str] | None = None) -> list[Any]:
    return model.program(SERVED, outputs).run(list(feeds))


# -- exported programs -----------------------------------------------------------------------------


def test_a_program_runs(tmp_path: Path) -> None:
    write(tmp_path / "model.pt2", members())
    model = load(tmp_path)
    top, y = run(model, np.array([[3, 1], [0, 0]], np.float32))
    np.testing.assert_array_equal(y, [[3.5, 2.5], [0.5, 0.5]])
    np.testing.assert_array_equal(top, [0, 0])
    for rows in (0, 1, 7):
        (y,) = run(model, np.ones((rows, 2), np.float32), outputs=["y"])
        assert y.shape == (rows, 2)


def test_a_batch_keeps_its_rows_apart(export: Callable[..., Path], torch: Any) -> None:
    model = load(export(lambda self, x: x * 2, torch.zeros(2, 3)))
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_array_equal(run(model, x)[0], x * 2)


def test_inputs_have_the_names_of_arguments_and_are_fed_by_the_alphabet(
    export: Callable[..., Path], torch: Any
) -> None:
    def forward(self: Any, z: Any, a: Any) -> Any:
        return z - a

    model = load(export(forward, torch.zeros(2), torch.zeros(2)))
    assert list(model.signatures[SERVED].inputs) == ["a", "z"]
    one, two = np.array([1, 1], np.float32), np.array([5, 5], np.float32)
    np.testing.assert_array_equal(run(model, one, two)[0], [4, 4])


@pytest.mark.parametrize(
    "dtype",
    ["bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16",
     "bfloat16", "float32", "float64", "complex64", "complex128", "float8_e5m2", "float8_e4m3fn",
     "float8_e4m3fnuz", "float8_e5m2fnuz"],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(2, 2), ()], ids=["matrix", "scalar"])
def test_every_dtype_goes_in_and_out(
    dtype: str, shape: tuple[int, ...], export: Callable[..., Path], torch: Any
) -> None:
    example = torch.zeros(shape, dtype=getattr(torch, dtype))
    model = load(export(lambda self, x: x.clone(), example))
    spec = TensorSpec(DTYPES[dtype], (-1, 2) if shape else ())
    assert model.signatures[SERVED].inputs["x"] == spec
    array = np.ones(shape).astype(numpy_dtype(DTYPES[dtype]))
    array.flags.writeable = False
    (back,) = run(model, array)
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()


def test_what_does_not_fit_is_refused_by_name(export: Callable[..., Path], torch: Any) -> None:
    model = load(export(lambda self, x: x * 2, torch.zeros(2, 3)))
    for wrong in (
        np.zeros((2, 4), np.float32),
        np.zeros(3, np.float32),
        np.zeros((2, 3), np.int32),
        np.zeros((2, 3, 1), np.float32),
    ):
        with pytest.raises(InvalidArgument, match=r"Input x is float32\[-1, 3\], and not"):
            run(model, wrong)


def test_sizes_that_must_be_alike_are_compared(export: Callable[..., Path], torch: Any) -> None:
    model = load(export(lambda self, x, y: x + y, torch.zeros(4), torch.zeros(4)))
    with pytest.raises(InvalidArgument, match=r"Input y has the shape \[3\]: .* must be 2"):
        run(model, np.zeros(2, np.float32), np.zeros(3, np.float32))


def test_what_the_program_was_not_made_for_is_refused(
    export: Callable[..., Path], torch: Any
) -> None:
    rows = torch.export.Dim("rows", min=1, max=8)
    model = load(export(lambda self, x: x * 2, torch.zeros(2, 3), shapes=({0: rows},)))
    assert run(model, np.zeros((8, 3), np.float32))[0].shape == (8, 3)
    with pytest.raises(InvalidArgument):
        run(model, np.zeros((9, 3), np.float32))


def test_a_program_that_writes_into_its_input_leaves_the_callers_alone(
    export: Callable[..., Path], torch: Any
) -> None:
    def forward(self: Any, x: Any) -> Any:
        x.add_(1)
        return x * 1

    model = load(export(forward, torch.zeros(2, 3)))
    x = np.zeros((2, 3), np.float32)
    assert run(model, x)[0].max() == 1
    assert x.max() == 0


def test_constants_numbers_and_nothing(export: Callable[..., Path], torch: Any) -> None:
    def forward(self: Any, x: Any, flag: bool, nothing: Any, n: int) -> Any:
        return {"x": x * n if flag else x, "none": nothing, "n": n}

    auto = torch.export.Dim.AUTO
    model = load(
        export(forward, torch.zeros(2), True, None, 5, shapes=({0: auto}, None, None, auto))
    )
    signature = model.signatures[SERVED]
    assert set(signature.inputs) - {"n"} == {"x"}
    assert "none" not in signature.outputs
    feeds = [
        np.array(5) if name == "n" else np.array([1, 2], np.float32) for name in signature.inputs
    ]
    outputs = dict(zip(signature.outputs, run(model, *feeds), strict=True))
    np.testing.assert_array_equal(outputs["x"], [5, 10])


def test_several_programs_of_an_archive_are_several_signatures(torch: Any, tmp_path: Path) -> None:
    package = import_module("torch.export.pt2_archive._package")
    double = type("Double", (torch.nn.Module,), {"forward": lambda self, x: x * 2})()
    half = type("Half", (torch.nn.Module,), {"forward": lambda self, x: x / 2})()
    made = {
        name: torch.export.export(of, (torch.zeros(2),))
        for name, of in (("model", double), ("half", half))
    }
    package.package_pt2(str(tmp_path / "model.pt2"), exported_programs=made)
    model = load(tmp_path)
    assert model.signatures.keys() == {SERVED, "half"}
    x = np.array([2, 4], np.float32)
    np.testing.assert_array_equal(run(model, x)[0], [4, 8])
    np.testing.assert_array_equal(model.program("half").run([x])[0], [1, 2])


def test_runs_go_side_by_side(export: Callable[..., Path], torch: Any) -> None:
    model = load(export(lambda self, x: (x @ x).sum(0), torch.zeros(64, 64), shapes=({},)))
    program = model.program(SERVED)
    wrong: list[Exception] = []

    def work(value: int) -> None:
        x = np.full((64, 64), value, np.float32)
        try:
            for _ in range(20):
                np.testing.assert_array_equal(
                    program.run([x])[0], np.full(64, value**2 * 4096, np.float32)
                )
        except Exception as error:  # noqa: BLE001 - whatever a run does
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_memory_that_is_not_there_is_said_to_be_so(export: Callable[..., Path], torch: Any) -> None:
    def forward(self: Any, x: Any) -> Any:
        return x.reshape(-1, 1) + torch.zeros(1, 1 << 46)

    model = load(export(forward, torch.zeros(2)))
    with pytest.raises(ResourceExhausted):
        run(model, np.zeros(2, np.float32))


@pytest.mark.parametrize("size", [0, 100, 3000, -200])
def test_a_file_that_was_cut_is_an_error_with_a_code(size: int, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    write(path, members())
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ServingError):
        load(tmp_path)


def test_weights_that_are_missing_are_an_error_with_a_code(tmp_path: Path) -> None:
    left = {name: data for name, data in members().items() if "weight" not in name}
    write(tmp_path / "model.pt2", left)
    with pytest.raises(FailedPrecondition, match="cannot be loaded by PyTorch"):
        load(tmp_path)


# -- options ---------------------------------------------------------------------------------------


def test_threads_and_the_mode_are_chosen(torch: Any, tmp_path: Path) -> None:
    write(tmp_path / "model.pt2", members())
    threads = torch.get_num_threads()
    try:
        model = load(tmp_path, num_threads=1, inference_mode=False)
        assert torch.get_num_threads() == 1
        assert run(model, np.ones((1, 2), np.float32))
    finally:
        torch.set_num_threads(threads)
    with pytest.raises(InvalidArgument, match="num_threads"):
        load(tmp_path, num_threads=-1)


@pytest.mark.parametrize("device", ["cuda:77", "abacus"])
def test_a_device_that_is_not_there_is_named(device: str, tmp_path: Path) -> None:
    write(tmp_path / "model.pt2", members())
    with pytest.raises(FailedPrecondition, match=f"There is no device {device} for PyTorch"):
        load(tmp_path, device=device)


# -- TorchScript -----------------------------------------------------------------------------------


def script(torch: Any, path: Path, source: str) -> Path:
    """`model.pt` of a module with this `forward`."""
    file = path / "net.py"
    head = "import torch\nfrom torch import Tensor\nfrom typing import Dict, List\n\n"
    body = textwrap.indent(source, "    ")
    file.write_text(f"{head}class Net(torch.nn.Module):\n{body}")
    space: dict[str, Any] = {"__name__": f"net_of_{path.name}"}
    exec(compile(file.read_text(), str(file), "exec"), space)
    torch.jit.script(space["Net"]()).save(str(path / "model.pt"))
    return path


def test_torchscript_runs_and_is_said_to_be_deprecated(
    torch: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script(torch, tmp_path, "def forward(self, a: Tensor, b: Tensor):\n  return a + b, a - b\n")
    with caplog.at_level(logging.WARNING):
        model = load(tmp_path)
    assert sum("is TorchScript, which PyTorch has deprecated" in of for of in caplog.messages) == 1
    signature = model.signatures[SERVED]
    assert signature.inputs == dict.fromkeys(("x0", "x1"), TensorSpec(DataType.FLOAT32, None))
    assert list(signature.outputs) == ["y0", "y1"]
    y0, y1 = run(model, np.array([3], np.float32), np.array([1], np.float32))
    assert (y0, y1) == (4, 2)


def test_declared_inputs_tell_what_torchscript_gives(torch: Any, tmp_path: Path) -> None:
    source = """
def forward(self, x: Tensor, k: int, scale: float = 2.0) -> Dict[str, Tensor]:
  return {"scores": x * scale, "top": x.argmax(-1) + k}
"""
    script(torch, tmp_path, source)
    with pytest.raises(FailedPrecondition, match="does not say what it returns"):
        load(tmp_path)
    model = load(tmp_path, inputs="pixels: float32[-1, 3], k: int64[], scale: float64[]")
    signature = model.signatures[SERVED]
    assert signature.inputs["pixels"] == TensorSpec(DataType.FLOAT32, (-1, 3))
    assert signature.outputs == {
        "scores": TensorSpec(DataType.FLOAT32, (-1, 3)),
        "top": TensorSpec(DataType.INT64, (-1,)),
    }
    assert signature.defaults["scale"] == 2.0
    x = np.array([[0, 5, 1]], np.float32)
    scores, top = run(model, np.array(1), x, np.array(3.0))
    np.testing.assert_array_equal(scores, x * 3)
    np.testing.assert_array_equal(top, [2])


def test_outputs_can_be_declared(torch: Any, tmp_path: Path) -> None:
    script(torch, tmp_path, "def forward(self, x: Tensor):\n  return x.argmax(-1)\n")
    model = load(tmp_path, outputs="best: int64[-1]")
    assert model.signatures[SERVED].outputs == {"best": TensorSpec(DataType.INT64, (-1,))}


def test_torchscript_that_writes_into_its_argument_leaves_the_callers_alone(
    torch: Any, tmp_path: Path
) -> None:
    script(torch, tmp_path, "def forward(self, x: Tensor):\n  return x.add_(1)\n")
    x = np.zeros((2, 3), np.float32)
    assert run(load(tmp_path), x)[0].max() == 1
    assert x.max() == 0


@pytest.mark.parametrize(
    ("source", "options", "text"),
    [
        (
            "def forward(self, x: List[Tensor]):\n  return x[0]\n",
            {},
            r"argument x .* cannot be sent",
        ),
        ("def forward(self, s: str):\n  return s\n", {}, "argument s .* cannot be sent"),
        ("def forward(self, x: Tensor):\n  return x\n", {"inputs": "a: int8, b: int8"}, "2 inputs"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(
    source: str, options: dict[str, str], text: str, torch: Any, tmp_path: Path
) -> None:
    with pytest.raises(FailedPrecondition, match=text):
        load(script(torch, tmp_path, source), **options)


def test_the_error_of_torchscript_is_told_without_its_own_source(
    torch: Any, tmp_path: Path
) -> None:
    script(torch, tmp_path, "def forward(self, x: Tensor):\n  return x.view(7)\n")
    with pytest.raises(InvalidArgument) as caught:
        run(load(tmp_path), np.zeros(3, np.float32))
    assert "shape '[7]' is invalid for input of size 3" in caught.value.message
    assert "Traceback" not in caught.value.message


# -- AOTInductor -----------------------------------------------------------------------------------


@pytest.mark.stress
def test_a_compiled_package_runs_and_never_reads_past_an_array(torch: Any, tmp_path: Path) -> None:
    class Net(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any, more: Any) -> Any:
            return {"sum": x + more["a"][:, None], "top": x.argmax(-1)}

    rows = torch.export.Dim("rows")
    program = torch.export.export(
        *(Net(), (torch.zeros(2, 4), {"a": torch.zeros(2)})),
        dynamic_shapes=({0: rows}, {"a": {0: rows}}),
    )
    inductor = import_module("torch._inductor")
    inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "model.pt2"))
    model = load(tmp_path)
    signature = model.signatures[SERVED]
    assert signature.inputs == {
        "x0": TensorSpec(DataType.FLOAT32, (-1, 4)),
        "x1_a": TensorSpec(DataType.FLOAT32, (-1,)),
    }
    assert signature.outputs == {
        "sum": TensorSpec(DataType.FLOAT32, (-1, 4)),
        "top": TensorSpec(DataType.INT64, (-1,)),
    }
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    total, top = run(model, x, np.ones(3, np.float32))
    np.testing.assert_array_equal(total, x + 1)
    np.testing.assert_array_equal(top, [3, 3, 3])
    with pytest.raises(InvalidArgument, match=r"Input x0 is float32\[-1, 4\]"):
        run(model, np.zeros((3, 2), np.float32), np.ones(3, np.float32))
