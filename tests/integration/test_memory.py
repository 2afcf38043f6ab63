"""Loading and unloading for ever keeps nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.serving import Server, eventually

MIB = 1 << 20
StartServer = Callable[..., Server]


def grown_bytes(server: Server, base: Path, *, warm: int, rounds: int) -> int:
    """How much the server grows over `rounds` replacements, after `warm` of them."""
    held = 0
    for version in range(2, 2 + warm + rounds):
        (base / str(version - 1)).rename(base / str(version))

        def has_taken_over(version: int = version) -> bool:
            answer = server.predict("m", [1.0])
            return answer.headers.get("salver-model-version") == str(version)

        eventually(f"version {version} answers", has_taken_over)
        server.wait_until("m", version - 1, "END")
        if version == 1 + warm:
            held = server.resident_bytes()
    return server.resident_bytes() - held


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    return tmp_path / "m"


def serve(model: Path, base_path: Path, start_server: StartServer) -> Server:
    base_path.mkdir()
    shutil.copytree(model, base_path / "1")
    return start_server("--model_name=m", f"--model_base_path={base_path}")


def test_a_model_of_64_mib_is_given_back_when_it_is_replaced(
    version_path: Callable[[str], Path], base_path: Path, start_server: StartServer
) -> None:
    server = serve(version_path("big"), base_path, start_server)
    assert grown_bytes(server, base_path, warm=3, rounds=6) < 96 * MIB


@pytest.mark.stress
def test_100_replacements_of_a_small_model_leave_the_memory_flat(
    version_path: Callable[[str], Path], base_path: Path, start_server: StartServer
) -> None:
    server = serve(version_path("half_plus_two"), base_path, start_server)
    assert grown_bytes(server, base_path, warm=50, rounds=100) < 8 * MIB
