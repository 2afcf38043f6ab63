"""Request logs of real servers: what is in them, what a bad disk does, and sending them again."""

import json
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from salver._pb import message_class
from salver.codecs.protobuf.prediction_log import LoggedRequest, LogKind, decode_prediction_log
from salver.codecs.protobuf.tfrecord import read_records
from salver.request_log.rotation import OPEN_SUFFIX
from tests.integration.grpc_clients.plain import (
    Client,
    connected,
    example,
    message,
    model_spec,
    outcome,
    predict_request,
    tensor,
)
from tests.integration.serving import Server, eventually, run_command

Paths = Callable[[str], Path]
Start = Callable[..., Server]

READ_BY_TENSORFLOW = """
import sys
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

for data in tf.compat.v1.io.tf_record_iterator(sys.argv[1]):
    log = prediction_log_pb2.PredictionLog.FromString(data)
    tensor = log.predict_log.request.inputs["x"]
    print(log.log_metadata.model_spec.name, tf.make_ndarray(tensor).tolist())
"""


def logging_config(prefix: Path, kind: str = "file", rate: float = 1.0) -> str:
    return (
        f'logging_config {{ log_collector_config {{ type: "{kind}" filename_prefix: "{prefix}" }}'
        f" sampling_config {{ sampling_rate: {rate} }} }}"
    )


def entry(name: str, base_path: Path, extra: str = "") -> str:
    return (
        f'config {{ name: "{name}" base_path: "{base_path}" model_platform: "tensorflow" {extra} }}'
    )


def write_config(file: Path, *entries: str) -> Path:
    file.write_text("model_config_list { " + "\n".join(entries) + " }")
    return file


def complete_files(prefix: Path) -> list[Path]:
    return sorted(
        path for path in prefix.parent.glob(f"{prefix.name}-*") if path.suffix != OPEN_SUFFIX
    )


def logged(prefix: Path) -> list[LoggedRequest]:
    """All records of all complete files, in order."""
    found = []
    for path in complete_files(prefix):
        with path.open("rb") as file:
            found += [decode_prediction_log(data) for data in read_records(file)]
    return [record for record in found if record is not None]


def metadata_of(record: LoggedRequest) -> Any:
    return message_class("tensorflow.serving.LogMetadata").FromString(record.metadata)


def call_everything(server: Server, client: Client) -> None:
    """One call of each method over each API that has it."""
    assert server.predict("m", [2.0]).json() == {"predictions": [3.0]}
    body = {"signature_name": "regress_x_to_y", "examples": [{"x": 4.0}]}
    assert server.post("/v1/models/m/versions/123:regress", body).json() == {"results": [4.0]}
    classify = {"signature_name": "classify_x_to_y", "examples": [{"x": 4.0}]}
    assert server.post("/v1/models/m:classify", classify).json() == {"results": [[["", 4.0]]]}
    assert client.predict("m", {"x": tensor([6.0], in_fields=True)}) == {"y": [5.0]}
    spec = model_spec("m", signature="regress_x_to_y")
    regress = message("RegressionRequest", model_spec=spec)
    regress.input.example_list.examples.extend([example(x=8.0)])
    client.call("Regress", regress)
    spec = model_spec("m", 123, signature="classify_x_to_y")
    classified = message("ClassificationRequest", model_spec=spec, input=regress.input)
    client.call("Classify", classified)
    multi = message("MultiInferenceRequest", input=regress.input)
    multi.tasks.add(model_spec=regress.model_spec, method_name="tensorflow/serving/regress")
    client.call("MultiInference", multi)
    session = message("SessionRunRequest", model_spec=model_spec("m"), fetch=["y:0"])
    session.feed.add(name="x:0", tensor=tensor([10.0]))
    client.call("SessionRun", session)


KINDS = [
    LogKind.PREDICT, LogKind.REGRESS, LogKind.CLASSIFY, LogKind.PREDICT, LogKind.REGRESS,
    LogKind.CLASSIFY, LogKind.MULTI_INFERENCE, LogKind.SESSION_RUN,
]  # fmt: skip


@pytest.fixture
def serve(start_server: Start, model_path: Paths, tmp_path: Path) -> Callable[..., Server]:
    """Start a server of half_plus_two, called `m`, that logs to the prefix `logs/m`."""

    def start(kind: str = "file", rate: float = 1.0, *flags: str) -> Server:
        config = logging_config(tmp_path / "logs" / "m", kind, rate)
        models = write_config(tmp_path / "models", entry("m", model_path("half_plus_two"), config))
        return start_server(f"--model_config_file={models}", "--enable_session_service", *flags)

    return start


def test_every_call_is_in_the_log_once_with_its_answer(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve()
    with connected(server.grpc_target) as client:
        call_everything(server, client)
        assert server.predict("m", "wrong").status_code == 400  # what fails is not logged
    assert server.stop() == 0
    records = logged(tmp_path / "logs" / "m")
    assert [record.kind for record in records] == KINDS
    metadata = metadata_of(records[0])
    assert metadata.model_spec == model_spec("m", 123, signature="serving_default")
    assert list(metadata.saved_model_tags) == ["serve"]
    assert metadata.sampling_config.sampling_rate == 1.0
    assert metadata.timestamp_secs > 1_600_000_000
    request = message_class("tensorflow.serving.PredictRequest").FromString(records[0].request)
    assert request == predict_request(model_spec("m"), {"x": tensor([2.0], in_fields=True)})
    rest_regress = message_class("tensorflow.serving.RegressionRequest")
    assert rest_regress.FromString(records[1].request).model_spec == model_spec(
        "m", 123, signature="regress_x_to_y"
    )
    grpc_request = predict_request(model_spec("m"), {"x": tensor([6.0], in_fields=True)})
    assert records[3].request == grpc_request.SerializeToString()
    assert records[3].response is not None


def test_tensorflow_reads_the_log(serve: Callable[..., Server], tmp_path: Path) -> None:
    pytest.importorskip("tensorflow_serving", exc_type=ImportError)
    server = serve()
    assert server.predict("m", [2.0, 4.0]).ok
    assert server.stop() == 0
    (log,) = complete_files(tmp_path / "logs" / "m")
    child = subprocess.run(
        [sys.executable, "-c", READ_BY_TENSORFLOW, str(log)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.stdout == "m [2.0, 4.0]\n", child.stderr


def test_lines_of_json_hold_what_rest_says(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve("jsonl")
    with connected(server.grpc_target) as client:
        call_everything(server, client)
    assert server.stop() == 0
    (log,) = complete_files(tmp_path / "logs" / "m")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [LogKind[line["method"].upper()] for line in lines] == KINDS
    assert lines[0] | {"time": ""} == {
        "time": "",
        "model": "m",
        "version": 123,
        "signature": "serving_default",
        "method": "predict",
        "request": {"instances": [2.0]},
        "response": {"predictions": [3.0]},
    }
    assert lines[1]["asked_version"] == 123
    assert lines[3]["request"] == {"inputs": {"x": [6.0]}}
    assert lines[3]["response"] == {"outputs": [5.0]}
    assert lines[4]["request"] == {"signature_name": "regress_x_to_y", "examples": [{"x": [8.0]}]}
    assert lines[4]["response"] == {"results": [6.0]}


def test_nothing_is_logged_at_a_rate_of_zero(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve("file", 0.0)
    assert server.predict("m", [2.0]).ok
    assert server.stop() == 0
    assert not (tmp_path / "logs").exists()


def test_files_are_completed_when_they_are_large(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve("jsonl", 1.0, "--request_log_max_file_bytes=10")
    for number in range(4):
        assert server.predict("m", [float(number)]).ok
        eventually(
            "the call is written",
            lambda: len(list((tmp_path / "logs").glob("*"))) > number,  # noqa: B023
        )
    assert len(complete_files(tmp_path / "logs" / "m")) == 3
    assert server.stop() == 0
    texts = [path.read_text() for path in complete_files(tmp_path / "logs" / "m")]
    found = [json.loads(text)["request"]["instances"] for text in texts]
    assert found == [[0.0], [1.0], [2.0], [3.0]]


def test_an_unknown_collector_ends_a_start_and_refuses_a_reload(
    launch_server: Start, start_server: Start, model_path: Paths, tmp_path: Path
) -> None:
    config = logging_config(tmp_path / "m", "kafka")
    models = write_config(tmp_path / "bad", entry("m", model_path("half_plus_two"), config))
    server = launch_server(f"--model_config_file={models}")
    assert server.wait() == 255
    text = "Cannot find LogCollector::Factory for type: kafka"
    server.out.wait_for(text)
    good = write_config(tmp_path / "good", entry("m", model_path("half_plus_two")))
    server = start_server(f"--model_config_file={good}")
    with connected(server.grpc_target) as client:
        assert outcome(lambda: reload(client, models.read_text())) == ("NOT_FOUND", text)
    assert server.predict("m", [2.0]).ok


def reload(client: Client, text: str) -> Any:
    from google.protobuf import text_format

    from salver._pb import POOL

    request = message("ReloadConfigRequest")
    text_format.Parse(text, request.config, descriptor_pool=POOL)
    return client.call("HandleReloadConfigRequest", request)


@contextmanager
def load(server: Server) -> Iterator[list[int]]:
    """Requests without a break; collects their statuses."""
    statuses: list[int] = []
    stopped = threading.Event()

    def ask() -> None:
        while not stopped.is_set():
            statuses.append(server.predict("m", [2.0]).status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        stopped.set()
        thread.join()


def test_a_reload_adds_and_removes_logging_without_a_failed_request(
    start_server: Start, model_path: Paths, tmp_path: Path
) -> None:
    path = model_path("half_plus_two")
    plain = write_config(tmp_path / "plain", entry("m", path))
    prefix = tmp_path / "m"
    both = [entry("m", path, logging_config(prefix)), entry("n", path, logging_config(prefix))]
    logging = write_config(tmp_path / "logging", *both)
    server = start_server(f"--model_config_file={plain}")
    with connected(server.grpc_target) as client, load(server) as statuses:
        for _ in range(3):
            assert not reload(client, logging.read_text()).status.error_code
            seen = len(statuses)
            eventually("more requests", lambda: len(statuses) > seen + 20)  # noqa: B023
            assert not reload(client, plain.read_text()).status.error_code
    assert set(statuses) == {200}
    assert len(complete_files(prefix)) == 3  # complete as soon as the logging is gone
    assert not list(tmp_path.glob(f"*{OPEN_SUFFIX}"))
    assert len(logged(prefix)) >= 60
    assert server.stop() == 0


def test_a_full_disk_costs_records_and_no_request(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve()
    prefix = tmp_path / "logs" / "m"
    assert server.predict("m", [1.0]).ok
    eventually("the log is there", lambda: list(prefix.parent.glob("*")))
    (log,) = prefix.parent.glob("*")
    eventually("the call is written", lambda: log.stat().st_size)
    size = log.stat().st_size
    # What a process may write to a file runs out as room on a disk does.
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))
    assert server.predict("m", [2.0]).ok
    server.err.wait_for("A request log cannot be written")
    assert log.stat().st_size == size
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)

    def is_written_again() -> bool:
        assert server.predict("m", [3.0]).ok
        return log.stat().st_size > size

    eventually("the log is written again", is_written_again)
    server.err.wait_for("A request log can be written again")
    assert server.stop() == 0
    with complete_files(prefix)[0].open("rb") as file:
        assert len(list(read_records(file))) >= 2


# -- sending it again ------------------------------------------------------------------------------


@pytest.fixture
def two_versions(version_path: Paths, tmp_path: Path) -> Path:
    """Half plus two as version 1, half plus three as version 2."""
    base = tmp_path / "two"
    for version, name in ((1, "half_plus_two"), (2, "half_plus_three")):
        shutil.copytree(version_path(name), base / str(version))
    return base


@pytest.fixture(params=["file", "jsonl"])
def log_of_version_1(
    request: pytest.FixtureRequest, start_server: Start, two_versions: Path, tmp_path: Path
) -> tuple[Server, Path]:
    """A server of both, and a log of calls that version 1 answered."""
    prefix = tmp_path / "logs" / "m"
    policy = "model_version_policy { all {} }"
    with_log = entry("m", two_versions, policy + logging_config(prefix, request.param))
    without = entry("m", two_versions, policy)
    models = write_config(tmp_path / "models", with_log)
    server = start_server(f"--model_config_file={models}")
    with connected(server.grpc_target) as client:
        assert server.predict("m", [2.0, 4.0], version=1).ok
        client.predict("m", {"x": tensor([6.0])}, version=1)
        assert not reload(
            client, write_config(tmp_path / "w", without).read_text()
        ).status.error_code
    (log,) = complete_files(prefix)
    return server, log


@pytest.mark.parametrize("api", ["REST", "gRPC"])
def test_a_log_replayed_to_another_version_shows_where_the_answers_differ(
    api: str, log_of_version_1: tuple[Server, Path], tmp_path: Path
) -> None:
    server, log = log_of_version_1
    url = server.url if api == "REST" else server.grpc_target
    same = run_command("salver", "replay", str(log), f"--to={url}")
    assert same.returncode == 0, same.stdout + same.stderr
    assert "2 sent: 2 same, 0 different, 0 failed" in same.stdout
    output = tmp_path / "differences"
    other = run_command(
        "salver", "replay", str(log), f"--to={url}", "--version=2", f"--output={output}"
    )
    assert other.returncode == 1, other.stdout + other.stderr
    assert "2 sent: 0 same, 2 different, 0 failed" in other.stdout
    assert "is 4.0, not 3.0 at [0]; 2 of 2 differ" in other.stdout
    assert len(output.read_text().splitlines()) == 2


def test_two_servers_are_compared_with_each_other(
    log_of_version_1: tuple[Server, Path],
) -> None:
    server, log = log_of_version_1
    found = run_command(
        "salver", "replay", str(log), f"--to={server.url}", f"--against=grpc://{server.grpc_target}"
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "2 sent: 2 same" in found.stdout


def test_a_log_warms_up_another_version(
    serve: Callable[..., Server], start_server: Start, version_path: Paths, tmp_path: Path
) -> None:
    server = serve()
    assert server.predict("m", [2.0]).ok
    assert server.stop() == 0
    (log,) = complete_files(tmp_path / "logs" / "m")
    base = tmp_path / "warm"
    shutil.copytree(version_path("half_plus_two"), base / "2")
    extra = base / "2" / "assets.extra"
    extra.mkdir(exist_ok=True)
    shutil.copy(log, extra / "tf_serving_warmup_requests")
    warmed = start_server("--model_name=m", f"--model_base_path={base}")
    warmed.err.wait_for("Number of warmup records read: 1")
    shown = run_command("salver", "warmup", "show", str(log))
    assert "predict" in shown.stdout
