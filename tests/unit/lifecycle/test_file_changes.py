import pytest

from salver.errors import NotFound
from salver.instruments.files import Footprint
from salver.lifecycle.attempt import Attempt
from salver.lifecycle.file_changes import FileChanges, Findings, Retryable, pause_s
from salver.vocabulary.servable import ServableId

V1, V2 = ServableId("m", 1), ServableId("m", 2)
PATH = "/m/1"


def files(number: int) -> Footprint:
    return Footprint(number, 0, 0, 0)


def trouble(seen: Footprint | None, *, failed_s: float = 0, restarts: int = 0) -> Retryable:
    return Retryable(V1, PATH, seen, failed_s, restarts)


class Bench:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.found: Footprint | None = files(1)
        self.file_changes = FileChanges(self.look, lambda: self.now_s)

    def look(self, path: str) -> Footprint:
        assert path == PATH
        if self.found is None:
            raise NotFound("gone")
        return self.found

    def examine(self, *retryable: Retryable) -> Findings:
        return self.file_changes.check(retryable)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_files_as_they_were_are_no_reason_to_try_again(bench: Bench) -> None:
    assert bench.examine(trouble(files(1))) == Findings((PATH,), None, ())
    bench.found = None
    assert bench.examine(trouble(None)) == Findings((PATH,), None, ())


def test_nobody_in_trouble_is_nothing_to_look_at(bench: Bench) -> None:
    assert bench.examine() == Findings((), None, ())


def test_changed_files_are_a_reason_once_they_have_rested_for_a_second(bench: Bench) -> None:
    version = trouble(files(0))
    assert bench.examine(version) == Findings((PATH,), 1.0, ())
    bench.now_s += 0.75
    assert bench.examine(version) == Findings((PATH,), 0.25, ())
    bench.now_s += 0.25
    assert bench.examine(version) == Findings((PATH,), None, (version,))


def test_each_change_begins_the_rest_anew(bench: Bench) -> None:
    version = trouble(files(0))
    for number in range(1, 20):
        bench.found = files(number) if number % 5 else None
        assert bench.examine(version).again_s == 1.0
        bench.now_s += 0.95


def test_change_undone_is_forgotten(bench: Bench) -> None:
    bench.examine(trouble(files(0)))
    bench.found = files(0)
    bench.examine(trouble(files(0)))
    bench.found = files(1)
    bench.now_s += 1
    assert bench.examine(trouble(files(0))).again_s == 1.0


def test_version_out_of_trouble_is_forgotten(bench: Bench) -> None:
    bench.examine(trouble(files(0)))
    bench.examine()
    bench.now_s += 1
    assert bench.examine(trouble(files(0))).again_s == 1.0


def test_version_that_failed_again_and_again_waits_longer(bench: Bench) -> None:
    version = trouble(files(0), failed_s=99.0, restarts=3)
    assert bench.examine(version).again_s == 7.0
    bench.now_s += 7
    assert bench.examine(version).rested == (version,)


def test_shortest_wait_says_when_to_wake_all(bench: Bench) -> None:
    late = Retryable(V2, PATH, files(0), 99.0, 5)
    assert bench.examine(late, trouble(files(0))).again_s == 1.0


def test_pauses_double_up_to_a_minute() -> None:
    assert [pause_s(n) for n in (0, 1, 2, 5, 6, 10**9)] == [1, 2, 4, 32, 60, 60]


def test_version_in_trouble_is_what_its_failed_try_left() -> None:
    attempt = Attempt(V1, PATH, restarts=2, failed_s=5.0)
    assert Retryable.of(attempt) == trouble(None, failed_s=5.0, restarts=2)
