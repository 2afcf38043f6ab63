"""What flags about loading do to a real server."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.serving import Server, run_command

StartServer = Callable[..., Server]
Paths = Callable[[str], Path]


def of(name: str, base_path: Path) -> tuple[str, str]:
    return f"--model_name={name}", f"--model_base_path={base_path}"


def test_function_that_asks_for_xla_needs_the_flag(
    model_path: Paths, start_server: StartServer
) -> None:
    model = of("compiled", model_path("compiled"))
    without = start_server(*model).predict("compiled", [2.0])
    assert without.status_code == 500
    assert without.json()["error"].startswith("XLA compilation disabled")
    assert without.json()["hint"] == "Start the server with --xla_cpu_compilation_enabled."
    compiled = start_server(*model, "--xla_cpu_compilation_enabled").predict("compiled", [2.0])
    assert compiled.json() == {"predictions": [3.0]}


def test_session_config_file_takes_effect(
    model_path: Paths, tmp_path: Path, start_server: StartServer
) -> None:
    """An optimizer that takes assertions out lets a model answer that would have failed."""
    path = tmp_path / "session.conf"
    path.write_text("graph_options { rewrite_options { debug_stripper: ON min_graph_nodes: -1 } }")
    model = of("failing", model_path("failing"))
    server = start_server(*model, f"--tensorflow_session_config_file={path}")
    assert server.predict("failing", [-1.0]).status_code == 200


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("# nothing", "INVALID_ARGUMENT: Supplied config's type_url could not be parsed: "),
        (
            'thread_pool_factory_config { type_url: "type.googleapis.com/my.Pools" }',
            "INTERNAL: Unable to find compiled-in proto descriptor of type my.Pools",
        ),
    ],
)
def test_thread_pool_factories_end_the_start(tmp_path: Path, text: str, status: str) -> None:
    path = tmp_path / "pools.conf"
    path.write_text(text)
    ended = run_command(
        "tensorflow_model_server",
        *of("m", tmp_path),
        f"--thread_pool_factory_config_file={path}",
    )
    assert ended.returncode == 255
    assert f"Failed to start server. Error: {status}\n" in ended.stdout


def test_only_so_many_versions_that_ended_are_shown(
    model_path: Paths, tmp_path: Path, start_server: StartServer
) -> None:
    base, source = tmp_path / "m", model_path("half_plus_two") / "00000123"
    shutil.copytree(source, base / "1")
    server = start_server(*of("m", base), "--max_ended_versions=1")
    for version in (2, 3):
        shutil.copytree(source, tmp_path / "new")
        (tmp_path / "new").rename(base / str(version))
        server.wait_until("m", version)
        server.wait_until("m", version - 1, "END")
    assert server.states("m") == {3: "AVAILABLE", 2: "END"}
    gone = server.get("/v1/models/m/versions/1")
    assert gone.status_code == 404
    assert gone.json()["error"] == "Could not find version 1 of model m"
