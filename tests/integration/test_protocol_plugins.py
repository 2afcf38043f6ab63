"""A protocol that another package brings, in real servers."""

from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests

from tests.integration.serving import PATIENCE_S, Server

StartServer = Callable[..., Server]
PLUGIN = Path(__file__).with_name("plugins") / "numbers_protocol.py"


def installed(directory: Path, text: str, where: str = "numbers_protocol:make_api") -> Path:
    """A directory as pip leaves it behind."""
    (directory / "numbers_protocol.py").write_text(text)
    about = directory / "numbers_protocol-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: numbers-protocol\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[salver.protocols]\nnumbers = {where}\n")
    return directory


def rest(server: Server, port: int, model: str = "m", body: bytes = b"[1, 2]") -> requests.Response:
    url = f"http://127.0.0.1:{port}/numbers/{model}"
    return requests.post(url, data=body, timeout=PATIENCE_S)


def rpc(port: int) -> list[float]:

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        data = b"m\0" + np.array([1, 2], np.float32).tobytes()
        answer = channel.unary_unary("/plug.Numbers/Run")(data, timeout=PATIENCE_S)
    return [float(each) for each in np.frombuffer(answer, np.float32)]


def test_the_plug_in_has_fewer_than_60_lines() -> None:
    assert len(PLUGIN.read_text().splitlines()) < 60


@pytest.mark.parametrize("workers", [1, 2])
def test_it_is_served_on_both_ports_beside_the_other_api(
    model_path: Callable[[str], Path], start_server: StartServer, tmp_path: Path, workers: int
) -> None:
    server = start_server(
        "--model_name=m",
        f"--model_base_path={model_path('half_plus_two')}",
        f"--workers={workers}",
        packages=installed(tmp_path, PLUGIN.read_text()),
    )
    for _ in range(4):  # each on a connection of its own, so that both workers are met
        for port in (server.port, server.grpc_port):
            answer = rest(server, port)
            assert (answer.status_code, answer.json()) == (200, [2.5, 3.0])
            assert rpc(port) == [2.5, 3.0]
    assert server.predict("m", [1.0]).json() == {"predictions": [2.5]}
    missing = rest(server, server.port, "nope")
    assert missing.status_code == 404
    assert missing.json()["error"] == "Servable not found for request: Latest(nope)"
    assert rest(server, server.port, body=b"[").status_code == 400
    assert requests.get(f"{server.url}/numbers/m", timeout=PATIENCE_S).status_code == 404
    page = requests.get(f"{server.url}/metrics", timeout=PATIENCE_S).text
    counts = [line for line in page.splitlines() if "NUMBERS" in line and "_count{" in line]
    assert sum(float(line.split()[-1]) for line in counts if "request_seconds" in line) == 16


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise RuntimeError('it is broken')", "it is broken"),
        ("def make_api(parts):\n    raise ValueError('no port for me')", "no port for me"),
        (
            "from salver.protocols.api import Api\n"
            "def make_api(parts):\n"
            "    return Api(methods={'/tensorflow.serving.PredictionService/Predict': print})",
            "taken: /tensorflow.serving.PredictionService/Predict",
        ),
    ],
)
def test_one_that_cannot_be_made_ends_the_start_by_its_name(
    model_path: Callable[[str], Path],
    launch_server: StartServer,
    tmp_path: Path,
    text: str,
    said: str,
) -> None:
    server = launch_server(
        "--model_name=m",
        f"--model_base_path={model_path('half_plus_two')}",
        packages=installed(tmp_path, text),
    )
    assert server.wait() != 0
    assert "The protocol plug-in numbers (numbers_protocol:make_api)" in server.out.text()
    assert said in server.out.text()
