from pathlib import Path

from salver.errors import FailedPrecondition
from salver.instruments.cache import Cache
from salver.instruments.cache_size import CacheSize


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def make(size_bytes: int, cache: Cache, key: str) -> None:
    def write(path: Path) -> None:
        path.mkdir()
        (path / "file").write_bytes(bytes(size_bytes))

    cache.hold(key, write).close()


def test_the_size_is_that_of_all_there_is_looked_at_now_and_then(tmp_path: Path) -> None:
    cache, clock = Cache(tmp_path / "cache"), Clock()
    size = CacheSize(lambda: cache.directory, clock)
    assert size() == 0
    make(1000, cache, "a")
    assert size() == 0
    clock.now_s += 10
    assert size() == 1000
    make(500, cache, "b")
    (cache.directory / "c.partial").mkdir()
    (cache.directory / "c.partial" / "file").write_bytes(bytes(30))
    (cache.directory / "other").write_bytes(bytes(7))
    clock.now_s += 10
    assert size() == 1530
    cache.remove("a")
    clock.now_s += 10
    assert size() == 530


def test_a_cache_that_is_nowhere_has_no_size() -> None:
    def fail() -> Path:
        raise FailedPrecondition("no home")

    assert CacheSize(fail)() == 0
