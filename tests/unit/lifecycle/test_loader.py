import pytest

from salver.errors import NotFound
from salver.instruments.files import Footprint
from salver.lifecycle.loader import LoadOptions, as_serving_error, footprint_of


@pytest.mark.parametrize(
    ("micros", "seconds"), [(60_000_000, 60.0), (1, 1e-6), (0, 0.0), (-1, 0.0)]
)
def test_retry_interval_in_seconds_is_none_when_negative(micros: int, seconds: float) -> None:
    assert LoadOptions(load_retry_interval_micros=micros).retry_interval_s == seconds


def test_defaults_are_those_of_the_flags() -> None:
    options = LoadOptions()
    assert options.num_load_threads == options.num_unload_threads == 0
    assert options.max_num_load_retries == 5
    assert options.retry_interval_s == 60.0


def test_what_a_loader_raises_becomes_an_error_that_can_be_shown() -> None:
    own = NotFound("no such file")
    assert as_serving_error(own) is own
    assert as_serving_error(KeyError("x")).status == "INTERNAL: KeyError: 'x'"
    assert as_serving_error(MemoryError()).status.startswith("RESOURCE_EXHAUSTED: ")


def test_error_that_is_kept_keeps_nothing_else_alive() -> None:
    try:
        dict[str, int]()["inner"]
    except KeyError as inner:
        kept = as_serving_error(inner)
    outer = NotFound("outer")
    outer.__cause__ = kept
    assert as_serving_error(outer) is outer
    for error in kept, outer:
        assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


def test_directory_that_cannot_be_looked_at_has_no_footprint() -> None:
    def look(path: str) -> Footprint:
        if path == "/gone":
            raise NotFound("/gone; No such file or directory")
        return Footprint(1, 2, 3, 4)

    assert footprint_of("/m/1", look) == Footprint(1, 2, 3, 4)
    assert footprint_of("/gone", look) is None
