import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from salver.config.options import ServerOptions
from salver.server.notifying import Notifier, serving_status, stop_seconds


class Manager:
    """The other end: a service manager's socket, and a clock of the test's own."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.now_s = 100.0
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0"))
        self.socket.setblocking(False)

    def clock(self) -> float:
        return self.now_s

    def received(self) -> list[str]:
        found = []
        while select.select([self.socket], [], [], 0)[0]:
            found.append(self.socket.recv(4096).decode())
        return found


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.socket.close()


@pytest.fixture
def notifier(manager: Manager) -> Iterator[Notifier]:
    made = Notifier(manager.address, clock=manager.clock)
    yield made
    made.close()


def test_a_server_says_what_it_does(notifier: Notifier, manager: Manager) -> None:
    assert notifier.is_active
    notifier.ready("Serving")
    notifier.reloading()
    notifier.status("Half\n done")
    notifier.ready("Serving again")
    notifier.stopping(45.5)
    assert manager.received() == [
        "READY=1\nSTATUS=Serving",
        "RELOADING=1\nMONOTONIC_USEC=100000000\nSTATUS=Reloading",
        "STATUS=Half done",
        "READY=1\nSTATUS=Serving again",
        "STOPPING=1\nEXTEND_TIMEOUT_USEC=45500000\nSTATUS=Draining",
    ]


def test_a_start_that_takes_long_says_that_it_goes_on(notifier: Notifier, manager: Manager) -> None:
    for _ in range(11):
        notifier.tick()
        manager.now_s += 1
    assert manager.received() == ["EXTEND_TIMEOUT_USEC=30000000"] * 3
    notifier.ready("Serving")
    manager.now_s += 60
    notifier.tick()
    assert manager.received() == ["READY=1\nSTATUS=Serving"]


def test_the_watchdog_hears_twice_as_often_as_it_needs(manager: Manager) -> None:
    notifier = Notifier(manager.address, watchdog_s=2.0, clock=manager.clock)
    notifier.ready("")
    assert notifier.tick_s == 0.5
    for _ in range(9):
        notifier.tick()
        manager.now_s += 0.5
    assert manager.received()[1:] == ["WATCHDOG=1"] * 5
    notifier.close()


def test_a_manager_that_does_not_read_keeps_nobody_waiting_and_hears_it_later(
    manager: Manager,
) -> None:
    notifier = Notifier(manager.address, clock=manager.clock)
    for number in range(2000):
        notifier.status(str(number))
    notifier.ready("at last")
    assert 0 < len(manager.received()) < 2000
    heard: list[str] = []
    for _ in range(16):  # as many as are kept
        notifier.tick()
        heard += manager.received()
    assert heard[-1] == "READY=1\nSTATUS=at last"
    notifier.close()


def test_a_manager_that_is_away_for_a_moment_hears_it_later(
    notifier: Notifier, manager: Manager
) -> None:
    manager.socket.close()
    os.unlink(manager.address)
    notifier.ready("Serving")
    back = Manager(manager.address)
    notifier.tick()
    assert back.received() == ["READY=1\nSTATUS=Serving"]
    back.socket.close()


def test_an_abstract_name_is_an_address_too() -> None:
    manager = Manager(f"@salver-test-{os.getpid()}")
    notifier = Notifier(manager.address)
    notifier.ready("x")
    assert manager.received() == ["READY=1\nSTATUS=x"]
    notifier.close()
    manager.socket.close()


@pytest.mark.parametrize("address", ["", "vsock:2:1234"])
def test_with_nobody_to_tell_nothing_is_told(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier(address)
    assert not notifier.is_active
    for call in (notifier.reloading, notifier.tick, notifier.close):
        call()
    notifier.ready("x")
    notifier.stopping(1)
    assert ("is not told" in caplog.text) is bool(address)


def test_the_variables_are_taken_out_of_the_environment(manager: Manager) -> None:
    environment = {
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": "4000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    notifier = Notifier.of(environment)
    assert environment == {"HOME": "/"}
    notifier.tick()
    assert "WATCHDOG=1" in manager.received()
    notifier.close()


@pytest.mark.parametrize(("micros", "pid"), [("4000000", "1"), ("0", ""), ("x", ""), ("", "")])
def test_a_watchdog_of_another_process_is_not_heard(
    micros: str, pid: str, manager: Manager
) -> None:
    notifier = Notifier.of(
        {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": micros, "WATCHDOG_PID": pid}
    )
    notifier.tick()
    assert "WATCHDOG=1" not in manager.received()
    notifier.close()


def test_people_are_shown_where_it_serves() -> None:
    assert serving_status(["a"], "http://h:1", ["h:2"]) == "Serving 1 model on http://h:1, h:2"
    assert serving_status([], "", ["h:2"]) == "Serving 0 models on h:2"


def test_a_stop_has_time_for_its_drain() -> None:
    options = ServerOptions(drain_delay_seconds=5, drain_timeout_seconds=40)
    assert stop_seconds(options) == 60.0
