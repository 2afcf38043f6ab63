import pytest

from salver.errors import Code
from salver.metrics.outcomes import LONGEST_NAME, MOST_STRANGERS, Outcomes


def names(outcomes: Outcomes) -> set[str]:
    return {model for model, *_ in outcomes.read().failures}


def test_failures_are_counted_by_model_version_code_and_door() -> None:
    outcomes = Outcomes()
    outcomes.failed("m", Code.NOT_FOUND, entrypoint="REST")
    outcomes.failed("m", Code.NOT_FOUND, entrypoint="REST")
    outcomes.failed("m", Code.INTERNAL, entrypoint="GRPC", version=3)
    assert outcomes.read().failures == {
        ("m", None, Code.NOT_FOUND, "REST", "tfs"): 2,
        ("m", 3, Code.INTERNAL, "GRPC", "tfs"): 1,
    }


def test_failures_are_told_apart_by_protocol() -> None:
    outcomes = Outcomes()
    outcomes.failed("m", Code.NOT_FOUND, entrypoint="REST")
    outcomes.failed("m", Code.NOT_FOUND, entrypoint="REST", protocol="v2")
    assert outcomes.read().failures == {
        ("m", None, Code.NOT_FOUND, "REST", "tfs"): 1,
        ("m", None, Code.NOT_FOUND, "REST", "v2"): 1,
    }


def test_answers_without_a_run_are_timed() -> None:
    outcomes = Outcomes()
    outcomes.answered("m", 20e-6)
    outcomes.answered("m", 5e-6)
    value = outcomes.read().answers["m"]
    assert list(value.counts[:4]) == [1, 0, 1, 0]
    assert value.total == pytest.approx(25.0)


def test_names_that_nobody_configured_are_remembered_up_to_a_number() -> None:
    outcomes = Outcomes(lambda name: name == "configured")
    for number in range(MOST_STRANGERS + 50):
        outcomes.failed(f"stranger-{number}", Code.NOT_FOUND, entrypoint="REST")
    outcomes.failed("configured", Code.INTERNAL, entrypoint="REST")
    outcomes.failed("stranger-0", Code.NOT_FOUND, entrypoint="GRPC")
    failures = outcomes.read().failures
    assert len(names(outcomes)) == MOST_STRANGERS + 2
    assert failures["", None, Code.NOT_FOUND, "REST", "tfs"] == 50
    assert failures["configured", None, Code.INTERNAL, "REST", "tfs"] == 1
    assert failures["stranger-0", None, Code.NOT_FOUND, "GRPC", "tfs"] == 1


def test_who_is_nobody_brings_no_name_to_the_page() -> None:
    outcomes = Outcomes(lambda name: name == "configured")
    for name in ("configured", "stranger"):
        outcomes.failed(name, Code.UNAUTHENTICATED, entrypoint="REST")
    assert names(outcomes) == {"configured", ""}


def test_a_key_in_the_place_of_a_name_is_not_told() -> None:
    outcomes = Outcomes()
    for _ in range(2):
        outcomes.failed(f"m?api_key=salver_a_{'x' * 32}", Code.NOT_FOUND, entrypoint="REST")
    name = "m?api_key=salver_a_…"
    assert outcomes.read().failures == {(name, None, Code.NOT_FOUND, "REST", "tfs"): 2}


@pytest.mark.parametrize("name", ["two\nlines", "\udcff", "nul\0", "x" * (LONGEST_NAME + 1)])
def test_names_that_would_spoil_the_page_count_under_the_empty_name(name: str) -> None:
    outcomes = Outcomes()
    outcomes.failed(name, Code.NOT_FOUND, entrypoint="REST")
    outcomes.answered(name, 1.0)
    assert names(outcomes) == {""}
    assert set(outcomes.read().answers) == {""}


def test_a_configured_model_may_be_called_anything() -> None:
    outcomes = Outcomes(lambda _: True)
    outcomes.failed("x" * 1000, Code.NOT_FOUND, entrypoint="REST")
    assert names(outcomes) == {"x" * 1000}


def test_the_failures_of_a_forgotten_version_are_kept_without_it() -> None:
    outcomes = Outcomes()
    for version in (1, 2, None):
        outcomes.failed("m", Code.INTERNAL, entrypoint="REST", version=version)
    outcomes.forget("m", 1)
    outcomes.failed("n", Code.INTERNAL, entrypoint="REST", version=1)
    assert outcomes.read().failures == {
        ("m", None, Code.INTERNAL, "REST", "tfs"): 2,
        ("m", 2, Code.INTERNAL, "REST", "tfs"): 1,
        ("n", 1, Code.INTERNAL, "REST", "tfs"): 1,
    }


def test_readings_do_not_change_any_more() -> None:
    outcomes = Outcomes()
    outcomes.failed("m", Code.INTERNAL, entrypoint="REST")
    outcomes.answered("m", 1.0)
    readings = outcomes.read()
    outcomes.failed("m", Code.INTERNAL, entrypoint="REST")
    outcomes.answered("m", 1.0)
    assert list(readings.failures.values()) == [1]
    assert sum(readings.answers["m"].counts) == 1
