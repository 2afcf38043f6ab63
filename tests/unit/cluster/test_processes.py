import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from salver.cluster.processes import identify, is_alive, send_signal, wait_end

WAITS = "import sys; sys.stdin.read()"
SOON_S = 20.0


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", WAITS], stdin=subprocess.PIPE)
    yield process
    assert process.stdin is not None
    process.stdin.close()
    process.kill()
    process.wait()


def test_a_process_is_known_again(child: "subprocess.Popen[bytes]") -> None:
    found = identify(child.pid)
    assert found is not None
    assert found == identify(child.pid)
    assert is_alive(found)


def test_there_is_none_of_a_number_that_nobody_has() -> None:
    assert identify(2**22 + 1) is None


def test_a_process_that_has_ended_is_not_alive_even_while_its_parent_has_not_looked(
    child: "subprocess.Popen[bytes]",
) -> None:
    found = identify(child.pid)
    assert found is not None
    os.kill(child.pid, signal.SIGKILL)
    assert wait_end(found, SOON_S)
    assert identify(child.pid) is None  # though the number is taken still
    assert not is_alive(found)


def test_a_process_that_has_got_the_number_of_another_one_is_left_alone(
    child: "subprocess.Popen[bytes]",
) -> None:
    found = identify(child.pid)
    assert found is not None
    earlier = replace(found, started="another boot:1")
    assert not is_alive(earlier)
    assert not send_signal(earlier, signal.SIGKILL)
    assert wait_end(earlier, 0.0)
    assert is_alive(found)


def test_a_signal_reaches_the_process_that_is_meant(child: "subprocess.Popen[bytes]") -> None:
    found = identify(child.pid)
    assert found is not None
    assert send_signal(found, signal.SIGTERM)
    assert wait_end(found, SOON_S)
    assert child.wait() == -signal.SIGTERM
    assert not send_signal(found, signal.SIGTERM)


def test_waiting_for_an_end_that_does_not_come_is_over_in_time(
    child: "subprocess.Popen[bytes]",
) -> None:
    found = identify(child.pid)
    assert found is not None
    assert not wait_end(found, 0.01)


def no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")


def no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pid: int) -> int:
        raise PermissionError("as in a container with an old filter of system calls")

    monkeypatch.setattr(os, "pidfd_open", refuse)


@pytest.mark.parametrize("hinder", [no_call, no_permission])
def test_an_end_is_waited_for_where_the_system_tells_nobody_of_it(
    hinder: Callable[[pytest.MonkeyPatch], None],
    child: "subprocess.Popen[bytes]",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hinder(monkeypatch)
    found = identify(child.pid)
    assert found is not None
    assert not wait_end(found, 0.01)
    ending = threading.Timer(0.3, send_signal, (found, signal.SIGTERM))
    ending.start()
    assert wait_end(found, SOON_S)
    ending.join()
