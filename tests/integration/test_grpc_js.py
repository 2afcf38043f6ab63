"""What clients of grpc-js see, which has an HTTP/2 of its own: that of node."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from salver import _pb
from tests.integration.certificates import ssl_config
from tests.integration.serving import Server, running

HERE = Path(__file__).resolve().parent / "grpc_clients" / "js"
PROTOS = Path(_pb.__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "salver-tests" / "grpc-js"


def _lacking(reason: str) -> None:
    if os.environ.get("SALVER_CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def node() -> Callable[..., dict[str, Any]]:
    """Runs the client, once its libraries are there; outside of the tree, where they are kept."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        _lacking("node or npm is not installed")
    CACHE.mkdir(parents=True, exist_ok=True)
    wanted = (HERE / "package.json").read_text()
    installed = CACHE / "installed.json"
    if not installed.exists() or installed.read_text() != wanted:
        (CACHE / "package.json").write_text(wanted)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(
            command, cwd=CACHE, capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode:
            _lacking(f"npm could not install grpc-js: {done.stderr[-500:]}")
        installed.write_text(wanted)

    def run(target: str, *more: str) -> dict[str, Any]:
        child = subprocess.run(
            ["node", str(HERE / "client.js"), target, str(PROTOS), *more],
            env={**os.environ, "NODE_PATH": str(CACHE / "node_modules")},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert child.returncode == 0, child.stderr
        results: dict[str, Any] = json.loads(child.stdout)
        return results

    return run


@pytest.fixture(scope="module")
def results(node: Callable[..., dict[str, Any]], all_models_server: Server) -> dict[str, Any]:
    return node(all_models_server.grpc_target)


SERVICES = {"tensorflow.serving.PredictionService", "grpc.health.v1.Health"}
EXPECTED: dict[str, Any] = {
    "unary": [2.5, 3.0, 4.5],
    "many_at_once": True,
    "large": [5_000_000, 2.0, 2_500_001.5],
    "gzip": 3000,
    "not_ascii": {"code": 5, "details": "Servable not found for request: Latest(mödel 100%)"},
    "deadline": 4,
    "cancelled": 1,
    "unknown_method": 12,
    "watch": "SERVING",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_grpc_js_is_answered(name: str, results: dict[str, Any]) -> None:
    assert results[name] == EXPECTED[name]


def test_grpc_js_is_told_of_the_services_twice_on_one_stream(results: dict[str, Any]) -> None:
    first, second = results["reflection"]
    assert first == second
    assert set(first) >= SERVICES


@pytest.fixture(scope="module")
def verified(
    all_models_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, list[str]]]:
    """A server that verifies its clients, and the files of one that it knows."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    shown = authority.issue_cert("client@example.org")
    (directory / "ca.pem").write_bytes(authority.cert_pem.bytes())
    (directory / "client.key").write_bytes(shown.private_key_pem.bytes())
    (directory / "client.pem").write_bytes(shown.cert_chain_pems[0].bytes())
    config = directory / "ssl.config"
    config.write_text(ssl_config(authority, verify_clients=True))
    with running(
        f"--model_config_file={all_models_config}",
        "--enable_grpc_healthcheck_service",
        "--allow_version_labels_for_unavailable_models",
        f"--ssl_config_file={config}",
    ) as server:
        yield server, [str(directory / name) for name in ("ca.pem", "client.key", "client.pem")]


def test_grpc_js_is_answered_by_tls_with_certificates_both_ways(
    node: Callable[..., dict[str, Any]], verified: tuple[Server, list[str]]
) -> None:
    server, files = verified
    results = node(server.grpc_target, *files)
    assert {name: results[name] for name in EXPECTED} == EXPECTED
