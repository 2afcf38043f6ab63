"""A whole life of the server in this process: what it opens, says and leaves behind.

How it behaves under signals and load is tested from outside, in tests/integration.
"""

import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc
import pytest

from salver._pb import message_class
from salver.config.models import ModelConfig
from salver.config.options import Announcement, ServeMode, ServerOptions
from salver.errors import InvalidArgument, Unavailable
from salver.server import process

HOST = "127.0.0.1"
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """A server changes its process; this gives it back."""
    handlers = [signal.getsignal(number) for number in _SIGNALS]
    interval = sys.getswitchinterval()
    yield
    gc.unfreeze()
    sys.setswitchinterval(interval)
    for number, handler in zip(_SIGNALS, handlers, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def ports() -> tuple[int, int]:
    with socket.create_server((HOST, 0)) as one, socket.create_server((HOST, 0)) as other:
        return int(one.getsockname()[1]), int(other.getsockname()[1])


@pytest.fixture
def models(model_path: Callable[[str], Path]) -> tuple[ModelConfig, ...]:
    base_path = str(model_path("half_plus_two"))
    return (ModelConfig(name="m", base_path=base_path, model_platform="tensorflow"),)


@pytest.fixture
def options(ports: tuple[int, int]) -> ServerOptions:
    return ServerOptions(
        host=HOST, port=ports[0], rest_api_port=ports[1], enable_grpc_healthcheck_service=True
    )


def _rest_status(announced: Announcement) -> int:
    connection = HTTPConnection(announced.rest_url.removeprefix("http://"), timeout=30)
    connection.request("GET", "/v1/models/m")
    status = connection.getresponse().status
    connection.close()
    return status


def _grpc_answer(announced: Announcement, method: str, data: bytes) -> bytes:
    with grpc.insecure_channel(announced.grpc_address) as channel:
        return bytes(channel.unary_unary(method)(data, timeout=30))


def _status_over_grpc(announced: Announcement) -> list[int]:
    request = message_class("tensorflow.serving.GetModelStatusRequest")()
    request.model_spec.name = "m"
    data = _grpc_answer(
        announced,
        "/tensorflow.serving.ModelService/GetModelStatus",
        request.SerializeToString(),
    )
    answer = message_class("tensorflow.serving.GetModelStatusResponse").FromString(data)
    return [version.version for version in answer.model_version_status]


def _health(announced: Announcement) -> bytes:
    return _grpc_answer(announced, "/grpc.health.v1.Health/Check", b"")


def _life(
    options: ServerOptions,
    models: tuple[ModelConfig, ...],
    ask: Callable[[Announcement], Any] = lambda _announced: None,
    **mode: Any,
) -> tuple[Announcement, Any]:
    """Serve, ask, stop; gives what was announced and what `ask` found."""
    announced: list[Announcement] = []
    found: list[Any] = []

    def ask_and_stop() -> None:
        try:
            found.append(ask(announced[0]))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    asking = threading.Thread(target=ask_and_stop)

    def announce(announcement: Announcement) -> None:
        announced.append(announcement)
        asking.start()

    assert process.run(options, models, mode=ServeMode(announce=announce, **mode))
    asking.join()
    return announced[0], found[0]


@pytest.mark.parametrize("before_load", [False, True])
def test_both_apis_serve_the_same_models_and_are_announced(
    options: ServerOptions, models: tuple[ModelConfig, ...], before_load: bool
) -> None:
    announced, found = _life(
        replace(options, open_ports_before_load=before_load),
        models,
        lambda announced: (
            _rest_status(announced),
            _status_over_grpc(announced),
            _health(announced),
        ),
    )
    assert found == (200, [123], b"\x08\x01")
    assert announced.rest_url == f"http://{HOST}:{options.rest_api_port}"
    assert announced.grpc_address == f"{HOST}:{options.port}"
    (model,) = announced.models
    assert (model.name, model.versions) == ("m", (123,))


def test_grpc_alone_is_served(
    options: ServerOptions, models: tuple[ModelConfig, ...], tmp_path: Path
) -> None:
    path = tmp_path / "s"
    alone = replace(options, rest_api_port=0, port=0, grpc_socket_path=str(path))
    announced, found = _life(alone, models, _status_over_grpc)
    assert found == [123]
    assert (announced.rest_url, announced.grpc_address) == ("", f"unix:{path}")
    assert not path.exists()


def test_rest_alone_is_served(options: ServerOptions, models: tuple[ModelConfig, ...]) -> None:
    _, found = _life(replace(options, port=0), models, _rest_status)
    assert found == 200


def test_a_taken_grpc_port_ends_the_start(
    options: ServerOptions, models: tuple[ModelConfig, ...]
) -> None:
    with (
        socket.create_server((HOST, options.port)),
        pytest.raises(InvalidArgument) as caught,
    ):
        process.run(options, models)
    assert caught.value.message == "Failed to BuildAndStart gRPC server"


@pytest.mark.parametrize("before_load", [False, True])
def test_a_taken_grpc_port_is_given_up_where_nobody_asked_for_it(
    options: ServerOptions, models: tuple[ModelConfig, ...], before_load: bool
) -> None:
    with socket.create_server((HOST, options.port)):
        announced, found = _life(
            replace(options, open_ports_before_load=before_load),
            models,
            _rest_status,
            tolerate_taken_grpc_port=True,
        )
    assert found == 200
    assert announced.grpc_address == f"{HOST}:{options.rest_api_port}"  # which answers it too


def test_a_taken_rest_port_ends_what_grpc_has_begun(
    options: ServerOptions, models: tuple[ModelConfig, ...]
) -> None:
    with (
        socket.create_server((HOST, options.rest_api_port)),
        pytest.raises(Unavailable, match="Failed to start HTTP Server"),
    ):
        process.run(options, models, mode=ServeMode(exit_on_bind_failure=True))
    with socket.create_server((HOST, options.port)):
        pass  # it is free again


def test_one_number_for_both_ports_does_for_both(
    options: ServerOptions, models: tuple[ModelConfig, ...]
) -> None:
    same = replace(options, rest_api_port=options.port)
    announced, found = _life(same, models, _status_over_grpc)
    assert found == [123]
    assert announced.rest_url == f"http://127.0.0.1:{options.port}"
    _, found = _life(same, models, _rest_status)
    assert found == 200


def test_a_rest_port_that_answers_grpc_too_is_announced_for_both(
    options: ServerOptions, models: tuple[ModelConfig, ...]
) -> None:
    announced, found = _life(replace(options, port=0), models, _rest_status)
    assert found == 200
    assert announced.grpc_address == f"127.0.0.1:{options.rest_api_port}"
    alone = replace(options, port=0, enable_port_sharing=False)
    announced, _ = _life(alone, models, _rest_status)
    assert announced.grpc_address == ""


def test_without_sharing_one_number_for_both_ports_is_grpc_s(
    options: ServerOptions,
    models: tuple[ModelConfig, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    same = replace(options, rest_api_port=options.port, enable_port_sharing=False)
    announced, found = _life(same, models, _status_over_grpc)
    assert found == [123]
    assert announced.rest_url == ""
    assert "http_port cannot be same as grpc_port" in caplog.text


def test_what_loads_is_announced_though_something_else_fails(
    options: ServerOptions,
    models: tuple[ModelConfig, ...],
    version_path: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    (tmp_path / "bad" / "1").mkdir(parents=True)
    (tmp_path / "bad" / "1" / "saved_model.pb").write_bytes(b"no model")
    bad = replace(models[0], name="bad", base_path=str(tmp_path / "bad"))
    announced, found = _life(
        replace(options, open_ports_before_load=True),
        (*models, bad),
        _rest_status,
        tolerate_failed_models=True,
    )
    assert found == 200
    good, failed = announced.models
    assert (good.versions, good.error) == ((123,), "")
    assert failed.versions == ()
    assert "Can't parse" in failed.error


def test_a_configuration_that_is_wrong_as_a_whole_is_not_tolerated(
    options: ServerOptions, models: tuple[ModelConfig, ...]
) -> None:
    wrong = (replace(models[0], model_platform="nope"),)
    mode = ServeMode(tolerate_failed_models=True)
    with pytest.raises(InvalidArgument, match="requests unsupported platform nope"):
        process.run(replace(options, open_ports_before_load=True), wrong, mode=mode)


def test_an_address_that_is_none_is_an_error_of_the_port(
    options: ServerOptions, models: tuple[ModelConfig, ...]
) -> None:
    nowhere = replace(options, port=0, host="a..b")
    with pytest.raises(Unavailable, match="Failed to start HTTP Server"):
        process.run(nowhere, models, mode=ServeMode(exit_on_bind_failure=True))


def test_an_access_log_that_cannot_be_opened_is_refused(
    options: ServerOptions, models: tuple[ModelConfig, ...]
) -> None:
    with pytest.raises(InvalidArgument, match="Could not open --access_log=/no/such/place"):
        process.run(replace(options, access_log="/no/such/place"), models)
