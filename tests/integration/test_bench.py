"""`salver bench` against servers as users start them."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.integration.serving import Server, run_command

QUICK = ["--duration=0.3s", "--warmup=0.1s", "--concurrency=1,4"]


def measured(path: Path, *arguments: str) -> list[dict[str, object]]:
    done = run_command("salver", "bench", *arguments, f"--output={path / 'report.json'}")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((path / "report.json").read_text())
    assert report["is_complete"]
    results: list[dict[str, object]] = report["results"]
    return results


@pytest.mark.parametrize("api", ["rest", "grpc"])
@pytest.mark.parametrize("model", ["half_plus_two", "several", "strings"])
def test_random_requests_of_the_signature_are_answered(
    all_models_server: Server, tmp_path: Path, model: str, api: str
) -> None:
    server = all_models_server
    url = server.url if api == "rest" else server.grpc_target
    results = measured(tmp_path, url, model, *QUICK, "--rows=3")
    assert [result["clients"] for result in results] == [1, 4]
    assert all(result["failures"] == {} for result in results)
    assert all(int(str(result["answered"])) > 10 for result in results)


def test_versions_and_apis_are_compared_in_an_open_loop(
    all_models_server: Server, tmp_path: Path
) -> None:
    server = all_models_server
    plot = tmp_path / "latency.svg"
    results = measured(
        tmp_path, server.url, "versions", "--version=123", "--against-version=124",
        f"--against={server.grpc_target}", "--against-label=stable", "--rate=50",
        "--duration=0.4s", "--warmup=0", "--turns=2", f"--plot={plot}",
    )  # fmt: skip
    assert [result["answered"] for result in results] == [20] * 4
    assert all(isinstance(result["ratio_to_first"], dict) for result in results[1:])
    assert ET.parse(plot).getroot().tag.endswith("svg")


def test_a_file_of_examples_is_sent_over_both(all_models_server: Server, tmp_path: Path) -> None:
    server = all_models_server
    file = tmp_path / "examples.json"
    file.write_text('{"signature_name": "regress_x_to_y", "examples": [{"x": 80.0}]}')
    for url in (server.url, server.grpc_target):
        assert measured(tmp_path, url, "half_plus_two", *QUICK, f"--input={file}")


def test_an_unknown_model_is_told_with_those_that_are_there(all_models_server: Server) -> None:
    done = run_command("salver", "bench", all_models_server.url, "half_plus_tow")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Servable not found for request: Latest(half_plus_tow)" in done.stderr
    assert "half_plus_two" in done.stderr


@pytest.mark.parametrize("form", [["--form=json"], ["--form=binary"], []])
def test_requests_go_by_the_open_inference_protocol(
    all_models_server: Server, tmp_path: Path, form: list[str]
) -> None:
    server = all_models_server
    for url in (server.url,) if form else (server.url, server.grpc_target):
        for result in measured(
            tmp_path, url, "several", *QUICK, "--protocol=v2", *form,
            "--against-protocol=tfs", "--turns=1",
        ):  # fmt: skip
            assert result["failures"] == {}
            assert int(str(result["answered"])) > 10


def test_a_body_of_the_open_inference_protocol_is_sent(
    all_models_server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "infer.json"
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1.0]}
    file.write_text(json.dumps({"inputs": [tensor]}))
    url = all_models_server.url
    assert measured(tmp_path, url, "half_plus_two", *QUICK, "--protocol=v2", f"--input={file}")
