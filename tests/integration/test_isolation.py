"""Servers whose models run in processes of their own, and what becomes of these."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests import mischief
from tests.integration.grpc_clients.plain import connected, message, tensor
from tests.integration.serving import Server, eventually, running, start

WORKERS = pytest.mark.parametrize("workers", [1, 2])


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mischief.packages(tmp_path_factory.mktemp("packages"))


Write = Callable[..., None]


class Configured:
    """A configuration in a file, which may change."""

    def __init__(self, path: Path, models: dict[str, dict[str, Any]]) -> None:
        self.path = path
        self.models = models
        self.write()

    def write(self, **options: dict[str, Any]) -> None:
        """Write the file, with other options for some models."""
        models = [
            {"name": name, **of, "salver": {**of.get("salver", {}), **options.get(name, {})}}
            for name, of in self.models.items()
        ]
        self.path.write_text(json.dumps({"schema": 1, "models": models}))

    @property
    def flags(self) -> tuple[str, ...]:
        return (f"--model_config_file={self.path}", "--model_config_file_poll_wait_seconds=1")


@pytest.fixture
def configured(tmp_path: Path, model_path: Callable[[str], Path]) -> Configured:
    """A model of each kind, and half_plus_two in the server and in a process."""
    models: dict[str, dict[str, Any]] = {
        name: {"base_path": str(mischief.version(tmp_path / name, name))} for name in mischief.NAMES
    }
    half = str(model_path("half_plus_two"))
    models["near"] = {"base_path": half}
    models["apart"] = {"base_path": half, "salver": {"isolation": "process"}}
    return Configured(tmp_path / "models.json", models)


def ask(server: Server, model: str, word: str, *x: float, **more: Any) -> requests.Response:
    body = {"inputs": {"do": [word], "x": list(x or (1.0,))}}
    return server.post(f"/v1/models/{model}:predict", body, **more)


def pid_of(server: Server, model: str) -> int:
    answer = ask(server, model, "echo")
    assert answer.status_code == 200, answer.text
    return int(answer.json()["outputs"]["pid"][0])


def children_of(server: Server) -> list[int]:
    """All processes of children, of the server and of its workers."""
    return [pid for pid in _descendants(server.process.pid) if _is_child(pid)]


def _descendants(pid: int) -> list[int]:
    found = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as file:
                for each in map(int, file.read().split()):
                    found += [each, *_descendants(each)]
    return found


def _is_child(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"children/boot.py" in file.read()
    except OSError:
        return False


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] not in b"ZX"
    except OSError:
        return False


def metric(server: Server, name: str, **labels: str) -> float:
    wanted = "".join(f',{key}="{value}"' for key, value in labels.items())[1:]
    for line in server.get("/metrics").text.splitlines():
        if line.startswith(f"{name}{{") and wanted in line:
            return float(line.rpartition(" ")[2])
    return 0.0


@WORKERS
def test_models_answer_over_both_apis_from_processes_of_their_own(
    workers: int, packages: Path, configured: Configured
) -> None:
    flags = (*configured.flags, f"--workers={workers}", "--enable_session_service")
    with running(*flags, packages=packages) as server:
        for name in mischief.NAMES:
            assert pid_of(server, name) in children_of(server)
        for name in ("near", "apart"):
            assert server.predict(name, [1.0, 2.0]).json() == {"predictions": [2.5, 3.0]}
        metadata = [server.get(f"/v1/models/{name}/metadata").json() for name in ("near", "apart")]
        assert metadata[0]["metadata"] == metadata[1]["metadata"]
        with connected(server.grpc_target) as client:
            request = message("PredictRequest")
            request.model_spec.name = "apart"
            request.inputs["x"].CopyFrom(tensor(np.array([1.0, 2.0], np.float32)))
            answer = client.call("Predict", request, timeout=60)
            assert list(answer.outputs["y"].float_val) == [2.5, 3.0]
            request = message("SessionRunRequest")
            request.model_spec.name = "apart"
            request.feed.add(name="x:0").tensor.CopyFrom(tensor(np.array([4.0], np.float32)))
            request.fetch.append("y:0")
            answer = client.call("SessionRun", request, timeout=60)
            assert list(answer.tensor[0].tensor.float_val) == [4.0]
        refused = server.predict("apart", ["a word"])
        assert refused.status_code == 400
        assert refused.json() == server.predict("near", ["a word"]).json()
        eventually(
            "it is counted",
            lambda: metric(server, "salver_runs_total", model_name="apart", placement="child") >= 3,
        )


@WORKERS
def test_a_crash_costs_the_request_that_caused_it_and_nothing_else(
    workers: int, packages: Path, configured: Configured
) -> None:
    with running(*configured.flags, f"--workers={workers}", packages=packages) as server:
        processes = server.workers()
        for word, cause in (("crash", "SIGSEGV"), ("exit", "exit status 3")):
            failed = ask(server, "mischief_serial", word)
            assert failed.status_code == 503, failed.text
            said = "The process that ran model mischief_serial, version 1, has ended: "
            assert failed.json()["error"].startswith(said + cause)
            assert server.predict("near", [1.0]).status_code == 200
            assert server.predict("apart", [1.0]).status_code == 200
            assert pid_of(server, "mischief_serial")
        assert server.states("mischief_serial") == {1: "AVAILABLE"}
        assert server.workers() == processes
        labels = {"model_name": "mischief_serial", "cause": "crash"}
        eventually(
            "it is counted", lambda: metric(server, "salver_child_restarts_total", **labels) == 1
        )
        assert "quarantined" not in server.err.text()

        def is_said() -> bool:
            ask(server, "mischief_serial", "crash")
            status = server.get("/v1/models/mischief_serial").text
            return "of 1 processes being replaced: SIGSEGV" in status

        eventually("the status says so", is_said)
        eventually(
            "and not for ever",
            lambda: "being replaced" not in server.get("/v1/models/mischief_serial").text,
        )


@pytest.mark.parametrize("moment", ["idle", "run", "load"])
@pytest.mark.parametrize(
    ("workers", "victim"),
    [(1, "server"), (1, "child"), (2, "server"), (2, "worker"), (2, "child")],
)
def test_no_process_is_left_whatever_is_killed_when(
    workers: int, moment: str, victim: str, packages: Path, configured: Configured
) -> None:
    flags: tuple[str, ...] = ()
    if moment == "load":
        base = Path(configured.models["mischief"]["base_path"])
        mischief.version(base, number=2, load="sleep")
        flags = ("--open_ports_before_load", "--model_config_file_poll_wait_seconds=0")
    server = start(*configured.flags[:1], *flags, f"--workers={workers}", packages=packages)
    try:
        wanted = 4 * workers
        eventually("there are children", lambda: len(children_of(server)) >= wanted)
        if moment != "load":
            eventually("it answers", lambda: _answers(server))
        if moment == "run":
            asking = threading.Thread(target=_ask_quietly, args=(server,), daemon=True)
            asking.start()
            eventually("a run goes on", lambda: _runs(server))
        everybody = [server.process.pid, *_descendants(server.process.pid)]
        children = children_of(server)
        if victim == "child":
            os.kill(children[0], signal.SIGKILL)
            eventually("it has ended", lambda: not is_alive(children[0]))
            server.process.send_signal(signal.SIGKILL)
        elif victim == "worker":
            worker = server.workers()[0]
            own = [pid for pid in _descendants(worker) if _is_child(pid)]
            assert own
            os.kill(worker, signal.SIGKILL)
            eventually("its children have ended", lambda: not any(map(is_alive, own)))
            server.process.send_signal(signal.SIGKILL)
        else:
            server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        eventually("all have ended", lambda: not any(map(is_alive, everybody)))
    finally:
        server.dispose()


@pytest.mark.parametrize(("workers", "victim"), [(1, "server"), (2, "worker"), (2, "server")])
def test_what_models_have_started_ends_with_the_process_that_served_them(
    workers: int, victim: str, packages: Path, configured: Configured
) -> None:
    server = start(*configured.flags[:1], f"--workers={workers}", packages=packages)
    started: list[int] = []
    try:
        eventually("it answers", lambda: _answers(server))
        assert ask(server, "mischief_serial", "subprocess").status_code == 200
        started += _started_by(children_of(server))
        assert len(started) == 1
        ended = server.process.pid if victim == "server" else _ancestor(started[0], 2)
        os.kill(ended, signal.SIGKILL)
        eventually("it has ended too", lambda: not is_alive(started[0]))
    finally:
        server.dispose()
        for pid in filter(is_alive, started):
            os.kill(pid, signal.SIGKILL)


def _started_by(children: list[int]) -> list[int]:
    return [pid for child in children for pid in _descendants(child)]


def _ancestor(pid: int, generations: int) -> int:
    for _ in range(generations):
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
    return pid


def _answers(server: Server) -> bool:
    with suppress(requests.ConnectionError):
        return server.get("/healthz/ready").status_code == 200
    return False


def _ask_quietly(server: Server) -> None:
    with suppress(requests.RequestException):
        requests.post(
            f"{server.url}/v1/models/mischief_serial:predict",
            json={"inputs": {"do": ["spin"], "x": [1.0]}},
            timeout=60,
        )


def _runs(server: Server) -> bool:
    """Whether a process of a child computes."""
    for pid in children_of(server):
        with suppress(OSError), open(f"/proc/{pid}/stat") as file:
            if file.read().rpartition(") ")[2][:1] == "R":
                return True
    return False


@WORKERS
def test_a_stop_lets_requests_end_first_and_leaves_nothing(
    workers: int, packages: Path, configured: Configured
) -> None:
    with running(*configured.flags, f"--workers={workers}", packages=packages) as server:
        pid_of(server, "mischief_serial")
        everybody = _descendants(server.process.pid)
        answers: list[int] = []
        asking = threading.Thread(
            target=lambda: answers.append(ask(server, "mischief_serial", "sleep", 1.5).status_code)
        )
        asking.start()
        held = 'salver_in_flight_requests{model_name="mischief_serial",version="1"} 1'
        eventually("it runs", lambda: held in server.get("/metrics").text)
        assert server.stop() == 0
        asking.join()
        assert answers == [200]
        eventually("all have ended", lambda: not any(map(is_alive, everybody)))
        if workers == 1:
            assert "the model is closed" in server.err.text()


def test_a_model_moves_out_of_the_server_and_back_while_it_is_served(
    packages: Path, configured: Configured
) -> None:
    with running(*configured.flags, packages=packages) as server:
        before = len(children_of(server))
        configured.write(near={"isolation": "process", "instances": 2})
        eventually("it has children", lambda: len(children_of(server)) == before + 2)
        eventually("it answers", lambda: server.predict("near", [1.0]).status_code == 200)
        configured.write(near={"isolation": "none"})
        eventually("it has none", lambda: len(children_of(server)) == before)
        eventually("it answers", lambda: server.predict("near", [1.0]).status_code == 200)
        configured.write(near={"isolation": "none", "cpus": 1})
        server.err.wait_for("Model near sets salver.cpus, which needs processes of its own")


def test_limits_change_without_a_load(packages: Path, configured: Configured) -> None:
    with running(*configured.flags, packages=packages) as server:
        before = pid_of(server, "mischief_serial")
        configured.write(mischief_serial={"max_resident_bytes": 300_000_000})
        server.err.wait_for("Finished adding/updating models")
        eventually(
            "it is ended for its memory",
            lambda: ask(server, "mischief_serial", "leak", 50.0).status_code == 503,
        )
        server.err.wait_for("of max_resident_bytes 300000000")
        eventually("it is replaced", lambda: pid_of(server, "mischief_serial") != before)


def test_a_client_that_leaves_stops_its_run(packages: Path, configured: Configured) -> None:
    configured.models["mischief_serial"]["salver"] = {"on_timeout": "kill"}
    configured.write()
    with running(*configured.flags, packages=packages) as server:
        before = pid_of(server, "mischief_serial")
        with pytest.raises(requests.ReadTimeout):
            requests.post(
                f"{server.url}/v1/models/mischief_serial:predict",
                json={"inputs": {"do": ["stuck"], "x": [600.0]}},
                timeout=1,
            )
        assert pid_of(server, "mischief_serial") != before


def test_with_batching_requests_are_merged_before_a_child_and_a_deadline_ends_it(
    packages: Path, configured: Configured, tmp_path: Path
) -> None:
    (tmp_path / "batching.txt").write_text(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 20000 }"
    )
    configured.models["mischief_serial"]["salver"] = {"on_timeout": "kill"}
    configured.write()
    flags = (
        *configured.flags,
        "--enable_batching",
        f"--batching_parameters_file={tmp_path / 'batching.txt'}",
        "--rest_api_timeout_in_ms=2000",
    )
    with running(*flags, packages=packages) as server:
        before = pid_of(server, "mischief_serial")
        answers: list[list[float]] = []

        def ask_one(value: float) -> None:
            outputs = ask(server, "mischief_serial", "echo", value).json()["outputs"]
            answers.append(outputs["y"])

        threads = [threading.Thread(target=ask_one, args=(float(n),)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [[float(n)] for n in range(8)]
        runs = metric(server, "salver_runs_total", model_name="mischief_serial", placement="child")
        assert runs < 9
        assert ask(server, "mischief_serial", "stuck", 600.0).status_code == 504
        assert pid_of(server, "mischief_serial") != before


@pytest.mark.parametrize("flag", ["--lazy_load_models", "--isolation=process"])
def test_models_of_all_kinds_run_so(flag: str, packages: Path, configured: Configured) -> None:
    with running(*configured.flags, flag, packages=packages) as server:
        for name in ("near", "apart"):
            assert server.predict(name, [1.0]).json() == {"predictions": [2.5]}
        assert pid_of(server, "mischief")
        # What the server has set for itself is not for its models.
        assert ask(server, "mischief", "blas").json()["outputs"]["y"] == [0.0]
        is_open = ask(server, "mischief", "tensorflow").json()["outputs"]["y"] == [1.0]
        assert is_open == (flag != "--isolation=process")
        if flag == "--isolation=process":
            assert len(children_of(server)) == len(configured.models)


@pytest.mark.parametrize("name", ["lite", "keras_trained"])
def test_files_of_other_kinds_run_so(name: str, model_path: Callable[[str], Path]) -> None:
    base = model_path(name)
    flags = (f"--model_name={name}", f"--model_base_path={base}")
    answers = []
    for isolation in ("none", "process"):
        with running(*flags, f"--isolation={isolation}") as server:
            assert bool(children_of(server)) == (isolation == "process")
            metadata = server.get(f"/v1/models/{name}/metadata").json()["metadata"]
            answers.append(metadata)
    assert answers[0] == answers[1]


def test_a_slow_model_in_a_child_slows_nobody_else(packages: Path, configured: Configured) -> None:
    with running(*configured.flags, packages=packages) as server:
        pid_of(server, "mischief_serial")
        stop = threading.Event()

        def ask_slowly() -> None:
            session = requests.Session()
            while not stop.is_set():
                body = {"inputs": {"do": ["sleep"], "x": [0.2]}}
                session.post(f"{server.url}/v1/models/mischief_serial:predict", json=body)

        threads = [threading.Thread(target=ask_slowly) for _ in range(16)]
        for thread in threads:
            thread.start()
        taken = []
        for _ in range(100):
            begun = time.monotonic()
            assert server.predict("near", [1.0]).status_code == 200
            taken.append(time.monotonic() - begun)
        stop.set()
        for thread in threads:
            thread.join()
        assert sorted(taken)[90] < 0.1


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory, packages: Path) -> Path:
    """A Python of its own that has numpy and the package of the backend, and nothing else."""
    directory = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True, timeout=60
    )
    (site,) = directory.glob("lib/python*/site-packages")
    numpy_at = Path(np.__file__).parent
    (site / "numpy").symlink_to(numpy_at)
    libraries = numpy_at.with_name("numpy.libs")
    if libraries.exists():
        (site / "numpy.libs").symlink_to(libraries)
    for each in packages.iterdir():
        (site / each.name).symlink_to(each)
    return directory / "bin" / "python"


def test_another_python_without_salver_runs_a_model(
    packages: Path, configured: Configured, bare_python: Path
) -> None:
    done = subprocess.run(
        [str(bare_python), "-c", "import salver"],
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        check=False,
    )
    assert done.returncode
    configured.models["mischief_serial"]["salver"] = {"python_executable": str(bare_python)}
    configured.write()
    with running(*configured.flags, packages=packages) as server:
        pid = pid_of(server, "mischief_serial")
        assert Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] == bytes(bare_python)
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert "httptools" not in maps
        large = ask(server, "mischief_serial", "echo", *range(20_000)).json()["outputs"]["y"]
        assert large == list(range(20_000))


def test_a_python_without_numpy_says_what_is_missing(
    packages: Path, configured: Configured, tmp_path: Path
) -> None:
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "empty")],
        check=True,
        timeout=60,
    )
    python = tmp_path / "empty" / "bin" / "python"
    configured.models = {
        "mischief": {
            **configured.models["mischief"],
            "salver": {"python_executable": str(python)},
        }
    }
    configured.write()
    server = start(*configured.flags, "--max_num_load_retries=0", packages=packages)
    try:
        server.err.wait_for("No module named 'numpy'. Install numpy there")
    finally:
        server.dispose()


@pytest.fixture
def server(packages: Path, configured: Configured) -> Iterator[Server]:
    with running(*configured.flags, packages=packages) as made:
        yield made


def test_ten_deaths_in_a_row_cost_the_server_no_memory(server: Server) -> None:
    def die() -> None:
        for _ in range(2):
            values = [1.0] * 30_000
            assert ask(server, "mischief_serial", "echo", *values).status_code == 200
        os.kill(pid_of(server, "mischief_serial"), signal.SIGKILL)
        eventually("it is replaced", lambda: ask(server, "mischief_serial", "echo").ok)

    die()
    before = server.resident_bytes()
    descriptors = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    for _ in range(10):
        die()
        os.kill(pid_of(server, "mischief"), signal.SIGKILL)
    assert server.resident_bytes() < before + 20_000_000
    eventually(
        "no descriptor is left",
        lambda: len(os.listdir(f"/proc/{server.process.pid}/fd")) <= descriptors + 4,
    )


def _ask_on(server: Server, name: str, stop: threading.Event, answers: Counter[int]) -> None:
    """Ask a model again and again; a wrong answer counts as 0."""
    key = "instances"
    with requests.Session() as session:
        while not stop.is_set():
            value = float(answers.total())
            x = [value] * (20_000 if value % 10 == 0 else 2)
            body: Any = {"instances": x}
            if name in mischief.NAMES:
                key, body = "outputs", {"inputs": {"do": ["echo"], "x": x}}
            answer = session.post(f"{server.url}/v1/models/{name}:predict", json=body, timeout=60)
            is_wrong = answer.ok and key == "outputs" and answer.json()[key]["y"] != x
            answers[0 if is_wrong else answer.status_code] += 1


@pytest.mark.stress
@WORKERS
def test_under_traffic_dying_children_fail_nobody_else(
    workers: int, packages: Path, configured: Configured
) -> None:
    configured.models["mischief"]["salver"] = {"instances": 2}
    configured.write()
    with running(*configured.flags, f"--workers={workers}", packages=packages) as server:
        stop = threading.Event()
        answers = {name: Counter[int]() for name in configured.models}
        threads = [
            threading.Thread(target=_ask_on, args=(server, name, stop, answers[name]))
            for name in configured.models
        ]
        for thread in threads:
            thread.start()
        until_s = time.monotonic() + 30
        before = 0
        while time.monotonic() < until_s:
            stop.wait(0.7)
            victims = children_of(server)
            if victims:
                os.kill(victims[int(time.monotonic() * 7) % len(victims)], signal.SIGKILL)
            if not before and time.monotonic() > until_s - 20:
                before = server.resident_bytes()
        stop.set()
        for thread in threads:
            thread.join()
        assert set(answers["near"]) == {200}
        for name in configured.models:
            assert answers[name][200] > 20, answers
            assert set(answers[name]) <= {200, 503}, answers
        assert server.resident_bytes() < before + 30_000_000
