"""With PyTorch itself."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tests.with_torch import marks_with_torch

from salver.backends.selection import Selector
from salver.errors import InvalidArgument
from salver.exporting import Asked, Made, export, is_live, live_name
from salver.vocabulary.model import Model
from salver.vocabulary.signature import Signature

pytestmark = marks_with_torch()

SERVED = "serving_default"
ROWS = np.zeros((1, 4), np.float32)


class Pair(NamedTuple):
    a: Any
    b: Any


@dataclass
class Named:
    logits: Any


@pytest.fixture
def torch() -> Any:
    return import_module("torch")


@pytest.fixture
def net(torch: Any) -> Callable[..., Any]:
    """Make a module of its `forward`."""

    def make(forward: Callable[..., Any]) -> Any:
        def init(self: Any) -> None:
            torch.nn.Module.__init__(self)
            self.drop = torch.nn.Dropout(0.9)

        return type("Net", (torch.nn.Module,), {"__init__": init, "forward": forward})()

    return make


def exported(module: Any, directory: Path, inputs: Any) -> tuple[Made, Model]:
    made = export(module, directory / "1", Asked(inputs=inputs))
    return made, Selector()(directory / "1").load()


def signature(module: Any, directory: Path, inputs: Any) -> Signature:
    return exported(module, directory, inputs)[1].signatures[SERVED]


def test_an_example_of_one_row_leaves_their_number_open(
    net: Callable[..., Any], tmp_path: Path
) -> None:
    module = net(lambda self, x: self.drop(x) * 2)
    assert is_live(module)
    assert live_name(module) == "Net"
    made, model = exported(module, tmp_path, ROWS)
    assert made == Made()
    for rows in (0, 1, 2, 5):
        x = np.ones((rows, 4), np.float32)
        (y,) = model.program(SERVED).run([x])
        np.testing.assert_array_equal(y, x * 2)  # and nothing is dropped


def test_the_module_is_afterwards_as_it_was(net: Callable[..., Any], tmp_path: Path) -> None:
    module = net(lambda self, x: x)
    module.train()
    module.drop.eval()
    exported(module, tmp_path, ROWS)
    assert (module.training, module.drop.training) == (True, False)
    assert not module._forward_hooks


@pytest.mark.parametrize(
    "inputs",
    [{"x": ROWS, "scale": 2.0}, (ROWS, 2.0), [ROWS, 2.0]],
    ids=["by name", "a tuple", "a list"],
)
def test_examples_go_by_name_or_place(inputs: Any, net: Callable[..., Any], tmp_path: Path) -> None:
    module = net(lambda self, x, scale=1.0: x * scale)
    assert signature(module, tmp_path, inputs).inputs.keys() == {"x"}


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        (lambda x: Pair(x, x + 1), ["a", "b"]),
        (lambda x: Named(x), ["logits"]),
        (lambda x: (x, [x + 1]), ["y0", "y1_0"]),
        (lambda x: {"deep": Pair(x, x + 1)}, ["deep_a", "deep_b"]),
    ],
)
def test_outputs_have_the_names_of_fields(
    answer: Callable[[Any], Any], names: list[str], net: Callable[..., Any], tmp_path: Path
) -> None:
    found = signature(net(lambda self, x: answer(x)), tmp_path, {"x": ROWS})
    assert list(found.outputs) == names


def test_a_module_that_takes_one_number_of_rows_is_exported_with_a_warning(
    net: Callable[..., Any], tmp_path: Path
) -> None:
    module = net(lambda self, x: x.reshape(2, 8))
    made, model = exported(module, tmp_path, np.zeros((2, 8), np.float32))
    assert made.warnings == (
        "The module takes x with 2 along axis 0 alone: requests are not batched",
    )
    assert model.signatures[SERVED].inputs["x"].shape == (2, 8)


def test_the_example_is_not_in_the_file(net: Callable[..., Any], tmp_path: Path) -> None:
    large = np.zeros((1000, 1000), np.float32)
    exported(net(lambda self, x: x.sum()), tmp_path, large)
    assert (tmp_path / "1" / "model.pt2").stat().st_size < 100_000


def test_a_way_that_depends_on_values_is_refused_with_advice(
    net: Callable[..., Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    module = net(lambda self, x: x + 1 if x.sum() > 0 else x)
    with pytest.raises(InvalidArgument, match="PyTorch cannot export the module: ") as caught:
        export(module, tmp_path / "1", Asked(inputs=ROWS))
    assert "torch.cond" in (caught.value.hint or "")
    assert len(caught.value.message) < 2000
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        (None, "does not say what it takes"),
        ({"z": ROWS}, "inputs do not fit forward"),
        ({}, "inputs do not fit forward"),
        (["a"], "An example of an input is a str"),
        (ROWS[:, :3], "The module does not run with inputs"),
    ],
)
def test_an_example_that_does_not_fit_is_refused(
    inputs: Any, text: str, net: Callable[..., Any], tmp_path: Path
) -> None:
    module = net(lambda self, x: x.reshape(-1, 4))
    with pytest.raises(InvalidArgument, match=text):
        export(module, tmp_path / "1", Asked(inputs=inputs))


def test_an_exported_program_needs_no_example(
    torch: Any, net: Callable[..., Any], tmp_path: Path
) -> None:
    program = torch.export.export(net(lambda self, x: x * 3), (torch.zeros(2, 4),))
    assert signature(program, tmp_path, None).inputs["x"].shape == (2, 4)
    assert program.example_inputs is not None


def test_torchscript_is_written_as_it_is(
    torch: Any, net: Callable[..., Any], tmp_path: Path
) -> None:
    module = torch.jit.trace(torch.nn.Linear(4, 2), torch.zeros(1, 4))
    export(module, tmp_path / "1")
    assert [of.name for of in (tmp_path / "1").iterdir()] == ["model.pt"]
