import os
from pathlib import Path

import httpx
import orjson
import pytest

from salver.cluster.observing import ServerLook, Versions, read_metrics
from salver.cluster.reports import ModelReport, VersionReport
from salver.vocabulary.servable import TRY_FAILED

PAGE = rb"""# TYPE salver_request_seconds histogram
salver_request_seconds_count{model_name="a",version="1",protocol="tfs"} 3
salver_request_seconds_count{model_name="a",version="1",protocol="v2"} 4
salver_failed_requests_total{model_name="a",version="",code="INTERNAL"} 2
salver_run_seconds_sum{model_name="a",version="1"} 0.25
salver_in_flight_requests{model_name="a",version="1"} 5
salver_reserved_memory_bytes{model_name="a",version="1"} 1.5e+06
salver_request_seconds_count{model_name="odd \"} name\\",version="1"} 1
salver_request_seconds_bucket{model_name="a",le="1"} 99
salver_workers 4
"""


def look(answers: dict[str, httpx.Response], memory_bytes: int = 0) -> ServerLook:
    def answer(request: httpx.Request) -> httpx.Response:
        return answers.get(request.url.path, httpx.Response(404))

    transport = httpx.MockTransport(answer)
    client = httpx.Client(transport=transport, base_url="http://localhost")
    return ServerLook(client, memory_bytes)


def test_a_metrics_page_says_how_much_each_model_does() -> None:
    found = read_metrics(PAGE)
    assert (found["a"].requests, found["a"].busy_s, found["a"].queued) == (9, 0.25, 5)
    assert found["a"].sizes() == [1_500_000]
    assert found['odd "} name\\'].requests == 1
    assert len(found) == 2


def test_models_are_reported_with_their_versions_and_what_they_do() -> None:
    listed = {
        "models": [
            {
                "name": "a",
                "model_version_status": [
                    {"version": "1", "state": "AVAILABLE", "status": {"error_message": ""}},
                    {"version": "2", "state": "END", "status": {"error_message": "broken"}},
                    {"version": "3", "state": "A_NEW_ONE"},
                    {"version": "4", "state": "LOADING", "hint": TRY_FAILED + "no room"},
                    {"version": "5", "state": "LOADING", "hint": "fetching 3 of 10 MB"},
                ],
            },
            {"name": "b"},
        ]
    }
    server = look(
        {
            "/v1/models": httpx.Response(200, json=listed),
            "/monitoring/prometheus/metrics": httpx.Response(200, content=PAGE),
        }
    )
    states = (VersionReport(1, "AVAILABLE"), VersionReport(2, "END", "broken"))
    assert server.models() == {
        "a": ModelReport(
            versions=(
                *states,
                VersionReport(3, "START"),
                VersionReport(4, "LOADING", "no room"),
                VersionReport(5, "LOADING"),
            ),
            resident_bytes=1_500_000,
            version_bytes=1_500_000,
            requests=9,
            queued=5,
            busy_s=0.25,
        ),
        "b": ModelReport(),
    }


def test_processes_of_a_model_count_with_what_they_have_where_that_is_more() -> None:
    reserved = b'salver_reserved_memory_bytes{model_name="a",version="%d"} %d\n'
    measured = b'salver_child_resident_memory_bytes{model_name="a",version="%d"} %d\n'
    page = reserved % (1, 5 << 20) + measured % (1, 100 << 20)
    page += reserved % (2, 300 << 20) + measured % (2, 200 << 20)
    server = look(
        {
            "/v1/models": httpx.Response(200, json={"models": [{"name": "a"}]}),
            "/monitoring/prometheus/metrics": httpx.Response(200, content=page),
        }
    )
    found = server.models()["a"]
    assert (found.resident_bytes, found.version_bytes) == (410 << 20, 300 << 20)


@pytest.mark.parametrize(
    ("measured", "said"), [((510,), (500, 500)), ((100, 480), (360, 250)), ((100, 100), (220, 110))]
)
def test_processes_take_no_more_than_the_node_has(
    measured: tuple[int, ...], said: tuple[int, int]
) -> None:
    line = b'salver_child_resident_memory_bytes{model_name="a",version="%d"} %d\n'
    page = b"".join(line % (number, taken << 20) for number, taken in enumerate(measured))
    answers = {
        "/v1/models": httpx.Response(200, json={"models": [{"name": "a"}]}),
        "/monitoring/prometheus/metrics": httpx.Response(200, content=page),
    }
    found = look(answers, 500 << 20).models()["a"]
    assert (found.resident_bytes >> 20, found.version_bytes >> 20) == said


def test_a_server_without_a_metrics_page_is_reported_all_the_same() -> None:
    server = look({"/v1/models": httpx.Response(200, json={"models": [{"name": "a"}]})})
    assert server.models() == {"a": ModelReport()}


def test_a_server_that_answers_with_an_error_is_no_report() -> None:
    with pytest.raises(httpx.HTTPError):
        look({"/v1/models": httpx.Response(503)}).models()


def test_a_map_is_read_again_only_when_it_is_another_one() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("if-none-match"))
        if asked[-1] == '"x"':
            return httpx.Response(304)
        return httpx.Response(200, content=orjson.dumps({"generation": 7}), headers={"etag": '"x"'})

    client = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://localhost")
    server = ServerLook(client)
    assert [server.map_generation(), server.map_generation()] == [7, 7]
    assert asked == [None, '"x"']


def test_versions_are_the_directories_with_a_number(tmp_path: Path) -> None:
    for name in ("1", "12", "x", ".3", "٣"):
        (tmp_path / name).mkdir()
    (tmp_path / "4").write_text("no directory")
    assert Versions().found(str(tmp_path)) == (1, 12)
    assert Versions().found(f"file://{tmp_path}") in ((1, 12), ())
    assert Versions().found("s3://bucket/models") == ()
    assert Versions().found(str(tmp_path / "nothing")) == ()


def test_a_version_that_comes_at_once_after_a_look_is_found_by_the_next(tmp_path: Path) -> None:
    versions = Versions()
    (tmp_path / "1").mkdir()
    assert versions.found(str(tmp_path)) == (1,)
    before = tmp_path.stat().st_mtime_ns
    (tmp_path / "2").mkdir()
    os.utime(tmp_path, ns=(before, before))  # as on a file system whose clock is coarse
    assert versions.found(str(tmp_path)) == (1, 2)


def test_a_directory_that_has_not_changed_for_long_is_not_listed_again(tmp_path: Path) -> None:
    versions = Versions()
    (tmp_path / "1").mkdir()
    os.utime(tmp_path, ns=(1, 1))
    assert versions.found(str(tmp_path)) == (1,)
    (tmp_path / "2").mkdir()
    os.utime(tmp_path, ns=(1, 1))
    assert versions.found(str(tmp_path)) == (1,)
    os.utime(tmp_path, ns=(2, 2))
    assert versions.found(str(tmp_path)) == (1, 2)
