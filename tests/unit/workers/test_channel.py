import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from multiprocessing import Pipe
from typing import Any

import pytest

from salver.errors import Internal, InvalidArgument, NotFound, NotInstalled, ServingError
from salver.lifecycle.monitor import VersionState, VersionStatus
from salver.management.waits import ModelsUnavailable
from salver.vocabulary.servable import ServableId
from salver.workers.channel import Channel, ChannelEnded, decode, encode

WAIT_S = 10.0


class Sides:
    """Two ends in this process."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.has_ended = threading.Event()
        self.answer: Callable[[Any], Any] = self.told.append
        mine, other = Pipe()
        self.mine = Channel(mine, lambda _: None, name="mine", on_end=self.has_ended.set)
        self.other_has_ended = threading.Event()
        self.other = Channel(
            other,
            lambda message: self.answer(message),
            name="other",
            on_end=self.other_has_ended.set,
        )
        self.mine.start()
        self.other.start()


@pytest.fixture
def sides() -> Iterator[Sides]:
    sides = Sides()
    yield sides
    sides.mine.close(WAIT_S)
    assert sides.has_ended.wait(WAIT_S)


def test_what_is_asked_is_answered(sides: Sides) -> None:
    sides.answer = lambda message: message * 2
    assert sides.mine.request(21).result(WAIT_S) == 42


def test_what_is_said_arrives_in_its_order(sides: Sides) -> None:
    for number in range(100):
        sides.mine.notify(number)
    sides.mine.request("last").result(WAIT_S)
    assert sides.told == [*range(100), "last"]


def test_an_answer_may_come_later_and_out_of_order(sides: Sides) -> None:
    later: Future[str] = Future()
    sides.answer = lambda message: later if message == "slow" else "quick"
    slow = sides.mine.request("slow")
    assert sides.mine.request("x").result(WAIT_S) == "quick"
    assert not slow.done()
    later.set_result("at last")
    assert slow.result(WAIT_S) == "at last"


def test_an_error_keeps_its_code_message_hint_and_version(sides: Sides) -> None:
    error = NotFound("no such model", hint="there are others")
    error.version = 3
    error.is_final = True

    def refuse(_message: object) -> None:
        raise error

    sides.answer = refuse
    with pytest.raises(NotFound) as caught:
        sides.mine.request("x").result(WAIT_S)
    found = caught.value
    assert (found.message, found.hint, found.version) == ("no such model", "there are others", 3)
    assert found.is_final


def test_an_error_of_a_later_answer_is_told_too(sides: Sides) -> None:
    later: Future[str] = Future()
    later.set_exception(InvalidArgument("wrong"))
    sides.answer = lambda _message: later
    with pytest.raises(InvalidArgument, match="wrong"):
        sides.mine.request("x").result(WAIT_S)


def test_what_is_no_serving_error_is_told_as_internal(
    sides: Sides, caplog: pytest.LogCaptureFixture
) -> None:
    sides.answer = lambda message: 1 // message
    with pytest.raises(Internal, match="ZeroDivisionError"):
        sides.mine.request(0).result(WAIT_S)
    sides.mine.notify(0)
    assert sides.mine.request(1).result(WAIT_S) == 1
    assert caplog.text.count("What another process of this server asked failed") == 2


def test_what_a_tell_returns_goes_nowhere(sides: Sides) -> None:
    done: Future[int] = Future()
    done.set_result(1)
    sides.answer = lambda message: done if message == "future" else message
    sides.mine.notify("future")
    sides.mine.notify("value")
    assert sides.mine.request("x").result(WAIT_S) == "x"


def test_when_the_other_side_is_gone_what_was_asked_fails_with_the_cause() -> None:
    mine, other = Pipe()

    def ended() -> None:
        channel.fail_with("The worker has ended: SIGKILL")

    channel = Channel(mine, lambda _: None, name="mine", on_end=ended)
    channel.start()
    asked = channel.request("x")
    other.close()
    with pytest.raises(ChannelEnded, match="SIGKILL"):
        asked.result(WAIT_S)
    with pytest.raises(ChannelEnded, match="SIGKILL"):
        channel.request("again").result(WAIT_S)


def test_an_answer_nobody_waits_for_disturbs_nobody(sides: Sides) -> None:
    later: Future[int] = Future()
    sides.answer = lambda message: later if message == "slow" else message
    given_up = sides.mine.request("slow")
    assert given_up.cancel()
    later.set_result(1)
    assert sides.mine.request("x").result(WAIT_S) == "x"


def test_closing_sends_what_was_said_before(sides: Sides) -> None:
    sides.mine.notify("goodbye")
    sides.mine.close(WAIT_S)
    assert sides.other_has_ended.wait(WAIT_S)
    assert sides.told == ["goodbye"]


@pytest.mark.parametrize("error", [NotFound("x"), ServingError("y"), Internal()])
def test_errors_within_messages_survive(error: ServingError) -> None:
    status = VersionStatus(ServableId("m", 1), VersionState.END, error)
    found = decode(encode(status))
    assert found.id == status.id
    assert (found.error.code, found.error.message) == (error.code, error.message)


def test_what_is_not_installed_is_still_that_in_another_process() -> None:
    error = decode(encode(NotInstalled("install it")))
    assert isinstance(error, NotInstalled)
    assert error.message == "install it"


def test_an_error_whose_class_takes_other_arguments_survives_as_what_it_says() -> None:
    status = VersionStatus(ServableId("m", 1), VersionState.END, NotFound("gone"))
    found = decode(encode(ModelsUnavailable("model", (status,))))
    assert found.code == ModelsUnavailable.code
    assert "gone" in found.message
