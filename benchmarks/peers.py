"""Other servers of Python, in a virtual environment of their own, made when it is asked for.

They see the packages of this environment behind their own, for TensorFlow; nothing is installed
into this one, and Salver needs none of them.
"""

import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import contestants
from contestants import Start
from stage import PYTHON_FUNCTION

import salver


@dataclass(frozen=True)
class Peer:
    """How a peer is installed and asked.

    Attributes:
        packages: what pip installs for it.
        path: to which it takes requests.
        runs: ways to run the model, see `peer_model.py`.
    """

    script: str
    packages: tuple[str, ...]
    path: str
    runs: tuple[str, ...] = ("tensorflow", "c_api")


PEERS: Mapping[str, Peer] = {
    "FastAPI": Peer(
        "peer_fastapi.py",
        ("fastapi", "uvicorn", "uvloop", "httptools", "orjson"),
        "/v1/models/m:predict",
        ("tensorflow", "c_api", "python"),
    ),
    "mosec": Peer(
        "peer_mosec.py", ("mosec", "orjson"), "/inference", ("tensorflow", "c_api", "python")
    ),
    "LitServe": Peer("peer_litserve.py", ("litserve",), "/predict", ("tensorflow", "python")),
    "BentoML": Peer("peer_bentoml.py", ("bentoml",), "/predict", ("python",)),
}
LINK = "salver-benchmarks.pth"


def environment(place: Path) -> Path:
    """The interpreter of the environment, made where it is not there yet."""
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        (packages,) = (place / "lib").glob("python*/site-packages")
        (packages / LINK).write_text(sysconfig.get_path("purelib") + "\n")
    return python


def install(place: Path, name: str) -> str:
    """Install one peer; why it cannot be had here, or nothing."""
    python = environment(place)
    installed = place / f"{name}.installed"
    if installed.exists():
        return ""
    command = [str(python), "-m", "pip", "install", "--quiet", *PEERS[name].packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["pip failed"])[-1]
    installed.touch()
    return ""


def starts(place: Path) -> dict[str, Start]:
    """The peers that are installed, each in all the ways it runs a model."""
    python = place / "bin" / "python"
    root = Path(salver.__file__).resolve().parents[1]
    found = {}
    for name, peer in PEERS.items():
        if (place / f"{name}.installed").exists():
            for run in peer.runs:
                by = contestants.peer(peer.script, python, peer.path, run, root)
                found[f"{name}, {RUNS[run]}"] = by
    return found


RUNS = {"tensorflow": "tf.saved_model", "c_api": "C API", "python": PYTHON_FUNCTION}


def versions(place: Path) -> dict[str, str]:
    """Of what is installed of the peers."""
    python = place / "bin" / "python"
    names = [name.lower() for name in PEERS if (place / f"{name}.installed").exists()]
    if not names:
        return {}
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    said = subprocess.run([str(python), "-c", code, *names], capture_output=True, text=True,
                          check=True).stdout.split()  # fmt: skip
    return dict(zip(names, said, strict=True))
