import pytest
from tests.shelf import HALF_PLUS_TWO, InlineProgram

from salver.inference.servable import Servable
from salver.inference.serving import Serving
from salver.vocabulary.requests import ServableRequest
from salver.vocabulary.servable import ServableId
from salver.warmup.serving import OneServable

ID = ServableId("m", 3)


@pytest.fixture
def serving() -> OneServable:
    return OneServable(ID, Servable(HALF_PLUS_TWO, InlineProgram))


@pytest.mark.parametrize(
    "request_",
    [ServableRequest("m"), ServableRequest("other", 7), ServableRequest("", label="stable")],
)
def test_whatever_is_asked_for_it_is_the_one(
    serving: OneServable, request_: ServableRequest
) -> None:
    found: Serving = serving
    handle = found.acquire(request_)
    assert handle.id == ID
    assert handle.model is serving.entry.model
    assert serving.entry.in_flight == 1
    handle.release()
    assert serving.entry.in_flight == 0


def test_of_itself_it_tells_the_name_alone(serving: OneServable) -> None:
    assert serving.model_names() == ("m",)
    assert serving.statuses("m") == ()
    assert serving.labels("m") == {}


def test_once_withdrawn_it_is_not_asked(serving: OneServable) -> None:
    told: list[str] = []
    serving.entry.withdraw(lambda: told.append("drained"))
    assert told == ["drained"]
    with pytest.raises(AssertionError, match="is not asked any more"):
        serving.acquire(ServableRequest("m"))
