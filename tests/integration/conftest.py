from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.grpc_clients.plain import Client, connected
from tests.integration.serving import Server, running, start

# Name of a model in the shared configuration → its name in the catalogue.
MODELS = {
    **dict.fromkeys(
        [
            "classes", "counter", "every_dtype", "failing", "half_plus_three", "half_plus_two",
            "half_plus_two_tf2", "matrix_half_plus_two", "several", "slicer", "slow", "strings",
        ]
    ),
    "versions": "half_plus_two_2_versions",
}  # fmt: skip


OVER_BOTH_TRANSPORTS = frozenset(
    f"tests.integration.test_grpc_{name}"
    for name in ("faults", "official", "open_inference", "stopping", "transport")
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is said of the gRPC door over our own transport and over the gRPC library."""
    if metafunc.module.__name__ in OVER_BOTH_TRANSPORTS and "grpc_flags" in metafunc.fixturenames:
        metafunc.parametrize("grpc_flags", ["native", "grpcio"], indirect=True, scope="session")


@pytest.fixture(scope="session")
def grpc_flags(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """What chooses the transport of gRPC; nothing where a test does not mind."""
    transport = getattr(request, "param", None)
    return () if transport is None else (f"--grpc_transport={transport}",)


@pytest.fixture
def start_server(grpc_flags: tuple[str, ...]) -> Iterator[Callable[..., Server]]:
    """Start servers that are ready when the call returns; all are ended after the test."""
    with ExitStack() as servers:

        def start_one(*flags: str, **more: object) -> Server:
            return servers.enter_context(running(*grpc_flags, *flags, **more))

        yield start_one


@pytest.fixture
def launch_server(grpc_flags: tuple[str, ...]) -> Iterator[Callable[..., Server]]:
    """Start servers without waiting for them; all are ended after the test."""
    with ExitStack() as servers:

        def launch(*flags: str, **more: object) -> Server:
            server = start(*grpc_flags, *flags, **more)  # type: ignore[arg-type]
            servers.callback(server.dispose)
            return server

        yield launch


@pytest.fixture(scope="session")
def all_models_config(
    model_path: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A configuration file of every model the gRPC tests ask for."""
    entries = []
    for name, catalogued in MODELS.items():
        extra = ""
        if name == "versions":
            extra = "model_version_policy { all {} }" + "".join(
                f' version_labels {{ key: "{label}" value: {version} }}'
                for label, version in (("stable", 123), ("canary", 124), ("gone", 99))
            )
        entries.append(
            f'config {{ name: "{name}" base_path: "{model_path(catalogued or name)}"'
            f' model_platform: "tensorflow" {extra} }}'
        )
    file = tmp_path_factory.mktemp("grpc") / "models.config"
    file.write_text("model_config_list {\n" + "\n".join(entries) + "\n}\n")
    return file


@pytest.fixture(scope="session")
def all_models_server(all_models_config: Path, grpc_flags: tuple[str, ...]) -> Iterator[Server]:
    """A server of all of them, which no test may change."""
    with running(
        *grpc_flags,
        f"--model_config_file={all_models_config}",
        "--allow_version_labels_for_unavailable_models",
        "--enable_grpc_healthcheck_service",
        "--enable_session_service",
    ) as server:
        yield server


@pytest.fixture(scope="session")
def shared_channel(all_models_server: Server) -> Iterator[Client]:
    with connected(all_models_server.grpc_target) as client:
        yield client


@pytest.fixture
def client(shared_channel: Client, all_models_server: Server) -> Iterator[Client]:
    """A client of the one server of all models, which must survive each test."""
    yield shared_channel
    assert shared_channel.predict("half_plus_two", {"x": [2.0]}) == {"y": [3.0]}
    assert all_models_server.process.poll() is None
