import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from salver.lifecycle.machine import (
    CancelLoad,
    Instruction,
    LoadServable,
    Machine,
    PublishServable,
    UnloadServable,
    WithdrawServable,
)
from salver.lifecycle.policy import availability_preserving
from salver.lifecycle.state import Event, State
from salver.vocabulary.servable import ServableId

V1, V2 = ServableId("m", 1), ServableId("m", 2)


def machine_serving_v1() -> Machine:
    machine = Machine(availability_preserving)
    machine.aspire("m", [1])
    machine.happened(V1, Event.LOADED)
    return machine


def test_old_version_is_withdrawn_only_after_the_new_one_is_loaded() -> None:
    machine = machine_serving_v1()
    assert machine.aspire("m", [2]) == [LoadServable(V2)]
    assert machine.happened(V2, Event.LOADED) == [PublishServable(V2), WithdrawServable(V1)]
    assert machine.happened(V1, Event.DRAINED) == [UnloadServable(V1)]
    assert machine.happened(V1, Event.UNLOADED) == []
    assert [s.id for s in machine.snapshots("m")] == [V2]


def test_states_are_those_of_all_streams() -> None:
    machine = machine_serving_v1()
    assert machine.states == {State.READY}
    machine.aspire("other", [1])
    assert machine.states == {State.READY, State.LOADING}
    assert Machine(availability_preserving).states == frozenset()


def test_failed_load_leaves_the_old_version_serving() -> None:
    machine = machine_serving_v1()
    machine.aspire("m", [2])
    assert machine.happened(V2, Event.LOAD_FAILED) == []
    assert [(s.id, s.state) for s in machine.snapshots("m")] == [
        (V1, State.READY),
        (V2, State.ERROR),
    ]


def test_version_aspired_again_while_leaving_is_loaded_afresh_once_gone() -> None:
    machine = machine_serving_v1()
    assert machine.aspire("m", []) == [WithdrawServable(V1)]
    assert machine.aspire("m", [1]) == []
    machine.happened(V1, Event.DRAINED)
    assert machine.happened(V1, Event.UNLOADED) == [LoadServable(V1)]


def test_rolling_back_while_the_new_version_is_failing_keeps_the_old_one() -> None:
    machine = machine_serving_v1()
    machine.aspire("m", [2])
    assert machine.aspire("m", [1]) == [CancelLoad(V2)]
    assert machine.happened(V2, Event.LOAD_FAILED) == []
    assert [(s.id, s.is_aspired) for s in machine.snapshots("m")] == [(V1, True)]


def test_version_that_loads_after_nobody_wants_it_is_unloaded_unpublished() -> None:
    machine = machine_serving_v1()
    machine.aspire("m", [2])
    machine.aspire("m", [1])
    assert not machine.is_aspired(V2)
    assert machine.happened(V2, Event.LOADED) == [UnloadServable(V2)]
    assert machine.state(V2) is State.UNLOADING
    assert machine.happened(V2, Event.UNLOADED) == []
    assert machine.state(V2) is None


def test_version_wanted_again_while_it_still_loads_goes_on_loading() -> None:
    machine = machine_serving_v1()
    machine.aspire("m", [2])
    machine.aspire("m", [1])
    assert machine.aspire("m", [2]) == []
    assert machine.happened(V2, Event.LOADED) == [PublishServable(V2), WithdrawServable(V1)]


def test_set_that_waited_cancels_the_loads_it_leaves_out_when_its_turn_comes() -> None:
    machine = machine_serving_v1()
    machine.aspire("m", [])
    machine.happened(V1, Event.DRAINED)
    machine.aspire("m", [1, 2])  # waits for version 1 to be gone
    machine.aspire("m", [1])
    assert machine.happened(V1, Event.UNLOADED) == [LoadServable(V1)]


def test_failed_version_is_loaded_again_after_a_retry() -> None:
    machine = Machine(availability_preserving)
    machine.aspire("m", [1])
    machine.happened(V1, Event.LOAD_FAILED)
    assert machine.aspire("m", [1]) == []
    assert machine.happened(V1, Event.RETRY) == [LoadServable(V1)]


def test_failed_version_that_comes_back_is_loaded_again() -> None:
    machine = Machine(availability_preserving)
    machine.aspire("m", [1])
    machine.happened(V1, Event.LOAD_FAILED)
    machine.aspire("m", [])
    assert machine.aspire("m", [1]) == [LoadServable(V1)]


def test_condemned_version_is_withdrawn_and_fails_though_it_is_wanted() -> None:
    machine = machine_serving_v1()
    assert machine.quarantine(V1) == [WithdrawServable(V1)]
    assert machine.quarantine(V1) == []
    assert machine.happened(V1, Event.DRAINED) == [UnloadServable(V1)]
    assert machine.happened(V1, Event.UNLOADED) == []
    assert machine.state(V1) is State.ERROR
    assert machine.aspire("m", [1]) == []
    assert machine.happened(V1, Event.RETRY) == [LoadServable(V1)]
    machine.happened(V1, Event.LOADED)
    assert machine.aspire("m", []) == [WithdrawServable(V1)]
    machine.happened(V1, Event.DRAINED)
    machine.happened(V1, Event.UNLOADED)
    assert machine.state(V1) is None


def test_condemned_version_that_is_not_wanted_any_more_goes_for_good() -> None:
    machine = machine_serving_v1()
    machine.quarantine(V1)
    machine.aspire("m", [2])
    machine.happened(V1, Event.DRAINED)
    machine.happened(V1, Event.UNLOADED)
    assert machine.state(V1) is None
    assert machine.state(V2) is State.LOADING


def test_only_a_version_that_is_ready_can_be_quarantined() -> None:
    machine = Machine(availability_preserving)
    assert machine.quarantine(V1) == []
    machine.aspire("m", [1])
    assert machine.quarantine(V1) == []
    assert machine.state(V1) is State.LOADING


def test_names_are_forgotten_with_their_last_version() -> None:
    machine = machine_serving_v1()
    machine.aspire("m", [])
    assert machine.names == {"m"}
    machine.happened(V1, Event.DRAINED)
    machine.happened(V1, Event.UNLOADED)
    assert machine.names == frozenset()
    assert machine.state(V1) is None
    assert not machine.is_aspired(V1)


def test_event_that_cannot_happen_is_refused() -> None:
    machine = machine_serving_v1()
    with pytest.raises(KeyError):
        machine.happened(V1, Event.UNLOADED)


class AnyHistory(RuleBasedStateMachine):
    """Aspire anything at any time, finish outstanding work in any order, fail any load."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine(availability_preserving)
        self.outstanding: list[Instruction] = []
        self.aspired: set[int] = set()

    def carry_out(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            assert instruction not in self.outstanding, "asked twice for the same work"
            match instruction:
                case CancelLoad(id):
                    assert LoadServable(id) in self.outstanding, "cancelled what does not load"
                case PublishServable(id):
                    assert self.machine.is_aspired(id), "published what nobody wants"
                case _:
                    self.outstanding.append(instruction)
        if any(isinstance(i, WithdrawServable) for i in instructions):
            now = self.machine.snapshots("m")
            if any(s.is_aspired for s in now):
                assert any(s.state is State.READY for s in now), "gave up the last ready version"

    def finish(self, instruction: Instruction, loads: bool) -> None:
        self.outstanding.remove(instruction)
        match instruction:
            case LoadServable(id):
                event = Event.LOADED if loads else Event.LOAD_FAILED
            case WithdrawServable(id):
                event = Event.DRAINED
            case UnloadServable(id):
                event = Event.UNLOADED
            case _:
                raise AssertionError(instruction)
        self.carry_out(self.machine.happened(id, event))

    @rule(versions=st.sets(st.integers(1, 4)))
    def aspire(self, versions: set[int]) -> None:
        self.aspired = versions
        self.carry_out(self.machine.aspire("m", versions))

    @precondition(lambda self: self.outstanding)
    @rule(data=st.data(), loads=st.booleans())
    def finish_one(self, data: st.DataObject, loads: bool) -> None:
        self.finish(data.draw(st.sampled_from(self.outstanding)), loads)

    @precondition(lambda self: self.failed())
    @rule(data=st.data())
    def change_the_files_of_a_failed_version(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(self.failed()))
        self.carry_out(self.machine.happened(id, Event.RETRY))

    def failed(self) -> list[ServableId]:
        return [s.id for s in self.machine.snapshots("m") if s.state is State.ERROR]

    @invariant()
    def every_unsettled_version_has_work_outstanding(self) -> None:
        busy = {State.LOADING, State.QUIESCING, State.UNLOADING}
        unsettled = {s.id for s in self.machine.snapshots("m") if s.state in busy}
        assert unsettled == {i.id for i in self.outstanding}

    def teardown(self) -> None:
        while self.outstanding:
            self.finish(self.outstanding[0], loads=True)
        settled = {s.id.version: s.state for s in self.machine.snapshots("m") if s.is_aspired}
        assert set(settled) == self.aspired, "did not end where it was told to"
        assert set(settled.values()) <= {State.READY, State.ERROR}


TestAnyHistory = AnyHistory.TestCase
