import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from salver.backends.keras import converted
from salver.backends.keras.converted import ConvertedFiles
from salver.backends.keras.options import KerasOptions
from salver.errors import DataLoss, FailedPrecondition, NotFound, Unavailable

PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def _has_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converted, "require_keras", lambda: None)


def _keras_file(path: Path, content: str = "{}") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", content)
    return path


class _Converter:
    """Makes a directory in place of a SavedModel, and counts; or raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.options: list[KerasOptions] = []

    def __call__(self, source: Path, target: Path, options: KerasOptions, **more: Any) -> None:
        assert not more.pop("stopping").is_set()
        assert not more
        self.options.append(options)
        if self.error is not None:
            raise self.error
        target.mkdir()
        (target / "name").write_text(source.name)


def _convert(file: Path, convert: _Converter, cache: Path, **more: Any) -> Path:
    with ConvertedFiles(KerasOptions(cache=str(cache), **more), convert).of(file) as path:
        assert (path / "name").exists()
        return path


def test_equal_contents_are_converted_once_wherever_they_are(tmp_path: Path) -> None:
    convert = _Converter()
    found = {
        _convert(_keras_file(tmp_path / name), convert, tmp_path / "cache")
        for name in ("a.keras", "b.keras", "a.keras")
    }
    assert len(found) == len(convert.options) == 1


def test_what_the_outcome_depends_on_makes_it_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert, cache = _Converter(), tmp_path / "cache"
    file = _keras_file(tmp_path / "a.keras")
    module = tmp_path / "mine.py"
    found = []
    for text in ("1", "2"):
        module.write_text(text)
        found.append(_convert(file, convert, cache, custom_objects=(str(module),)))
    found.append(_convert(file, convert, cache))
    found.append(_convert(file, convert, cache, safe_mode=False))
    found.append(_convert(file, convert, cache, custom_objects=("mine",)))
    found.append(_convert(_keras_file(file, "[]"), convert, cache))
    monkeypatch.setattr(converted, "installed_version", lambda _names: "99")
    found.append(_convert(file, convert, cache))
    assert len(set(found)) == len(convert.options) == 7


def test_without_a_flag_it_is_kept_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with ConvertedFiles(KerasOptions(), _Converter()).of(_keras_file(tmp_path / "a.keras")) as path:
        assert path.parent == tmp_path / "cache" / "salver"


def test_a_failure_is_not_repeated_before_a_file_changes(tmp_path: Path) -> None:
    convert = _Converter(FailedPrecondition("no"))
    module = tmp_path / "mine.py"
    module.write_text("1")
    options = KerasOptions(cache=str(tmp_path / "cache"), custom_objects=(str(module),))
    files = ConvertedFiles(options, convert)
    file = _keras_file(tmp_path / "a.keras")

    def tries() -> int:
        with pytest.raises(FailedPrecondition, match=r"^no$"), files.of(file):
            pass
        return len(convert.options)

    assert [tries(), tries()] == [1, 1]
    _keras_file(file, "[]")
    assert [tries(), tries()] == [2, 2]
    module.write_text("12")
    assert [tries(), tries()] == [3, 3]
    convert.error = None
    module.write_text("123")
    with files.of(file) as path:
        assert path.is_dir()


def test_what_is_no_failure_of_the_file_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise FailedPrecondition("not installed")

    files = ConvertedFiles(KerasOptions(cache=str(tmp_path / "cache")), _Converter())
    file = _keras_file(tmp_path / "a.keras")
    with monkeypatch.context() as patch:
        patch.setattr(converted, "require_keras", missing)
        with pytest.raises(FailedPrecondition, match="not installed"), files.of(file):
            pass
    with files.of(file) as path:
        assert path.is_dir()


def test_a_file_that_is_cut_is_not_even_converted(tmp_path: Path) -> None:
    convert = _Converter()
    (tmp_path / "a.keras").write_bytes(b"PK")
    with pytest.raises(DataLoss):
        _convert(tmp_path / "a.keras", convert, tmp_path / "cache")
    with pytest.raises(NotFound):
        _convert(tmp_path / "absent.keras", convert, tmp_path / "cache")
    assert not convert.options


def test_a_file_that_goes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    files = ConvertedFiles(KerasOptions(cache=str(tmp_path)), _Converter())
    with pytest.raises(NotFound):
        files._digest(tmp_path / "gone.keras")


def test_a_server_that_stops_reads_and_converts_no_more(tmp_path: Path) -> None:
    convert = _Converter()
    files = ConvertedFiles(KerasOptions(cache=str(tmp_path / "cache")), convert)
    files.stop()
    with pytest.raises(Unavailable), files.of(_keras_file(tmp_path / "a.keras")):
        pass
    assert not convert.options


def test_a_stop_is_not_remembered_as_a_failure_of_the_file(tmp_path: Path) -> None:
    convert = _Converter(Unavailable("stopping"))
    files = ConvertedFiles(KerasOptions(cache=str(tmp_path / "cache")), convert)
    file = _keras_file(tmp_path / "a.keras")
    for _ in range(2):
        with pytest.raises(Unavailable), files.of(file):
            pass
    assert len(convert.options) == 2


def test_files_are_converted_one_after_the_other_and_a_stop_ends_the_queue(tmp_path: Path) -> None:
    begun, go = threading.Event(), threading.Event()

    class _Slow(_Converter):
        def __call__(self, source: Path, target: Path, options: KerasOptions, **more: Any) -> None:
            super().__call__(source, target, options, **more)
            begun.set()
            assert go.wait(PATIENCE_S)

    convert = _Slow()
    files = ConvertedFiles(KerasOptions(cache=str(tmp_path / "cache")), convert)
    outcomes: list[str] = []

    def want(name: str) -> None:
        try:
            with files.of(_keras_file(tmp_path / name, f'"{name}"')) as path:
                outcomes.append((path / "name").read_text())
        except Unavailable as error:
            outcomes.append(error.message)

    first = threading.Thread(target=want, args=["first.keras"])
    first.start()
    assert begun.wait(PATIENCE_S)
    second = threading.Thread(target=want, args=["second.keras"])
    second.start()
    files.stop()
    second.join(PATIENCE_S)
    go.set()
    first.join(PATIENCE_S)
    assert outcomes == ["The server is stopping", "first.keras"]
    assert len(convert.options) == 1


def test_whoever_waits_for_its_turn_hears_the_stop(tmp_path: Path) -> None:
    convert = _Converter()
    files = ConvertedFiles(KerasOptions(), convert)
    files.stop()
    with files._turn, pytest.raises(Unavailable):
        files._make(tmp_path / "a.keras", tmp_path / "target", ())
    assert not convert.options
