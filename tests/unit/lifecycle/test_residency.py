import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from salver.errors import (
    Code,
    DataLoss,
    DeadlineExceeded,
    NotFound,
    ResourceExhausted,
    ServingError,
    Unavailable,
)
from salver.instruments.files import Footprint
from salver.instruments.threads import Pool
from salver.lifecycle.handles import Entry
from salver.lifecycle.late_fetches import LateFetch
from salver.lifecycle.lateness import Late
from salver.lifecycle.placeholders import Claim, Held, NotLoaded, Placeholder
from salver.lifecycle.residency import (
    Residency,
    ResidencyOptions,
    _anew,
    _settle,
    _submitted,
)
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.servable import ServableId

WAIT_S = 10.0


class Model:
    """Something that was loaded."""

    def __init__(self, name: str, on_close: Callable[[], None]) -> None:
        self.name = name
        self.is_closed = False
        self._on_close = on_close

    def close(self) -> None:
        self.is_closed = True
        self._on_close()


@dataclass
class Files:
    """What is on disk, by directory."""

    size_bytes: int = 100
    changes: dict[str, int] = field(default_factory=dict)

    def look(self, path: str) -> Footprint:
        change = self.changes.get(path, 0)
        if change < 0:
            raise NotFound(f"{path} not found")
        return Footprint(1, self.size_bytes, change, 1)


class World:
    """A residency over models that load when they are let, and what became of them."""

    def __init__(self, options: ResidencyOptions, files: Files) -> None:
        self.now_s = 0.0
        self.files = files
        self.loaded: list[str] = []
        self.closed: list[str] = []
        self.changes = 0
        self.gates: dict[str, threading.Event] = {}
        self.entered: dict[str, threading.Event] = {}
        self.errors: dict[str, Exception] = {}
        self.most = 0
        self._lock = threading.Lock()
        self._alive = 0
        self.residency: Residency[Model] = Residency(
            options, clock=lambda: self.now_s, after_change=self._changed, look=files.look
        )

    def placeholder(
        self, name: str, version: int = 1, info: ModelInfo | None = None
    ) -> Placeholder[Model]:
        id = ServableId(name, version)
        return self.residency.add(id, f"/{name}/{version}", lambda: self._load(id), info)

    def hold(self, name: str) -> None:
        """Loads of a model wait from here on until they are let go."""
        self.gates[name] = threading.Event()
        self.entered[name] = threading.Event()

    def let_go(self, name: str) -> None:
        self.gates.pop(name).set()

    def bring(self, placeholder: Placeholder[Model]) -> Model:
        """Ask as a door does, and keep it pinned."""
        with placeholder.claim() as claim:
            claim.loading.result(WAIT_S)
            return placeholder.pin()

    def ask(self, placeholder: Placeholder[Model]) -> None:
        """Ask once."""
        self.bring(placeholder)
        placeholder.unpin()

    def _load(self, id: ServableId) -> Model:
        gate = self.gates.get(id.name)
        if gate is not None:
            self.entered[id.name].set()
            assert gate.wait(WAIT_S)
        if id.name in self.errors:
            raise self.errors[id.name]
        with self._lock:
            self._alive += 1
            self.most = max(self.most, self._alive)
            self.loaded.append(id.name)
        return Model(id.name, lambda: self._closed(id.name))

    def _closed(self, name: str) -> None:
        with self._lock:
            self._alive -= 1
            self.closed.append(name)

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
def make() -> Iterator[Callable[..., World]]:
    with ExitStack() as stack:

        def make(files: Files | None = None, **options: int) -> World:
            world = World(ResidencyOptions(**options), files or Files())
            stack.callback(lambda: world.residency.close(WAIT_S))
            return world

        yield make


def ended(claim: Claim) -> ServingError | None:
    """What came of a wait."""
    error = claim.loading.exception(WAIT_S)
    assert error is None or isinstance(error, ServingError)
    return error


def test_nothing_is_loaded_before_somebody_asks(make: Callable[..., World]) -> None:
    world = make()
    info = ModelInfo({}, b"signatures")
    placeholder = world.placeholder("a", info=info)
    with pytest.raises(NotLoaded) as caught:
        placeholder.pin()
    assert (caught.value.id, caught.value.info) == (ServableId("a", 1), info)
    assert caught.value.code is Code.UNAVAILABLE
    assert not placeholder.is_in_memory
    assert world.loaded == []


def test_who_claims_a_version_can_ask_it_when_it_is_loaded(make: Callable[..., World]) -> None:
    world = make()
    placeholder = world.placeholder("a")
    with pytest.raises(NotLoaded) as caught:
        placeholder.pin()
    with caught.value.claim() as claim:
        assert ended(claim) is None
        assert placeholder.pin().name == "a"
    placeholder.unpin()
    assert placeholder.is_in_memory
    assert world.loaded == ["a"]


def test_requests_that_come_at_once_share_a_load(make: Callable[..., World]) -> None:
    world = make()
    placeholder = world.placeholder("a")
    world.hold("a")
    claims = [placeholder.claim() for _ in range(5)]
    world.let_go("a")
    assert [ended(claim) for claim in claims] == [None] * 5
    assert world.loaded == ["a"]


def test_the_version_asked_longest_ago_makes_room(make: Callable[..., World]) -> None:
    world = make(max_loaded=2)
    a, b, c = (world.placeholder(name) for name in "abc")
    for placeholder in (a, b, a, c):
        world.ask(placeholder)
    assert (a.is_in_memory, b.is_in_memory, c.is_in_memory) == (True, False, True)
    assert world.closed == ["b"]
    assert world.residency.counts.resident == 2
    assert world.residency.counts.evictions == {"b": 1}


def test_a_version_that_nobody_is_asking_makes_room_before_an_older_one_in_use(
    make: Callable[..., World],
) -> None:
    world = make(max_loaded=2)
    a, b, c = (world.placeholder(name) for name in "abc")
    world.bring(a)
    world.ask(b)
    world.ask(c)
    assert a.is_in_memory
    assert world.closed == ["b"]
    a.unpin()


def test_an_eviction_waits_for_the_requests_within(make: Callable[..., World]) -> None:
    world = make(max_loaded=1)
    a, b = world.placeholder("a"), world.placeholder("b")
    model = world.bring(a)
    with b.claim() as claim:
        assert not claim.loading.done()
        assert not model.is_closed
        with pytest.raises(NotLoaded):  # it leaves: it takes nobody new
            a.pin()
        a.unpin()
        assert ended(claim) is None
        assert world.closed == ["a"]
        assert b.pin().name == "b"
    b.unpin()
    assert world.most == 1


def test_who_has_waited_is_served_even_when_others_need_the_room(
    make: Callable[..., World],
) -> None:
    world = make(max_loaded=1)
    a, b = world.placeholder("a"), world.placeholder("b")
    of_a = a.claim()
    with b.claim() as of_b:
        with of_a:
            assert ended(of_a) is None
            model = a.pin()  # it has to leave, but has a claim on it
            assert not of_b.loading.done()
            a.unpin()
            assert not model.is_closed
        assert ended(of_b) is None
    assert world.loaded == ["a", "b"]


def test_a_claim_on_a_version_that_leaves_is_on_its_next_life(make: Callable[..., World]) -> None:
    world = make(max_loaded=1)
    a, b = world.placeholder("a"), world.placeholder("b")
    world.bring(a)
    of_b = b.claim()
    with a.claim() as of_a:
        with of_b:
            a.unpin()
            assert ended(of_b) is None
            assert b.pin().name == "b"
            b.unpin()
            assert not of_a.loading.done()  # somebody has a claim on b
        assert ended(of_a) is None
    assert world.loaded == ["a", "b", "a"]


def test_a_claim_on_a_version_that_leaves_can_be_given_up(make: Callable[..., World]) -> None:
    world = make(max_loaded=1)
    a, b = world.placeholder("a"), world.placeholder("b")
    world.bring(a)
    with b.claim() as of_b:
        with a.claim():
            pass
        a.unpin()
        assert ended(of_b) is None
    assert world.loaded == ["a", "b"]


def test_a_load_that_nobody_waits_for_any_more_is_not_begun(make: Callable[..., World]) -> None:
    world = make(max_loaded=1)
    a, b = world.placeholder("a"), world.placeholder("b")
    world.hold("a")
    with a.claim() as of_a:
        with b.claim():
            pass
        world.let_go("a")
        assert ended(of_a) is None
    assert world.loaded == ["a"]
    world.ask(b)
    assert world.loaded == ["a", "b"]


def test_a_load_goes_on_when_those_who_wait_have_left(make: Callable[..., World]) -> None:
    world = make()
    placeholder = world.placeholder("a")
    world.hold("a")
    with placeholder.claim() as claim:
        assert world.entered["a"].wait(WAIT_S)
    world.let_go("a")
    assert ended(claim) is None
    assert placeholder.is_in_memory


def test_a_claim_on_what_is_in_memory_is_done_at_once(make: Callable[..., World]) -> None:
    world = make()
    placeholder = world.placeholder("a")
    world.ask(placeholder)
    with placeholder.claim() as claim:
        assert claim.loading.done()
    assert world.loaded == ["a"]


def test_a_load_that_fails_answers_all_who_wait(make: Callable[..., World]) -> None:
    world = make()
    placeholder = world.placeholder("a")
    world.errors["a"] = DataLoss("it is damaged", hint="copy it again")
    world.hold("a")
    first, second = placeholder.claim(), placeholder.claim()
    world.let_go("a")
    errors = [ended(first), ended(second)]
    assert [error and error.status for error in errors] == ["DATA_LOSS: it is damaged"] * 2
    assert errors[0] is not None
    assert errors[0].hint == "copy it again"
    assert str(errors[0]) == "it is damaged"
    assert placeholder.error is not None
    assert world.residency.counts.resident == 0


def test_a_failure_is_told_without_a_load_until_it_is_time_to_try_again(
    make: Callable[..., World],
) -> None:
    world = make()
    placeholder = world.placeholder("a")
    world.errors["a"] = DataLoss("it is damaged")
    with placeholder.claim() as claim:
        assert isinstance(ended(claim), DataLoss)
    with pytest.raises(DataLoss) as caught:
        placeholder.pin()
    with pytest.raises(DataLoss) as again:
        placeholder.pin()
    assert caught.value is not again.value  # each may be given a version, and a traceback
    world.now_s = 1.0
    del world.errors["a"]
    with pytest.raises(NotLoaded):
        placeholder.pin()
    world.ask(placeholder)
    assert placeholder.error is None


def test_who_fails_again_and_again_is_tried_less_and_less(make: Callable[..., World]) -> None:
    world = make()
    placeholder = world.placeholder("a")
    world.errors["a"] = ValueError("no")
    for pause_s in (1.0, 2.0, 4.0):
        with placeholder.claim() as claim:
            error = ended(claim)
        assert error is not None
        assert error.message == "ValueError: no"
        world.now_s += pause_s - 0.5
        with pytest.raises(ServingError, match="ValueError: no"):
            placeholder.pin()
        world.now_s += 0.5
        with pytest.raises(NotLoaded):
            placeholder.pin()


def test_a_change_of_the_files_that_rests_is_reason_to_try_again(
    make: Callable[..., World],
) -> None:
    world = make()
    placeholder = world.placeholder("a")
    world.errors["a"] = DataLoss("it is damaged")
    with placeholder.claim() as claim:
        assert ended(claim) is not None
    assert world.residency.recheck() == ("/a/1",)
    world.files.changes["/a/1"] = 1
    world.residency.recheck()
    with pytest.raises(DataLoss):  # it may still be copied
        placeholder.pin()
    world.residency.recheck()
    with pytest.raises(NotLoaded):
        placeholder.pin()
    del world.errors["a"]
    world.ask(placeholder)
    assert world.residency.recheck() == ()


def test_what_can_only_fail_again_is_not_tried_before_its_files_change(
    make: Callable[..., World],
) -> None:
    world = make()
    placeholder = world.placeholder("a")
    error = world.errors["a"] = DataLoss("it ends every process")
    error.is_final = True
    with placeholder.claim() as claim:
        assert ended(claim) is not None
    world.now_s += 1e9
    with pytest.raises(DataLoss):
        placeholder.pin()
    world.files.changes["/a/1"] = 1
    world.residency.recheck()
    world.residency.recheck()
    with pytest.raises(NotLoaded):
        placeholder.pin()


def test_files_that_have_gone_are_reason_to_try_again_too(make: Callable[..., World]) -> None:
    world = make()
    placeholder = world.placeholder("a")
    world.errors["a"] = DataLoss("it is damaged")
    with placeholder.claim() as claim:
        assert ended(claim) is not None
    world.files.changes["/a/1"] = -1
    world.residency.recheck()
    world.residency.recheck()
    with pytest.raises(NotLoaded):
        placeholder.pin()


def test_a_version_is_not_there_without_its_files(make: Callable[..., World]) -> None:
    world = make()
    world.files.changes["/a/1"] = -1
    with pytest.raises(NotFound):
        world.placeholder("a")


def test_the_memory_of_all_together_is_bounded(make: Callable[..., World]) -> None:
    world = make(Files(size_bytes=100), max_memory_bytes=250)
    a, b, c = (world.placeholder(name) for name in "abc")
    for placeholder in (a, b, c):
        world.ask(placeholder)
    assert world.closed == ["a"]
    assert world.residency.reserved == {ServableId("b", 1): 120, ServableId("c", 1): 120}


def test_what_only_the_load_takes_is_given_back(make: Callable[..., World]) -> None:
    world = make(Files(size_bytes=100), max_memory_bytes=1000, transient_load_bytes=50)
    placeholder = world.placeholder("a")
    world.hold("a")
    with placeholder.claim() as claim:
        assert world.residency.reserved == {ServableId("a", 1): 170}
        world.let_go("a")
        assert ended(claim) is None
    assert world.residency.reserved == {ServableId("a", 1): 120}


def test_what_does_not_fit_even_alone_is_refused(make: Callable[..., World]) -> None:
    world = make(Files(size_bytes=100), max_memory_bytes=100)
    placeholder = world.placeholder("a")
    with placeholder.claim() as claim:
        error = ended(claim)
    assert isinstance(error, ResourceExhausted)
    assert error.message == "Insufficient resources to load servable {name: a version: 1}"
    with pytest.raises(ResourceExhausted):
        placeholder.pin()


def test_a_new_version_of_a_model_in_memory_is_loaded_at_once(make: Callable[..., World]) -> None:
    world = make()
    world.ask(world.placeholder("a", 1))
    assert world.placeholder("a", 2).is_in_memory
    assert not world.placeholder("b", 1).is_in_memory


def test_a_new_version_that_does_not_load_keeps_the_old_one(make: Callable[..., World]) -> None:
    world = make()
    old = world.placeholder("a", 1)
    world.ask(old)
    world.errors["a"] = DataLoss("it is damaged")
    with pytest.raises(DataLoss, match="it is damaged"):
        world.placeholder("a", 2)
    assert old.is_in_memory
    assert world.residency.recheck() == ()  # the lifecycle tries it again, if anybody


def test_a_version_given_up_is_freed_before_that_returns(make: Callable[..., World]) -> None:
    world = make(max_loaded=1)
    a, b = world.placeholder("a"), world.placeholder("b")
    world.ask(a)
    a.close()
    assert world.closed == ["a"]
    with pytest.raises(NotLoaded):
        a.pin()
    with a.claim() as claim:  # wakes at once, to find that the map has it no more
        assert claim.loading.done()
    world.ask(b)
    assert world.residency.counts.evictions == {}


def test_a_version_given_up_while_it_loads_is_freed_when_it_has(make: Callable[..., World]) -> None:
    world = make(max_loaded=1)
    a, b = world.placeholder("a"), world.placeholder("b")
    world.hold("a")
    with a.claim() as claim:
        assert world.entered["a"].wait(WAIT_S)
        a.close()
        assert claim.loading.done()
    with b.claim() as of_b:
        assert not of_b.loading.done()  # until there is room
        world.let_go("a")
        assert ended(of_b) is None
    assert world.closed == ["a"]
    assert not a.is_in_memory


def test_a_version_given_up_while_it_waits_for_room_wakes_who_waits(
    make: Callable[..., World],
) -> None:
    world = make(max_loaded=1)
    a, b = world.placeholder("a"), world.placeholder("b")
    world.bring(a)
    with b.claim() as claim:
        b.close()
        assert ended(claim) is None
    a.unpin()
    assert world.loaded == ["a"]


def test_a_version_given_up_while_it_is_evicted_is_closed_once(make: Callable[..., World]) -> None:
    world = make(max_loaded=1)
    a, b = world.placeholder("a"), world.placeholder("b")
    world.ask(a)
    closing, may_close = threading.Event(), threading.Event()

    def hold() -> None:
        closing.set()
        assert may_close.wait(WAIT_S)

    model = a.pin()
    a.unpin()
    model._on_close = hold
    with b.claim() as claim:
        assert closing.wait(WAIT_S)
        a.close()
        may_close.set()
        assert ended(claim) is None
    with a.claim() as gone:
        assert ended(gone) is None
    assert world.loaded == ["a", "b"]


def test_nothing_is_loaded_any_more_when_the_server_stops(make: Callable[..., World]) -> None:
    world = make(max_loaded=1)
    a, b, c = (world.placeholder(name) for name in "abc")
    world.hold("a")
    with a.claim() as of_a, b.claim() as of_b:
        assert world.entered["a"].wait(WAIT_S)
        world.residency.stop()
        assert isinstance(ended(of_b), Unavailable)
        with c.claim() as of_c:
            assert isinstance(ended(of_c), Unavailable)
        world.let_go("a")
        assert ended(of_a) is None
    a.close()
    assert world.residency.close(WAIT_S)
    assert world.closed == ["a"]


def test_a_load_that_was_queued_when_the_server_stops_is_not_made(
    make: Callable[..., World],
) -> None:
    world = make(num_threads=1)
    a, b = world.placeholder("a"), world.placeholder("b")
    world.hold("a")
    with a.claim(), b.claim() as of_b:
        assert world.entered["a"].wait(WAIT_S)
        world.residency.stop()
        world.let_go("a")
        assert isinstance(ended(of_b), Unavailable)
    assert world.loaded == ["a"]


def test_a_stop_does_not_wait_for_a_load_that_hangs(make: Callable[..., World]) -> None:
    world = make()
    placeholder = world.placeholder("a")
    world.hold("a")
    with placeholder.claim():
        assert world.entered["a"].wait(WAIT_S)
        assert not world.residency.close(0.0)
        world.let_go("a")


def test_a_model_that_cannot_be_closed_makes_room_all_the_same(
    make: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    world = make(max_loaded=1)
    a, b = world.placeholder("a"), world.placeholder("b")

    def fail() -> None:
        raise ValueError("no")

    world.bring(a)._on_close = fail
    a.unpin()
    world.ask(b)
    assert "could not give back what it held" in caplog.text


def test_what_follows_a_load_may_fail(
    make: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    world = make()
    placeholder = world.placeholder("a")
    world.changes = None  # type: ignore[assignment]
    world.ask(placeholder)
    assert world.residency.close(WAIT_S)
    assert "What follows a load or unload failed" in caplog.text


def test_what_is_held_is_released_once_as_a_whole(make: Callable[..., World]) -> None:
    world = make()
    placeholder = world.placeholder("a")
    entry = Entry(placeholder.id, placeholder)
    assert entry.try_acquire()
    with pytest.raises(NotLoaded):
        Held.of(entry)
    assert entry.in_flight == 0
    world.ask(placeholder)
    assert entry.try_acquire()
    held = Held.of(entry)
    assert (held.id, held.model.name, entry.in_flight) == (placeholder.id, "a", 1)
    held.release()
    assert (entry.in_flight, placeholder.pins) == (0, 0)


def test_threads_that_hammer_more_models_than_fit_are_all_answered(
    make: Callable[..., World],
) -> None:
    world = make(max_loaded=2, num_threads=2)
    placeholders = [world.placeholder(name) for name in "abcde"]
    wrong: list[object] = []

    def hammer(start: int) -> None:
        for turn in range(60):
            placeholder = placeholders[(start + turn * (start + 1)) % len(placeholders)]
            try:
                model = placeholder.pin()
            except NotLoaded:
                with placeholder.claim() as claim:
                    claim.loading.result(WAIT_S)
                    try:
                        model = placeholder.pin()
                    except NotLoaded:  # it was on its way out, which is no promise
                        continue
            if model.is_closed or model.name != placeholder.id.name:
                wrong.append(model)
            placeholder.unpin()

    threads = [threading.Thread(target=hammer, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert wrong == []
    assert world.most <= 2
    assert {placeholder.pins for placeholder in placeholders} == {0}
    assert {placeholder.claims for placeholder in placeholders} == {0}


def test_without_a_thread_to_load_in_who_asks_is_told(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make()
    placeholder = world.placeholder("a")

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        claim = placeholder.claim()
    with claim:
        error = ended(claim)
    assert isinstance(error, Unavailable)
    assert error.message == "No thread to load {name: a version: 1} in"
    assert world.loaded == []


def test_without_a_thread_to_free_a_model_in_it_is_freed_all_the_same(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(max_loaded=1)
    a, b = world.placeholder("a"), world.placeholder("b")
    world.bring(a)
    with b.claim() as claim:
        with monkeypatch.context() as patched:
            patched.setattr(world.residency._closes, "submit", _refuse)
            a.unpin()
        assert world.closed == ["a"]
        assert ended(claim) is None


def _refuse(_job: object) -> None:
    raise ResourceExhausted("no thread")


def test_what_can_never_fit_drives_nobody_out(make: Callable[..., World]) -> None:
    world = make(max_memory_bytes=200)
    small = world.placeholder("small")
    world.ask(small)
    world.files.size_bytes = 1000
    large = world.placeholder("large")
    with large.claim() as claim:
        assert isinstance(ended(claim), ResourceExhausted)
    assert small.is_in_memory
    assert world.residency.counts.evictions == {}


def test_what_can_never_fit_is_no_reason_to_refuse_others(make: Callable[..., World]) -> None:
    world = make(max_memory_bytes=200)
    world.hold("a")
    a, b = world.placeholder("a"), world.placeholder("b")
    world.files.size_bytes = 1000
    large = world.placeholder("large")
    with a.claim() as first, large.claim() as second, b.claim() as third:
        assert isinstance(ended(second), ResourceExhausted)
        world.let_go("a")
        assert ended(first) is None
        assert a.pin().name == "a"
        a.unpin()
        first.__exit__()
        assert ended(third) is None
        assert b.pin().name == "b"
    b.unpin()


def test_a_load_in_vain_keeps_its_place_until_it_is_freed(make: Callable[..., World]) -> None:
    world = make(max_loaded=1, num_threads=2)
    world.hold("a")
    a, b = world.placeholder("a"), world.placeholder("b")
    with a.claim(), b.claim() as claim:
        assert world.entered["a"].wait(WAIT_S)
        a.close()
        world.let_go("a")
        assert ended(claim) is None
    assert world.closed == ["a"]
    assert world.most == 1


def test_a_version_that_comes_back_waits_until_its_earlier_load_has_ended(
    make: Callable[..., World],
) -> None:
    world = make(max_memory_bytes=1000, num_threads=2)
    world.hold("a")
    before = world.placeholder("a")
    with before.claim():
        assert world.entered["a"].wait(WAIT_S)
        before.close()
    after = world.placeholder("a")
    with after.claim() as claim:
        world.let_go("a")
        assert ended(claim) is None
    assert (world.loaded, world.closed, world.most) == (["a", "a"], ["a"], 1)
    assert ServableId("a", 1) in world.residency.reserved


# -- loads that do not return ----------------------------------------------------------------------


def late_after(world: World, seconds: float) -> None:
    """Let so much time pass, and have somebody look."""
    world.now_s += seconds
    world.residency.watch.check()


def test_a_load_that_does_not_return_keeps_no_other_from_a_thread_or_a_place(
    make: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    world = make(max_loaded=1, num_threads=1)
    world.hold("a")
    a, b = world.placeholder("a"), world.placeholder("b")
    with a.claim() as first, b.claim() as second:
        assert world.entered["a"].wait(WAIT_S)
        late_after(world, 59)
        assert not second.loading.done()
        assert a.note is None
        late_after(world, 1)
        assert ended(second) is None
        assert b.pin().name == "b"
        b.unpin()
        note: str | None = a.note
        assert note is not None
        assert note.startswith("still loading since ")
        assert "has not returned for 60 s: it goes on, and other loads beside it" in caplog.text
        world.let_go("a")
        assert ended(first) is None
        assert a.pin().name == "a"
        a.unpin()
    assert a.note is None
    assert world.residency.close(WAIT_S)
    assert world.residency._loads._lent == 0


def test_a_load_is_given_up_when_its_time_is_over(make: Callable[..., World]) -> None:
    world = make(max_memory_bytes=200, load_timeout_s=30)
    world.hold("a")
    a, b = world.placeholder("a"), world.placeholder("b")
    with a.claim() as first, b.claim() as second:
        assert world.entered["a"].wait(WAIT_S)
        late_after(world, 30)
        error = ended(first)
        assert error is not None
        assert error.status == (
            "DEADLINE_EXCEEDED: Loading servable: {name: a version: 1} has not returned for 30 s"
        )
        assert error.hint is not None
        assert "--load_timeout_seconds" in error.hint
        world.now_s += 3600  # it is not tried again before it returns
        with pytest.raises(DeadlineExceeded):
            a.pin()
        assert not second.loading.done()  # the memory is not given away before either
        assert a.error is not None
        world.let_go("a")
        assert ended(second) is None
        assert world.closed == ["a"]
    with b.claim():
        assert b.pin().name == "b"
        b.unpin()
    world.ask(a)
    assert world.loaded == ["a", "b", "a"]


def test_what_was_given_up_is_tried_again_when_its_files_change(make: Callable[..., World]) -> None:
    files = Files()
    world = make(files, load_timeout_s=30, num_threads=1)
    world.hold("a")
    a = world.placeholder("a")
    with a.claim() as claim:
        assert world.entered["a"].wait(WAIT_S)
        late_after(world, 30)
        assert isinstance(ended(claim), DeadlineExceeded)
    gate = world.gates.pop("a")
    files.changes["/a/1"] = 1
    world.residency.recheck()
    world.residency.recheck()
    model = world.bring(a)
    gate.set()  # the first load returns after the second
    assert world.residency.close(WAIT_S)
    assert world.closed == ["a"]
    assert not model.is_closed
    assert a.pin() is model


def test_a_late_load_of_a_version_that_is_gone_keeps_no_place(make: Callable[..., World]) -> None:
    world = make(max_loaded=1, num_threads=1)
    world.hold("a")
    before = world.placeholder("a")
    with before.claim():
        assert world.entered["a"].wait(WAIT_S)
        before.close()
    gate = world.gates.pop("a")
    after = world.placeholder("a")
    with after.claim() as claim:
        late_after(world, 60)
        assert ended(claim) is None
        gate.set()
        assert after.pin().name == "a"
        after.unpin()
    assert world.residency.close(WAIT_S)
    assert world.closed == ["a"]


def test_a_load_that_fails_after_it_was_given_up_changes_nothing(
    make: Callable[..., World],
) -> None:
    world = make(load_timeout_s=30)
    world.hold("a")
    a = world.placeholder("a")
    with a.claim() as claim:
        assert world.entered["a"].wait(WAIT_S)
        late_after(world, 30)
        assert isinstance(ended(claim), DeadlineExceeded)
    world.errors["a"] = NotFound("at last")
    world.let_go("a")
    assert world.residency.close(WAIT_S)
    assert isinstance(a.error, DeadlineExceeded)


def test_what_is_noticed_too_late_changes_nothing(make: Callable[..., World]) -> None:
    world = make()
    a = world.placeholder("a")
    late: list[Late[Any]] = []
    world.residency.watch._on_late = late.append
    world.hold("a")
    with a.claim() as claim:
        assert world.entered["a"].wait(WAIT_S)
        late_after(world, 60)
        world.let_go("a")
        assert ended(claim) is None
    world.residency._report_late(late[0])
    assert a.note is None


# -- after a decision -----------------------------------------------------------------------------


def test_a_closed_pool_takes_no_job() -> None:
    pool, done = Pool("test", 1), Future[None]()
    assert _submitted(pool, lambda: done.set_result(None))
    done.result(WAIT_S)
    assert pool.close(WAIT_S)
    assert not _submitted(pool, lambda: None)


def test_a_future_is_settled_once() -> None:
    well, badly = Future[None](), Future[None]()
    _settle(well, None)
    _settle(well, NotFound("too late"))
    assert well.result(0) is None
    _settle(badly, DataLoss("cut"))
    _settle(badly, None)
    with pytest.raises(DataLoss, match="cut"):
        badly.result(0)


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (NotFound("gone"), "It is tried again after a while"),
        (NotFound("gone", hint="look elsewhere"), "look elsewhere"),
    ],
)
def test_an_error_is_made_anew_for_each_request(error: ServingError, hint: str) -> None:
    again = _anew(error)
    assert again is not error
    assert (again.code, again.message) == (error.code, error.message)
    assert again.hint is not None
    assert again.hint.startswith(hint)


class Fetched:
    """What a fetch has brought."""

    def __init__(self) -> None:
        self.directory = "/here"
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class Store:
    """Fetches that wait until they may end."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.error: Exception | None = None
        self.count = 0
        self.brought: list[Fetched] = []

    def __call__(self, stage: LateFetch) -> Fetched:
        self.count += 1
        self.begun.set()
        while not self.gate.wait(0.01):
            stage.check()
        if self.error is not None:
            raise self.error
        self.brought.append(Fetched())
        return self.brought[-1]


def remote(world: World, store: Store, name: str = "m") -> Placeholder[Model]:
    return world.residency.add(
        ServableId(name, 1),
        f"far://{name}/1",
        lambda: Model(name, lambda: None),
        fetch=store,
        lane="far",
    )


@pytest.fixture
def far_world() -> Iterator[World]:
    world = World(ResidencyOptions(max_loaded=1), Files())
    yield world
    assert world.residency.close(WAIT_S)


def test_all_who_claim_a_version_wait_for_one_fetch(far_world: World) -> None:
    store = Store()
    placeholder = remote(far_world, store)
    assert store.count == 0
    claims = [placeholder.claim() for _ in range(5)]
    assert store.begun.wait(WAIT_S)
    store.gate.set()
    for claim in claims:
        claim.loading.result(WAIT_S)
    assert store.count == 1
    assert placeholder.pin().name == "m"
    placeholder.unpin()
    for claim in claims:
        with claim:
            pass
    assert not store.brought[0].is_closed
    placeholder.close()
    assert store.brought[0].is_closed


def test_what_is_fetched_takes_nobodys_room_before_it_is_loaded(far_world: World) -> None:
    store, other = Store(), Store()
    other.gate.set()
    slow, quick = remote(far_world, store, "slow"), remote(far_world, other, "quick")
    waiting = slow.claim()
    assert store.begun.wait(WAIT_S)
    with quick.claim() as claim:
        claim.loading.result(WAIT_S)
        quick.pin()
        quick.unpin()
    store.gate.set()
    waiting.loading.result(WAIT_S)
    with waiting:
        assert slow.pin().name == "slow"
    slow.unpin()
    assert other.brought[0].is_closed  # evicted, it may leave the disk


def test_a_fetch_goes_on_when_nobody_waits_any_more_and_keeps_nothing_in_memory(
    far_world: World,
) -> None:
    store = Store()
    placeholder = remote(far_world, store)
    with placeholder.claim() as claim:
        assert store.begun.wait(WAIT_S)
    store.gate.set()
    claim.loading.result(WAIT_S)
    assert store.brought[0].is_closed
    assert not placeholder.is_in_memory
    assert far_world.residency.counts.resident == 0


def test_a_fetch_that_fails_fails_all_who_wait_and_is_tried_again_later(far_world: World) -> None:
    store = Store()
    store.error = Unavailable("away")
    store.gate.set()
    placeholder = remote(far_world, store)
    with placeholder.claim() as claim, pytest.raises(Unavailable, match="away"):
        claim.loading.result(WAIT_S)
    with pytest.raises(Unavailable, match="away"):
        placeholder.pin()
    store.error = None
    far_world.now_s += 1000
    with placeholder.claim() as claim:
        claim.loading.result(WAIT_S)
        placeholder.pin()
    placeholder.unpin()


def test_what_can_never_fit_is_not_fetched() -> None:
    world = World(ResidencyOptions(max_memory_bytes=10), Files(size_bytes=100))
    store = Store()
    with remote(world, store).claim() as claim, pytest.raises(ResourceExhausted):
        claim.loading.result(WAIT_S)
    assert store.count == 0
    assert world.residency.close(WAIT_S)


def test_a_version_that_is_given_up_and_a_server_that_stops_end_its_fetch(
    far_world: World,
) -> None:
    store, other = Store(), Store()
    gone, stopped = remote(far_world, store, "gone"), remote(far_world, other, "stopped")
    gone.claim()
    waiting = stopped.claim()
    assert store.begun.wait(WAIT_S)
    assert other.begun.wait(WAIT_S)
    gone.close()
    far_world.residency.stop()
    with pytest.raises(Unavailable):
        waiting.loading.result(WAIT_S)
    assert far_world.residency.close(WAIT_S)
    assert store.brought == other.brought == []


def test_a_load_that_fails_lets_go_of_what_was_fetched(far_world: World) -> None:
    store = Store()
    store.gate.set()

    def fail() -> Model:
        raise DataLoss("broken")

    placeholder = far_world.residency.add(
        ServableId("m", 1), "far://m/1", fail, fetch=store, lane="far"
    )
    with placeholder.claim() as claim, pytest.raises(DataLoss):
        claim.loading.result(WAIT_S)
    assert store.brought[0].is_closed
