"""What is decided about presences, without a thread; what is done of it: `test_residency`."""

import pytest

from salver.errors import NotFound, Unavailable
from salver.instruments.files import Footprint
from salver.lifecycle.budget import Budget
from salver.lifecycle.placeholders import Claim, Placeholder, Presence
from salver.lifecycle.presences import Actions, Presences, RunningLoad
from salver.lifecycle.room import Room
from salver.vocabulary.servable import ServableId

FILES = Footprint(1, 100, 0, 0)


class Model:
    """Something that was loaded."""

    def close(self) -> None:
        raise AssertionError("nothing is done here")


class World:
    """Room for one version, and what was decided last."""

    def __init__(self) -> None:
        self.now_s = 0.0
        budget = Budget(0, 0)
        self.room: Room[Model] = Room(1, budget)
        self.presences: Presences[Model] = Presences(self.room, budget, lambda: self.now_s)
        self.actions: Actions[Model] = Actions()

    def placeholder(self, name: str) -> Placeholder[Model]:
        return Placeholder(None, ServableId(name, 1), f"/{name}/1", Model, None, FILES)  # type: ignore[arg-type]

    def decide(self) -> Actions[Model]:
        """What follows from what has happened."""
        self.presences.conclude(self.actions)
        decided, self.actions = self.actions, Actions()
        return decided

    def claim(self, placeholder: Placeholder[Model]) -> Claim:
        def end(claimed: Placeholder[Model], generation: int) -> None:
            self.presences.unclaim(claimed, generation, self.actions)

        return self.presences.claim(placeholder, end, self.actions)

    def bring(self, placeholder: Placeholder[Model]) -> None:
        """Have it in memory, and nobody who needs it."""
        claim = self.claim(placeholder)
        assert self.decide().loads == [placeholder]
        load = RunningLoad(placeholder, FILES)
        assert not self.presences.returned(load, Model(), self.actions)
        assert self.decide().settled == [(claim.loading, None)]
        with claim:
            pass
        assert not self.decide().closes


@pytest.fixture
def world() -> World:
    return World()


def test_one_is_loaded_once_however_many_claim_it(world: World) -> None:
    a = world.placeholder("a")
    assert world.claim(a).loading is world.claim(a).loading
    assert world.decide().loads == [a]
    assert a.presence is Presence.LOADING
    assert not world.decide().loads


def test_who_claims_what_leaves_waits_for_its_next_generation(world: World) -> None:
    a, b = world.placeholder("a"), world.placeholder("b")
    world.bring(a)
    a.pins += 1
    world.claim(b)
    assert not world.decide().closes  # a request holds it yet
    assert a.presence is Presence.LEAVING
    again = world.claim(a)
    a.pins -= 1
    world.presences.close_if_idle(a, world.actions)
    assert world.decide().closes == [a]
    world.presences.closed(a, world.actions)
    assert world.decide().loads == [b]
    assert (a.presence, again.loading) == (Presence.QUEUED, a.loading)


def test_what_waits_for_room_does_so_no_more_when_nobody_claims_it(world: World) -> None:
    a, b = world.placeholder("a"), world.placeholder("b")
    world.claim(a)
    claim = world.claim(b)
    assert world.decide().loads == [a]
    with claim:
        pass
    assert b.presence is Presence.OUT
    assert not world.room.queue


def test_a_load_that_was_given_up_is_tried_again_when_it_has_returned(world: World) -> None:
    a = world.placeholder("a")
    claim = world.claim(a)
    world.decide()
    load, error = RunningLoad(a, FILES), NotFound("late")
    world.presences.abandon(load, error, world.actions)
    assert world.decide().settled == [(claim.loading, error)]
    assert (a.presence, a.retry_s) == (Presence.OUT, float("inf"))
    world.now_s = 5
    world.presences.load_ended(load)
    world.presences.give_back(load)
    assert a.retry_s == 5


def test_a_model_that_comes_after_its_placeholder_has_gone_is_in_vain(world: World) -> None:
    a = world.placeholder("a")
    world.claim(a)
    world.decide()
    assert not world.presences.forget(a, world.actions)
    assert world.presences.returned(RunningLoad(a, FILES), Model(), world.actions)
    assert not world.room.recent


def test_what_waits_when_it_stops_is_refused(world: World) -> None:
    a, b = world.placeholder("a"), world.placeholder("b")
    world.claim(a)
    claim = world.claim(b)
    world.decide()
    world.presences.stop(world.actions)
    ((future, error),) = world.decide().settled
    assert future is claim.loading
    assert isinstance(error, Unavailable)
    assert b.presence is Presence.OUT
    assert not world.room.queue
