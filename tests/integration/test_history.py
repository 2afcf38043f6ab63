"""What the dashboard is told of the past: the same whichever process is asked."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.serving import PATIENCE_S, Server, eventually

StartServer = Callable[..., Server]


def past(server: Server) -> Any:
    """Asked over a connection of its own, so that any process may answer."""
    return requests.get(f"{server.url}/admin/v1/history", timeout=PATIENCE_S).json()


def total(server: Server) -> list[Any]:
    """Requests and errors of the model, as the answer just given has them."""
    return next(([n, bad] for name, n, bad in past(server)["totals"] if name == "m"), [0, 0])


def ask(server: Server, *instances: Any) -> int:
    body = {"instances": list(instances)}
    url = f"{server.url}/v1/models/m:predict"
    return requests.post(url, json=body, timeout=PATIENCE_S).status_code


@pytest.mark.parametrize("workers", [1, 2])
def test_requests_of_all_processes_are_remembered_also_of_those_that_are_gone(
    model_path: Callable[[str], Path], start_server: StartServer, workers: int
) -> None:
    server = start_server(
        "--model_name=m",
        f"--model_base_path={model_path('half_plus_two')}",
        f"--workers={workers}",
        "--enable_playground",
    )
    for _ in range(20):
        assert ask(server, 2.0) == 200
    for _ in range(4):
        assert ask(server, "no number") == 400
    eventually("all are told of", lambda: total(server) == [24, 4])
    assert all(total(server) == [24, 4] for _ in range(6))
    document = past(server)
    versions = [version for step in document["steps"] for version in step["versions"]]
    assert sum(sum(of[2]) for of in versions) == 20
    assert sum(sum(of[3].values()) for of in versions) == 4
    assert {of[0] for of in versions} == {"m"}
    assert document["steps"][-1]["to"] == document["now"]
    assert document["steps"][-1]["memory"] > 1 << 20
    if workers > 1:
        threads = Path(f"/proc/{server.process.pid}/task").iterdir()
        pid = next(int(pid) for of in threads for pid in (of / "children").read_text().split())
        os.kill(pid, signal.SIGKILL)
        eventually("those of the dead are told of", lambda: total(server) == [24, 4])


def test_it_is_remembered_where_a_page_can_show_it_only(
    model_path: Callable[[str], Path], start_server: StartServer, tmp_path: Path
) -> None:
    base = f"--model_base_path={model_path('half_plus_two')}"
    quiet = tmp_path / "monitoring.config"
    quiet.write_text("prometheus_config { enable: false }")
    for flags in (
        (base,),
        (base, "--enable_playground", "--dashboard_history_seconds=0"),
        (base, "--enable_playground", f"--monitoring_config_file={quiet}"),
    ):
        answer = start_server(*flags).get("/admin/v1/history")
        assert answer.status_code == 404
        assert answer.json()["error"] == "Not Found: GET /admin/v1/history"
