from pathlib import Path

import pytest

from salver.errors import Unavailable
from salver.sources.fetch_meter import FetchMeter
from salver.sources.protocol import Stage, Version


class AnyStage:
    """Lets everything pass."""

    def __init__(self) -> None:
        self.done: list[int] = []

    def check(self) -> None: ...

    def progress(self, done_bytes: int) -> None:
        self.done.append(done_bytes)

    def wait(self, _seconds: float) -> None: ...


class Fetcher:
    """Says how far it is, and fails when there is no more to say."""

    def __init__(self, *done: int, can_resume: bool = True) -> None:
        self.done = done
        self.can_resume = can_resume
        self.fails = False

    def fetch(self, _version: Version, _into: Path, stage: Stage) -> None:
        for count in self.done:
            stage.progress(count)
        if self.fails:
            raise Unavailable("away")


VERSION = Version("toy://m/1", None, "r")


def test_bytes_and_seconds_of_a_fetch_are_told_by_model(tmp_path: Path) -> None:
    told: list[tuple[str, int, float, bool]] = []
    clock = iter([10.0, 13.0])
    meter = FetchMeter(lambda *what: told.append(what), lambda: next(clock))
    stage = AnyStage()
    meter.metered("m", Fetcher(3, 7)).fetch(VERSION, tmp_path, stage)
    assert told == [("m", 7, 3.0, True)]
    assert stage.done == [3, 7]


@pytest.mark.parametrize(("can_resume", "second"), [(True, 5), (False, 9)])
def test_what_a_failed_fetch_has_brought_is_told_once(
    tmp_path: Path, can_resume: bool, second: int
) -> None:
    told: list[tuple[int, bool]] = []
    meter = FetchMeter(lambda _model, count, _seconds, is_success: told.append((count, is_success)))
    fetcher = Fetcher(4, can_resume=can_resume)
    fetcher.fails = True
    with pytest.raises(Unavailable):
        meter.metered("m", fetcher).fetch(VERSION, tmp_path, AnyStage())
    meter.metered("m", Fetcher(9, can_resume=can_resume)).fetch(VERSION, tmp_path, AnyStage())
    assert told == [(4, False), (second, True)]


def test_what_a_killed_process_has_brought_is_not_counted(tmp_path: Path) -> None:
    class Knowing(Fetcher):
        def fetch(self, version: Version, into: Path, stage: Stage) -> None:
            stage.resumed(10)  # type: ignore[attr-defined]
            super().fetch(version, into, stage)

    told: list[int] = []
    meter = FetchMeter(lambda _model, count, *_more: told.append(count))
    meter.metered("m", Knowing(10, 12)).fetch(VERSION, tmp_path, AnyStage())
    meter.metered("m", Knowing()).fetch(VERSION, tmp_path, AnyStage())
    assert told == [2, 0]
