"""Running servers, one and with workers, administered over REST and gRPC."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests

from salver._pb import POOL, message_class
from salver.cli.salver import main
from tests.integration.serving import (
    PATIENCE_S,
    Server,
    eventually,
    free_port,
    run_command,
    running,
)

ADMINISTRATORS = 100
FLAGS = (
    "--enable_batching",
    "--model_config_file_poll_wait_seconds=1",
    "--file_system_poll_wait_seconds=1",
)


class Administered:
    """A server, and how administrators talk to it."""

    def __init__(self, server: Server, file: Path) -> None:
        self.server = server
        self.file = file
        self.audit_log = file.with_name("audit.log")

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        """Over a connection of its own, so that with workers each is asked in turn."""
        return requests.request(
            method,
            f"http://{self.server.grpc_target}/admin/v1{path}",
            json=body,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            timeout=PATIENCE_S,
        )

    def done(self, method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        answer = self.ask(method, path, body, **headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def call(self, method: str, /, **fields: Any) -> Any:
        service = "salver.admin.v1.AdminService"
        described = POOL.FindServiceByName(service).methods_by_name[method]
        request, response = (
            message_class(each.full_name) for each in (described.input_type, described.output_type)
        )
        with grpc.insecure_channel(self.server.grpc_target) as channel:
            call = channel.unary_unary(
                f"/{service}/{method}",
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )
            return call(request(**fields), timeout=PATIENCE_S)

    def reset(self) -> None:
        """Have the file again, by changing its bytes."""
        before = self.done("GET", "/audit?limit=1")["entries"][0]["number"]
        self.file.write_text(self.file.read_text() + "\n")

        def is_reset() -> bool:
            later = self.done("GET", "/audit?limit=5")["entries"]
            return any(
                each["via"] == "--model_config_file" and each["number"] > before for each in later
            )

        eventually("the file is in effect again", is_reset)
        self.server.wait_until("m", 123)


def begin(path: Path, model_path: Callable[[str], Path], *flags: str) -> Iterator[Administered]:
    file = path / "models.yaml"
    file.write_text(f"models:\n- name: m\n  base_path: {model_path('half_plus_two')}\n")
    log = f"--audit_log={path / 'audit.log'}"
    with running(f"--model_config_file={file}", log, *FLAGS, *flags) as server:
        yield Administered(server, file)


@pytest.fixture(scope="module", params=["one", "workers"])
def served(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    model_path: Callable[[str], Path],
) -> Iterator[Administered]:
    more = ["--workers=2"] if request.param == "workers" else []
    yield from begin(tmp_path_factory.mktemp("administered"), model_path, *more)


@pytest.fixture
def administered(served: Administered) -> Iterator[Administered]:
    yield served
    served.reset()


def test_a_model_comes_is_used_and_goes_until_the_bytes_of_the_file_change(
    administered: Administered, model_path: Callable[[str], Path]
) -> None:
    server, body = administered.server, {"base_path": str(model_path("half_plus_three"))}
    tried = administered.done("PUT", "/models/n?validate=true", body)
    assert tried["is_dry_run"]
    assert server.states("n") == {}
    done = administered.done("PUT", "/models/n", body, if_none_match="*")
    assert f"until the bytes of {administered.file} change" in done["persistence"]
    server.wait_until("n", 123)
    assert server.predict("n", [2.0]).json() == {"predictions": [4.0]}
    assert administered.ask("PUT", "/models/n", body, if_none_match="*").status_code == 412
    settings = administered.done("GET", "/models/n")["settings"]
    assert {each["source"] for each in settings if each["name"] == "base_path"} == {"memory"}
    for _ in range(6):  # whichever worker answers
        assert administered.done("GET", "/config")["etag"] == done["config_etag"]
    administered.reset()
    eventually("n is gone", lambda: server.predict("n", [2.0]).status_code == 404)


def test_of_a_hundred_administrators_none_undoes_what_he_has_not_seen(
    administered: Administered,
) -> None:
    def one_more(_number: int) -> int:
        with requests.Session() as session:
            url = f"http://{administered.server.grpc_target}/admin/v1/models/m"
            for tries in range(10_000):
                read = session.get(url, timeout=PATIENCE_S)
                config = read.json()["config"]
                runs = config.setdefault("salver", {}).get("max_queued_runs", 0)
                config["salver"]["max_queued_runs"] = runs + 1
                tag = {"If-Match": read.headers["ETag"]}
                answer = session.put(url, json=config, headers=tag, timeout=PATIENCE_S)
                if answer.status_code == 200:
                    return tries
                assert answer.status_code == 412, answer.text
        raise AssertionError("others were always quicker")

    with ThreadPoolExecutor(ADMINISTRATORS) as pool:
        list(pool.map(one_more, range(ADMINISTRATORS)))
    config = administered.done("GET", "/models/m")["config"]
    assert config["salver"]["max_queued_runs"] == ADMINISTRATORS
    assert administered.server.predict("m", [2.0]).json() == {"predictions": [3.0]}


def test_batching_changes_under_load_without_a_new_load_or_a_failed_request(
    administered: Administered,
) -> None:
    server, stop, failed = administered.server, threading.Event(), []

    def load() -> None:
        with requests.Session() as session:
            while not stop.is_set():
                answer = session.post(
                    f"{server.url}/v1/models/m:predict",
                    json={"instances": [1.0, 2.0, 3.0]},
                    timeout=PATIENCE_S,
                )
                if answer.status_code != 200:
                    failed.append(answer.text)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    loaded = server.err.text().count("Successfully loaded servable version")
    for number in range(20):
        rows = 4 + number % 3
        body = {"max_batch_size": rows, "allowed_batch_sizes": [3, rows]}
        done = administered.done("PUT", "/models/m/batching", body)
        assert done["loads_again"] == []
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert server.err.text().count("Successfully loaded servable version") == loaded
    for _ in range(6):
        assert "larger than maximum input batch size 5" in server.predict("m", [1.0] * 6).text
    administered.done("DELETE", "/models/m/batching")
    for _ in range(6):
        assert server.predict("m", [1.0] * 6).status_code == 200


def test_models_are_unloaded_loaded_and_loaded_again(administered: Administered) -> None:
    server = administered.server
    assert administered.done("POST", "/models/m:unload")["versions"][0]["state"] == "END"
    assert administered.done("GET", "/models/m")["is_unloaded"]
    assert administered.done("POST", "/models/m:load")["versions"][0]["state"] == "AVAILABLE"
    loaded = server.err.text().count("Successfully loaded servable version")
    administered.done("POST", "/models/m:reload")
    server.wait_until("m", 123)
    assert server.err.text().count("Successfully loaded servable version") == loaded + 1
    assert server.predict("m", [2.0]).status_code == 200


def test_grpc_does_the_same(administered: Administered) -> None:
    config = administered.call("GetConfig")
    (model,) = config.config.model_config_list.config
    assert model.name == "m"
    stale = config.etag
    done = administered.call(
        "PutLabel", name="m", label="stable", version=123, condition={"etags": [stale]}
    )
    assert (done.changes[0].field, done.config_etag != stale) == ("version_labels", True)
    answer = administered.server.post("/v1/models/m/labels/stable:predict", {"instances": [2.0]})
    assert answer.json() == {"predictions": [3.0]}
    with pytest.raises(grpc.RpcError) as caught:
        administered.call("DeleteModel", name="m", condition={"etags": [stale]})
    assert caught.value.code() is grpc.StatusCode.ABORTED
    with pytest.raises(grpc.RpcError) as caught:
        administered.call("GetModel", name="none")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert administered.call("UnloadModel", name="m").versions[0].state == "END"
    assert administered.call("GetAudit", limit=1).entries[0].via.endswith("/UnloadModel")
    assert administered.call("GetRevisions").revisions[0].changes


def test_every_change_is_on_record_whoever_made_it(administered: Administered) -> None:
    administered.done("PUT", "/models/m/labels/stable", {"version": 123})
    assert administered.ask("PUT", "/models/m/labels/next", {"version": 7}).status_code == 400
    message = message_class("tensorflow.serving.ReloadConfigRequest")()
    entry = message.config.model_config_list.config.add(name="m", model_platform="tensorflow")
    entry.base_path = administered.done("GET", "/models/m")["config"]["base_path"]
    with grpc.insecure_channel(administered.server.grpc_target) as channel:
        reload = channel.unary_unary(
            "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
            request_serializer=lambda data: data,
        )
        reload(message.SerializeToString(), timeout=PATIENCE_S)
    entries = administered.done("GET", "/audit?limit=3")["entries"]
    assert [(each["outcome"], each["peer"]) for each in entries] == [
        ("OK", "127.0.0.1"),
        ("FAILED_PRECONDITION", "127.0.0.1"),
        ("OK", "127.0.0.1"),
    ]
    assert entries[0]["via"] == "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
    assert entries[2]["via"] == "PUT /admin/v1/models/m/labels/stable"

    def written() -> bool:
        lines = administered.audit_log.read_text().splitlines()
        return bool([json.loads(line) for line in lines[-3:]] == entries[::-1])

    eventually("the log has all of it", written)


def test_the_level_of_the_log_is_on_record_too(administered: Administered) -> None:
    for level in ("error", "info"):
        assert administered.ask("PUT", "/log_level", {"level": level}).ok
    later, earlier = administered.done("GET", "/audit?limit=2")["entries"]
    assert {later["action"], earlier["action"]} == {"log_level"}
    assert (later["via"], later["peer"]) == ("PUT /admin/v1/log_level", "127.0.0.1")
    assert (earlier["changes"][0]["after"], later["changes"][0]["before"]) == ("error", "error")
    assert later["changes"][0]["after"] == "info"


def test_the_rest_port_does_not_administer(administered: Administered) -> None:
    server = administered.server
    for method, path in (("GET", "/config"), ("PUT", "/models/m"), ("POST", "/models/m:unload")):
        answer = requests.request(method, f"{server.url}/admin/v1{path}", timeout=PATIENCE_S)
        assert answer.status_code == 403, answer.text


def test_bodies_that_are_none_change_nothing_and_keep_nobody_waiting(
    administered: Administered,
) -> None:
    url = f"http://{administered.server.grpc_target}/admin/v1"
    tag = administered.done("GET", "/config")["etag"]
    deep = b"[" * 100_000
    wide = b'{"models": [' + b'{"name": "x"},' * 10_000
    for body in (deep, wide, b"\xff" * 1000, b"", b'{"models": [{"name": "m"}]}'):
        answer = requests.put(f"{url}/config", data=body, timeout=PATIENCE_S)
        assert answer.status_code == 400, answer.text
        yaml = {"Content-Type": "application/yaml"}
        answer = requests.put(f"{url}/models/m", data=body, headers=yaml, timeout=PATIENCE_S)
        assert answer.status_code == 400, answer.text
    assert administered.done("GET", "/config")["etag"] == tag


def test_a_person_administers_from_a_shell(
    administered: Administered, capsys: pytest.CaptureFixture[str]
) -> None:
    at = f"--server=http://{administered.server.grpc_target}"
    assert main(["salver", "admin", "limits", "m", "max_queued_runs=9", at]) == 0
    assert main(["salver", "admin", "show", "m", at]) == 0
    assert "salver.max_queued_runs=9" in capsys.readouterr().out


def test_what_was_changed_is_known_to_a_worker_that_comes_later(
    tmp_path: Path, model_path: Callable[[str], Path]
) -> None:
    with contextmanager(begin)(tmp_path, model_path, "--workers=2") as administered:
        administered.done("PUT", "/models/m/batching", {"max_batch_size": 4})
        administered.done("PUT", "/models/m/labels/stable", {"version": 123})
        server = administered.server
        for pid in _children(server):
            os.kill(int(pid), signal.SIGKILL)
        eventually("m is served", lambda: _status(server, [1.0]) == 200)
        for _ in range(6):
            eventually("requests are limited", lambda: _status(server, [1.0] * 5) == 400)
        assert administered.done("GET", "/models/m")["labels"] == {"stable": 123}


def _children(server: Server) -> list[str]:
    tasks = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    return [pid for task in tasks for pid in task.read_text().split()]


def _status(server: Server, instances: list[float]) -> int:
    try:
        answer = requests.post(
            f"{server.url}/v1/models/m:predict",
            json={"instances": instances},
            timeout=PATIENCE_S,
        )
    except requests.ConnectionError:
        return 0
    return answer.status_code


def test_several_workers_are_administered_on_a_port_of_its_own_alone(
    start_server: Callable[..., Server], model_path: Callable[[str], Path], tmp_path: Path
) -> None:
    port, path = free_port(), tmp_path / "admin.sock"
    server = start_server(
        *("--model_name=m", f"--model_base_path={model_path('half_plus_two')}", "--workers=2"),
        *(f"--admin_port={port}", f"--admin_socket_path={path}"),
    )
    own, others = f"http://127.0.0.1:{port}", (server.url, f"http://{server.grpc_target}")
    for _ in range(10):  # whichever worker answers
        read = requests.get(f"{own}/admin/v1/models/m", timeout=PATIENCE_S)
        assert read.json()["versions"] == [{"version": 123, "state": "AVAILABLE"}]
        for other in others:
            refused = requests.get(f"{other}/admin/v1/models/m", timeout=PATIENCE_S)
            assert refused.status_code == 403, other
            level = requests.put(f"{other}/admin/v1/log_level", json={}, timeout=PATIENCE_S)
            assert level.status_code == 403, other
    done = run_command("salver", "admin", "unload", "m", f"--server=unix:{path}")
    assert done.returncode == 0, done.stderr
    for _ in range(10):
        assert server.predict("m", [1.0]).status_code == 404
    (entry,) = requests.get(f"{own}/admin/v1/audit?limit=1", timeout=PATIENCE_S).json()["entries"]
    assert (entry["action"], entry["model"]) == ("unload", "m")
