"""What happens to a running server when its configuration file changes, and what limits do."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.serving import Server, eventually

StartServer = Callable[..., Server]
OFTEN = "--model_config_file_poll_wait_seconds=1"
SELDOM = "--model_config_file_poll_wait_seconds=3600"


@pytest.fixture
def base_path(model_path: Callable[[str], Path], tmp_path: Path) -> Path:
    """A base path of its own with versions 1 and 2 of half_plus_two."""
    base = tmp_path / "models" / "m"
    for version in (1, 2):
        shutil.copytree(model_path("half_plus_two") / "00000123", base / str(version))
    return base


def entry(name: str, base_path: Path, *versions: int, stable: int = 0) -> str:
    policy = " ".join(f"versions: {version}" for version in versions)
    label = f'version_labels {{ key: "stable" value: {stable} }}' if stable else ""
    return (
        f'config {{ name: "{name}" base_path: "{base_path}" model_platform: "tensorflow" '
        f"model_version_policy {{ specific {{ {policy} }} }} {label} }}"
    )


def put(path: Path, *entries: str) -> None:
    """Replace a file as an editor or a deployment does: whole, by renaming."""
    new = path.with_suffix(".new")
    new.write_text(f"model_config_list {{ {' '.join(entries)} }}")
    new.rename(path)


def version_of(server: Server, path: str = "m") -> str:
    answer = server.post(f"/v1/models/{path}:predict", {"instances": [1.0]})
    return answer.headers["salver-model-version"] if answer.status_code == 200 else answer.text


@pytest.mark.parametrize("period", [OFTEN, SELDOM], ids=["by polling", "by watching"])
def test_changes_of_the_file_are_served(
    base_path: Path, tmp_path: Path, start_server: StartServer, period: str
) -> None:
    path = tmp_path / "models.conf"
    put(path, entry("m", base_path, 1))
    server = start_server(f"--model_config_file={path}", period)
    assert version_of(server) == "1"
    put(path, entry("m", base_path, 1, stable=1), entry("n", base_path, 2))
    server.wait_until("n", 2)
    eventually("the label is there", lambda: version_of(server, "m/labels/stable") == "1")
    put(path, entry("m", base_path, 1, 2, stable=2))
    eventually("the label has moved", lambda: version_of(server, "m/labels/stable") == "2")
    server.wait_until("n", 2, "END")
    assert server.stop() == 0


def test_wrong_file_is_told_of_and_what_was_served_goes_on(
    base_path: Path, tmp_path: Path, start_server: StartServer
) -> None:
    path = tmp_path / "models.conf"
    put(path, entry("m", base_path, 1))
    server = start_server(f"--model_config_file={path}", OFTEN)
    path.write_text("model_config_lost {}")
    line = server.err.wait_for("Failed to read ModelServerConfig file: ")
    assert f"Invalid protobuf file: '{path}'" in line
    assert 'no field named "model_config_lost"' in line
    put(path, entry("m", base_path, 1), entry("m", base_path, 1))
    line = server.err.wait_for("PollFilesystemAndReloadConfig failed to ReloadConfig: ")
    assert "Illegal to list model m multiple times in config list" in line
    assert version_of(server) == "1"
    put(path, entry("m", base_path, 2))
    server.wait_until("m", 2)


@pytest.mark.parametrize("period", [OFTEN, SELDOM], ids=["by polling", "by watching"])
def test_file_that_becomes_a_pipe_is_told_of_and_the_next_file_is_applied(
    base_path: Path, tmp_path: Path, start_server: StartServer, period: str
) -> None:
    path = tmp_path / "models.conf"
    put(path, entry("m", base_path, 1))
    server = start_server(f"--model_config_file={path}", period)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    pipe.rename(path)
    server.err.wait_for(
        f"Failed to read ModelServerConfig file: {path}; Is a pipe, not a regular file"
    )
    assert version_of(server) == "1"
    put(path, entry("m", base_path, 2))
    server.wait_until("m", 2)


def test_at_start_up_the_configuration_may_come_out_of_a_pipe(
    base_path: Path, tmp_path: Path, start_server: StartServer
) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    text = f"model_config_list {{ {entry('m', base_path, 2)} }}"
    writer = threading.Thread(target=path.write_text, args=(text,))
    writer.start()
    server = start_server(f"--model_config_file={path}")
    writer.join()
    assert version_of(server) == "2"


def test_new_model_that_never_comes_keeps_no_later_file_waiting(
    base_path: Path, tmp_path: Path, start_server: StartServer
) -> None:
    path = tmp_path / "models.conf"
    put(path, entry("m", base_path, 1))
    server = start_server(f"--model_config_file={path}", OFTEN, command="salver")
    (tmp_path / "empty").mkdir()
    put(path, entry("m", base_path, 1), entry("n", tmp_path / "empty", 1))
    server.err.wait_for(" (Re-)adding model: n")
    put(path, entry("m", base_path, 2))
    server.wait_until("m", 2)


def test_version_that_does_not_fit_is_refused_until_another_goes(
    base_path: Path, tmp_path: Path, start_server: StartServer
) -> None:
    files = sum(file.stat().st_size for file in (base_path / "1").rglob("*") if file.is_file())
    path = tmp_path / "models.conf"
    put(path, entry("m", base_path, 1))
    server = start_server(
        f"--model_config_file={path}", SELDOM, f"--max_model_memory_bytes={int(files * 2)}"
    )
    put(path, entry("m", base_path, 1), entry("n", base_path, 2))
    server.wait_until("n", 2, "END")
    [status] = server.get("/v1/models/n").json()["model_version_status"]
    assert status["status"] == {
        "error_code": "RESOURCE_EXHAUSTED",
        "error_message": "Insufficient resources to load servable {name: n version: 2}",
    }
    assert version_of(server) == "1"
    put(path, entry("n", base_path, 2))
    server.wait_until("n", 2)


def test_platform_file_says_which_platforms_there_are(
    model_path: Callable[[str], Path], tmp_path: Path, start_server: StartServer
) -> None:
    platforms, models = tmp_path / "platforms.conf", tmp_path / "models.conf"
    adapter = "type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig"
    platforms.write_text(
        'platform_configs { key: "other" value { source_adapter_config { '
        f'[{adapter}] {{ legacy_config {{ saved_model_tags: "serve" '
        'saved_model_tags: "gpu" } } } } }'
    )
    models.write_text(
        'model_config_list { config { name: "m" model_platform: "other" '
        f'base_path: "{model_path("two_tags")}" }} }}'
    )
    server = start_server(f"--model_config_file={models}", f"--platform_config_file={platforms}")
    assert server.predict("m", [2.0]).json() == {"predictions": [20.0]}
