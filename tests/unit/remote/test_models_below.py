import pytest
from obstore.store import MemoryStore

from salver.errors import Unavailable
from salver.management.servables import is_version
from salver.remote.models_below import models_below
from salver.remote.places import place_of
from salver.remote.stores import Bucket
from salver.sources.settings import SourceSettings


class Store:
    """A bucket in memory, whose requests are counted."""

    def __init__(self, *keys: str) -> None:
        self.memory = MemoryStore()
        self.requests = 0
        for key in keys:
            self.memory.put(key, b"x")

    def _count(self, _scheme: str, _operation: str, _code: str) -> None:
        self.requests += 1

    def below(self, path: str) -> list[str]:
        settings = SourceSettings(count=self._count)
        bucket = Bucket(self.memory, place_of("s3://b"), "nothing", settings, {})
        return list(models_below(bucket, path, is_version))


@pytest.mark.parametrize("path", ["", "shelf", "on/a/shelf"])
def test_each_directory_with_versions_is_a_model(path: str) -> None:
    above = f"{path}/" if path else ""
    store = Store(
        f"{above}half/1/saved_model.pb",
        f"{above}half/2/saved_model.pb",
        f"{above}three/00000123/model.onnx",
        f"{above}three/config.pbtxt",
        f"{above}README.md",
        f"{above}docs/index.html",
    )
    assert store.below(path) == ["half", "three"]
    assert store.requests <= 2


def test_files_by_which_a_model_is_known_are_one_without_a_version() -> None:
    assert Store("shelf/digits/model.onnx", "shelf/words/1/model.onnx").below("shelf") == [
        "digits",
        "words",
    ]


@pytest.mark.parametrize(
    "keys",
    [
        ["m/1/saved_model.pb", "m/2/variables/index"],
        ["m/saved_model.pb", "m/variables/1/index"],
        ["m/model.onnx", "m/assets/1/labels"],
        ["m/10/1/x", "m/9/model.onnx"],
        [],
    ],
)
def test_below_a_model_there_are_none(keys: list[str]) -> None:
    assert Store(*keys).below("m") == []


def test_models_may_be_named_by_numbers() -> None:
    assert Store("shelf/2024/1/saved_model.pb", "shelf/2025/1/saved_model.pb").below("shelf") == [
        "2024",
        "2025",
    ]


def test_models_of_very_many_files_are_looked_at_one_by_one() -> None:
    store = Store("shelf/half/1/saved_model.pb", "shelf/three/1/saved_model.pb", "shelf/x/y")
    for number in range(5000):
        store.memory.put(f"shelf/half/1/variables/{number}", b"x")
    assert store.below("shelf") == ["half", "three"]
    assert store.requests <= 10


def test_what_cannot_be_the_name_of_a_model_is_left_out() -> None:
    assert Store("shelf/a:b/1/x", "shelf/a/1/x").below("shelf") == ["a"]


def test_a_store_that_fails_is_told_of() -> None:
    class Failing(Store):
        def _count(self, _scheme: str, _operation: str, _code: str) -> None:
            raise Unavailable("away")

    with pytest.raises(Unavailable, match="away"):
        Failing("m/1/x").below("m")
