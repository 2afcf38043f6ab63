from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.integration.serving import Server, running, start


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Start servers that are ready when the call returns; all are ended after the test."""
    with ExitStack() as servers:

        def start_one(*flags: str, command: str = "tensorflow_model_server") -> Server:
            return servers.enter_context(running(*flags, command=command))

        yield start_one


@pytest.fixture
def launch_server() -> Iterator[Callable[..., Server]]:
    """Start servers without waiting for them; all are ended after the test."""
    with ExitStack() as servers:

        def launch(*flags: str, **more: object) -> Server:
            server = start(*flags, **more)  # type: ignore[arg-type]
            servers.callback(server.dispose)
            return server

        yield launch
