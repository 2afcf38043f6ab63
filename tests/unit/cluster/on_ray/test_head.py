import json
import os
import socket
from pathlib import Path

from salver.cluster.on_ray.head import find_head, reaches, stop_head
from salver.cluster.processes import identify


def test_an_address_is_reached_where_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert reaches(f"127.0.0.1:{port}")
    assert not reaches(f"127.0.0.1:{port}")
    assert not reaches("127.0.0.1")
    assert not reaches("no.such.host.invalid:1")


def test_a_head_is_found_while_its_process_runs(tmp_path: Path) -> None:
    own = identify(os.getpid())
    assert own is not None
    record = {"schema": 1, "pid": own.pid, "started": own.started, "address": "127.0.0.1:6379"}
    (tmp_path / "ray.json").write_text(json.dumps(record))
    head = find_head(tmp_path)
    assert head is not None
    assert head.address == "127.0.0.1:6379"


def test_a_process_that_is_another_one_is_no_head_and_is_not_stopped(tmp_path: Path) -> None:
    record = {"schema": 1, "pid": os.getpid(), "started": "another boot:1", "address": "a:1"}
    (tmp_path / "ray.json").write_text(json.dumps(record))
    assert find_head(tmp_path) is None
    assert not stop_head(tmp_path)
