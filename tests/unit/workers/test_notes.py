from salver.vocabulary.servable import ServableId
from salver.workers.notes import Notes

ID = ServableId("m", 1)


def test_the_notes_of_all_workers_stand_together_until_nobody_has_one() -> None:
    said: list[tuple[ServableId, str | None]] = []
    notes = Notes(lambda id, text: said.append((id, text)))
    notes.put(1, ID, "b")
    notes.put(0, ID, "a")
    notes.put(1, ID, None)
    notes.put(0, ID, None)
    texts = [text for _, text in said]
    assert texts == ["worker 1: b", "worker 0: a; worker 1: b", "worker 0: a", None]


def test_the_notes_of_a_worker_that_has_ended_are_gone() -> None:
    said: list[str | None] = []
    notes = Notes(lambda _id, text: said.append(text))
    notes.put(0, ID, "a")
    notes.put(1, ID, "b")
    notes.forget(0)
    notes.forget(7)
    assert said[-1] == "worker 1: b"
