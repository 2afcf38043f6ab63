"""Configurations whose models never come hold up no later one, whoever asked for them."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.grpc_clients.plain import Client, connected, message, outcome
from tests.integration.serving import Server, eventually
from tests.integration.test_workers import workers

StartServer = Callable[..., Server]
RELOAD = "HandleReloadConfigRequest"
AT_ONCE_S = 8.0  # a newer configuration gives way for a second at most; the rest is other load


def entry(name: str, base_path: Path) -> Any:
    return message("ModelConfig", name=name, base_path=str(base_path), model_platform="tensorflow")


def request(*entries: Any) -> Any:
    made = message("ReloadConfigRequest")
    made.config.model_config_list.SetInParent()
    made.config.model_config_list.config.extend(entries)
    return made


@pytest.fixture
def half(model_path: Callable[[str], Path]) -> Path:
    return model_path("half_plus_two")


@pytest.fixture
def config(half: Path, tmp_path: Path) -> Path:
    path = tmp_path / "models.conf"
    path.write_text(text("half", half))
    return path


def text(name: str, base_path: Path) -> str:
    return (
        f'model_config_list {{ config {{ name: "{name}" base_path: "{base_path}" '
        'model_platform: "tensorflow" } }'
    )


@pytest.fixture(
    params=["--workers=1", "--workers=2", "--grpc_transport=grpcio"],
    ids=["one process", "two workers", "the gRPC library"],
)
def start_with(
    request: pytest.FixtureRequest, config: Path, start_server: StartServer
) -> Callable[..., Server]:
    return lambda *flags: start_server(f"--model_config_file={config}", request.param, *flags)


@pytest.fixture
def server(start_with: Callable[..., Server]) -> Server:
    return start_with()


@pytest.fixture
def own(server: Server) -> Iterator[Client]:
    with connected(server.grpc_target) as client:
        yield client


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    path = tmp_path / "empty"
    path.mkdir()
    return path


def take(seconds: float, call: Callable[[], Any]) -> Any:
    begun_s = time.monotonic()
    result = call()
    assert time.monotonic() - begun_s < seconds
    return result


def threads(server: Server) -> int:
    """How many threads all processes of a server have."""
    pids = [server.process.pid, *workers(server)]
    return sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids)


def test_a_reload_that_its_client_has_abandoned_holds_up_no_later_one(
    server: Server, own: Client, half: Path, empty: Path
) -> None:
    code, _ = own.refusal(RELOAD, request(entry("half", half), entry("e", empty)), timeout=1.0)
    assert code == "DEADLINE_EXCEEDED"
    answer = take(AT_ONCE_S, lambda: own.call(RELOAD, request(entry("n", half)), timeout=60))
    assert answer.status.error_code == 0
    assert own.predict("n", {"x": [2.0]}) == {"y": [3.0]}


def test_a_reload_that_somebody_waits_for_is_superseded_by_one_that_gives_up_its_models(
    server: Server, own: Client, half: Path, empty: Path
) -> None:
    waiting = own.start(RELOAD, request(entry("half", half), entry("e", empty)))
    server.err.wait_for("No versions of servable e found under base path")
    take(AT_ONCE_S, lambda: own.call(RELOAD, request(entry("half", half)), timeout=60))
    assert outcome(waiting.result) == (
        "ABORTED",
        "A newer configuration has taken the place of this one before these came up: e",
    )


def test_a_reload_that_waits_goes_on_when_a_newer_one_keeps_its_models(
    server: Server, own: Client, half: Path, empty: Path
) -> None:
    waiting = own.start(RELOAD, request(entry("half", half), entry("e", empty)))
    server.err.wait_for("No versions of servable e found under base path")
    both = own.start(RELOAD, request(entry("e", empty), entry("n", half)))
    eventually("n is up", lambda: "AVAILABLE" in server.states("n").values())
    assert not waiting.done()
    assert not both.done()  # what an earlier one waits for in vain is waited for by this one too
    shutil.copytree(half / "00000123", empty.with_name("made"))
    empty.with_name("made").rename(empty / "1")
    assert waiting.result().status.error_code == 0
    assert both.result().status.error_code == 0


def test_a_file_is_applied_while_a_reload_waits(
    start_with: Callable[..., Server], half: Path, empty: Path, config: Path
) -> None:
    server = start_with("--model_config_file_poll_wait_seconds=1")
    with connected(server.grpc_target) as client:
        waiting = client.start(RELOAD, request(entry("half", half), entry("e", empty)))
        server.err.wait_for("No versions of servable e found under base path")
        config.write_text(text("of_file", half))
        eventually("the file's", lambda: "AVAILABLE" in server.states("of_file").values())
        assert outcome(waiting.result)[0] == "ABORTED"


def test_no_thread_is_left_where_nobody_waits_any_more(
    server: Server, own: Client, half: Path, empty: Path
) -> None:
    own.call(RELOAD, request(entry("half", half)))
    before = threads(server)
    for number in range(8):
        waited_for = request(entry("half", half), entry(f"e{number}", empty))
        code, _ = own.refusal(RELOAD, waited_for, timeout=0.2)
        assert code == "DEADLINE_EXCEEDED"
    of_watcher = 4  # begins at the second look at the disk
    eventually("all have ended", lambda: threads(server) <= before + of_watcher)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_start_that_waits_for_models_goes_on_with_those_of_a_reload(
    processes: int, half: Path, empty: Path, launch_server: StartServer
) -> None:
    server = launch_server(
        "--model_name=e",
        f"--model_base_path={empty}",
        "--open_ports_before_load",
        f"--workers={processes}",
    )
    server.err.wait_for("No versions of servable e found under base path")
    with connected(server.grpc_target) as client:
        assert client.call(RELOAD, request(entry("half", half))).status.error_code == 0
        assert client.predict("half", {"x": [2.0]}) == {"y": [3.0]}
    eventually("it is ready", lambda: server.get("/healthz/ready").status_code == 200)
    assert server.stop() == 0
