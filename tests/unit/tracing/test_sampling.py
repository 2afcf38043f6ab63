import pytest

from salver.errors import InvalidArgument
from salver.tracing.sampling import ALWAYS, NEVER, Sampling, sampling_of

LOW, HIGH = 1, 2**64 - 1  # ids that a ratio takes first and last


@pytest.mark.parametrize(
    ("name", "argument", "sampling"),
    [
        ("", "", ALWAYS),
        ("always_on", "", Sampling(1.0, follows_parent=False)),
        ("always_off", "", NEVER),
        ("traceidratio", "0.25", Sampling(0.25, follows_parent=False)),
        ("parentbased_always_on", "", ALWAYS),
        ("parentbased_always_off", "", Sampling(0.0)),
        ("parentbased_traceidratio", "0.01", Sampling(0.01)),
        ("parentbased_traceidratio", "", Sampling(1.0)),
    ],
)
def test_the_variables_name_a_sampler(name: str, argument: str, sampling: Sampling) -> None:
    assert sampling_of(name, argument) == sampling


@pytest.mark.parametrize(
    ("name", "argument"),
    [("jaeger_remote", ""), ("traceidratio", "2"), ("traceidratio", "-0.1"), ("traceidratio", "x")],
)
def test_what_is_no_sampler_is_refused(name: str, argument: str) -> None:
    with pytest.raises(InvalidArgument, match="OTEL_TRACES_SAMPLER"):
        sampling_of(name, argument)


@pytest.mark.parametrize("name", ["always_on", "traceidratio", "parentbased_always_off"])
def test_a_sampled_parent_is_followed_in_any_case(name: str) -> None:
    sampling = sampling_of(name, "0" if name == "traceidratio" else "")
    assert sampling.takes(HIGH, is_parent_sampled=True)


def test_nothing_is_traced_where_all_is_off() -> None:
    assert not NEVER.takes(LOW, is_parent_sampled=True)


def test_a_parent_that_is_not_sampled_decides_too() -> None:
    assert not ALWAYS.takes(LOW, is_parent_sampled=False)


def test_without_it_the_id_and_the_ratio_do() -> None:
    half = Sampling(0.5, follows_parent=False)
    assert half.takes(LOW, is_parent_sampled=False)
    assert half.takes(LOW + (1 << 64), is_parent_sampled=False)
    assert not half.takes(HIGH, is_parent_sampled=False)
