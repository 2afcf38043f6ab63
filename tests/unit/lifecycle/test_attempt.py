from salver.errors import NotFound
from salver.instruments.files import Footprint
from salver.lifecycle.attempt import Attempt, Step
from salver.vocabulary.servable import ServableId

V1 = ServableId("m", 1)
SEEN = Footprint(1, 2, 3, 4)


def test_begins_by_reserving_resources() -> None:
    attempt = Attempt(V1, "/m/1")
    assert attempt.description == "Reserving resources for servable: {name: m version: 1}"
    assert attempt.final_error is None


def test_failure_to_reserve_is_told_as_such_with_its_own_code() -> None:
    attempt = Attempt(V1, "/m/1")
    attempt.failed(NotFound("/m/1; No such file or directory"))
    assert attempt.tries == 1
    assert attempt.final_error is not None
    assert attempt.final_error.status == (
        "NOT_FOUND: Error while attempting to reserve resources to load servable "
        "{name: m version: 1}: /m/1; No such file or directory"
    )


def test_tries_of_each_step_are_counted_apart() -> None:
    attempt = Attempt(V1, "/m/1")
    attempt.failed(NotFound("gone"))
    attempt.reserved(SEEN)
    assert (attempt.step, attempt.tries, attempt.seen, attempt.error) == (Step.LOAD, 0, SEEN, None)
    assert attempt.description == "Loading servable: {name: m version: 1}"


def test_failure_to_load_is_told_in_the_words_of_the_loader() -> None:
    attempt = Attempt(V1, "/m/1")
    attempt.reserved(SEEN)
    error = NotFound("no saved_model.pb")
    attempt.failed(error)
    assert attempt.final_error is error
