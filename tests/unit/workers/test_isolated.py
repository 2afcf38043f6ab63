import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from tests.shelf import FunctionModel, half_plus_two, signature

from salver.errors import DeadlineExceeded, Internal, InvalidArgument, Unavailable
from salver.inference.servable import SignatureCall
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.model import ModelInfo, TensorNames
from salver.vocabulary.requests import Array
from salver.vocabulary.servable import ServableId
from salver.workers.channel import ChannelEnded, decode, encode
from salver.workers.isolated import IsolatedVersions
from salver.workers.messages import Description, Isolate, RunIsolated

ID = ServableId("m", 1)
X = (DataType.FLOAT32, (-1,))
MODEL = FunctionModel({"serving_default": (signature({"x": X}, {"y": X}), half_plus_two)})
DESCRIPTION = Description(
    ModelInfo(MODEL.signatures, MODEL.definitions),
    {"serving_default": TensorNames({"x": "x:0"}, {"y": "y:0"})},
)


class Supervisor:
    """Is asked to run what is isolated here."""

    def __init__(self) -> None:
        self.asked: list[RunIsolated] = []
        self.answers: list[Future[Any]] = []
        self.came = threading.Semaphore(0)

    def ask(self, message: object) -> "Future[Any]":
        assert isinstance(message, RunIsolated)
        self.asked.append(message)
        self.answers.append(Future())
        self.came.release()
        return self.answers[-1]


@pytest.fixture
def supervisor() -> Supervisor:
    return Supervisor()


@pytest.fixture
def isolated(supervisor: Supervisor) -> Iterator[IsolatedVersions]:
    versions = IsolatedVersions(supervisor.ask, lambda _id: lambda *_key: None)
    yield versions
    versions.close()


def call(isolated: IsolatedVersions) -> SignatureCall:
    entry = isolated.acquire(ID)
    entry.release()
    found = entry.model.call("serving_default")
    assert found is not None
    return found


def feed(*values: float) -> list[Array]:
    return [np.array(values, np.float32)]


def test_without_a_process_requests_are_refused_with_the_reason(isolated: IsolatedVersions) -> None:
    assert not isolated.is_isolated(ID)
    isolated.set(Isolate(ID, "it is isolated"))
    assert isolated.is_isolated(ID)
    with pytest.raises(Unavailable, match="it is isolated") as caught:
        isolated.acquire(ID)
    assert "clear_quarantine" in (caught.value.hint or "")


def test_with_a_process_its_signatures_are_those_of_the_model(isolated: IsolatedVersions) -> None:
    isolated.set(Isolate(ID, "", DESCRIPTION))
    entry = isolated.acquire(ID)
    assert entry.id == ID
    assert entry.model.signatures == MODEL.signatures
    assert entry.model.model.definitions == MODEL.definitions


def test_a_version_that_is_not_isolated_any_more_is_to_be_asked_for_again(
    isolated: IsolatedVersions,
) -> None:
    isolated.set(Isolate(ID, "", DESCRIPTION))
    isolated.end(ID)
    assert not isolated.is_isolated(ID)
    with pytest.raises(Unavailable, match="try again"):
        isolated.acquire(ID)


def test_of_several_the_newest_is_known(isolated: IsolatedVersions) -> None:
    assert isolated.newest("m") is None
    for version in (2, 10, 3):
        isolated.set(Isolate(ServableId("m", version), ""))
    isolated.set(Isolate(ServableId("other", 77), ""))
    assert isolated.newest("m") == ServableId("m", 10)


async def test_a_run_is_made_by_the_supervisor(
    isolated: IsolatedVersions, supervisor: Supervisor
) -> None:
    isolated.set(Isolate(ID, "", DESCRIPTION))
    ends: list[int] = []
    answer = call(isolated).start(feed(1, 2), timeout_s=60.0, on_end=lambda: ends.append(1))
    assert not isinstance(answer, list)
    assert supervisor.came.acquire(timeout=10.0)
    run = supervisor.asked[0].run
    assert run.id == ID
    (fed,) = decode(run.arrays)
    np.testing.assert_array_equal(fed, [1, 2])
    supervisor.answers[0].set_result(encode(feed(2.5, 3)))
    (y,) = await answer
    np.testing.assert_array_equal(y, [2.5, 3])
    assert ends == [1]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InvalidArgument("wrong shape"), InvalidArgument),
        (ChannelEnded("the supervisor is gone"), Unavailable),
        (ValueError("broken"), Unavailable),
    ],
)
async def test_what_a_run_fails_with_is_its_answer(
    isolated: IsolatedVersions, supervisor: Supervisor, error: Exception, expected: type[Exception]
) -> None:
    isolated.set(Isolate(ID, "", DESCRIPTION))
    answer = call(isolated).start(feed(1), timeout_s=None, on_end=lambda: None)
    assert not isinstance(answer, list)
    assert supervisor.came.acquire(timeout=10.0)
    supervisor.answers[0].set_exception(error)
    with pytest.raises(expected, match=str(error)):
        await answer


async def test_the_deadline_ends_the_wait_and_the_run_holds_its_version_until_it_ends(
    isolated: IsolatedVersions, supervisor: Supervisor
) -> None:
    isolated.set(Isolate(ID, "", DESCRIPTION))
    ended = threading.Event()
    answer = call(isolated).start(feed(1), timeout_s=0.01, on_end=ended.set)
    assert not isinstance(answer, list)
    with pytest.raises(DeadlineExceeded):
        await answer
    assert not ended.is_set()
    assert supervisor.came.acquire(timeout=10.0)
    supervisor.answers[0].set_exception(Internal("too late"))
    assert ended.wait(10.0)
