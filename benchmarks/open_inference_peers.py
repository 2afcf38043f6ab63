"""Other servers of the Open Inference Protocol that pip installs, each in its own environment.

They see the packages of this environment behind their own, for TensorFlow.
"""

import json
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from peers import environment as made_environment
from processes import Child, free_ports, until_answered
from tasks import NAME, cache

import salver

HERE = Path(__file__).resolve().parent
PACKAGES = {"MLServer": "mlserver", "PyTriton": "nvidia-pytriton"}
RUNS = {"tf.saved_model": "tensorflow", "C API": "c_api"}
"""How a peer runs the model: as its users do; as cheap as can be. See `peer_model.py`."""


def place_of(name: str) -> Path:
    return cache() / f"peer-{name.lower()}"


def install(name: str) -> str:
    """Install one; why it cannot be had here, or nothing."""
    python = made_environment(place_of(name))
    installed = place_of(name) / f"{name}.installed"
    if installed.exists():
        return ""
    command = [str(python), "-m", "pip", "install", "--quiet", PACKAGES[name]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["pip failed"])[-1]
    installed.touch()
    return ""


def settings(version: Path, run: str) -> dict[str, str]:
    """The environment of a peer: which model it runs, and how, of `RUNS`."""
    root = Path(salver.__file__).resolve().parents[1]
    return {
        "PEER_VERSION": str(version),
        "PEER_RUN": RUNS[run],
        "PYTHONPATH": f"{root}:{HERE}",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def start_mlserver(
    version: Path, run: str, body: bytes, stack: ExitStack, scratch: Path
) -> tuple[Child, int]:
    """MLServer without its worker processes, and the port of its REST API."""
    directory = scratch / f"mlserver-{version.parent.name}-{RUNS[run]}"
    (directory / NAME).mkdir(parents=True)
    http, grpc, metrics = free_ports(3)
    model = {"name": NAME, "implementation": "peer_mlserver.SavedModel"}
    (directory / NAME / "model-settings.json").write_text(json.dumps(model))
    ports = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics, "host": "127.0.0.1"}
    (directory / "settings.json").write_text(
        json.dumps({**ports, "debug": False, "parallel_workers": 0})
    )
    command = [str(place_of("MLServer") / "bin" / "mlserver"), "start", str(directory)]
    log = scratch / f"mlserver-{RUNS[run]}.log"
    return _started(command, http, settings(version, run), body, stack, log)


def start_pytriton(
    version: Path, run: str, body: bytes, stack: ExitStack, scratch: Path
) -> tuple[Child, int]:
    """PyTriton, and the port of its REST API."""
    http, grpc, metrics = free_ports(3)
    python = str(place_of("PyTriton") / "bin" / "python")
    command = [python, str(HERE / "peer_pytriton.py"), str(http), str(grpc), str(metrics)]
    log = scratch / f"pytriton-{RUNS[run]}.log"
    return _started(command, http, settings(version, run), body, stack, log)


def _started(
    command: list[str],
    port: int,
    environment: dict[str, str],
    body: bytes,
    stack: ExitStack,
    log: Path,
) -> tuple[Child, int]:
    child = Child(command, log, environment)
    stack.callback(child.stop)
    until_answered(child, f"http://127.0.0.1:{port}/v2/models/{NAME}/infer", body)
    return child, port


Start = Callable[[Path, str, bytes, ExitStack, Path], tuple[Child, int]]
PEERS: Mapping[str, Start] = {"MLServer": start_mlserver, "PyTriton": start_pytriton}
