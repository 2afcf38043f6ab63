"""Files of access control, as the console commands take them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.serving import Server

LaunchServer = Callable[..., Server]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_wrong_key_file_ends_the_start(
    launch_server: LaunchServer, model_path: Callable[[str], Path], tmp_path: Path, workers: int
) -> None:
    (tmp_path / "auth.yaml").write_text("api_keys: {file: keys.txt}")
    (tmp_path / "keys.txt").write_text("garbage")
    server = launch_server(
        f"m={model_path('half_plus_two')}",
        f"--workers={workers}",
        f"--auth_config_file={tmp_path / 'auth.yaml'}",
        command="salver",
    )
    server.err.wait_for("keys.txt:1: a line is: id, SHA-256 in hexadecimal, role")
    assert server.wait() != 0
