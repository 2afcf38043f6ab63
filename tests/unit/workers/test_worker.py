"""A whole life of a worker, in a thread of this process."""

import gc
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from http.client import HTTPConnection
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from salver.config.model_options import LoadSettings
from salver.config.models import ModelConfig
from salver.config.options import ServerOptions
from salver.config.start_up import Configuration, read_configuration
from salver.errors import NotFound, ServingError, Unavailable
from salver.management.loading import Loader
from salver.transport.turns import make_board
from salver.vocabulary.servable import ServableId
from salver.workers import worker
from salver.workers.channel import Channel, encode
from salver.workers.messages import (
    Apply,
    Begin,
    Close,
    Describe,
    Drain,
    EndIsolation,
    Goodbye,
    Hello,
    InheritedPort,
    Isolate,
    Load,
    Open,
    Ping,
    Publish,
    Run,
    RunIsolated,
    SetLabels,
    SetLogs,
    SetNames,
    SetPhase,
    SetStates,
    Settled,
    Signatures,
    Sync,
    TakeReading,
    Withdraw,
)

WAIT_S = 60.0
ID = ServableId("m", 123)
PREDICT = ("POST", "/v1/models/m:predict", '{"instances": [2.0]}')


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """A worker changes its process; this gives it back."""
    interval = sys.getswitchinterval()
    yield
    gc.unfreeze()
    gc.enable()
    sys.setswitchinterval(interval)


class Life:
    """A worker that runs, and what its supervisor hears."""

    def __init__(self, configuration: Configuration, listener: socket.socket) -> None:
        self.port: int = listener.getsockname()[1]
        self.heard: list[Any] = []
        self.has_greeted = threading.Event()
        self.has_left = threading.Event()
        self.result: list[bool] = []
        self.on_run: Callable[[Run], Any] = lambda _run: b""
        mine, other = Pipe()
        listener.listen()
        ports = {"rest": InheritedPort("http://x", (listener.detach(),))}
        mine.send_bytes(encode(Begin(0, 2, configuration, ports, make_board(4))))
        self.channel = Channel(mine, self._hear, name="supervisor")
        self.channel.start()
        self.thread = threading.Thread(target=lambda: self.result.append(worker.run(other)))
        self.thread.start()
        assert self.has_greeted.wait(WAIT_S)

    def _hear(self, message: Any) -> Any:
        self.heard.append(message)
        if isinstance(message, RunIsolated):
            return self._in_thread(lambda: self.on_run(message.run))
        if isinstance(message, Hello):
            self.has_greeted.set()
        elif isinstance(message, Goodbye):
            self.has_left.set()
        return None

    @staticmethod
    def _in_thread(do: Callable[[], Any]) -> "Future[Any]":
        done: Future[Any] = Future()

        def work() -> None:
            try:
                done.set_result(do())
            except ServingError as error:
                done.set_exception(error)

        threading.Thread(target=work).start()
        return done

    def do(self, message: object) -> Any:
        return self.channel.request(message).result(WAIT_S)

    def ask(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        connection.request(method, path, body)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def end(self) -> None:
        self.channel.notify(Drain(WAIT_S))  # ends as soon as nothing is left to do
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()


@pytest.fixture
def start(model_path: Callable[[str], Path]) -> Iterator[Callable[..., Life]]:
    lives: list[Life] = []
    base_path = str(model_path("half_plus_two"))
    models = (ModelConfig(name="m", base_path=base_path, model_platform="tensorflow"),)

    def start_one(**flags: Any) -> Life:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        options = replace(ServerOptions(port=0, rest_api_port=port, workers=2), **flags)
        lives.append(Life(read_configuration(options, models), listener))
        return lives[-1]

    yield start_one
    for life in lives:
        life.end()


@pytest.fixture
def load(model_path: Callable[[str], Path]) -> Load:
    (version,) = model_path("half_plus_two").iterdir()
    return Load(LoadSettings("tensorflow"), ID, str(version))


def test_answers_by_what_it_is_told_to_and_says_goodbye(
    start: Callable[..., Life], load: Load
) -> None:
    life = start()
    life.do(load)
    life.do(Publish(ID))
    assert "serving_default" in life.do(Signatures(ID))
    life.channel.notify(SetLabels({"m": {"stable": 123}}, {}))
    life.channel.notify(SetNames(("m",), None))
    life.channel.notify(SetPhase(is_started=True))
    life.do(SetLogs({}))
    life.do(Ping())
    life.do(Open())
    assert life.ask(*PREDICT) == (200, '{\n    "predictions": [3.0]\n}')
    assert life.ask("POST", "/v1/models/m/labels/stable:predict", PREDICT[2])[0] == 200
    assert life.ask("GET", "/healthz/ready")[0] == 200
    reading = life.do(TakeReading())
    assert reading.report["/tensorflow/serving/request_count"] == [(("m", "OK"), 2)]
    life.do(Withdraw(ID))
    assert life.ask(*PREDICT)[0] == 404
    life.do(Close(ID))
    life.do(Close(ID))
    life.end()
    assert life.result == [True]
    assert life.has_left.wait(WAIT_S)  # another thread hears it
    (goodbye,) = [message for message in life.heard if isinstance(message, Goodbye)]
    assert (goodbye.cut, goodbye.has_ended) == (0, True)


def test_a_version_that_is_isolated_is_run_by_who_is_asked_to(
    start: Callable[..., Life], load: Load
) -> None:
    """One worker is told that it is isolated; it is also the one that runs it alone."""
    life = start()
    life.do(load)
    life.do(Publish(ID))
    description = life.do(Describe(ID))
    assert "serving_default" in description.info.signatures
    assert description.info.definitions
    assert "serving_default" in description.names
    life.channel.notify(Isolate(ID, "it is isolated"))
    life.channel.notify(SetNames(("m",), None))
    life.do(Open())
    assert life.ask(*PREDICT)[0] == 503
    life.channel.notify(Isolate(ID, "it is isolated", description))
    life.do(Sync())
    life.on_run = life.do
    assert life.ask(*PREDICT) == (200, '{\n    "predictions": [3.0]\n}')
    assert life.ask("GET", "/v1/models/m/metadata")[0] == 200
    wrong = '{"instances": ["text"]}'
    assert life.ask("POST", PREDICT[1], wrong)[0] == 400
    life.channel.notify(EndIsolation(ID, is_published=True))
    life.do(Sync())
    life.on_run = lambda run: pytest.fail(f"{run} is for nobody else any more")
    assert life.ask(*PREDICT)[0] == 200
    reading = life.do(TakeReading())
    assert dict(reading.report["/tensorflow/serving/request_count"]) == {
        ("m", "OK"): 3,
        ("m", "INVALID_ARGUMENT"): 1,
        ("m", "UNAVAILABLE"): 1,
    }


def test_a_version_that_is_withdrawn_while_it_is_isolated_is_drained(
    start: Callable[..., Life], load: Load
) -> None:
    life = start()
    life.do(load)
    life.do(Publish(ID))
    life.channel.notify(Isolate(ID, "it is isolated"))
    life.do(Withdraw(ID))
    life.do(Close(ID))
    life.channel.notify(EndIsolation(ID, is_published=False))
    life.channel.notify(SetNames(("m",), None))
    life.do(Open())
    assert life.ask(*PREDICT)[0] == 404


def test_what_it_cannot_do_is_an_error(start: Callable[..., Life], load: Load) -> None:
    life = start()
    with pytest.raises(NotFound, match="A worker has not loaded"):
        life.do(Publish(ID))
    with pytest.raises(ServingError):
        life.do(replace(load, path="/no/such/directory"))
    with pytest.raises(Unavailable, match="knows nothing of Apply"):
        life.do(Apply(()))


def test_states_and_readiness_are_what_the_supervisor_says(start: Callable[..., Life]) -> None:
    life = start()
    life.channel.notify(SetNames(("m",), None))
    life.channel.notify(SetStates("m", (), NotFound("no version yet")))
    life.channel.notify(SetPhase(is_started=True, is_draining=True))
    life.do(Open())
    assert life.ask("GET", "/healthz/ready") == (503, '{"status":"draining"}') or (
        "draining" in life.ask("GET", "/healthz/ready")[1]
    )


def test_a_worker_that_is_new_stays_ready_where_the_others_are(start: Callable[..., Life]) -> None:
    life = start(stay_ready=True)
    life.channel.notify(SetNames(("m",), None))
    life.channel.notify(SetStates("m", (), NotFound("no version yet")))
    life.channel.notify(SetPhase(is_started=True, is_settled=True))
    life.do(Open())
    assert life.ask("GET", "/healthz/ready")[0] == 200


def test_a_worker_that_has_become_ready_tells_the_supervisor(
    start: Callable[..., Life], load: Load
) -> None:
    life = start(stay_ready=True)
    life.channel.notify(SetPhase(is_started=True))
    life.do(load)
    life.do(Publish(ID))
    life.do(Open())
    assert life.ask("GET", "/healthz/ready")[0] == 200
    life.do(TakeReading())  # what it says before this is heard before the answer
    assert Settled() in life.heard


def test_models_may_be_loaded_when_they_are_asked_for(
    start: Callable[..., Life], load: Load
) -> None:
    life = start(lazy_load_models=True)
    life.do(load)
    life.do(Publish(ID))
    assert life.do(Signatures(ID)) == {}
    life.do(Open())
    assert life.ask(*PREDICT) == (200, '{\n    "predictions": [3.0]\n}')
    assert life.do(TakeReading()).report["salver_resident_versions"] == [((), 1)]


def test_without_its_supervisor_it_ends(start: Callable[..., Life], load: Load) -> None:
    life = start()
    life.do(load)
    life.do(Sync())
    life.channel.close(WAIT_S)
    life.thread.join(WAIT_S)
    assert life.result == [True]


def test_a_load_that_goes_on_does_not_hold_up_the_end(
    start: Callable[..., Life], load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salver.workers.worker._LOAD_GRACE_S", 0.01)
    has_begun, may_end = threading.Event(), threading.Event()

    def take_long(*_: object) -> None:
        has_begun.set()
        may_end.wait()

    monkeypatch.setattr(Loader, "__call__", take_long)
    life = start()
    life.channel.request(load)
    assert has_begun.wait(WAIT_S)
    life.channel.notify(Drain(10 * WAIT_S))
    life.thread.join(WAIT_S)
    may_end.set()
    assert life.result == [False]
