from pathlib import Path
from typing import Any, ClassVar

import pytest

from salver.backends.model_files import file_model, models_in
from salver.backends.protocol import Backend, Capabilities, Listing, LoadStage, Match
from salver.backends.registry import Backends
from salver.backends.selection import Selector
from salver.backends.tflite.backend import TFLiteBackend
from salver.backends.tflite.options import TFLiteOptions
from salver.errors import InvalidArgument
from salver.vocabulary.model import Model


class _Pairs(Backend):
    """Serves `NAME.pair` with `NAME.bin` beside it."""

    name: ClassVar[str] = "pairs"
    title: ClassVar[str] = "Pair"
    options: ClassVar = TFLiteOptions
    capabilities: ClassVar = Capabilities()

    def detect(self, listing: Listing, options: Any) -> Match | None:
        head = listing.one("model.pair", ".pair")
        if head is None or f"{Path(head).stem}.bin" not in listing.files:
            return None
        return Match(files=[head, f"{Path(head).stem}.bin"])

    def load(self, directory: Path, options: Any, stage: LoadStage) -> Model:
        raise NotImplementedError


@pytest.fixture
def select() -> Selector:
    return Selector(Backends({"tflite": TFLiteBackend, "pairs": _Pairs}))


def touch(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).touch()


def test_a_file_is_a_model_whatever_stands_beside_it(tmp_path: Path, select: Selector) -> None:
    touch(tmp_path, "a.tflite", "b.tflite", "notes.txt")
    found = file_model(tmp_path / "b.tflite", select)
    assert found is not None
    assert found.name == "b"
    assert found.files == {"model.tflite": tmp_path / "b.tflite"}
    assert file_model(tmp_path / "notes.txt", select) is None


def test_a_file_that_needs_another_is_found_with_it(tmp_path: Path, select: Selector) -> None:
    touch(tmp_path, "a.pair", "a.bin", "b.pair", "c.bin")
    found = file_model(tmp_path / "a.pair", select)
    assert found is not None
    assert found.files == {"a.pair": tmp_path / "a.pair", "a.bin": tmp_path / "a.bin"}
    assert next(iter(found.files)) == "a.pair"
    assert file_model(tmp_path / "b.pair", select) is None
    assert file_model(tmp_path / "a.bin", select) is None


def test_data_that_a_file_keeps_apart_comes_with_it(tmp_path: Path, select: Selector) -> None:
    touch(tmp_path, "a.tflite", "a.tflite.data", "a.tflite_data", "a.data", "ab.data", "a.txt")
    found = file_model(tmp_path / "a.tflite", select)
    assert found is not None
    assert sorted(found.files) == ["a.data", "a.tflite.data", "a.tflite_data", "model.tflite"]


def test_each_file_of_a_directory_is_a_model(tmp_path: Path, select: Selector) -> None:
    touch(tmp_path, "b.tflite", "a.pair", "a.bin", "README.md")
    assert [of.name for of in models_in(tmp_path, select)] == ["a", "b"]


def test_two_of_one_name_are_named(tmp_path: Path, select: Selector) -> None:
    touch(tmp_path, "a.pair", "a.bin", "a.tflite")
    with pytest.raises(InvalidArgument, match=r"/a\.pair and a\.tflite would both be the model a"):
        models_in(tmp_path, select)


def test_two_of_one_name_that_have_an_order_are_one(tmp_path: Path) -> None:
    touch(tmp_path, "a.keras", "a.tflite")
    (found,) = models_in(tmp_path, Selector())
    assert found.path.name == "a.tflite"
