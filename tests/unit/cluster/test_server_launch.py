from pathlib import Path

import pytest

import salver
from salver.cluster.server_launch import NodeSettings, launch_of, server_environment
from salver.config.flags import parse


def settings(tmp_path: Path, **flags: str) -> NodeSettings:
    return NodeSettings(name="n1", host="10.0.0.7", directory=tmp_path, flags=flags, token="t" * 16)


def test_the_command_line_is_one_that_salver_serve_takes(tmp_path: Path) -> None:
    launch = launch_of(settings(tmp_path, rest_api_port="9001", enable_batching="true"))
    parsed = parse(launch.arguments)
    assert not parsed.bad
    assert not parsed.leftovers
    options = parsed.options
    assert (options.host, options.rest_api_port, options.port) == ("10.0.0.7", 9001, 8500)
    assert options.enable_batching
    assert options.model_config_file == str(tmp_path / "models.json")
    assert options.peer_map_file == str(tmp_path / "peers.json")
    assert options.peer_token_file == str(tmp_path / "peer.token")
    assert options.peer_name == "n1"
    assert (launch.rest, launch.grpc) == ("10.0.0.7:9001", "10.0.0.7:8500")


def test_other_flags_are_another_command_line(tmp_path: Path) -> None:
    digests = {
        launch_of(settings(tmp_path, **flags)).digest
        for flags in ({}, {"workers": "2"}, {"workers": "3"}, {})
    }
    assert len(digests) == 3


def test_another_release_is_another_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = launch_of(settings(tmp_path))
    before = launch.digest
    monkeypatch.setattr(salver, "__version__", "0.0.1")
    assert launch.digest != before


def test_an_address_of_version_6_stands_in_brackets(tmp_path: Path) -> None:
    made = NodeSettings(name="n1", host="fd00::7", directory=tmp_path)
    assert launch_of(made).rest == "[fd00::7]:8501"
    assert not any(each.startswith("--peer_token_file") for each in launch_of(made).arguments)


def test_a_socket_has_a_path_that_the_system_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    deep = tmp_path / ("deep" * 30)
    paths = {str(launch_of(settings(each)).socket) for each in (deep, deep / "b")}
    assert len(paths) == 2
    assert all(len(path) <= 100 for path in paths)


def test_a_root_for_sockets_that_others_can_write_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    root = tmp_path / f"salver-cluster-{os.getuid()}"
    root.mkdir()
    root.chmod(0o777)
    with pytest.raises(PermissionError):
        launch_of(settings(tmp_path / ("deep" * 30)))


def test_a_server_has_the_environment_in_which_ray_was_started() -> None:
    own = {"PATH": "/own", "OMP_NUM_THREADS": "1", "RAY_JOB_ID": "1", "CUDA_VISIBLE_DEVICES": ""}
    raylet = b"PATH=/bin\0OMP_NUM_THREADS=4\0RAY_AUTH_MODE=token\0EQUATION=a=b\0\0"
    assert server_environment(own, raylet) == {
        "PATH": "/bin",
        "OMP_NUM_THREADS": "4",
        "EQUATION": "a=b",
    }
    assert server_environment(own, None) == {"PATH": "/own"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/env/site-packages/ray/core/libjemalloc.so", None),
        ("/env/site-packages/ray/core/libjemalloc.so:/lib/mine.so", "/lib/mine.so"),
        ("/lib/mine.so", "/lib/mine.so"),
    ],
)
def test_the_allocator_of_ray_is_not_that_of_the_server(before: str, after: str | None) -> None:
    assert server_environment({"LD_PRELOAD": before}, None).get("LD_PRELOAD") == after
