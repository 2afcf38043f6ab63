import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.sources.versions import Selection, parse_version, select
from salver.vocabulary.servable import All, Latest, Specific, VersionPolicy


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("1", 1),
        ("00000123", 123),
        ("+7", 7),
        (" 7\t", 7),
        ("-3", -3),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("-9223372036854775808", -(2**63)),
        ("-9223372036854775809", None),
        ("v1", None),
        ("1.0", None),
        ("tmp-1", None),
        ("1_new", None),
        ("1_0", None),
        ("1 0", None),
        ("+-1", None),
        ("- 1", None),
        ("+", None),
        ("", None),
        ("٣", None),
    ],
)
def test_a_version_is_a_whole_signed_decimal_int64(name: str, version: int | None) -> None:
    assert parse_version(name) == version


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from(["", " ", "\t\n"]))
def test_every_int64_is_parsed_back(number: int, space: str) -> None:
    assert parse_version(f"{space}{number}{space}") == number


@given(st.text(max_size=8))
def test_any_name_is_a_number_in_range_or_nothing(name: str) -> None:
    version = parse_version(name)
    assert version is None or -(2**63) <= version < 2**63


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        (Latest(), [3]),
        (Latest(1), [3]),
        (Latest(2), [3, 2]),
        (Latest(9), [3, 2, 1]),
        (All(), [1, 2, 3]),
        (Specific((1, 3)), [1, 3]),
        (Specific((3,)), [3]),
    ],
)
def test_each_policy_chooses_its_versions(policy: VersionPolicy, versions: list[int]) -> None:
    chosen = select(policy, "m", ["1", "tmp", "3", "2"])
    assert sorted(chosen.names) == sorted(versions)
    assert chosen.warnings == ()
    assert not chosen.is_empty_by_mistake


@pytest.mark.parametrize("policy", [Latest(), All(), Specific((1,))])
def test_nothing_found_is_told_from_nothing_asked_for(policy: VersionPolicy) -> None:
    assert select(policy, "m", ["tmp", "v1"]).is_empty_by_mistake


@pytest.mark.parametrize("policy", [Latest(), All()])
def test_of_several_names_of_one_version_the_last_in_the_alphabet_wins(
    policy: VersionPolicy,
) -> None:
    assert select(policy, "m", ["1", "001", "01"]) == Selection(
        {1: "1"},
        (
            "Duplicate version directories detected. Version 1 will be loaded from 01, 001 will "
            "be ignored.",
            "Duplicate version directories detected. Version 1 will be loaded from 1, 01 will be "
            "ignored.",
        ),
        is_empty_by_mistake=False,
    )


@pytest.mark.parametrize("policy", [Latest(), All(), Specific((-1,))])
def test_negative_numbers_are_no_versions(policy: VersionPolicy) -> None:
    assert select(policy, "m", ["-1"]).names == {}


def test_missing_specific_version_is_told_and_the_others_are_served() -> None:
    chosen = select(Specific((2, 7, 5)), "m", ["1", "02"])
    assert chosen == Selection(
        {2: "02"},
        tuple(
            f"Version {version} of servable m, which was requested to be served as a 'specific' "
            "version in the servable's version policy, was not found in the file system"
            for version in (5, 7)
        ),
        is_empty_by_mistake=False,
    )


def test_specific_policy_without_versions_is_told() -> None:
    assert select(Specific(()), "m", ["1"]) == Selection(
        {}, ("No specific versions requested for servable m.",), is_empty_by_mistake=False
    )


def test_specific_versions_that_are_there_by_their_own_number_are_taken_without_a_word() -> None:
    chosen = select(Specific((1,)), "m", ["1", "1 ", "001"])
    assert chosen == Selection({1: "1"}, (), is_empty_by_mistake=False)
