"""Models that answer more than once, in servers as users start them, over HTTP and gRPC."""

import json
import os
import queue
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from salver._pb import message_class
from tests.integration.serving import PATIENCE_S, Server, eventually, running

StartServer = Callable[..., Server]

HEAD = """
    import asyncio, os, time
    import numpy as np

    def note(text):
        with open(os.path.dirname(os.path.abspath(__file__)) + "/notes", "a") as file:
            file.write(f"{text}\\n")
"""
TOKENS = (
    HEAD
    + """
    class Model:
        inputs = {"text": ("string", [-1]), "n": ("int64", [], 3), "fail": ("bool", [], False)}
        outputs = {"token": ("string", [-1]), "pid": ("int64", [])}

        def predict(self, inputs):
            words = inputs["text"][0].decode()
            made = 0
            try:
                for i in range(int(inputs["n"])):
                    made += 1
                    yield {"token": [f"{words} {i}"], "pid": os.getpid()}
                if inputs["fail"]:
                    raise ValueError("no more words")
            finally:
                note(f"ended after {made}")
"""
)
ASYNC_TOKENS = TOKENS.replace("        def predict", "        async def predict")
ONCE = """
    class Model:
        inputs, outputs = {"x": ("float32", [-1])}, {"y": ("float32", [-1])}

        def predict(self, inputs):
            return {"y": inputs["x"] / 2 + 2}
"""
REPEAT = """
    import threading
    import numpy as np
    import triton_python_backend_utils as pb_utils

    class TritonPythonModel:
        def execute(self, requests):
            for request in requests:
                threading.Thread(target=self.repeat, args=(request,)).start()

        def repeat(self, request):
            sender = request.get_response_sender()
            values = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
            for i, value in enumerate(values):
                out = pb_utils.Tensor("OUT", np.array([value], np.int32))
                sender.send(pb_utils.InferenceResponse([out]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
REPEAT_CONFIG = """
    backend: "python"
    max_batch_size: 0
    input { name: "IN" data_type: TYPE_INT32 dims: [ -1 ] }
    output { name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] }
    model_transaction_policy { decoupled: True }
"""
MODELS = {"tokens": TOKENS, "asynchronous": ASYNC_TOKENS, "once": ONCE, "repeat": REPEAT}
each_generator = pytest.mark.parametrize("name", ["tokens", "asynchronous"])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    for name, source in MODELS.items():
        (path / name / "1").mkdir(parents=True)
        (path / name / "1" / "model.py").write_text(dedent(source))
    (path / "repeat" / "config.pbtxt").write_text(dedent(REPEAT_CONFIG))
    return path


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def shared(request: pytest.FixtureRequest, models: Path) -> Iterator[Server]:
    configured = " ".join(
        f'config {{ name: "{name}" base_path: "{models / name}" model_platform: "python" }}'
        for name in MODELS
    )
    file = models / "models.config"
    file.write_text(f"model_config_list {{ {configured} }}")
    with running(
        f"--model_config_file={file}",
        f"--trusted_model_paths={models}",
        f"--workers={request.param}",
    ) as server:
        yield server


@pytest.fixture
def server(shared: Server, models: Path) -> Server:
    """The server; no model has noted anything."""
    for file in models.glob("*/1/notes"):
        file.unlink()
    return shared


def notes(models: Path, name: str) -> str:
    file = models / name / "1" / "notes"
    return file.read_text() if file.exists() else ""


# Server-sent events, read from the socket.


def open_events(server: Server, model: str, body: Any, *more: str) -> socket.socket:
    """Ask, and read nothing."""
    text = json.dumps(body)
    connection = server.connect()
    connection.sendall(
        f"POST /v2/models/{model}/generate_stream HTTP/1.1\r\nHost: x\r\n"
        f"{''.join(line + chr(13) + chr(10) for line in more)}"
        f"Content-Length: {len(text)}\r\n\r\n{text}".encode()
    )
    return connection


def events_of(connection: socket.socket) -> Iterator[Any]:
    """The events of a chunked body, each a chunk."""
    with connection.makefile("rb") as file:
        head = b"".join(iter(file.readline, b"\r\n"))
        assert b"Transfer-Encoding: chunked" in head
        assert b"Content-Type: text/event-stream; charset=utf-8" in head
        while size := int(file.readline(), 16):
            event = file.read(size + 2)
            assert event.startswith(b"data: ")
            assert event.endswith(b"\n\n\r\n")
            yield json.loads(event[6:-2])
        assert file.readline() == b"\r\n"


def events(server: Server, model: str, body: Any) -> list[Any]:
    with open_events(server, model, body) as connection:
        return list(events_of(connection))


# gRPC, by our own messages.


class GrpcStream:
    """A call of ModelStreamInfer."""

    def __init__(self, server: Server) -> None:
        self._channel = grpc.insecure_channel(server.grpc_target)
        self._requests: queue.Queue[bytes | None] = queue.Queue()
        self.call = self._channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(
            iter(self._requests.get, None), timeout=PATIENCE_S
        )

    def send(self, model: str, id: str, inputs: dict[str, Any], **parameters: bool) -> None:
        request = message_class("inference.ModelInferRequest")(model_name=model, id=id)
        for name, value in inputs.items():
            array = np.asarray(value)
            given = request.inputs.add(name=name, shape=array.shape)
            if array.dtype.kind in "OSU":
                given.datatype = "BYTES"
                given.contents.bytes_contents.extend(str(each).encode() for each in array.flat)
            elif array.dtype.kind == "b":
                given.datatype = "BOOL"
                given.contents.bool_contents.extend(array.ravel().tolist())
            elif array.dtype == np.int32:
                given.datatype = "INT32"
                given.contents.int_contents.extend(array.ravel().tolist())
            else:
                given.datatype = "INT64"
                given.contents.int64_contents.extend(array.ravel().tolist())
        for key, value in parameters.items():
            request.parameters[key].bool_param = value
        self._requests.put(request.SerializeToString())

    def end(self) -> None:
        self._requests.put(None)

    def next(self) -> Any:
        made = message_class("inference.ModelStreamInferResponse")()
        made.ParseFromString(next(self.call))
        return made

    def rest(self) -> list[Any]:
        self.end()
        found = []
        for data in self.call:
            made = message_class("inference.ModelStreamInferResponse")()
            made.ParseFromString(data)
            found.append(made)
        return found

    def close(self) -> None:
        self.end()
        self.call.cancel()
        self._channel.close()


@pytest.fixture
def stream(server: Server) -> Iterator[GrpcStream]:
    made = GrpcStream(server)
    yield made
    made.close()


def is_final(answer: Any) -> bool:
    return bool(answer.infer_response.parameters["triton_final_response"].bool_param)


@each_generator
def test_each_answer_is_an_event(server: Server, name: str) -> None:
    found = events(server, name, {"text": "go", "n": 4, "id": "a"})
    assert [each["token"] for each in found] == [f"go {i}" for i in range(4)]
    assert {(each["model_name"], each["model_version"], each["id"]) for each in found} == {
        (name, "1", "a")
    }
    assert events(server, name, {"text": "go", "n": 0}) == []


def test_ten_thousand_answers_come_whole_and_in_order(server: Server) -> None:
    for name in ("tokens", "asynchronous"):
        found = events(server, name, {"text": "t", "n": 10_000})
        assert [each["token"] for each in found] == [f"t {i}" for i in range(10_000)]


def test_a_connection_goes_on_behind_a_stream(server: Server) -> None:
    url = "/v2/models/tokens/generate_stream"
    for n in (2, 3):
        answer = server.post(url, {"text": "go", "n": n})
        assert answer.text.count("data: ") == n
        assert answer.headers["salver-model-version"] == "1"
    assert server.predict("once", [1.0]).json() == {"predictions": [2.5]}


def test_a_model_that_answers_once_gives_one_event(server: Server) -> None:
    assert [each["y"] for each in events(server, "once", {"x": [1, 2]})] == [[2.5, 3.0]]
    answer = server.post("/v2/models/once/versions/1/generate", {"x": 1})
    assert answer.json() == {"model_name": "once", "model_version": "1", "y": 2.5}


def test_generate_is_for_exactly_one_answer(server: Server) -> None:
    answer = server.post("/v2/models/tokens/generate", {"text": "go", "n": 1})
    assert answer.json()["token"] == "go 0"
    for n in (0, 2):
        answer = server.post("/v2/models/tokens/generate", {"text": "go", "n": n})
        assert answer.status_code == 500
        assert "exactly 1 response" in answer.json()["error"]


def test_other_apis_answer_the_last_value(server: Server) -> None:
    for name in ("tokens", "asynchronous"):
        answer = server.post(f"/v1/models/{name}:predict", {"inputs": {"text": ["go"], "n": 3}})
        assert answer.json()["outputs"]["token"] == ["go 2"]
        answer = server.post(f"/v1/models/{name}:predict", {"inputs": {"text": ["go"], "n": 0}})
        assert (answer.status_code, answer.json()["error"]) == (
            500,
            "The model has yielded nothing",
        )
    body = {"inputs": {"IN": [4, 5, 6]}}
    assert server.post("/v1/models/repeat:predict", body).json() == {"outputs": [6]}


def test_a_generator_that_fails_midway_says_so_in_its_last_event(server: Server) -> None:
    body = {"text": "go", "n": 2, "fail": True}
    *given, last = events(server, "tokens", body)
    assert len(given) == 2
    assert last["error"] == "no more words"
    assert len(events(server, "tokens", {"text": "go"})) == 3


def test_what_is_wrong_is_refused_before_anything_is_sent(server: Server) -> None:
    for body in ({"n": 3}, {"text": 5}, {"text": "go", "n": "many"}, {"text": "go", "x": []}):
        answer = server.post("/v2/models/tokens/generate_stream", body)
        assert answer.status_code == 400, body
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json()["error"]
    assert server.post("/v2/models/nobody/generate_stream", {}).status_code == 404
    assert server.get("/v2/models/tokens/generate").status_code == 405


@each_generator
def test_a_reader_that_leaves_ends_the_generator_and_frees_the_child(
    server: Server, models: Path, name: str
) -> None:
    with open_events(server, name, {"text": "go", "n": 10**9}) as connection:
        first = next(events_of(connection))
    assert first["token"] == "go 0"
    eventually("the generator is closed", lambda: notes(models, name))
    assert len(events(server, name, {"text": "go"})) == 3


@each_generator
def test_a_slow_reader_holds_up_the_generator_and_nothing_piles_up(
    server: Server, models: Path, name: str
) -> None:
    long = "x" * 10_000
    with open_events(server, name, {"text": long, "n": 10**9}) as connection:
        pid = next(events_of(connection))["pid"]
        before = [_resident(server.process.pid), _resident(pid)]
        quiet = _until_quiet(pid)
        assert quiet, "the child goes on and on"
        after = [_resident(server.process.pid), _resident(pid)]
        assert max(b - a for a, b in zip(before, after, strict=True)) < 30 << 20
    eventually("the generator is closed", lambda: notes(models, name))
    assert int(notes(models, name).split()[-1]) < 5000  # what sockets hold, and what may be ahead


def _resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _until_quiet(pid: int) -> bool:
    """Wait until a process computes no more."""
    until = time.monotonic() + PATIENCE_S
    last, same = -1, 0
    while same < 10 and time.monotonic() < until:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        same = same + 1 if ticks == last else 0
        last = ticks
        eventually("a moment", _later(0.05))
    return same >= 10


def _later(seconds: float) -> Callable[[], bool]:
    moment = time.monotonic() + seconds
    return lambda: time.monotonic() >= moment


def test_a_child_that_is_killed_midway_is_an_error_event_and_the_next_is_served(
    server: Server,
) -> None:
    with open_events(server, "tokens", {"text": "x" * 1000, "n": 10**9}) as connection:
        found = events_of(connection)
        os.kill(next(found)["pid"], signal.SIGKILL)
        last = None
        for each in found:
            last = each
    assert last is not None
    assert "has ended" in last["error"]
    assert len(events(server, "tokens", {"text": "go"})) == 3


def test_a_time_limit_of_the_request_ends_it(server: Server, models: Path) -> None:
    *given, last = events(
        server, "asynchronous", {"text": "go", "n": 10**9, "parameters": {"timeout": 200_000}}
    )
    assert given
    assert "Timed out" in last["error"]
    eventually("the generator is closed", lambda: notes(models, "asynchronous"))


def test_a_server_that_stops_lets_streams_end_and_cuts_endless_ones(
    start_server: StartServer, models: Path
) -> None:
    server = start_server(
        "--model_name=m",
        f"--model_base_path={models / 'tokens'}",
        "--model_platform=python",
        f"--trusted_model_paths={models}",
        "--drain_timeout_seconds=1",
    )
    with open_events(server, "m", {"text": "go", "n": 10**9}) as connection:
        next(events_of(connection))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0


def test_a_model_that_is_not_in_memory_is_waited_for(
    start_server: StartServer, models: Path
) -> None:
    server = start_server(
        "--model_name=tokens",
        f"--model_base_path={models / 'tokens'}",
        "--model_platform=python",
        f"--trusted_model_paths={models}",
        "--lazy_load_models",
        "--max_loaded_models=1",
    )
    assert len(_answers(server, {"text": ["go"]})) == 3
    assert len(events(server, "tokens", {"text": "go"})) == 3


def _answers(server: Server, inputs: Any) -> list[Any]:
    stream = GrpcStream(server)
    try:
        stream.send("tokens", "a", inputs)
        return [each for each in stream.rest() if not each.error_message]
    finally:
        stream.close()


def test_http2_carries_events_too(server: Server) -> None:
    with (
        httpx.Client(http1=False, http2=True, base_url=server.url) as client,
        client.stream(
            "POST", "/v2/models/tokens/generate_stream", json={"text": "go", "n": 500}
        ) as answer,
    ):
        assert answer.http_version == "HTTP/2"
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        lines = [line for line in answer.iter_lines() if line]
    assert [json.loads(line[6:])["token"] for line in lines] == [f"go {i}" for i in range(500)]


# Over gRPC.


@each_generator
def test_many_requests_of_one_call_are_answered_in_order_each(
    server: Server, stream: GrpcStream, name: str
) -> None:
    for id in "abc":
        stream.send(name, id, {"text": ["go"], "n": 20})
    stream.send("once", "d", {})  # which lacks its input
    stream.send(name, "e", {"text": ["go"], "n": 2}, triton_enable_empty_final_response=True)
    found = stream.rest()
    for id in "abc":
        of = [each for each in found if each.infer_response.id == id]
        said = [each.infer_response.raw_output_contents[1][4:] for each in of]
        assert said == [f"go {i}".encode() for i in range(20)]
        assert not any(map(is_final, of))
    (error,) = [each for each in found if each.error_message]
    assert error.infer_response.id == "d"
    assert is_final(error)
    *others, last = [each for each in found if each.infer_response.id == "e"]
    assert len(others) == 2
    assert is_final(last)
    assert not last.infer_response.outputs


def test_a_decoupled_model_answers_as_often_as_it_sends(server: Server, stream: GrpcStream) -> None:
    stream.send("repeat", "a", {"IN": np.arange(3, dtype=np.int32)})
    stream.send("repeat", "b", {"IN": np.arange(0, dtype=np.int32)})
    found = stream.rest()
    values = [np.frombuffer(each.infer_response.raw_output_contents[0], "<i4") for each in found]
    assert [value.tolist() for value in values] == [[0], [1], [2]]


def test_a_call_that_is_cancelled_ends_its_generators(
    server: Server, stream: GrpcStream, models: Path
) -> None:
    stream.send("asynchronous", "a", {"text": ["go"], "n": 10**9})
    stream.send("asynchronous", "b", {"text": ["go"], "n": 10**9})
    assert {stream.next().infer_response.id for _ in range(100)} <= {"a", "b"}
    stream.call.cancel()
    eventually(
        "both generators are closed", lambda: notes(models, "asynchronous").count("ended") == 2
    )


def test_a_child_that_is_killed_is_an_error_in_the_stream_which_goes_on(
    server: Server, stream: GrpcStream
) -> None:
    stream.send("tokens", "a", {"text": ["x" * 1000], "n": 10**9})
    pid = np.frombuffer(stream.next().infer_response.raw_output_contents[0], "<i8")[0]
    os.kill(pid, signal.SIGKILL)
    while not (answer := stream.next()).error_message:
        pass
    assert "has ended" in answer.error_message
    stream.send("tokens", "b", {"text": ["go"], "n": 3})
    assert [each.infer_response.id for each in stream.rest()] == ["b"] * 3
