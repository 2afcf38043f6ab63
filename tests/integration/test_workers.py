"""Several worker processes, as their users and those who run them see them."""

import json
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree

import pytest
import requests

from tests.integration.grpc_clients.plain import connected, message
from tests.integration.serving import PATIENCE_S, Server, eventually, run_command

StartServer = Callable[..., Server]
_REQUEST_COUNT = ':tensorflow:serving:request_count{model_name="m",status="OK"}'


@pytest.fixture
def base(model_path: Callable[[str], Path]) -> Path:
    return model_path("half_plus_two")


@pytest.fixture
def two(base: Path, start_server: StartServer) -> Server:
    return start_server("--model_name=m", f"--model_base_path={base}", "--workers=2")


def workers(server: Server) -> set[int]:
    """The processes that serve now, by their ids."""
    return set(server.workers())


def ask(server: Server, value: float = 2.0) -> requests.Response:
    """One prediction, over a connection of its own."""
    return requests.post(
        f"{server.url}/v1/models/m:predict", json={"instances": [value]}, timeout=PATIENCE_S
    )


def status_of(server: Server, model: str) -> str:
    """The page of a model's status; empty where the worker that was asked died meanwhile."""
    try:
        return requests.get(f"{server.url}/v1/models/{model}", timeout=PATIENCE_S).text
    except requests.ConnectionError:
        return ""


def sample(server: Server, name: str) -> float:
    """The value of one series, as the page has it now; 0 where it has none."""
    for line in requests.get(f"{server.url}/metrics", timeout=PATIENCE_S).text.splitlines():
        series, _, value = line.rpartition(" ")
        if series == name:
            return float(value)
    return 0.0


def accepted(server: Server) -> list[float]:
    name = "salver_worker_accepted_connections_total"
    return [sample(server, f'{name}{{worker="{slot}"}}') for slot in range(2)]


@contextmanager
def load_on(server: Server, count: int = 3) -> Iterator[list[object]]:
    """Clients that ask without a pause over connections that they keep; what went wrong."""
    failures: list[object] = []
    answered = [0] * count
    stop = threading.Event()

    def client(number: int) -> None:
        with requests.Session() as session:
            while not stop.is_set():
                try:
                    answer = session.post(
                        f"{server.url}/v1/models/m:predict",
                        json={"instances": [2.0]},
                        timeout=PATIENCE_S,
                    )
                    if answer.json() != {"predictions": [3.0]}:
                        failures.append(answer.text)
                except requests.RequestException as error:
                    failures.append(error)
                answered[number] += 1

    def wait_for_more() -> None:
        before = list(answered)
        eventually(
            "every client is answered again",
            lambda: all(now > then + 5 for now, then in zip(answered, before, strict=True)),
        )

    with ThreadPoolExecutor(count) as pool:
        running = [pool.submit(client, number) for number in range(count)]
        try:
            wait_for_more()
            yield failures
            wait_for_more()
        finally:
            stop.set()
        for each in running:
            each.result()


def test_all_workers_take_connections(two: Server) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: ask(two).json(), range(64)))
    assert answers == [{"predictions": [3.0]}] * 64
    assert all(accepted(two))
    assert len(workers(two)) == sample(two, "salver_workers{}") == 2


def test_the_supervisor_loads_no_model(two: Server) -> None:
    assert "libtensorflow" not in Path(f"/proc/{two.process.pid}/maps").read_text()
    for pid in workers(two):
        assert "libtensorflow" in Path(f"/proc/{pid}/maps").read_text()


def test_metrics_are_the_sums_of_all_workers_also_of_those_that_are_gone(two: Server) -> None:
    for _ in range(20):
        assert ask(two).status_code == 200
    assert sample(two, _REQUEST_COUNT) == 20
    assert sample(two, 'salver_versions{model_name="m",state="AVAILABLE"}') == 1
    os.kill(min(workers(two)), signal.SIGKILL)
    two.err.wait_for("has ended and is replaced: SIGKILL (out of memory?)")
    assert sample(two, _REQUEST_COUNT) == 20
    for _ in range(10):
        assert ask(two).status_code == 200
    assert sample(two, _REQUEST_COUNT) == 30
    assert sample(two, "salver_worker_deaths_total{}") == 1


def test_killed_worker_costs_only_what_it_held(two: Server) -> None:
    victim, other = sorted(workers(two))
    os.kill(victim, signal.SIGSTOP)
    os.kill(other, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(8) as pool:
            waiting = [pool.submit(ask, two) for _ in range(8)]
            eventually("they wait to be accepted", lambda: _backlog(two.port) == 8)
            os.kill(victim, signal.SIGKILL)
            os.kill(other, signal.SIGCONT)
            assert [each.result().json() for each in waiting] == [{"predictions": [3.0]}] * 8
    finally:
        os.kill(other, signal.SIGCONT)
    eventually("it is replaced", lambda: len(workers(two) - {victim}) == 2)


def _backlog(port: int) -> int:
    """How many connections to a port wait to be accepted: in /proc, what the listener received."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{port:04X}") and fields[3] == "0A":
            return int(fields[4].partition(":")[2], 16)
    return 0


def test_clients_of_a_killed_worker_go_on_with_the_others(two: Server) -> None:
    with load_on(two) as failures:
        os.kill(min(workers(two)), signal.SIGKILL)
        two.err.wait_for("is replaced: SIGKILL")
    # A client has one request out at a time, on one connection.
    assert len(failures) <= 3
    assert all(isinstance(failure, requests.ConnectionError) for failure in failures)


def test_hangup_replaces_the_workers_one_by_one_and_fails_no_request(two: Server) -> None:
    before = workers(two)
    with load_on(two) as failures:
        two.process.send_signal(signal.SIGHUP)
        two.err.wait_for("All workers have been replaced")
    assert failures == []
    eventually("the old ones have ended", lambda: not before & workers(two))
    assert len(workers(two)) == 2
    assert sample(two, "salver_worker_deaths_total{}") == 0


def test_what_is_asked_is_answered_before_the_end(
    model_path: Callable[[str], Path], start_server: StartServer
) -> None:
    server = start_server(
        "--model_name=m", f"--model_base_path={model_path('slow')}", "--workers=2"
    )
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(ask, server, 800.0) for _ in range(4)]
        in_flight = 'salver_in_flight_requests{model_name="m",version="1"}'
        eventually("they run", lambda: sample(server, in_flight) == 4)
        server.process.send_signal(signal.SIGTERM)
        assert [each.result().json() for each in answers] == [{"predictions": [800.0]}] * 4
    assert server.wait(within_s=45) == 0, server.err.text()


def test_a_second_signal_ends_all_at_once(
    model_path: Callable[[str], Path], start_server: StartServer
) -> None:
    server = start_server(
        "--model_name=m", f"--model_base_path={model_path('slow')}", "--workers=2"
    )
    pids = workers(server)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, server, 30_000.0)
        in_flight = 'salver_in_flight_requests{model_name="m",version="1"}'
        eventually("it runs", lambda: sample(server, in_flight) == 1)
        server.process.send_signal(signal.SIGTERM)
        server.err.wait_for("SIGTERM: draining")
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == -signal.SIGTERM
        with pytest.raises(requests.ConnectionError):
            answer.result()
    eventually("the workers are gone", lambda: not any(map(_is_alive, pids)))


def test_workers_end_when_their_supervisor_is_killed(
    model_path: Callable[[str], Path], start_server: StartServer
) -> None:
    server = start_server(
        "--model_name=m", f"--model_base_path={model_path('slow')}", "--workers=2"
    )
    pids = workers(server)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, server, 800.0)
        in_flight = 'salver_in_flight_requests{model_name="m",version="1"}'
        eventually("it runs", lambda: sample(server, in_flight) == 1)
        server.process.kill()
        assert answer.result().json() == {"predictions": [800.0]}
    eventually("the workers have ended", lambda: not any(map(_is_alive, pids)))


def _is_alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except OSError:
        return False


def test_a_reload_at_one_worker_is_seen_at_all_when_it_is_answered(two: Server, base: Path) -> None:
    request = message("ReloadConfigRequest")
    for name in ("m", "n"):
        request.config.model_config_list.config.add(
            name=name, base_path=str(base), model_platform="tensorflow"
        )
    with connected(two.grpc_target) as client:
        assert client.call("HandleReloadConfigRequest", request).status.error_code == 0
    before = accepted(two)
    seen = set()
    while not all(now > then for now, then in zip(accepted(two), before, strict=True)):
        for path in ("/v1/models/n", "/v1/models"):
            seen.add(requests.get(two.url + path, timeout=PATIENCE_S).text)
    assert len(seen) <= 2
    assert '"n"' in requests.get(f"{two.url}/v1/models", timeout=PATIENCE_S).text


def test_a_new_version_serves_at_all_workers_once_it_is_available(
    base: Path, start_server: StartServer, tmp_path: Path
) -> None:
    (found,) = base.iterdir()
    copytree(found, tmp_path / "1")
    server = start_server("--model_name=m", f"--model_base_path={tmp_path}", "--workers=2")
    copytree(found, tmp_path / "new")
    (tmp_path / "new").rename(tmp_path / "2")
    server.wait_until("m", 2)
    for _ in range(20):
        url = f"{server.url}/v1/models/m/versions/2:predict"
        answer = requests.post(url, json={"instances": [2.0]}, timeout=PATIENCE_S)
        assert answer.json() == {"predictions": [3.0]}
    server.wait_until("m", 1, "END")


@pytest.fixture
def deadly(tmp_path: Path) -> str:
    """A prelude that makes workers die of a segmentation fault as they load a model `deadly`."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "def look(event, arguments):\n"
        "    if event == 'open' and 'deadly' in str(arguments[0]):\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "if 'salver.cli.worker' in ' '.join(sys.orig_argv):\n"
        "    sys.addaudithook(look)\n"
    )
    return f"import os; os.environ['PYTHONPATH'] = {str(tmp_path)!r}"


def test_a_model_that_kills_its_process_fails_and_the_others_serve_on(
    base: Path, start_server: StartServer, tmp_path: Path, deadly: str
) -> None:
    (found,) = base.iterdir()
    copytree(found, tmp_path / "deadly" / "1")
    extra = tmp_path / "deadly" / "1" / "assets.extra"
    extra.mkdir()
    (extra / "saved_model_config.pb").write_bytes(b"")  # which is read before the rest
    config = tmp_path / "models.config"
    entry = 'config {{ name: "{}" base_path: "{}" model_platform: "tensorflow" }}'
    good = entry.format("m", base)
    config.write_text(f"model_config_list {{ {good} }}")
    server = start_server(
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=1",
        "--flush_filesystem_caches=false",
        "--workers=2",
        prelude=deadly,
    )
    with load_on(server) as failures:
        bad = entry.format("d", tmp_path / "deadly")
        (tmp_path / "new").write_text(f"model_config_list {{ {good} {bad} }}")
        (tmp_path / "new").rename(config)
        eventually("it has failed", lambda: '"END"' in status_of(server, "d"))
    (status,) = json.loads(status_of(server, "d"))["model_version_status"]
    assert status["status"]["error_code"] == "INTERNAL"
    assert re.search(r"The process that loads .*d version: 1.* dies", str(status))
    assert "SIGSEGV" in status["status"]["error_message"]
    assert len(failures) <= 3  # of the one worker that loaded it first
    eventually("both serve", lambda: sample(server, "salver_workers{}") == 2)


def test_a_model_that_kills_its_process_at_start_up_fails_the_start_of_the_reference(
    base: Path, launch_server: StartServer, tmp_path: Path, deadly: str
) -> None:
    (found,) = base.iterdir()
    copytree(found, tmp_path / "deadly" / "1")
    extra = tmp_path / "deadly" / "1" / "assets.extra"
    extra.mkdir()
    (extra / "saved_model_config.pb").write_bytes(b"")
    server = launch_server(
        "--model_name=d",
        f"--model_base_path={tmp_path / 'deadly'}",
        "--flush_filesystem_caches=false",
        "--workers=2",
        prelude=deadly,
    )
    assert server.wait() == 255
    server.out.wait_for("Failed to start server. Error: ")
    assert "SIGSEGV" in server.out.text()


def test_told_to_stop_while_a_version_is_tried_alone_it_stops(
    base: Path, launch_server: StartServer, tmp_path: Path
) -> None:
    (found,) = base.iterdir()
    copytree(found, tmp_path / "deadly" / "1")
    extra = tmp_path / "deadly" / "1" / "assets.extra"
    extra.mkdir()
    (extra / "saved_model_config.pb").write_bytes(b"")
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys, threading\n"
        "def look(event, arguments):\n"
        "    if event == 'open' and 'deadly' in str(arguments[0]):\n"
        "        if sys.orig_argv[-1] == '2':  # which is the one that tries\n"
        "            print('The trial hangs', file=sys.stderr, flush=True)\n"
        "            threading.Event().wait()\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "if 'salver.cli.worker' in ' '.join(sys.orig_argv):\n"
        "    sys.addaudithook(look)\n"
    )
    server = launch_server(
        "--model_name=d",
        f"--model_base_path={tmp_path / 'deadly'}",
        "--flush_filesystem_caches=false",
        "--workers=2",
        prelude=f"import os; os.environ['PYTHONPATH'] = {str(tmp_path)!r}",
    )
    server.err.wait_for("The trial hangs")
    pids = workers(server)
    server.process.send_signal(signal.SIGTERM)
    assert server.wait(within_s=45) == 0
    eventually("no process is left", lambda: not any(map(_is_alive, pids)))


def test_a_worker_that_hangs_is_replaced_and_what_waits_for_it_goes_on(
    base: Path, start_server: StartServer
) -> None:
    server = start_server(
        "--model_name=m",
        f"--model_base_path={base}",
        "--workers=2",
        prelude="from salver.workers import watchdog; watchdog.EVERY_S = 0.05",
    )
    stopped, _ = sorted(workers(server))
    os.kill(stopped, signal.SIGSTOP)
    server.err.wait_for("is replaced: killed, as it had not answered for 3 s")
    eventually("there are two again", lambda: sample(server, "salver_workers{}") == 2)
    assert {ask(server).status_code for _ in range(8)} == {200}


def test_connections_are_spread_evenly(two: Server) -> None:
    before = accepted(two)
    clients = [socket.create_connection(("127.0.0.1", two.port)) for _ in range(16)]
    # Each question about this is a connection too.
    eventually("all are accepted", lambda: sum(accepted(two)) - sum(before) >= 16)
    taken = [now - then for now, then in zip(accepted(two), before, strict=True)]
    for client in clients:
        client.close()
    assert min(taken) >= 4, taken


def test_the_grpc_library_shares_no_port(base: Path) -> None:
    done = run_command(
        "tensorflow_model_server",
        f"--model_base_path={base}",
        "--workers=2",
        "--grpc_transport=grpcio",
    )
    assert done.returncode == 255
    assert "--workers needs --grpc_transport=native" in done.stdout


def test_a_port_that_is_taken_ends_the_start(base: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_command(
            "tensorflow_model_server",
            f"--model_base_path={base}",
            "--workers=2",
            "--host=127.0.0.1",
            f"--port={port}",
        )
    assert done.returncode == 255


def test_each_line_of_the_access_log_is_whole(
    base: Path, start_server: StartServer, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    server = start_server(
        "--model_name=m", f"--model_base_path={base}", "--workers=2", f"--access_log={log}"
    )
    with ThreadPoolExecutor(8) as pool:
        asked: list[Future[requests.Response]] = [pool.submit(ask, server) for _ in range(100)]
    assert {each.result().status_code for each in asked} == {200}
    assert server.stop() == 0
    lines = [line for line in log.read_text().splitlines() if ":predict" in line]
    assert len(lines) == 100
    assert all(line.startswith("{") and line.endswith("}") for line in lines)


def test_a_worker_that_takes_the_place_of_another_stays_ready_as_that_did(
    model_path: Callable[[str], Path], tmp_path: Path, start_server: StartServer
) -> None:
    """Though by now a model is configured that never comes."""
    config = tmp_path / "models.yaml"
    entry = f"models:\n- {{name: m, base_path: {model_path('onnx_half_plus_two')}}}\n"
    config.write_text(entry)
    server = start_server(
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=1",
        "--stay_ready",
        "--workers=2",
        command="salver",
    )
    config.write_text(f"{entry}- {{name: never, base_path: {tmp_path / 'never'}}}\n")
    server.err.wait_for("never not found")
    for victim in workers(server):
        os.kill(victim, signal.SIGKILL)
    eventually("both are replaced", lambda: len(workers(server)) == 2)
    for _ in range(8):  # connections of their own, which both of them get
        answer = requests.get(f"{server.url}/healthz/ready", timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
        assert ask(server).json() == {"predictions": [3.0]}
