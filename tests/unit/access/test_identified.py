from salver.access.identified import Identified
from salver.vocabulary.access import Principal, Role

ME = Principal("me", "jwt", Role("r"))


def test_what_was_put_is_found() -> None:
    known = Identified()
    known.put(b"a", ME, 5.0)
    assert known.get(b"a") == (ME, 5.0)
    assert known.get(b"b") is None


def test_what_was_dropped_is_not() -> None:
    known = Identified()
    known.put(b"a", ME, 5.0)
    known.drop(b"a")
    known.drop(b"a")
    assert known.get(b"a") is None


def test_the_same_value_takes_its_room_once() -> None:
    known = Identified(most_bytes=600)
    for until_s in range(1000):
        known.put(b"a", ME, float(until_s))
    known.put(b"b", ME, 1.0)
    assert known.get(b"a") == (ME, 999.0)


def test_what_came_first_goes_when_it_is_full() -> None:
    known = Identified(most_bytes=20_000)
    for number in range(1000):
        known.put(b"%04d" % number + b"x" * 1000, ME, 1.0)
    assert len(known) == 15
    assert known.get(b"0999" + b"x" * 1000) is not None
    assert known.get(b"0000" + b"x" * 1000) is None


def test_what_is_larger_than_all_its_room_is_not_kept() -> None:
    known = Identified(most_bytes=100)
    known.put(b"x" * 1000, ME, 1.0)
    assert len(known) == 0
