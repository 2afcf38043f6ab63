"""`salver admin` against the routes of the administration, on a port of this machine."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.management.test_core import WAIT_S, Bench

from salver.cli.salver import main
from salver.config.models import ModelConfig
from salver.config.options import ServerOptions
from salver.config.start_up import read_configuration
from salver.lifecycle.monitor import VersionState
from salver.management.administration import Administration
from salver.management.audit import Audit
from salver.operations.admin.calls import AdminCalls
from salver.operations.administration import admin_api
from salver.protocols.administration import Administered
from salver.protocols.rest_errors import error_page, no_route, refusal_or_fault
from salver.protocols.router import Router
from salver.transport.listeners import open_listeners, open_unix_listener
from salver.transport.messages import HttpRequest
from salver.transport.server import HttpServer

Run = Callable[..., int]


class Served:
    """A server in a thread of its own, that does nothing but what administrators request."""

    def __init__(self, bench: Bench, socket_path: Path) -> None:
        self.bench = bench
        audit = Audit()
        bench.core._on_applied = audit.applied
        options = ServerOptions(model_base_path="/m", port=1, enable_batching=True)
        models = (bench.config("m"),)
        self.configuration = read_configuration(options, models)
        bench.core.apply(models)
        bench.until("m", 1, VersionState.AVAILABLE)
        self._administer = Administration(bench.core, self.configuration, audit)
        self._socket_path = socket_path
        self._loop = asyncio.new_event_loop()
        self._is_open = threading.Event()
        self.seen: list[str] = []
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._thread.start()
        assert self._is_open.wait(WAIT_S)

    async def _serve(self) -> None:
        async def in_control(call: Callable[[], Administered]) -> Administered:
            return await asyncio.to_thread(call)

        async def in_pool(call: Callable[[], Any], _size: int = 0) -> Any:
            return await asyncio.to_thread(call)

        api = admin_api(AdminCalls(self._administer, in_control))
        router = Router([api], failed=refusal_or_fault, not_found=no_route)

        def answer(request: HttpRequest) -> Any:
            self.seen.append((request.header(b"authorization") or b"").decode())
            return router(request)

        server = HttpServer(answer, error_page=error_page, clock=lambda: 0.0, run_in_pool=in_pool)
        self._done = asyncio.Event()
        sockets = open_listeners("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        await server.serve([*sockets, open_unix_listener(str(self._socket_path))], None)
        self._is_open.set()
        await self._done.wait()
        await server.drain(WAIT_S)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(WAIT_S)
        self._loop.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    bench = Bench(tmp_path)
    bench.add("m", 1)
    bench.add("n", 1)
    served = Served(bench, tmp_path / "socket")
    yield served
    served.close()
    bench.core.close(WAIT_S)


@pytest.fixture
def run(served: Served, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("SALVER_API_KEY", raising=False)

    def run(*arguments: str) -> int:
        return main(["salver", "admin", *arguments, f"--server={served.url}"])

    return run


def model(served: Served, name: str) -> ModelConfig:
    return next(each for each in served.bench.core.configured if each.name == name)


def test_what_is_served_is_shown_with_the_source_of_each_value(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("show") == 0
    text = capsys.readouterr().out
    assert "\nmodel m\n" in text
    assert "  salver.max_queued_runs=10000  " in text
    assert "--max_queued_runs_per_model: default" in text
    assert text.rstrip().endswith("Changes are in memory only, until the server ends.")
    assert run("show", "m") == 0
    assert "  version 1  AVAILABLE\n" in capsys.readouterr().out


def test_a_model_is_added_limited_labelled_and_removed(
    run: Run, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    base_path = str(served.bench.root / "n")
    assert run("add", "n", base_path, "--dry_run") == 0
    assert "Not done: this was a dry run." in capsys.readouterr().out
    assert len(served.bench.core.configured) == 1
    assert run("add", "n", base_path, "--wait_seconds=10") == 0
    assert "  version 1  AVAILABLE\n" in capsys.readouterr().out
    assert run("limits", "n", "max_queued_runs=5", "max_concurrent_runs=2") == 0
    assert run("limits", "n", "max_concurrent_runs=") == 0
    options = model(served, "n").options
    assert (options.max_queued_runs, options.max_concurrent_runs) == (5, None)
    assert run("label", "n", "stable", "1") == 0
    assert served.bench.core.labels("n") == {"stable": 1}
    assert run("show", "n") == 0
    settings = capsys.readouterr().out
    assert "  label stable  version 1\n" in settings
    line = next(each for each in settings.splitlines() if "max_queued_runs=5" in each)
    assert line.endswith(" memory")
    assert run("unlabel", "n", "stable") == 0
    assert run("remove", "n") == 0
    assert [each.name for each in served.bench.core.configured] == ["m"]


def test_batching_is_set_and_taken_back(run: Run, served: Served) -> None:
    assert run("batching", "m", "max_batch_size=4", "allowed_batch_sizes=2,4") == 0
    batching = model(served, "m").options.batching
    assert batching is not None
    assert (batching.max_batch_size, batching.allowed_batch_sizes) == (4, (2, 4))
    assert run("batching", "m") == 0
    assert model(served, "m").options.batching is None


def test_files_are_applied_and_put_and_earlier_configurations_come_back(
    run: Run, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = tmp_path / "both.yaml"
    both.write_text(f"models:\n- {{name: n, base_path: {tmp_path / 'n'}}}\n")
    assert run("apply", str(both)) == 0
    assert [each.name for each in served.bench.core.configured] == ["n"]
    assert run("apply", str(both), "--if_match=other") == 1
    assert "has been changed or removed since" in capsys.readouterr().err
    one = tmp_path / "one.json"
    one.write_text(json.dumps({"base_path": str(tmp_path / "n"), "version_labels": {}}))
    assert run("put", "o", str(one)) == 0
    assert run("revert", "1") == 0
    assert [each.name for each in served.bench.core.configured] == ["m"]
    capsys.readouterr()
    assert run("revisions") == 0
    revisions = capsys.readouterr().out
    assert revisions.splitlines()[-2].endswith("(start)  revision 1") or "revision 1" in revisions
    assert run("config") == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)["models"]] == ["m"]


def test_models_are_acted_on_and_that_is_on_record(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for action in ("unload", "load", "clear_quarantine"):
        assert run(action, "m") == 0
    assert run("reload", "m", "--wait_seconds=10") == 0
    capsys.readouterr()
    assert run("audit", "--limit=4") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[2] for line in lines] == [
        "reload m", "clear_quarantine m", "load m", "unload m",
    ]  # fmt: skip
    assert run("audit", "--limit=1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["entries"][0]["action"] == "reload"


def test_what_does_not_come_up_is_said_to_fail(
    run: Run, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.bench.add("broken", 1, broken=True)
    assert run("add", "broken", str(served.bench.root / "broken"), "--wait_seconds=10") == 1
    assert "Model broken does not load: no SavedModel in 1" in capsys.readouterr().err
    (served.bench.root / "empty").mkdir()
    assert run("add", "empty", str(served.bench.root / "empty"), "--wait_seconds=0.01") == 1
    assert "no available version after 0.01 s" in capsys.readouterr().err


def test_the_key_is_of_a_file_or_of_the_environment_and_shown_nowhere(
    run: Run,
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "key").write_text("salver_a_secret\n")
    monkeypatch.setenv("SALVER_API_KEY", "salver_b_secret")
    assert run("show", f"--api_key_file={tmp_path / 'key'}") == 0
    assert run("show") == 0
    assert served.seen == ["Bearer salver_a_secret", "Bearer salver_b_secret"]
    (tmp_path / "key").write_text("two words")
    assert run("show", f"--api_key_file={tmp_path / 'key'}") == 1
    assert main(["salver", "admin", "show", "--server=http://127.0.0.1:1"]) == 1
    # Instead of a file; argparse takes the beginning of an option for it.
    assert run("show", f"--api_key=salver_a_{'secret' * 5}ab") == 1
    shown = capsys.readouterr()
    assert "secret" not in shown.out + shown.err
    assert "cannot be asked" in shown.err


def test_a_socket_does_as_well(served: Served, tmp_path: Path) -> None:
    assert main(["salver", "admin", "show", f"--server=unix:{tmp_path / 'socket'}"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("limits", "m", "max_queued_runs"),
        ("limits", "m", "max_queued_runs=x"),
        ("limits", "m", "instances=3"),
        ("batching", "m", "max_batch_size"),
        ("batching", "m", "max_batch_size=x"),
        ("explode", "m"),
        ("label", "m", "stable", "one"),
    ],
)
def test_what_makes_no_sense_is_refused_with_status_2(
    run: Run, served: Served, arguments: tuple[str, ...]
) -> None:
    assert run(*arguments) == 2
    assert served.bench.core.configured == (served.bench.config("m"),)


def test_what_the_server_refuses_has_status_1(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("label", "m", "stable", "7") == 1
    assert "not currently available" in capsys.readouterr().err
    assert run("batching", "m", "no_such_field=1") == 1
    assert main(["salver", "admin", "show", "--server=ftp://x"]) == 1
