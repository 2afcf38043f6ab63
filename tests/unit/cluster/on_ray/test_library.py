import os
import subprocess
import sys
from pathlib import Path

import pytest

from salver.cluster.on_ray.library import import_ray, token_path
from salver.errors import NotInstalled

SOURCES = str(Path(__file__).parents[4] / "src")


def test_without_ray_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NotInstalled) as raised:
        import_ray()
    assert raised.value.hint == "pip install 'salver[cluster]'"


def test_nothing_imports_ray_before_a_cluster_is_asked_for() -> None:
    program = (
        f"import sys; sys.path.insert(0, {SOURCES!r}); sys.modules['ray'] = None;"
        "import salver.cluster, salver.cli.cluster, salver.cluster.api, salver.cluster.node_agent;"
        "import salver.cluster.service, salver.cluster.on_ray.head;"
        "from salver.cli.salver import main; main(['salver', 'cluster', '--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "salver[cluster]" in done.stdout


def test_the_token_is_where_ray_has_it(tmp_path: Path) -> None:
    path = tmp_path / "token"
    assert token_path({"RAY_AUTH_TOKEN_PATH": str(path)}) == path
    assert token_path({}) == Path.home() / ".ray" / "auth_token"


@pytest.mark.parametrize("mode", ["", "token"])
def test_a_token_that_others_can_read_is_used_and_taken_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    path = tmp_path / "token"
    path.write_text("x" * 32)
    path.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    if not mode:
        monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NotInstalled):
        import_ray()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_token_made_after_ray_was_imported_is_used(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    path = tmp_path / "token"
    path.write_text("x" * 32)
    path.chmod(0o600)
    program = f"""
import os, sys
sys.path.insert(0, {SOURCES!r})
os.environ.pop("RAY_AUTH_MODE", None)
import ray
from salver.cluster.on_ray.library import import_ray, read_environment_again
wants_token = lambda: ray._raylet.get_authentication_mode() == ray._raylet.AuthenticationMode.TOKEN
print(wants_token())
os.environ["RAY_AUTH_TOKEN_PATH"] = {str(path)!r}
read_environment_again(import_ray())
print(wants_token(), ray._raylet.AuthenticationTokenLoader.instance().has_token())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["False", "True", "True"], done.stderr
