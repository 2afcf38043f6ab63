"""Servers that outlive whoever has started them; without models, so that each is quick."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.serving import eventually, free_port

from salver.cluster.server_launch import MODELS, NodeSettings, launch_of
from salver.cluster.server_process import Launch, find_server, log_tail, start_server
from salver.cluster.whole_files import replace_file
from salver.errors import FailedPrecondition

SOON_S = 60.0


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    replace_file(tmp_path / MODELS, '{"schema": 1, "models": []}\n')
    flags = {"rest_api_port": str(free_port()), "port": str(free_port())}
    settings = NodeSettings(
        name="n1",
        host="127.0.0.1",
        directory=tmp_path,
        flags=flags,
        environment={**os.environ, "MARK": "of the node"},
    )
    yield launch_of(settings)
    if (server := find_server(tmp_path)) is not None:
        server.kill()


def test_a_server_belongs_to_nobody_and_is_found_again(launch: Launch) -> None:
    server = start_server(launch)
    assert find_server(launch.directory) == server
    assert server.is_alive
    assert os.getsid(server.process.pid) == server.process.pid
    environment = Path(f"/proc/{server.process.pid}/environ")
    if environment.exists():
        assert "MARK=of the node" in environment.read_text().split("\0")
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        assert f"\nPPid:\t{os.getpid()}\n" not in status
    assert (server.rest, server.digest) == (launch.rest, launch.digest)


def test_a_second_one_is_not_started_beside_it(launch: Launch) -> None:
    start_server(launch)
    with pytest.raises(FailedPrecondition, match="already"):
        start_server(launch)


def test_it_ends_when_it_is_told_to_and_is_another_one_afterwards(launch: Launch) -> None:
    first = start_server(launch)
    eventually("it serves", lambda: "serves" in log_tail(launch.directory, 100))
    first.end()
    assert first.wait(SOON_S)
    assert find_server(launch.directory) is None
    second = start_server(launch)
    assert second.incarnation != first.incarnation
    assert (launch.directory / "server.log.1").exists()


def test_it_goes_on_when_the_process_that_has_started_it_is_killed(
    launch: Launch, tmp_path: Path
) -> None:
    program = (
        "import os, sys, signal; from pathlib import Path;"
        "from salver.cluster.server_process import Launch, start_server;"
        f"start_server(Launch(directory=Path({str(tmp_path)!r}), arguments={launch.arguments!r},"
        f"rest={launch.rest!r}, grpc={launch.grpc!r}, socket=Path({str(launch.socket)!r}),"
        "environment=dict(os.environ)));"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    sources = str(Path(__file__).parents[3] / "src")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {sources!r});{program}"],
        check=False,
        start_new_session=True,
    )
    assert done.returncode == -signal.SIGKILL
    server = find_server(launch.directory)
    assert server is not None
    eventually("it serves", lambda: "serves" in log_tail(launch.directory, 100))


def test_a_record_of_a_process_that_has_ended_is_no_server(launch: Launch) -> None:
    start_server(launch).kill()
    assert find_server(launch.directory) is None


@pytest.mark.parametrize("content", ["", "{}", '{"schema": 2}', '{"schema": 1, "pid": "x"}', "[]"])
def test_a_record_that_makes_no_sense_is_no_server(tmp_path: Path, content: str) -> None:
    (tmp_path / "server.json").write_text(content)
    assert find_server(tmp_path) is None


def test_the_end_of_a_log_is_told(tmp_path: Path) -> None:
    assert log_tail(tmp_path, 3) == ""
    (tmp_path / "server.log").write_text("".join(f"line {n}\n" for n in range(1000)))
    assert log_tail(tmp_path, 2) == "line 998\nline 999\n"
