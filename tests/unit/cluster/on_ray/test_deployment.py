import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from salver.cluster.on_ray.deployment import Deployment, connect
from salver.cluster.spec import ClusterSpec
from salver.errors import InvalidArgument, NotInstalled, Unavailable


@pytest.fixture
def spec(tmp_path: Path) -> ClusterSpec:
    return ClusterSpec(name="shop", journal=str(tmp_path / "state" / "journal.json"))


@pytest.fixture
def current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Ray writes at which address it was started last; somebody listens there."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


def look(spec: ClusterSpec, current: Path, write: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        write(current, f"127.0.0.1:{server.getsockname()[1]}")
        connect(spec, may_start=False, tell=print)


def test_the_ray_that_this_user_has_started_is_found(spec: ClusterSpec, current: Path) -> None:
    with pytest.raises(NotInstalled):  # so it was to be connected to
        look(spec, current, Path.write_text)


def test_an_address_that_another_user_has_written_is_not_believed(
    spec: ClusterSpec, current: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, text: str) -> None:
        path.write_text(text)
        own = os.getuid()
        if own == 0:
            os.chown(path, 12345, -1)
        else:
            monkeypatch.setattr(os, "getuid", lambda: own + 1)

    with pytest.raises(Unavailable, match="there is no Ray"):
        look(spec, current, write)


def test_what_is_no_file_at_all_says_no_address(spec: ClusterSpec, current: Path) -> None:
    os.mkfifo(current)
    with pytest.raises(Unavailable, match="there is no Ray"):
        connect(spec, may_start=False, tell=print)


@pytest.mark.parametrize("content", ["", "short", "a secret with blanks in it", "# a comment\n"])
def test_a_file_without_secrets_is_refused_before_anything_is_started(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "secrets"
    path.write_text(content)

    def get_actor(_name: str, namespace: str) -> None:
        raise ValueError(namespace)

    ray = SimpleNamespace(get_actor=get_actor)
    spec = ClusterSpec(name="shop", peer_token_file=str(path))
    with pytest.raises(InvalidArgument, match="secret"):
        Deployment(ray, spec).up(print)
