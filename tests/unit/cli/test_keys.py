import re
from pathlib import Path

import pytest

from salver.access.key_file import list_keys
from salver.access.keys import Keys
from salver.cli.salver import main

CONFIG = """
api_keys: {file: keys.txt}
roles: {scorer: {verbs: [predict]}, root: {verbs: [admin]}}
"""


@pytest.fixture
def auth(tmp_path: Path) -> Path:
    path = tmp_path / "auth.yaml"
    path.write_text(CONFIG)
    return path


def run(auth: Path, *arguments: str) -> int:
    return main(["salver", "keys", *arguments, f"--auth_config_file={auth}"])


def test_a_key_is_printed_once_alone_and_works(
    auth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(auth, "create", "ci", "--role=scorer") == 0
    said = capsys.readouterr()
    assert re.fullmatch(r"salver_ci_[A-Za-z0-9]{32}\n", said.out)
    assert "keys.txt" in said.err
    key = said.out.strip()
    assert key not in said.err
    lines = list_keys(str(auth.parent / "keys.txt"))
    assert Keys(lines).find(key.encode()) == lines[0]
    assert (lines[0].role, lines[0].expires_s) == ("scorer", None)
    assert key[-32:] not in (auth.parent / "keys.txt").read_text()


def test_keys_are_listed_with_what_is_wrong_with_them(
    auth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(auth, "list") == 1  # there is no file yet
    file = f"--key_file={auth.parent / 'keys.txt'}"
    run(auth, "create", "a", "--role=scorer")
    run(auth, "create", "b", "--role=root", "--expires=2999-12-31")
    main(["salver", "keys", "create", "long-name", "--role=gone", file])
    with (auth.parent / "keys.txt").open("a") as keys:
        keys.write(f"old {'0' * 64} root 2020-01-01\n")
    capsys.readouterr()
    assert run(auth, "list") == 0
    assert capsys.readouterr().out.splitlines() == [
        "ID         ROLE    EXPIRES               STATE",
        "a          scorer  never",
        "b          root    3000-01-01T00:00:00Z",
        "long-name  gone    never                 no such role",
        "old        root    2020-01-02T00:00:00Z  expired",
    ]
    assert main(["salver", "keys", "list", file]) == 0
    assert "no such role" not in capsys.readouterr().out


def test_a_revoked_key_is_gone(auth: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for id in ("a", "b", "c"):
        run(auth, "create", id, "--role=root")
    capsys.readouterr()
    assert run(auth, "revoke", "a", "c") == 0
    assert capsys.readouterr().out == "Revoked a, c\n"
    assert run(auth, "revoke", "a") == 1
    assert "has no key a" in capsys.readouterr().err
    run(auth, "revoke", "b")
    capsys.readouterr()
    assert run(auth, "list") == 0
    assert capsys.readouterr().out == "There are no keys\n"


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["create", "ci", "--role=other"], 1, "has no role other; it has root, scorer"),
        (["create", "c i", "--role=root"], 1, "An id has 1 to 64"),
        (["create", "ci"], 2, "--role"),
        (["create", "ci", "--role=root", "--expires=2020-01-01"], 2, "past"),
        (["create", "ci", "--role=root", "--expires=soon"], 2, "a time is written"),
        (["create", "ci", "--role=root", "--expires=999999w"], 2, "too far"),
        (["list", "--key_file=x"], 2, "one of --auth_config_file and --key_file"),
        (["revoke"], 2, "ID"),
        (["drop"], 2, "create|list|revoke"),
    ],
)
def test_what_makes_no_sense_is_told(
    arguments: list[str],
    status: int,
    text: str,
    auth: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(auth, *arguments) == status
    said = capsys.readouterr()
    assert text in said.err
    assert said.out == ""
    assert not (auth.parent / "keys.txt").exists()


def test_a_time_may_be_told_from_now(auth: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, when in enumerate(("1m", "1h", "1d", "1w")):
        assert run(auth, "create", f"k{number}", "--role=root", f"--expires={when}") == 0
    lines = list_keys(str(auth.parent / "keys.txt"))
    ends = [line.expires_s for line in lines if line.expires_s is not None]
    gaps = [round((end - ends[0] + 60) / 3600) for end in ends]
    assert gaps == [0, 1, 24, 168]


def test_a_role_without_a_configuration_has_no_blanks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = f"--key_file={tmp_path / 'keys.txt'}"
    assert main(["salver", "keys", "create", "ci", "--role=a b", file]) == 1
    assert "A role's name has no blanks: 'a b'" in capsys.readouterr().err


def test_a_configuration_without_a_key_file_says_what_to_write(
    auth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    auth.write_text("roles: {}")
    assert run(auth, "list") == 1
    assert "api_keys: {file: keys.txt}" in capsys.readouterr().err
