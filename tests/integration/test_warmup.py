"""Warmup files of real servers: replayed before a version serves, in the reference's words."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from salver.codecs.protobuf.tfrecord import write_record
from salver.warmup.storing import read_file
from tests.integration.serving import Server, free_port, run_command

StartServer = Callable[..., Server]
REQUESTS = Path("assets.extra") / "tf_serving_warmup_requests"
NO_RETRIES = "--max_num_load_retries=0"


@pytest.fixture
def base_path(model_path: Callable[[str], Path], tmp_path: Path) -> Path:
    """A base path of its own with version 1 of half_plus_two."""
    base = tmp_path / "models" / "m"
    shutil.copytree(model_path("half_plus_two") / "00000123", base / "1")
    return base


def make(where: Path, *requests: object, **more: str) -> None:
    """Make the warmup file of a version, with the command."""
    source = where.parent.parent / "requests.jsonl"
    source.write_text("\n".join(map(json.dumps, requests)))
    flags = [f"--{flag}={value}" for flag, value in more.items()]
    made = run_command("salver", "warmup", "make", str(where), "--from", str(source), *flags)
    assert made.returncode == 0, made.stderr


def put(base: Path, version: int, spoil: Callable[[Path], None]) -> Path:
    """Bring in another version whole, with something done to it before."""
    made = base / f"unfinished-{version}"
    shutil.copytree(base / "1", made)
    spoil(made)
    return made.rename(base / str(version))


def write_requests(version: Path, data: bytes) -> None:
    (version / REQUESTS).parent.mkdir(exist_ok=True)
    (version / REQUESTS).write_bytes(data)


def test_a_version_answers_its_warmup_file_before_it_serves(
    base_path: Path, start_server: StartServer
) -> None:
    make(
        base_path / "1",
        {"instances": [[1.0], [2.0]]},
        {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]},
    )
    server = start_server(
        "--model_name=m",
        f"--model_base_path={base_path}",
        "--num_request_iterations_for_warmup=10",
    )
    path = base_path / "1" / REQUESTS
    log = server.err.text()
    begun = f"Starting to read warmup data for model at {path} with model-warmup-options "
    ended = (
        f"Finished reading warmup data for model at {path}. Number of warmup records read: 2. "
        "Elapsed time (microseconds): "
    )
    loaded = "Successfully loaded servable version {name: m version: 1}"
    places = [log.index(part) for part in (begun, "num_request_iterations {", ended, loaded)]
    assert places == sorted(places)
    assert server.predict("m", [[1.0], [2.0]]).json() == {"predictions": [[2.5], [3.0]]}


def test_a_version_without_a_file_says_so(base_path: Path, start_server: StartServer) -> None:
    server = start_server("--model_name=m", f"--model_base_path={base_path}")
    assert f"No warmup data file found at {base_path / '1' / REQUESTS}" in server.err.text()


def test_warmup_can_be_switched_off(base_path: Path, start_server: StartServer) -> None:
    write_requests(base_path / "1", b"no records, for a server that looks")
    server = start_server(
        "--model_name=m", f"--model_base_path={base_path}", "--enable_model_warmup=false"
    )
    assert "warmup data" not in server.err.text()
    assert server.predict("m", [1.0]).status_code == 200


def no_records(version: Path) -> None:
    write_requests(version, b"these are no records at all")


def no_log(version: Path) -> None:
    write_requests(version, write_record(b"no log"))


def unknown_signature(version: Path) -> None:
    make(version, {"instances": [1.0]})
    path = version / REQUESTS
    (record,) = read_file(path)
    path.write_bytes(write_record(record.replace(b"serving_default", b"serving_unknown")))


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (
            no_records,
            "DATA_LOSS: corrupted record at 0 (Is this even a TFRecord file?). "
            "Please verify your warmup data is in TFRecord format.",
        ),
        (no_log, "INVALID_ARGUMENT: Failed to parse warmup record: no log from "),
        (
            unknown_signature,
            'FAILED_PRECONDITION: Serving signature key "serving_unknown" not found.',
        ),
    ],
)
def test_a_bad_record_fails_the_load_and_the_version_before_goes_on_serving(
    base_path: Path, start_server: StartServer, spoil: Callable[[Path], None], text: str
) -> None:
    server = start_server("--model_name=m", f"--model_base_path={base_path}", NO_RETRIES)
    put(base_path, 2, spoil)
    line = server.err.wait_for("Encountered an error for servable version {name: m version: 2}")
    assert text in line
    server.wait_until("m", 2, "END")
    answer = server.predict("m", [1.0, 2.0])
    assert answer.json() == {"predictions": [2.5, 3.0]}
    assert answer.headers["salver-model-version"] == "1"


def test_at_start_up_it_fails_the_server(base_path: Path) -> None:
    no_log(base_path / "1")
    ended = run_command(
        "tensorflow_model_server",
        "--model_name=m",
        f"--model_base_path={base_path}",
        f"--port={free_port()}",
        NO_RETRIES,
    )
    assert ended.returncode == 255
    assert "Failed to parse warmup record: no log from " in ended.stderr


def test_a_server_told_to_stop_does_not_wait_for_a_warmup(
    model_path: Callable[[str], Path], tmp_path: Path, launch_server: StartServer
) -> None:
    base = tmp_path / "models" / "slow"
    shutil.copytree(model_path("slow") / "1", base / "1")
    make(base / "1", {"instances": [100_000]})
    server = launch_server("--model_name=slow", f"--model_base_path={base}")
    server.err.wait_for("Starting to read warmup data")
    assert server.stop(signal.SIGTERM) == 0
    assert "draining" in server.err.text()


BY_TENSORFLOW = """
import sys
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_log_pb2
ours, theirs = sys.argv[1:]
logs = [
    prediction_log_pb2.PredictionLog.FromString(record.numpy())
    for record in tf.data.TFRecordDataset(ours)
]
(log,) = logs
assert log.WhichOneof("log_type") == "predict_log", log
assert log.predict_log.request.model_spec.name == "m", log
tensor = tf.make_ndarray(log.predict_log.request.inputs["x"])
assert tensor.tolist() == [1.0, 2.0], tensor
with tf.io.TFRecordWriter(theirs) as writer:
    request = predict_pb2.PredictRequest()
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([[1.0], [5.0]]))
    writer.write(
        prediction_log_pb2.PredictionLog(
            predict_log=prediction_log_pb2.PredictLog(request=request)
        ).SerializeToString()
    )
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "m"
    request.model_spec.signature_name = "classify_x_to_y"
    example = request.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.append(2.0)
    writer.write(
        prediction_log_pb2.PredictionLog(
            classify_log=prediction_log_pb2.ClassifyLog(request=request)
        ).SerializeToString()
    )
"""


@pytest.mark.skipif(
    find_spec("tensorflow") is None or find_spec("tensorflow_serving") is None,
    reason="compares with TensorFlow and TensorFlow Serving's own messages",
)
def test_files_go_both_ways_between_tensorflow_and_us(
    base_path: Path, tmp_path: Path, start_server: StartServer
) -> None:
    make(base_path / "1", {"instances": [1.0, 2.0]})
    ours, theirs = base_path / "1" / REQUESTS, tmp_path / "theirs"
    child = subprocess.run(
        [sys.executable, "-c", BY_TENSORFLOW, ours, theirs],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    shutil.move(theirs, ours)
    shown = run_command("salver", "warmup", "show", str(base_path))
    assert shown.stdout == (
        "record 1: predict, no model, signature serving_default\n"
        "  x: float [2, 1] 1.0, 5.0\n"
        "record 2: classify, model m, signature classify_x_to_y\n"
        '  example: {"x": [2.0]}\n'
        f"2 records in {ours}\n"
    )
    server = start_server("--model_name=m", f"--model_base_path={base_path}", NO_RETRIES)
    assert "Number of warmup records read: 2." in server.err.text()


MODEL = """\
import os

class Model:
    inputs = {"x": ("float32", [-1])}
    outputs = {"pid": ("int64", [-1]), "asked": ("int64", [-1])}
    asked = 0

    def predict(self, inputs):
        if inputs["x"][0] < 0:
            os._exit(3)
        self.asked += 1
        return {"pid": [os.getpid()], "asked": [self.asked]}
"""


def test_every_process_of_a_version_is_warmed_up_also_one_that_replaces_another(
    tmp_path: Path, start_server: StartServer
) -> None:
    version = tmp_path / "models" / "m" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL)
    make(version, {"inputs": {"x": [1.0]}}, {"inputs": {"x": [2.0]}})
    config = {"base_path": str(version.parent), "salver": {"instances": 2}}
    (tmp_path / "models.json").write_text(
        json.dumps({"schema": 1, "models": [{"name": "m", **config}]})
    )
    server = start_server(
        f"--model_config_file={tmp_path / 'models.json'}", f"--trusted_model_paths={tmp_path}"
    )

    def ask(x: float) -> tuple[int, int] | None:
        answer = server.post("/v1/models/m:predict", {"inputs": {"x": [x]}})
        if answer.status_code != 200:
            return None
        outputs = answer.json()["outputs"]
        return outputs["pid"][0], outputs["asked"][0]

    seen: set[int] = set()
    while len(seen) < 4:  # two of which replace the two that there are
        answered = ask(1.0)
        assert answered is not None
        if answered[0] not in seen:
            assert answered[1] > 2
        seen.add(answered[0])
        assert ask(-1.0) is None
