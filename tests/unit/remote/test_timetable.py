from collections.abc import Mapping

import pytest

from salver.errors import Cancelled, Internal, PermissionDenied, ServingError, Unavailable
from salver.remote.errors import StoreBusy
from salver.remote.polls import NEVER_S
from salver.remote.timetable import Failures, OneByOne, again
from salver.sources.protocol import MonitoredServable, Version
from salver.sources.settings import SourceSettings
from salver.vocabulary.servable import Latest


class Stage:
    """Notes how long it was asked to wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def check(self) -> None: ...
    def progress(self, _done_bytes: int) -> None: ...

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)


def test_a_look_that_raises_what_nobody_foresaw_is_an_error_of_its_model_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now_s = 100.0

    def look(servable: MonitoredServable) -> Mapping[int, Version]:
        if servable.name == "evil":
            raise OverflowError("secret")
        return {1: Version("here")}

    good, evil = (MonitoredServable(name, f"x://{name}", Latest()) for name in ("good", "evil"))
    models = OneByOne(look, SourceSettings(poll_wait_s=1.0), lambda: now_s)
    wanted = (evil, good)
    for again_s in (1.0, 2.0, 4.0):
        found = dict(models.find(wanted))
        assert found[good] == {1: Version("here")}
        error = found[evil]
        assert isinstance(error, Internal)
        assert "x://evil cannot be looked at: OverflowError" in error.message
        assert "secret" not in error.message
        assert models.poll_wait_s > 0.8
        now_s += 1.2 * again_s
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_one_poll_alone_is_repeated_until_it_goes_well() -> None:
    failures = Failures(0.0)
    error = Unavailable("away")
    assert 0.9 <= failures.failed(error) <= 1.1
    assert error.message == "away; it is asked again in 1 s"
    assert failures.succeeded("s3://b") == NEVER_S


def test_a_request_is_repeated_while_that_may_help() -> None:
    stage, tries = Stage(), iter([Unavailable("a"), _busy(7.0), "answer"])

    def ask() -> str:
        found = next(tries)
        if isinstance(found, ServingError):
            raise found
        return str(found)

    assert again(stage, ask) == "answer"
    assert stage.waits[0] < 1
    assert 7.0 <= stage.waits[1] < 8.0


@pytest.mark.parametrize("error", [PermissionDenied("no"), Cancelled("unwanted")])
def test_and_not_where_it_may_not(error: ServingError) -> None:
    stage = Stage()

    def ask() -> str:
        raise error

    with pytest.raises(type(error)):
        again(stage, ask)
    assert stage.waits == []


def _busy(retry_after_s: float) -> StoreBusy:
    error = StoreBusy("busy")
    error.retry_after_s = retry_after_s
    return error
