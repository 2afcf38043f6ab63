import sys
from pathlib import Path

import pytest
from tests.unit.backends.packages import install

from salver.cli.backend_flags import (
    all_backend_flags,
    find_backend_flag,
    settings_of_backends,
)
from salver.config.flags import parse, usage
from salver.config.options import FlagType, ServerOptions


def test_an_option_of_an_installed_backend_is_a_flag_and_imports_that_backend_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linear = install(tmp_path, monkeypatch, "linear")
    other = install(tmp_path, monkeypatch, "other")
    flag = find_backend_flag("linear_strip")
    assert flag is not None
    assert (flag.name, flag.type, flag.default) == ("linear_strip", FlagType.BOOL, False)
    assert linear in sys.modules
    assert other not in sys.modules
    assert find_backend_flag("linear_strap") is None
    assert find_backend_flag("strip") is None


def test_a_backend_that_cannot_be_imported_has_no_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "broken", "import nothing_of_that_name")
    assert find_backend_flag("broken_strip") is None
    assert not [flag for flag in all_backend_flags() if flag.name.startswith("broken")]


def test_such_flags_are_read_as_those_of_the_table_and_listed_behind_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "linear")
    parsed = parse(["--linear_strip", "--port=7", "--linear_strap=1"], find=find_backend_flag)
    assert parsed.options == ServerOptions(port=7, backend_flags=(("linear_strip", "true"),))
    assert parsed.leftovers == ("--linear_strap=1",)
    (bad,) = parse(["--linear_strip=x"], find=find_backend_flag).bad
    assert str(bad) == "Couldn't interpret value x for flag linear_strip."
    last = usage("serve", others=all_backend_flags()).splitlines()[-1]
    assert last.split() == ["--linear_strip=false", "bool", "Without", "blanks."]


def test_the_settings_of_those_that_come_with_salver_are_flags_or_made_of_them() -> None:
    assert {"prefer_tflite_model", "keras_safe_mode", "saved_model_tags"} < settings_of_backends()
