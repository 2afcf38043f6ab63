import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from salver.backends.tensorflow.opening_lines import filtered_stderr, without_lines_below

INFO = b"I0000 00:00:1795287413.108480    8291 port.cc:153] oneDNN custom operations are on.\n"
WARNING = b"W0000 00:00:1795287413.108480    8291 computation_placer.cc:177] registered\n"
ERROR = b"E0000 00:00:1795287413.108480    8291 cuda_fft.cc:467] Unable to register cuFFT\n"
FATAL = b"F0000 00:00:1795287413.108480    8291 tensor.cc:1] Check failed\n"
OLDER = b"2024-01-01 12:00:00.123456: I tensorflow/core/util/port.cc:153] oneDNN is on.\n"
OURS = b"2024-01-01 12:00:00.123456: I salver/server/ports.py:1] Running\n"
HEAD = b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
ALL = HEAD + INFO + OURS + WARNING + b"plain words\n" + ERROR + OLDER + FATAL


@pytest.mark.parametrize(
    ("level", "left"),
    [
        (1, OURS + WARNING + b"plain words\n" + ERROR + FATAL),
        (2, OURS + b"plain words\n" + ERROR + FATAL),
        (3, OURS + b"plain words\n" + FATAL),
    ],
)
def test_lines_of_tensorflow_below_the_level_are_left_out(level: int, left: bytes) -> None:
    assert without_lines_below(level, ALL) == left


@pytest.mark.parametrize("level", ["", "0", "-1", "loud"])
def test_where_everything_is_wanted_nothing_is_held_back(
    level: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with filtered_stderr({"TF_CPP_MIN_LOG_LEVEL": level}):
        os.write(2, INFO)
        assert capfd.readouterr().err == INFO.decode()


def test_what_is_not_tensorflows_comes_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with filtered_stderr({"TF_CPP_MIN_LOG_LEVEL": "3"}):
            os.write(2, INFO + b"a traceback\n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "a traceback\nlater\n"


def test_without_a_standard_error_nothing_happens() -> None:
    program = (
        "import os; os.close(2)\n"
        "from salver.backends.tensorflow.opening_lines import filtered_stderr\n"
        "with filtered_stderr({'TF_CPP_MIN_LOG_LEVEL': '3'}): print('done')"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"done\n"


def test_without_a_place_for_a_file_nothing_is_held_back(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with filtered_stderr({"TF_CPP_MIN_LOG_LEVEL": "3"}):
        os.write(2, INFO)
    assert capfd.readouterr().err == INFO.decode()


def test_tensorflow_is_opened_without_a_word() -> None:
    if find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    program = "from salver.backends.tensorflow.library import load_library; load_library()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
