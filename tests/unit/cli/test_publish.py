import json
from pathlib import Path

import pytest

from salver.cli.publish import publish_command
from salver.cli.salver import main


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What looks like a SavedModel; that it loads is not checked here."""
    monkeypatch.setattr("salver.publishing.check_version", lambda *_: None)
    path = tmp_path / "export"
    path.mkdir()
    (path / "saved_model.pb").touch()
    return path


def test_the_next_version_is_put_in_place(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "models" / "m"
    assert publish_command([str(model), str(base)]) == 0
    assert publish_command([str(model), str(base), "--version", "7"]) == 0
    assert capsys.readouterr().out == (
        f"Published version 1: {base}/1\nPublished version 7: {base}/7\n"
    )
    assert (base / "7" / "saved_model.pb").exists()


def test_what_it_says_of_itself_comes_with_it_and_what_is_unknown_is_told(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "about.json").write_text(json.dumps({"title": "Digits", "colour": 1}))
    about = f"--about={tmp_path / 'about.json'}"
    assert publish_command([str(model), str(tmp_path / "m"), about]) == 0
    assert json.loads((tmp_path / "m" / "1" / "assets" / "salver.json").read_text())["title"]
    told = capsys.readouterr().err
    assert told == "salver: salver.json: colour is not known, and left out\n"


def test_a_wrong_document_is_refused_in_two_lines_at_most(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "about.json").write_text('{"title": 3}')
    about = f"--about={tmp_path / 'about.json'}"
    assert main(["salver", "publish", str(model), str(tmp_path / "m"), about]) == 1
    assert capsys.readouterr().err == "salver: salver.json: title: text is wanted, not 3\n"
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    "arguments",
    [[], ["a"], ["a", "b", "c"], ["a", "b", "--version", "0"], ["a", "b", "--version=-1"],
     ["a", "b", "--version", "x"], ["a", "b", "--other"]],
)  # fmt: skip
def test_a_command_misused_says_how_it_is_used(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish_command(arguments) == 2
    assert "usage: salver publish" in capsys.readouterr().err


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert publish_command(["--help"]) == 0
    assert "--about FILE" in capsys.readouterr().out


def test_a_source_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["salver", "publish", str(tmp_path / "none"), str(tmp_path / "m")]) == 1
    assert capsys.readouterr().err == f"salver: There is no directory {tmp_path / 'none'}.\n"
