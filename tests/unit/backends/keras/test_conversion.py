import json
import os
import re
import signal
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from salver.backends.keras import conversion
from salver.backends.keras.conversion import convert, require_keras
from salver.backends.keras.options import KerasOptions
from salver.errors import (
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from salver.instruments.installing import install_command

PATIENCE_S = 60.0

Play = Callable[[str], None]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Lets a script stand for the child; `request` is what it was asked."""

    def write(script: str) -> None:
        child = tmp_path / "child.py"
        child.write_text(
            "import json, os, signal, sys, threading\n"
            f"request = json.loads(sys.argv[1])\n{script}\n"
        )
        monkeypatch.setattr(conversion, "CHILD", child)
        monkeypatch.setattr(conversion, "require_keras", lambda: None)

    return write


def _convert(tmp_path: Path, stopping: threading.Event | None = None, **more: float) -> Path:
    target = tmp_path / "target"
    options = KerasOptions(custom_objects=("a.module", "relative.py"), **more)  # type: ignore[arg-type]
    convert(tmp_path / "m.h5", target, options, stopping=stopping or threading.Event())
    return target


REPORT = "open(request['report'], 'w').write(json.dumps({}))"


def test_a_child_that_reports_success_has_been_told_all(tmp_path: Path, play: Play) -> None:
    play(
        "os.mkdir(request['target'])\n"
        "told = {'request': request, 'nice': os.nice(0), 'keras': os.environ['KERAS_BACKEND']}\n"
        "open(request['target'] + '/told', 'w').write(json.dumps(told))\n"
        + REPORT.format({"status": "done"})
    )
    told = json.loads((_convert(tmp_path) / "told").read_text())
    assert told["keras"] == "tensorflow"
    assert told["request"].pop("report")
    assert told["request"] == {
        "source": str(tmp_path / "m.h5"),
        "target": str(tmp_path / "target"),
        "safe_mode": True,
        "custom_objects": ["a.module", os.path.abspath("relative.py")],
    }


def test_the_child_inherits_no_socket(tmp_path: Path, play: Play) -> None:
    play(
        "os.mkdir(request['target'])\n"
        "open(request['target'] + '/told', 'w').write(str(sorted(map(int, os.listdir("
        "'/proc/self/fd')))))\n" + REPORT.format({"status": "done"})
    )
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not tell")
    descriptor = os.open("/dev/null", os.O_RDONLY)
    inheritable = os.dup(descriptor)
    os.set_inheritable(inheritable, True)
    try:
        told = json.loads((_convert(tmp_path) / "told").read_text())
    finally:
        os.close(descriptor)
        os.close(inheritable)
    assert told[:3] == [0, 1, 2]
    assert len(told) <= 5  # and what it opened itself to tell


def test_what_the_child_reports_is_explained(
    tmp_path: Path, play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    report = {"status": "failed", "step": "load", "type": "OSError", "message": "truncated file"}
    play(f"print('first\\n\\n  ^^^^\\nlast')\n{REPORT.format(report)}\nsys.exit(1)")
    with pytest.raises(DataLoss, match=r"m\.h5 is no Keras file, or only a part of one"):
        _convert(tmp_path)
    assert "said at last: first | last" in caplog.text


@pytest.mark.parametrize("target", ["/given/net.h5", "other.h5"])
def test_the_error_names_the_file_that_was_given_not_a_link_made_for_it(
    target: str, tmp_path: Path, play: Play
) -> None:
    (tmp_path / "m.h5").symlink_to(target)
    report = {"status": "failed", "step": "load", "type": "OSError", "message": "truncated file"}
    play(f"{REPORT.format(report)}\nsys.exit(1)")
    named = target if target.startswith("/") else str(tmp_path / "m.h5")
    with pytest.raises(DataLoss, match=f"^{re.escape(named)} is no Keras file"):
        _convert(tmp_path)


def test_what_safe_mode_refuses_needs_no_lines_of_the_child(
    tmp_path: Path, play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    report = {"status": "failed", "step": "read", "type": "CodeInFile", "message": "a Lambda layer"}
    play(f"print('Traceback')\n{REPORT.format(report)}\nsys.exit(1)")
    with pytest.raises(PermissionDenied, match="has a Lambda layer"):
        _convert(tmp_path)
    assert "said at last" not in caplog.text


@pytest.mark.parametrize(
    ("script", "kind", "said"),
    [
        ("sys.exit('odd')", FailedPrecondition, r"\(exit status 1\). Its last lines: odd$"),
        ("os.kill(os.getpid(), signal.SIGKILL)", ResourceExhausted, "SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGTERM)", FailedPrecondition, r"\(SIGTERM\)$"),
        ("open(request['report'], 'w').write('no JSON')", FailedPrecondition, "exit status 0"),
    ],
)
def test_a_child_that_does_not_report_ends_as_the_error_says(
    script: str, kind: type[Exception], said: str, tmp_path: Path, play: Play
) -> None:
    play(script)
    with pytest.raises(kind, match=said):
        _convert(tmp_path)


HANG = """
open(request["target"], "w").write(str(os.getpid()))
threading.Event().wait()
"""


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_child_that_takes_too_long_is_ended(tmp_path: Path, play: Play) -> None:
    play(HANG)
    times = iter([0.0, 1.0, 599.0, 600.0])
    with pytest.raises(DeadlineExceeded, match="given up after 600 s"):
        convert(
            tmp_path / "m.h5",
            tmp_path / "target",
            KerasOptions(),
            stopping=threading.Event(),
            clock=lambda: next(times),
        )


def test_a_child_ends_when_the_server_stops(tmp_path: Path, play: Play) -> None:
    os.mkfifo(tmp_path / "target")
    play(HANG)
    stopping = threading.Event()
    raised: list[BaseException] = []

    def run() -> None:
        try:
            _convert(tmp_path, stopping)
        except Unavailable as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    with (tmp_path / "target").open() as fifo:  # waits for the child
        pid = int(fifo.read())
    stopping.set()
    thread.join(PATIENCE_S)
    assert [str(error) for error in raised] == ["The server is stopping"]
    assert _is_gone(pid)


def test_a_python_that_is_gone_is_an_error(
    tmp_path: Path, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    play("")
    monkeypatch.setattr("sys.executable", str(tmp_path / "absent"))
    with pytest.raises(NotFound, match="absent; No such file"):
        _convert(tmp_path)


def test_a_group_that_is_gone_is_no_error(
    tmp_path: Path, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_group: int, number: int) -> None:
        assert number == signal.SIGKILL
        raise ProcessLookupError

    play("os.mkdir(request['target'])\n" + REPORT.format({"status": "done"}))
    monkeypatch.setattr(os, "killpg", gone)
    assert _convert(tmp_path).is_dir()


def test_without_keras_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "keras" else object()
    )
    with pytest.raises(FailedPrecondition) as raised:
        require_keras()
    assert raised.value.message == (
        "Serving a Keras file needs TensorFlow and Keras 3; not installed here: keras. "
        f"Install them with: {install_command('tensorflow')}"
    )


def test_where_it_is_installed_nothing_is_said() -> None:
    if find_spec("keras") is None or find_spec("tensorflow") is None:
        pytest.skip("Keras or TensorFlow is not installed")
    require_keras()
