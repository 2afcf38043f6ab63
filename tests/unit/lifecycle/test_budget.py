from salver.instruments.files import Footprint
from salver.lifecycle.attempt import Attempt
from salver.lifecycle.budget import Budget, Queue, estimate_bytes
from salver.vocabulary.servable import ServableId

V1, V2 = ServableId("m", 1), ServableId("m", 2)


def files(size_bytes: int) -> Footprint:
    return Footprint(1, size_bytes, 0, 0)


def test_estimate_is_the_size_of_the_files_and_a_fifth() -> None:
    assert estimate_bytes(files(1000)) == 1200
    assert estimate_bytes(files(7)) == 8
    assert estimate_bytes(files(0)) == 0


def test_without_a_limit_everything_fits_and_is_counted() -> None:
    budget = Budget()
    assert budget.fits(V1, files(10**15))
    assert budget.reserve(V1, files(10**15))
    assert budget.used_bytes == 12 * 10**14


def test_each_process_of_a_version_takes_its_own() -> None:
    budget = Budget(limit_bytes=2500, copies=lambda id: 2 if id == V1 else 1)
    assert budget.reserve(V1, files(1000))
    assert budget.used_bytes == 2400
    assert not budget.reserve(V2, files(1000))


def test_what_is_reserved_is_given_back_once() -> None:
    budget = Budget(limit_bytes=1200)
    assert budget.reserve(V1, files(1000))
    assert not budget.fits(V2, files(1))
    assert not budget.reserve(V2, files(1))
    budget.release(V1)
    budget.release(V1)
    assert budget.reserve(V2, files(1000))


def test_version_takes_the_place_of_its_own_earlier_try() -> None:
    budget = Budget(limit_bytes=1200)
    assert budget.reserve(V1, files(900))
    assert budget.fits(V1, files(1000))
    assert not budget.reserve(V1, files(1001))
    assert budget.used_bytes == 1080
    assert budget.reserve(V1, files(1000))
    assert budget.used_bytes == 1200


def test_load_takes_more_than_what_stays() -> None:
    budget = Budget(limit_bytes=1200, transient_bytes=600)
    assert budget.reserve(V1, files(500))
    assert budget.used_bytes == 1200
    budget.loaded(V1)
    assert budget.used_bytes == 600
    assert not budget.fits(V2, files(1))


def test_refusal_says_the_numbers() -> None:
    budget = Budget(limit_bytes=1200)
    budget.reserve(V1, files(1000))
    error = budget.refusal(V2, files(10))
    assert error.status == (
        "RESOURCE_EXHAUSTED: Insufficient resources to load servable {name: m version: 2}"
    )
    assert error.hint == (
        "It needs 12 bytes by estimate (1.2 times its files); 1200 of the 1200 of "
        "--max_model_memory_bytes are taken. A new version is loaded beside the one it replaces."
    )


def test_those_that_wait_are_seated_when_there_is_room_for_them() -> None:
    budget = Budget(limit_bytes=1200)
    queue, first, second = Queue(budget), Attempt(V1, "/m/1"), Attempt(V2, "/m/2")
    budget.reserve(ServableId("other", 1), files(500))
    queue.wait(first, files(600))
    queue.wait(second, files(500))
    assert queue.waiting == {V1, V2}
    assert queue.take_fitting() == [second]
    assert queue.waiting == {V1}
    assert queue.withdraw(V1)
    assert not queue.withdraw(V1)
    assert queue.refuse_next() is None


def test_those_that_were_refused_are_told_of_once_when_there_is_room() -> None:
    budget = Budget(limit_bytes=1200)
    queue, other = Queue(budget), ServableId("other", 1)
    budget.reserve(other, files(1000))
    for id in (V1, V2):
        queue.wait(Attempt(id, "/m"), files(600))
        refused = queue.refuse_next()
        assert refused is not None
        assert refused[0].id == id
    assert queue.take_retryable() == []
    queue.keep_refused({V2})
    budget.release(other)
    assert queue.take_retryable() == [V2]
    assert queue.take_retryable() == []


def test_each_process_that_loads_a_version_takes_memory_for_it() -> None:
    budget = Budget(limit_bytes=3000, transient_bytes=100, num_copies=2)
    assert budget.reserve(V1, files(1000))
    assert budget.used_bytes == 2 * (1200 + 100)
    budget.loaded(V1)
    assert budget.used_bytes == 2 * 1200
    refusal = budget.refusal(V2, files(1000))
    assert refusal.hint is not None
    assert "2600 bytes by estimate (1.2 times its files for each of 2 workers)" in refusal.hint


def test_memory_of_a_load_that_was_given_up_is_kept_beside_that_of_the_next() -> None:
    budget = Budget(limit_bytes=3000)
    assert budget.reserve(V1, files(1000))
    kept_bytes = budget.abandon(V1)
    assert (kept_bytes, budget.reserved, budget.used_bytes) == (1200, {}, 1200)
    assert budget.reserve(V1, files(1000))
    assert not budget.reserve(V2, files(1000))
    budget.returned(kept_bytes)
    assert budget.reserve(V2, files(1000))
    assert budget.abandon(ServableId("other", 1)) == 0
