import pytest

from salver.vocabulary.servable import Latest, ServableId


def test_versions_of_a_stream_sort_oldest_first() -> None:
    newer, older = ServableId("m", 10), ServableId("m", 9)
    assert sorted([newer, older]) == [older, newer]


def test_an_id_prints_as_in_the_logs_of_the_reference() -> None:
    assert str(ServableId("half_plus_two", 123)) == "{name: half_plus_two version: 123}"


def test_version_zero_is_a_version() -> None:
    assert ServableId("m", 0).version == 0


def test_a_negative_version_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^version must be non-negative, not -1$"):
        ServableId("m", -1)


def test_latest_none_is_no_policy() -> None:
    with pytest.raises(ValueError, match="num_versions must be positive, not 0"):
        Latest(0)
