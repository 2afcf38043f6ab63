import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest

import salver.notebook
from salver.errors import DataLoss, InvalidArgument, NotFound
from salver.notebook import RunningServer, _reached, _stop_all, serve
from salver.serving_process import free_port


def test_a_model_directory_is_served_as_it_is(model_path: Callable[[str], Path]) -> None:
    base = model_path("half_plus_two")
    with serve(str(base)) as server:
        assert server.name == "half_plus_two"
        assert server.grpc_url is not None
        assert server.predict([1.0])["y"].tolist() == [2.5]
        assert server.regress([{"x": 80.0}], signature="regress_x_to_y").tolist() == [42.0]
        ((best,),) = server.classify([{"x": 80.0}], signature="classify_x_to_y")
        assert best.score == 42.0
        assert serve(base) is server
        assert "serves 1 model" in server.logs()
        assert Path(f"/proc/{server.pid}").exists()
        assert repr(server) == f"<salver.RunningServer 'half_plus_two' at {server.url}>"
        html = server._repr_html_()
        assert f'href="{server.url}/#/model/half_plus_two"' in html
    assert repr(server) == "<salver.RunningServer 'half_plus_two' stopped>"
    assert server._repr_html_() == "Model <b>half_plus_two</b> is not served any more."


def test_other_settings_make_another_server(version_path: Callable[[str], Path]) -> None:
    version = version_path("half_plus_two")
    port = free_port("127.0.0.1")
    first = serve(version, name="m", grpc_port=0)
    second = serve(version, name="m", port=port, grpc_port=0, flags={"enable_batching": True})
    try:
        assert not first.is_running
        assert urlsplit(second.url).port == port
        again = serve(version, name="m", port=port, flags={"enable_batching": True})
        assert again is second
        assert second.predict([1.0]).version == 124
        with pytest.raises(DataLoss):
            serve(version_path("truncated_pb"), name="m", flags={"enable_batching": True})
        assert second.predict([1.0]).version == 124
    finally:
        second.stop()


def test_labels_come_with_the_version(version_path: Callable[[str], Path]) -> None:
    with serve(version_path("half_plus_two"), labels=["a"], grpc_port=0) as server:
        assert server.name == "half_plus_two"
        with pytest.raises(DataLoss):
            server.update(version_path("truncated_pb"), ["a"], 60.0)
        assert server.predict([1.0]).version == 1


def test_what_a_model_says_of_itself_comes_with_the_version(
    version_path: Callable[[str], Path],
) -> None:
    version = version_path("half_plus_two")
    with serve(version, about={"title": "Half"}, grpc_port=0) as server:
        again = serve(version, about={"title": "Half, again"}, grpc_port=0)
        assert again is server
        assert server.predict([1.0]).version == 2
        with pytest.raises(InvalidArgument, match=r"salver\.json: title: text is wanted"):
            serve(version, about={"title": 3}, grpc_port=0)


def test_labels_cannot_be_put_beside_a_model_directory(
    model_path: Callable[[str], Path],
) -> None:
    with pytest.raises(InvalidArgument, match="labels belong into the version directory"):
        serve(model_path("half_plus_two"), labels=["a"])
    with pytest.raises(InvalidArgument, match="about belongs into the version directory"):
        serve(model_path("half_plus_two"), about={})


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="A int is no model"):
        serve(3)


def version_of(base: Path) -> Path:
    (base / "1").mkdir()
    (base / "1" / "saved_model.pb").touch()
    return base / "1"


def test_a_model_that_does_not_load_leaves_no_server(version_path: Callable[[str], Path]) -> None:
    with pytest.raises(DataLoss, match="Can't parse"):
        serve(version_path("truncated_pb"), name="m")
    assert "m" not in salver.notebook._running


def test_a_path_that_cannot_be_published_leaves_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = version_of(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(NotFound):
        serve(version, name="m", labels=tmp_path / "none")
    assert [of.name for of in tmp_path.iterdir()] == ["1"]


def test_colab_opens_a_window(
    model_path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    output = ModuleType("google.colab.output")
    output.serve_kernel_port_as_window = opened.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    with serve(model_path("half_plus_two"), grpc_port=0) as server:
        assert "the link above" in server._repr_html_()
        assert opened == [urlsplit(server.url).port]


def test_the_end_of_the_process_stops_all(model_path: Callable[[str], Path]) -> None:
    server: RunningServer = serve(model_path("half_plus_two"), grpc_port=0)
    _stop_all()
    assert not server.is_running


def test_a_file_has_its_own_name(model_path: Callable[[str], Path]) -> None:
    file = next(model_path("lite").rglob("model.tflite"))
    with serve(file, grpc_port=0) as server:
        assert server.name == "model"
        assert server.client.status("model").available == (1,)


@pytest.mark.parametrize(
    ("host", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("h", "h")],
)
def test_a_server_on_all_addresses_is_reached_here(host: str, reached: str) -> None:
    assert _reached(host) == reached


@pytest.mark.parametrize("name", ["a=b", "a/b", "a:b", "-x"])
def test_a_name_that_no_server_takes_is_refused(
    model_path: Callable[[str], Path], name: str
) -> None:
    with pytest.raises(InvalidArgument, match="cannot be the name of a model here"):
        serve(model_path("half_plus_two"), name=name)


def test_the_end_of_a_fork_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Served:
        def stop(self) -> None:
            raise AssertionError("it is the parent's")

    monkeypatch.setitem(salver.notebook._running, "m", Served())
    monkeypatch.setattr(salver.notebook, "_process", -1)
    _stop_all()
