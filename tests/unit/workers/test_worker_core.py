import threading
from concurrent.futures import Future
from typing import Any

import pytest
from tests.shelf import WAIT_S, FunctionModel

from salver.config.models import ModelConfig
from salver.errors import Internal, NotFound, Unavailable
from salver.inference.servable import Servable
from salver.lifecycle.callers import Caller
from salver.lifecycle.monitor import VersionState, VersionStatus
from salver.protocols.administration import Act, Administered
from salver.vocabulary.access import Actor
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.requests import ServableRequest
from salver.vocabulary.servable import ServableId
from salver.workers.messages import (
    Administer,
    Apply,
    Description,
    Isolate,
    Leave,
    SetStates,
)
from salver.workers.worker_core import WorkerCore

ID = ServableId("m", 1)
MODELS = (ModelConfig(name="m", base_path="/m", model_platform="tensorflow"),)


class Supervisor:
    """What is asked of it."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answer: Future[None] = Future()

    def ask(self, message: object) -> "Future[None]":
        self.asked.append(message)
        return self.answer


@pytest.fixture
def supervisor() -> Supervisor:
    return Supervisor()


@pytest.fixture
def core(supervisor: Supervisor) -> WorkerCore:
    return WorkerCore(supervisor.ask)


def servable() -> Servable:
    return Servable(FunctionModel({}), lambda *_: pytest.fail("nothing runs here"))


def test_answers_by_its_own_models_once_they_are_published(core: WorkerCore) -> None:
    model = servable()
    core.serving.publish(ID, model)
    entry = core.acquire(ServableRequest("m"))
    assert (entry.id, entry.model) == (ID, model)
    assert core.in_flight() == {ID: 1}
    drained: list[bool] = []
    core.serving.withdraw(ID, lambda: drained.append(True))
    assert not drained
    entry.release()
    assert drained
    with pytest.raises(NotFound):
        core.acquire(ServableRequest("m"))


def test_labels_are_the_supervisors(core: WorkerCore) -> None:
    core.serving.publish(ID, servable())
    with pytest.raises(Unavailable):
        core.acquire(ServableRequest("m", label="stable"))
    core.assign_labels({"m": {"stable": 1}}, {})
    core.acquire(ServableRequest("m", label="stable")).release()
    assert core.labels("m") == {"stable": 1}


def test_states_and_names_are_the_supervisors(core: WorkerCore) -> None:
    with pytest.raises(NotFound):
        core.statuses("m")
    assert core.last_error("m") is None
    error = Internal("broken")
    status = VersionStatus(ID, VersionState.END, error)
    core.set_states(SetStates("m", (status,), error))
    core.set_names(("m",), MODELS)
    assert core.statuses("m") == core.statuses("m", 1) == (status,)
    assert core.last_error("m") is error
    assert core.model_names() == core.waiting_models() == ("m",)
    assert core.applied == MODELS
    with pytest.raises(NotFound) as caught:
        core.acquire(ServableRequest("m"))
    assert caught.value.hint == "Versions of m: 1 (END). The last load failed: broken"


def test_a_configuration_is_the_supervisors_to_apply(
    core: WorkerCore, supervisor: Supervisor
) -> None:
    supervisor.answer.set_exception(NotFound("no such file"))
    with pytest.raises(NotFound, match="no such file"):
        core.apply(MODELS)
    assert supervisor.asked == [Apply(MODELS, True, 0)]


def test_of_a_configuration_both_sides_speak_by_its_number(
    core: WorkerCore, supervisor: Supervisor
) -> None:
    told: list[str] = []
    caller = Caller(on_taken=lambda: told.append("taken"))
    thread = threading.Thread(target=lambda: core.apply(MODELS, caller=caller))
    thread.start()
    while not supervisor.asked:
        threading.Event().wait(0.001)
    core.taken(0)
    core.taken(7)  # of which nobody knows
    caller.leave()
    supervisor.answer.set_result(None)
    thread.join(WAIT_S)
    assert supervisor.asked == [Apply(MODELS, True, 0), Leave(0)]
    core.taken(0)
    assert told == ["taken"]
    core.apply(MODELS, is_awaited=False)
    assert supervisor.asked[-1] == Apply(MODELS, False, 1)


def test_memory_is_the_supervisors_to_set_aside(core: WorkerCore) -> None:
    assert core.reserved == {}


def test_at_the_end_only_what_is_published_is_withdrawn(core: WorkerCore) -> None:
    core.withdraw_if_published(ID)
    core.serving.publish(ID, servable())
    core.withdraw_if_published(ID)
    assert core.in_flight() == {}


REASON = "Version 1 of model m is quarantined: 3 worker deaths (SIGABRT)"


@pytest.mark.parametrize(
    "request_",
    [ServableRequest("m"), ServableRequest("m", 1), ServableRequest("m", label="stable")],
)
def test_a_version_that_is_isolated_is_refused_with_the_reason(
    core: WorkerCore, request_: ServableRequest
) -> None:
    core.assign_labels({"m": {"stable": 1}}, {})
    core.isolated.set(Isolate(ID, REASON))
    with pytest.raises(Unavailable) as caught:
        core.acquire(request_)
    assert caught.value.message == REASON


def test_a_version_that_is_isolated_is_run_elsewhere_where_it_can_be(core: WorkerCore) -> None:
    core.isolated.set(Isolate(ID, REASON, Description(ModelInfo({}, b""), None)))
    entry = core.acquire(ServableRequest("m"))
    assert entry.id == ID
    entry.release()


@pytest.mark.parametrize(
    "request_",
    [ServableRequest("m"), ServableRequest("m", 1), ServableRequest("m", label="stable")],
)
def test_what_another_process_runs_is_available_and_what_is_quarantined_is_not(
    core: WorkerCore, request_: ServableRequest
) -> None:
    core.assign_labels({"m": {"stable": 1}}, {})
    assert not core.is_available(request_)
    core.isolated.set(Isolate(ID, REASON))
    assert not core.is_available(request_)
    core.isolated.set(Isolate(ID, REASON, Description(ModelInfo({}, b""), None)))
    assert core.is_available(request_)
    assert not core.is_available(ServableRequest("m", 2))
    core.isolated.end(ID)
    core.serving.publish(ID, servable())
    assert core.is_available(request_)


def test_another_version_answers_in_the_place_of_one_that_is_isolated(core: WorkerCore) -> None:
    model = servable()
    core.serving.publish(ID, model)
    core.isolated.set(Isolate(ServableId("m", 2), REASON))
    entry = core.acquire(ServableRequest("m"))
    assert entry.model is model
    entry.release()


@pytest.mark.parametrize("version", [2, -1])
def test_versions_that_are_not_there_are_not_found_beside_one_that_is_isolated(
    core: WorkerCore, version: int
) -> None:
    core.isolated.set(Isolate(ID, REASON))
    with pytest.raises(NotFound):
        core.acquire(ServableRequest("m", version))
    with pytest.raises(NotFound):
        core.acquire(ServableRequest("other"))


def test_nobody_waits_for_a_model_whose_version_is_isolated(core: WorkerCore) -> None:
    core.set_names(("m", "n"), MODELS)
    assert core.waiting_models() == ("m", "n")
    core.isolated.set(Isolate(ID, REASON))
    assert core.waiting_models() == ("n",)
    core.isolated.end(ID)
    assert core.waiting_models() == ("m", "n")


def test_what_an_administrator_requests_is_the_supervisors_to_do(
    core: WorkerCore, supervisor: Supervisor
) -> None:
    done = Administered.of({"name": "m"}, "tag")
    supervisor.answer.set_result(done)  # type: ignore[arg-type]
    ann = Actor("ann", "api_key")
    assert core.administer(Act("clear_quarantine", "m"), Caller(actor=ann)) is done
    assert supervisor.asked == [Administer(Act("clear_quarantine", "m"), 0, ann)]


def test_the_configuration_in_effect_is_known_also_where_a_later_one_was_refused(
    core: WorkerCore,
) -> None:
    core.set_names(("m",), None, frozenset(), MODELS)
    assert (core.applied, core.configured) == (None, MODELS)
