import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from salver._pb import message_class
from salver.backends.tensorflow import recorder
from salver.backends.tensorflow.library import Library
from salver.backends.tensorflow.session import SavedModel
from salver.errors import FailedPrecondition, Unavailable, Unimplemented

_OPTIONS = message_class("tensorflow.ProfileOptions")(version=1, host_tracer_level=2)
OPTIONS: bytes = _OPTIONS.SerializeToString()


@pytest.fixture
def ended() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@pytest.fixture(autouse=True)
def _trial_anew() -> Iterator[None]:
    yield
    recorder._trial.cache_clear()


@pytest.mark.usefixtures("library")
def test_what_runs_meanwhile_is_in_the_trace(load: Callable[[str], SavedModel]) -> None:
    model = load("half_plus_two")
    program = model.program("serving_default")
    ended = threading.Event()

    def run() -> None:
        for _ in range(20):
            program.run([np.array([1.0], np.float32)])
        ended.set()

    def wait() -> None:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    assert recorder._trial() is None
    trace = recorder._record(recorder._open(), OPTIONS, wait)
    assert not trace.is_empty
    assert b"SessionRun" in trace.xspace
    model.close()


@pytest.mark.usefixtures("library")
def test_a_second_trace_of_the_process_is_refused_and_the_first_goes_on(
    ended: threading.Event,
) -> None:
    refused = []

    def wait() -> None:
        with pytest.raises(Unavailable, match="Another trace"):
            recorder.record(OPTIONS, 1.0, ended)
        refused.append(True)

    recorder._record(recorder._open(), OPTIONS, wait)
    assert refused
    recorder.record(OPTIONS, 1.0, ended)  # nothing is in the way


@pytest.mark.usefixtures("library")
def test_options_that_are_none_are_refused(ended: threading.Event) -> None:
    with pytest.raises(Unavailable, match="does not take these options"):
        recorder.record(b"\xff", 1.0, ended)


@pytest.mark.usefixtures("library")
def test_a_trace_that_takes_too_much_memory_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([0, 1 << 20, 513 << 20])
    monkeypatch.setattr(recorder, "resident_bytes", lambda: next(sizes))
    recorder.record(OPTIONS, 60.0, threading.Event())
    assert next(sizes, None) is None


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    "program", ["import os; os.abort()", "raise AttributeError('_ZN3tsl')", "import time"]
)
def test_a_trial_that_fails_is_told_and_not_made_again(
    program: str, ended: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def run(_command: list[str], **more: object) -> "subprocess.CompletedProcess[bytes]":
        calls.append(program)
        if "time" in program:
            raise subprocess.TimeoutExpired("python", 60)
        return subprocess.CompletedProcess([], -6 if "abort" in program else 1, b"", b"a\nlast\n")

    monkeypatch.setattr("subprocess.run", run)
    for _ in range(2):
        with pytest.raises(Unimplemented, match="cannot be traced: a trial"):
            recorder.record(OPTIONS, 1.0, ended)
    assert len(calls) == 1


def test_a_process_without_tensorflow_has_nothing_to_record() -> None:
    program = (
        "import threading; from salver.backends.tensorflow import recorder\n"
        "try: recorder.record(b'', 1.0, threading.Event())\n"
        "except Exception as error: print(type(error).__name__)"
    )
    path = str(Path(recorder.__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": path},
    )
    assert done.stdout.strip() == FailedPrecondition.__name__


def test_the_trial_loads_no_more_than_the_library(library: Library) -> None:
    recorder.try_out()
    assert library.version
