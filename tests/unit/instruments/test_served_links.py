from pathlib import Path

from salver.instruments.served_links import PREFIX, as_given


def made(tmp_path: Path) -> Path:
    base = tmp_path / f"{PREFIX}x"
    base.mkdir()
    return base


def test_a_file_is_named_as_it_was_given(tmp_path: Path) -> None:
    version = made(tmp_path) / "1"
    version.mkdir()
    (version / "net.keras").symlink_to("/home/you/net.keras")
    (version / "other").touch()
    text = f"{version}/net.keras is no Keras file; see {version}/other"
    assert as_given(text, version) == (f"/home/you/net.keras is no Keras file; see {version}/other")


def test_a_directory_is_named_as_it_was_given(tmp_path: Path) -> None:
    version = made(tmp_path) / "1"
    version.symlink_to("/home/you/net")
    text = f"Can't parse {version}/saved_model.pb"
    assert as_given(text, str(version)) == "Can't parse /home/you/net/saved_model.pb"


def test_links_that_somebody_else_has_made_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "1").symlink_to("/home/you/net")
    text = f"Can't parse {tmp_path}/1/saved_model.pb"
    assert as_given(text, tmp_path / "1") == text


def test_a_directory_that_has_gone_changes_nothing(tmp_path: Path) -> None:
    version = made(tmp_path) / "1"
    assert as_given(f"{version} is gone", version) == f"{version} is gone"
