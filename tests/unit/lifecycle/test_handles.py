import os
import threading

import pytest

from salver.errors import InvalidArgument, NotFound
from salver.lifecycle.handles import Entry, ServingMap
from salver.vocabulary.servable import ServableId

V1, V2 = ServableId("m", 1), ServableId("m", 2)
ROUNDS = int(os.environ.get("SALVER_STRESS_ROUNDS", "200"))


def test_newest_version_answers_when_none_is_named() -> None:
    serving = ServingMap[str]()
    serving.publish(V2, "two")
    serving.publish(V1, "one")
    entry = serving.acquire("m")
    assert (entry.id, entry.model) == (V2, "two")
    assert serving.acquire("m", 1).id == V1
    assert serving.available("m") == (2, 1)
    assert serving.answers("m")
    assert not serving.answers("other")


def test_what_answers_can_be_told_without_pinning_it() -> None:
    serving = ServingMap[str]()
    serving.publish(V1, "one")
    serving.assign_labels({"m": {"stable": 1, "next": 2}}, {})
    assert serving.has("m", 1)
    assert serving.has_label("m", "stable")
    for version, label in ((2, "next"), (3, "other")):
        assert not serving.has("m", version)
        assert not serving.has_label("m", label)
    assert not serving.has_label("other", "stable")
    assert set(serving.in_flight().values()) == {0}


def test_an_older_version_answers_again_when_the_newest_is_withdrawn() -> None:
    serving = ServingMap[str]()
    serving.publish(V1, "one")
    serving.publish(V2, "two")
    serving.withdraw(V2, threading.Event().set)
    assert serving.acquire("m").id == V1


def test_unknown_servable_is_not_found_in_the_words_of_the_reference() -> None:
    with pytest.raises(NotFound) as latest:
        ServingMap[str]().acquire("m")
    assert latest.value.message == "Servable not found for request: Latest(m)"
    with pytest.raises(NotFound) as specific:
        ServingMap[str]().acquire("m", 3)
    assert specific.value.message == "Servable not found for request: Specific(m, 3)"


def test_withdrawn_version_drains_when_its_last_handle_is_released() -> None:
    serving, drained = ServingMap[str](), list[str]()
    serving.publish(V1, "one")
    first, second = serving.acquire("m"), serving.acquire("m")
    assert serving.in_flight() == {V1: 2}
    serving.withdraw(V1, lambda: drained.append("once"))
    with pytest.raises(NotFound):
        serving.acquire("m")
    first.release()
    assert drained == []
    second.release()
    assert drained == ["once"]
    assert serving.in_flight() == {}


def test_version_nobody_holds_drains_at_once() -> None:
    serving, drained = ServingMap[str](), threading.Event()
    serving.publish(V1, "one")
    serving.withdraw(V1, drained.set)
    assert drained.is_set()


def test_an_entry_withdrawn_after_the_look_up_gives_no_pin_and_drains_once() -> None:
    entry, drained = Entry(V1, "one"), list[str]()
    entry.withdraw(lambda: drained.append("once"))
    assert not entry.try_acquire()
    assert drained == ["once"]


def test_a_reader_that_met_a_withdrawn_entry_looks_again() -> None:
    serving = ServingMap[str]()
    serving.publish(V1, "one")
    serving.publish(V2, "two")
    serving._table.newest["m"].withdraw(threading.Event().set)  # as if swapped a moment later

    class Moving(dict[str, Entry[str]]):
        def get(self, name: str, default: object = None) -> Entry[str]:
            serving.withdraw(V2, threading.Event().set)
            return self[name]

    object.__setattr__(serving._table, "newest", Moving(serving._table.newest))
    assert serving.acquire("m").id == V1


def test_labels_name_versions_whether_or_not_they_are_available() -> None:
    serving = ServingMap[str]()
    serving.assign_labels({"m": {"stable": 1}}, {})
    assert serving.labels == {"m": {"stable": 1}}
    with pytest.raises(NotFound) as raised:
        serving.acquire_label("m", "stable")
    assert raised.value.message == "Servable not found for request: Specific(m, 1)"
    serving.publish(V1, "one")
    assert serving.acquire_label("m", "stable").id == V1


def test_label_that_moves_while_its_old_version_is_withdrawn_is_always_found() -> None:
    serving = ServingMap[str]()
    serving.publish(V1, "one")
    serving.assign_labels({"m": {"stable": 1}}, {"m": {"stable": 2}})

    class Moving(dict[str, dict[str, int]]):
        def __getitem__(self, name: str) -> dict[str, int]:
            found = super().__getitem__(name)
            serving.publish(V2, "two")
            serving.withdraw(V1, threading.Event().set)
            return found

    object.__setattr__(serving._table, "labels", Moving({"m": {"stable": 1}}))
    assert serving.acquire_label("m", "stable").id == V2


@pytest.mark.parametrize(("name", "label"), [("m", "canary"), ("other", "stable")])
def test_unknown_label_is_refused_in_the_words_of_the_reference(name: str, label: str) -> None:
    serving = ServingMap[str]()
    serving.assign_labels({"m": {"stable": 1}}, {})
    with pytest.raises(InvalidArgument) as raised:
        serving.acquire_label(name, label)
    assert raised.value.message == f"Unrecognized servable version label: {label}"


def test_label_moves_at_the_moment_its_version_is_published() -> None:
    serving = ServingMap[str]()
    serving.publish(V1, "one")
    serving.assign_labels({"m": {"stable": 1}}, {"m": {"stable": 2, "canary": 3}})
    assert serving.acquire_label("m", "stable").id == V1
    serving.publish(V2, "two")
    assert serving.acquire_label("m", "stable").id == V2
    assert serving.moving_labels == {"m": {"canary": 3}}


def test_label_moves_at_once_when_its_version_came_first() -> None:
    serving = ServingMap[str]()
    serving.publish(V2, "two")
    serving.assign_labels({}, {"m": {"stable": 2}})
    assert serving.labels == {"m": {"stable": 2}}
    assert serving.moving_labels == {}


def test_labels_not_listed_again_disappear() -> None:
    serving = ServingMap[str]()
    serving.assign_labels({"m": {"stable": 1}}, {"m": {"canary": 2}})
    serving.assign_labels({}, {})
    assert (serving.labels, serving.moving_labels) == ({}, {})


def test_no_request_ever_sees_a_freed_servable_while_versions_change() -> None:
    serving, stop, seen = ServingMap[dict[str, bool]](), threading.Event(), list[int]()
    freed_in_use = list[ServableId]()
    serving.publish(ServableId("m", 0), {"alive": True})

    def ask() -> None:
        count = 0
        while not stop.is_set():
            entry = serving.acquire("m")
            if not entry.model["alive"]:
                freed_in_use.append(entry.id)
            entry.release()
            count += 1
        seen.append(count)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    previous, bodies = ServableId("m", 0), dict[ServableId, dict[str, bool]]()
    for number in range(1, ROUNDS):
        id, body = ServableId("m", number), {"alive": True}
        bodies[id] = body
        serving.publish(id, body)
        gone = threading.Event()
        serving.withdraw(previous, gone.set)
        assert gone.wait(5)
        if previous in bodies:
            bodies[previous]["alive"] = False
        previous = id
    stop.set()
    for asker in askers:
        asker.join()
    assert len(seen) == 4
    assert sum(seen) > 0
    assert freed_in_use == []
