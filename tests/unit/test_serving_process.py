from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import salver.serving_process
from salver.client import Client
from salver.client.answers import ModelMetadata
from salver.errors import DataLoss, DeadlineExceeded, FailedPrecondition
from salver.serving_process import ServerProcess, _zeros, check_version, flag_arguments, free_port
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import Signature, TensorSpec


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    path = tmp_path / "scratch"
    path.mkdir()
    return path


@pytest.fixture
def process(
    model_path: Callable[[str], Path], scratch: Path
) -> Iterator[tuple[ServerProcess, Client]]:
    port = free_port("127.0.0.1")
    arguments = [f"m={model_path('half_plus_two')}", "--port=0", f"--rest_api_port={port}"]
    process = ServerProcess(arguments, scratch=scratch)
    with Client(f"http://127.0.0.1:{port}") as client:
        yield process, client
    process.stop(is_quick=True)


def test_a_server_runs_until_it_is_stopped(
    process: tuple[ServerProcess, Client], scratch: Path
) -> None:
    server, client = process
    server.wait_ready(client, "m", timeout_s=60.0)
    assert client.predict("m", [1.0])["y"].tolist() == [2.5]
    assert Path(f"/proc/{server.pid}").exists()
    assert "serves 1 model" in server.logs()
    assert len(server.logs(2).splitlines()) == 2
    server.stop()
    assert not server.is_running
    assert not scratch.exists()
    assert server.logs() == ""
    server.stop()


def test_a_model_that_is_not_there_is_waited_for_until_the_time_is_over(
    process: tuple[ServerProcess, Client],
) -> None:
    server, client = process
    server.wait_ready(client, "m", timeout_s=60.0)
    with pytest.raises(DeadlineExceeded, match="Model 'other' was not ready") as caught:
        server.wait_ready(client, "other", timeout_s=0.0)
    assert "The log of the server ends with:" in (caught.value.hint or "")


def test_a_server_that_ends_is_told_with_what_it_said(scratch: Path) -> None:
    server = ServerProcess(["--no_such_flag=1"], scratch=scratch)
    ended = pytest.raises(FailedPrecondition, match="The server ended with status 2")
    with Client(f"http://127.0.0.1:{free_port('127.0.0.1')}", retries=0) as client, ended as caught:
        server.wait_ready(client, "m", timeout_s=60.0)
    assert "--no_such_flag" in (caught.value.hint or "")
    assert "status 2: there is no flag --no_such_flag" in caught.value.message
    server.stop()


def test_a_server_that_does_not_stop_in_time_is_ended(
    process: tuple[ServerProcess, Client], scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(salver.serving_process, "_STOP_S", 0.0)
    process[0].stop()
    assert not process[0].is_running
    assert not scratch.exists()


def test_flags_are_written_as_the_server_reads_them() -> None:
    flags = {"enable_batching": True, "flush_filesystem_caches": False, "port": 1, "x": "y"}
    assert flag_arguments(flags) == [
        "--enable_batching=true", "--flush_filesystem_caches=false", "--port=1", "--x=y"
    ]  # fmt: skip


def test_a_free_port_is_one() -> None:
    assert 1024 <= free_port("127.0.0.1") < 65536


# -- checking --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["half_plus_two", "every_dtype", "strings"])
def test_a_version_that_loads_passes(model_path: Callable[[str], Path], name: str) -> None:
    base = model_path(name)
    check_version(base, max(int(of.name) for of in base.iterdir() if of.name.isdecimal()), {})


def test_a_version_that_does_not_load_fails_in_the_server_s_words(
    model_path: Callable[[str], Path],
) -> None:
    with pytest.raises(DataLoss, match="Can't parse"):
        check_version(model_path("truncated_pb"), 1, {})


def zeros_for(
    *specs: tuple[DataType, tuple[int, ...] | None, str], default: str = ""
) -> dict[str, tuple[tuple[int, ...], str]] | None:
    inputs = {
        f"x{number}": TensorSpec(dtype, shape, is_dense=bool(name))
        for number, (dtype, shape, name) in enumerate(specs)
    }
    signature = Signature(inputs, {}, defaults={default: np.zeros(1)})
    feeds = _zeros(ModelMetadata("m", 1, {"serving_default": signature}))
    if feeds is None:
        return None
    return {alias: (of.shape, of.dtype.name) for alias, of in feeds.items()}


def test_zeros_are_one_row_of_what_is_known() -> None:
    assert zeros_for((DataType.FLOAT32, (-1, 28, 28), "a:0"), (DataType.INT32, (4, 2), "b:0")) == {
        "x0": ((1, 28, 28), "float32"),
        "x1": ((4, 2), "int32"),
    }


@pytest.mark.parametrize(
    "spec",
    [
        (DataType.FLOAT32, None, "a:0"),
        (DataType.FLOAT32, (), "a:0"),
        (DataType.FLOAT32, (-1, -1), "a:0"),
        (DataType.FLOAT32, (1,), ""),
        (DataType.STRING, (-1,), "a:0"),
        (DataType.RESOURCE, (1,), "a:0"),
    ],
)
def test_what_is_not_known_is_not_made_up(
    spec: tuple[DataType, tuple[int, ...] | None, str],
) -> None:
    assert zeros_for(spec) is None
    assert zeros_for(spec, default="x0") == {}


def test_without_a_default_signature_nothing_is_asked() -> None:
    assert _zeros(ModelMetadata("m", 1, {})) is None
