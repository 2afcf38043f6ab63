"""Programs of PyTorch behind a real server, by both APIs, and modules served from Python."""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import salver
from salver.errors import InvalidArgument
from tests.integration.serving import Server, run_command, running
from tests.with_torch import marks_with_torch

pytestmark = marks_with_torch()


@pytest.fixture(scope="module")
def server(model_path: Callable[[str], Path]) -> Iterator[Server]:
    file = model_path("exported") / "1" / "model.pt2"
    with running(f"net={file}", command="salver") as server:
        yield server


@pytest.fixture(params=["rest", "grpc"])
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[salver.Client]:
    url = server.url if request.param == "rest" else f"grpc://{server.grpc_target}"
    with salver.Client(url) as client:
        yield client


def test_a_file_is_served_by_both_apis(client: salver.Client) -> None:
    x = np.array([[3, 1], [0, 0]], np.float32)
    answer = client.predict("net", x)
    np.testing.assert_array_equal(answer["y"], [[3.5, 2.5], [0.5, 0.5]])
    np.testing.assert_array_equal(answer["top"], [0, 0])
    assert answer.version == 1
    inputs = client.metadata("net").signatures["serving_default"].inputs
    assert inputs["x"].shape == (-1, 2)


def test_what_does_not_fit_is_the_callers_fault(client: salver.Client) -> None:
    with pytest.raises(InvalidArgument, match=r"Input x is float32\[-1, 2\]"):
        client.predict("net", np.zeros((1, 3), np.float32))


def test_show_needs_no_load(model_path: Callable[[str], Path]) -> None:
    done = run_command("salver", "show", str(model_path("exported")))
    assert "PyTorch model at" in done.stdout
    assert "inputs['x'] tensor_info" in done.stdout


def _module(factor: float = 2.0) -> Any:
    torch = import_module("torch")

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(factor))

        def forward(self, x: Any) -> Any:
            return {"scaled": x * self.scale}

    return Net()


def test_a_module_is_served_from_python_and_replaced_while_it_serves() -> None:
    example = {"x": np.zeros((1, 3), np.float32)}
    with salver.serve(_module(), name="net", inputs=example, grpc_port=0) as server:
        x = np.ones((5, 3), np.float32)
        np.testing.assert_array_equal(server.predict(x)["scaled"], x * 2)
        again = salver.serve(_module(3.0), name="net", inputs=example, grpc_port=0)
        assert again is server
        np.testing.assert_array_equal(server.predict(x)["scaled"], x * 3)


def test_a_published_module_passes_its_check(tmp_path: Path) -> None:
    example = {"x": np.zeros((1, 3), np.float32)}
    published = salver.publish(_module(), tmp_path / "net", inputs=example, warmup=True)
    assert sorted(of.name for of in published.path.iterdir()) == ["assets.extra", "model.pt2"]
