import json
import sys
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

import pytest

from salver.instruments.installing import Origin, command_for, install_command, origin_of

METADATA = """\
Metadata-Version: 2.4
Name: salver
Version: 0.1.0
Requires-Dist: numpy>=1.26
Requires-Dist: uvloop>=0.21; sys_platform != 'win32'
Provides-Extra: litert
Requires-Dist: ai-edge-litert>=1.4; extra == 'litert'
Provides-Extra: tensorflow
Requires-Dist: tensorflow>=2.16; (python_version < "4") and extra == 'tensorflow'
"""


def installed(directory: Path, direct_url: Any = None) -> PathDistribution:
    """A distribution as pip leaves it on disk."""
    info = directory / "salver-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(METADATA)
    if direct_url is not None:
        (info / "direct_url.json").write_text(json.dumps(direct_url))
    return PathDistribution(info)


def command(distribution: PathDistribution, here: Path, extra: str = "tensorflow") -> str:
    return command_for(extra, origin_of(distribution), pip="pip", here=here)


def test_in_a_clone_the_clone_is_named_by_a_dot(tmp_path: Path) -> None:
    of_clone = installed(tmp_path / "site", {"url": tmp_path.as_uri(), "dir_info": {}})
    assert command(of_clone, tmp_path) == "pip install '.[tensorflow]'"


def test_from_elsewhere_the_clone_is_named_by_its_path(tmp_path: Path) -> None:
    clone = tmp_path / "my clone"
    clone.mkdir()
    of_clone = installed(tmp_path / "site", {"url": clone.as_uri(), "dir_info": {}})
    assert command(of_clone, tmp_path) == f"pip install '{clone}[tensorflow]'"


def test_an_editable_installation_stays_editable(tmp_path: Path) -> None:
    said = {"url": tmp_path.as_uri(), "dir_info": {"editable": True}}
    assert command(installed(tmp_path / "site", said), tmp_path) == "pip install -e '.[tensorflow]'"


def test_a_wheel_is_named_by_its_path(tmp_path: Path) -> None:
    wheel = tmp_path / "salver-0.1.0-py3-none-any.whl"
    wheel.touch()
    of_wheel = installed(tmp_path / "site", {"url": wheel.as_uri(), "archive_info": {}})
    assert command(of_wheel, tmp_path, "litert") == f"pip install '{wheel}[litert]'"


def test_where_the_clone_is_gone_its_requirements_are_named(tmp_path: Path) -> None:
    said = {"url": (tmp_path / "gone").as_uri(), "dir_info": {}}
    of_clone = installed(tmp_path / "site", said)
    assert command(of_clone, tmp_path) == "pip install 'tensorflow>=2.16'"
    assert command(of_clone, tmp_path, "litert") == "pip install 'ai-edge-litert>=1.4'"


def test_from_a_repository_the_same_commit_is_named(tmp_path: Path) -> None:
    said = {
        "url": "https://host/salver.git",
        "vcs_info": {"vcs": "git", "commit_id": "abc", "requested_revision": "main"},
    }
    assert command(installed(tmp_path / "site", said), tmp_path) == (
        "pip install 'salver[tensorflow] @ git+https://host/salver.git@abc'"
    )


def test_from_a_url_the_url_is_named(tmp_path: Path) -> None:
    said = {"url": "https://host/salver.tar.gz", "archive_info": {}}
    assert command(installed(tmp_path / "site", said), tmp_path) == (
        "pip install 'salver[tensorflow] @ https://host/salver.tar.gz'"
    )


def test_what_came_from_an_index_is_named_by_its_name(tmp_path: Path) -> None:
    assert command(installed(tmp_path), tmp_path) == "pip install 'salver[tensorflow]'"


def test_a_file_that_cannot_be_read_counts_as_none(tmp_path: Path) -> None:
    for number, said in enumerate((["url"], "url")):
        assert origin_of(installed(tmp_path / str(number), said)).path is None
    broken = installed(tmp_path / "broken")
    (tmp_path / "broken" / "salver-0.1.0.dist-info" / "direct_url.json").write_text("{")
    assert command(broken, tmp_path) == "pip install 'salver[tensorflow]'"


def test_what_was_never_installed_is_its_clone() -> None:
    root = Path(__file__).parents[3]
    assert origin_of(None).path == root
    assert command_for("litert", origin_of(None), pip="pip", here=root) == "pip install '.[litert]'"


def test_an_origin_that_says_nothing_is_an_index() -> None:
    assert command_for("litert", Origin(), pip="pip") == "pip install 'salver[litert]'"


def test_the_pip_of_another_environment_is_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = tmp_path / "pip"
    pip.write_text("")
    pip.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install_command("litert").startswith(f"{sys.executable} -m pip install ")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert install_command("litert").startswith("pip install ")
