"""The package as it would be released: built, checked, installed by itself, and used."""

import importlib.util
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from salver import __version__
from tests.integration.serving import eventually, free_port

ROOT = Path(__file__).resolve().parents[2]
CANNOT = ("No matching distribution found", "Failed to establish a new connection", "Timeout")


def run(*command: str | Path, cwd: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        command,
        cwd=cwd,
        env={**environment, **more},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both archives, checked. Built with what is installed here, so that no registry is needed."""
    out = tmp_path_factory.mktemp("dist")
    built = run(*(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT), cwd=out)
    assert built.returncode == 0, built.stdout + built.stderr
    checked = run(sys.executable, "-m", "twine", "check", "--strict", *out.iterdir(), cwd=out)
    assert checked.returncode == 0, checked.stdout
    return out


@dataclass(frozen=True, slots=True)
class Installed:
    """A wheel, and an environment that has nothing but it."""

    wheel: Path
    environment: Path

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    def salver(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = self.environment / "bin" / "salver"
        path = f"{self.environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return run(command, *arguments, cwd=self.environment, PATH=path)

    @contextmanager
    def serving(self, *arguments: str) -> Iterator[str]:
        port = free_port()
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        command = [str(self.environment / "bin" / "salver"), "serve", *arguments]
        process = subprocess.Popen(
            [*command, f"--rest_api_port={port}", "--port=0"],
            cwd=self.environment,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            eventually("it is ready", lambda: _is_ready(url))
            yield url
        finally:
            process.terminate()
            assert process.wait(60) == 0


def _is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz/ready", timeout=10).status_code == 200
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    (wheel,) = dist.glob("*.whl")
    environment = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(environment, with_pip=True)
    made = Installed(wheel, environment)
    pip = run(made.python, "-m", "pip", "install", "--quiet", wheel, cwd=environment)
    if pip.returncode and any(words in pip.stderr for words in CANNOT):
        pytest.skip("the dependencies cannot be had here")
    assert pip.returncode == 0, pip.stderr
    return made


def test_the_wheel_has_what_the_package_has_and_nothing_else(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    source = ROOT / "src"
    ours = {
        path.relative_to(source).as_posix()
        for path in (source / "salver").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == ours


def test_the_source_archive_has_the_tests_and_the_documents(dist: Path) -> None:
    (archive,) = dist.glob("*.tar.gz")
    top = f"salver-{__version__}"
    with tarfile.open(archive) as opened:
        names = set(opened.getnames())
    for path in ("README.md", "docs/rest.md", "changes/README.md", "tests/conftest.py", "Makefile"):
        assert f"{top}/{path}" in names
    assert not [name for name in names if "__pycache__" in name or "/.venv" in name]


def test_installed_alone_it_says_its_version_and_what_is_missing(
    installed: Installed, model_path: Callable[[str], Path]
) -> None:
    said = installed.salver("--version")
    assert said.stdout == f"salver {__version__}\nTensorFlow Library: not installed\n"
    model = str(model_path("half_plus_two"))
    assert "serving_default" in installed.salver("show", model).stdout
    program = (
        "from salver.backends.tensorflow.library import load_library\n"
        "try: load_library()\nexcept Exception as error: print(error.message)"
    )
    missing = run(installed.python, "-c", program, cwd=installed.environment).stdout
    assert f"pip install '{installed.wheel}[tensorflow]'" in missing


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("model", "extra"),
    [("half_plus_two", "tensorflow"), ("lite_plain/1/model.tflite", "litert")],
    ids=["SavedModel", "TFLite"],
)
def test_installed_alone_serve_says_what_to_install_and_ends(
    workers: int,
    model: str,
    extra: str,
    installed: Installed,
    model_path: Callable[[str], Path],
) -> None:
    name, _, inner = model.partition("/")
    path = str(model_path(name) / inner)
    ports = ("--port=0", f"--rest_api_port={free_port()}")
    ended = installed.salver("serve", path, *ports, f"--workers={workers}")
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("salver: Serving a ")
    assert last.endswith(f"Install it with: pip install '{installed.wheel}[{extra}]'")


def test_installed_alone_it_serves(installed: Installed, model_path: Callable[[str], Path]) -> None:
    """With the TensorFlow that is here already: it is large."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("TensorFlow is not installed")
    (site,) = installed.environment.glob("lib/python3*/site-packages")
    (site / "tensorflow").symlink_to(spec.submodule_search_locations[0])
    with installed.serving(str(model_path("half_plus_two"))) as url:
        answer = requests.post(
            f"{url}/v1/models/half_plus_two:predict", json={"instances": [2.0]}, timeout=60
        )
        assert answer.json() == {"predictions": [3.0]}
        assert "<html" in requests.get(f"{url}/", timeout=60).text
