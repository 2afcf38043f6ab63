from pathlib import Path

import pytest

from salver.access.start_up import read_guarded_configuration
from salver.config.options import ServerOptions
from salver.errors import InvalidArgument


def test_without_the_flag_everybody_may_do_everything() -> None:
    assert read_guarded_configuration(ServerOptions(), ()).auth is None


def test_wrong_files_of_access_control_are_no_start(tmp_path: Path) -> None:
    path = tmp_path / "auth.yaml"
    options = ServerOptions(auth_config_file=str(path))
    path.write_text("api_keys: {file: keys.txt}")
    (tmp_path / "keys.txt").write_text("# none")
    auth = read_guarded_configuration(options, ()).auth
    assert auth is not None
    assert auth.key_file == str(tmp_path / "keys.txt")
    (tmp_path / "keys.txt").write_text("garbage")
    with pytest.raises(InvalidArgument, match=r"keys\.txt:1"):
        read_guarded_configuration(options, ())
    path.write_text("garbage")
    with pytest.raises(InvalidArgument, match=r"auth\.yaml"):
        read_guarded_configuration(options, ())
