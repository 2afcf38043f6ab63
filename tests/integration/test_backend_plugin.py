"""The package in examples/backend_plugin, installed and served: nothing here knows its backend."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.chromium import browsing
from tests.integration.grpc_clients.plain import connected, message
from tests.integration.serving import SOURCES, Server, run_command, running

PLUGIN = SOURCES.parent / "examples" / "backend_plugin"
MODELS = PLUGIN / "models"

SHOWN = """\
Linear model at {file} (version 1)

The model contains the following SignatureDefs:

signature_def['serving_default']:
  inputs:
    inputs['x'] tensor_info:
        dtype: DT_FLOAT
        shape: (-1, 2)
"""
TOLD = """\
assets/salver.json says:
  A line
  Twice the first column, and the second, and a half.
  signature serving_default:
    input x: vector; columns first, second
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory into which the package was installed, from a copy, and nothing else."""
    scratch = tmp_path_factory.mktemp("plugin")
    source = scratch / "source"
    shutil.copytree(PLUGIN, source, ignore=shutil.ignore_patterns("__pycache__", "build", "dist"))
    target = scratch / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*pip, "--no-index", "--disable-pip-version-check", "--target", target, source],
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if "No module named pip" in done.stderr:
        pytest.skip("pip is not installed")
    assert done.returncode == 0, done.stderr
    return target


def test_no_line_of_salver_knows_it_and_it_is_short() -> None:
    for path in (SOURCES / "salver").rglob("*.py"):
        assert "linear.json" not in path.read_text()
    assert len((PLUGIN / "salver_linear.py").read_text().splitlines()) < 100


def test_without_the_package_its_files_are_unknown() -> None:
    done = run_command("salver", "show", str(MODELS / "line"))
    assert done.returncode == 1
    assert "holds no model" in done.stderr


@pytest.mark.parametrize("what", ["line", "line/1", "line/1/linear.json"])
def test_it_is_shown(what: str, packages: Path) -> None:
    done = run_command("salver", "show", str(MODELS / what), packages=packages)
    assert done.returncode == 0, done.stderr
    file = MODELS / "line" / "1" / "linear.json"
    head = SHOWN.format(file=file)
    if what.endswith(".json"):
        head = head.replace(" (version 1)", "")
    assert done.stdout.startswith(head)
    assert TOLD in done.stdout


def _ask_over_grpc(server: Server) -> list[float]:
    request = message("PredictRequest")
    request.model_spec.name = "line"
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.dim.add(size=1)
    request.inputs["x"].tensor_shape.dim.add(size=2)
    request.inputs["x"].float_val.extend([1.0, 2.0])
    with connected(server.grpc_target) as client:
        return list(client.call("Predict", request, timeout=60).outputs["y"].float_val)


@pytest.mark.parametrize("workers", [1, 2])
def test_it_is_served_over_both_apis_and_described_in_the_playground(
    workers: int, packages: Path
) -> None:
    flags = (str(MODELS / "line"), f"--workers={workers}")
    with running(*flags, command="salver", packages=packages) as server:
        for _ in range(20):  # also by runs in the event loop
            assert server.predict("line", [[1.0, 2.0], [0.0, 0.0]]).json() == {
                "predictions": [[4.5], [0.5]]
            }
        assert _ask_over_grpc(server) == [4.5]
        refused = server.predict("line", [[1.0, 2.0, 3.0]])
        assert refused.status_code == 400
        assert "x does not fit" in refused.json()["error"]
        metadata = server.get("/v1/models/line/metadata").json()["metadata"]
        (signature,) = metadata["signature_def"]["signature_def"].values()
        assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
        assert [dim["size"] for dim in signature["inputs"]["x"]["tensor_shape"]["dim"]] == [
            "-1",
            "2",
        ]
        with browsing() as page:
            page.open(f"{server.url}/#/model/line")
            page.wait_for_text("main", "Twice the first column, and the second, and a half.")


@pytest.mark.parametrize(
    "flags", [("--lazy_load_models",), ("--enable_batching",)], ids=["when asked", "batched"]
)
def test_it_is_served_by_its_name_and_its_option_is_a_flag(
    flags: tuple[str, ...], packages: Path, tmp_path: Path
) -> None:
    config = tmp_path / "models.conf"
    config.write_text(
        f'model_config_list {{ config {{ name: "line" base_path: "{MODELS / "line"}" '
        'model_platform: "linear" } }'
    )
    more = (f"--model_config_file={config}", "--linear_scale=10", *flags)
    with running(*more, packages=packages) as server:
        assert server.predict("line", [[1.0, 2.0]]).json() == {"predictions": [[45.0]]}


def test_a_base_path_that_holds_its_file_and_no_versions_is_version_1(packages: Path) -> None:
    flags = ("--model_name=line", f"--model_base_path={MODELS / 'line' / '1'}")
    with running(*flags, packages=packages) as server:
        assert server.states("line") == {1: "AVAILABLE"}
        assert server.predict("line", [[1.0, 2.0]], version=1).json() == {"predictions": [[4.5]]}


def test_its_flags_are_listed_and_a_wrong_value_is_refused(packages: Path) -> None:
    told = run_command("salver", "serve", "--help-all", packages=packages).stdout
    assert "--linear_scale=1.0" in told
    assert "By which the outputs of linear models are multiplied." in told
    wrong = run_command(
        "salver", "serve", str(MODELS / "line"), "--linear_scale=x", packages=packages
    )
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "salver: Couldn't interpret value x for flag linear_scale.\n",
    )
    unknown = run_command("salver", "serve", str(MODELS / "line"), "--linear_scale=2")
    assert unknown.returncode == 2
    assert "there is no flag --linear_scale" in unknown.stderr


def test_a_broken_file_says_so(packages: Path, tmp_path: Path) -> None:
    (tmp_path / "line" / "1").mkdir(parents=True)
    (tmp_path / "line" / "1" / "linear.json").write_text("{}")
    done = run_command("salver", "show", str(tmp_path / "line"), packages=packages)
    assert done.returncode == 1
    assert "linear.json is no linear model: 'weights'" in done.stderr


def test_it_is_published_and_checked(packages: Path, tmp_path: Path) -> None:
    source = MODELS / "line" / "1" / "linear.json"
    done = run_command("salver", "publish", str(source), str(tmp_path / "line"), packages=packages)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "line" / "1" / "linear.json").read_bytes() == source.read_bytes()
