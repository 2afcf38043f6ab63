import logging
from pathlib import Path

import pytest

from salver.errors import InvalidArgument, ServingError
from salver.sources.file_system import LISTED_IN_TURN, FileSystem, find_versions
from salver.sources.protocol import MonitoredServable, Version
from salver.vocabulary.servable import All, Latest, Specific, VersionPolicy


def model(base: Path, *versions: str) -> MonitoredServable:
    for version in versions:
        (base / version).mkdir(parents=True)
    return MonitoredServable("m", str(base), All())


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_versions_are_found_with_their_directories(tmp_path: Path) -> None:
    servable = model(tmp_path / "m", "001", "2", "tmp")
    expected = {1: str(tmp_path / "m" / "001"), 2: str(tmp_path / "m" / "2")}
    assert find_versions(servable) == expected


def test_files_named_like_numbers_count_too(tmp_path: Path) -> None:
    (tmp_path / "3").touch()
    found = find_versions(MonitoredServable("m", f"file://{tmp_path}", Latest()))
    assert found == {3: str(tmp_path / "3")}


def test_base_path_without_versions_is_warned_of_in_the_words_users_search_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert find_versions(MonitoredServable("m", str(tmp_path), Latest())) == {}
    assert warnings(caplog) == [
        f"No versions of servable m found under base path {tmp_path}. Did you forget to name "
        "your leaf directory as a number (eg. '/1/')?"
    ]


def test_warnings_of_a_policy_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    find_versions(MonitoredServable("m", str(tmp_path), Specific(())))
    assert warnings(caplog) == ["No specific versions requested for servable m."]


@pytest.mark.parametrize(
    ("base_path", "status"),
    [
        ("/nowhere/m", "NOT_FOUND: /nowhere/m not found"),
        (
            "gs://bucket/m",
            "UNIMPLEMENTED: File system scheme 'gs' not implemented (file: 'gs://bucket/m')",
        ),
    ],
)
def test_base_path_that_is_not_there_is_an_error_with_its_reason(
    base_path: str, status: str
) -> None:
    with pytest.raises(InvalidArgument) as raised:
        find_versions(MonitoredServable("m", base_path, Latest()))
    assert raised.value.message == (
        f"Could not find base path {base_path} for servable m with error {status}"
    )


def test_each_model_has_its_versions_or_its_own_error(tmp_path: Path) -> None:
    there = model(tmp_path / "m", "1")
    gone = MonitoredServable("gone", "/nowhere", Latest())
    found = {servable.name: what for servable, what in FileSystem().find([gone, there])}
    assert found["m"] == {1: Version(str(tmp_path / "m" / "1"))}
    assert isinstance(found["gone"], ServingError)


def test_what_nobody_foresaw_is_the_error_of_its_model_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(_base_path: str) -> VersionPolicy | None:
        raise OverflowError("too much")

    (tmp_path / "evil/1").mkdir(parents=True)
    (tmp_path / "good/1").mkdir(parents=True)
    evil = MonitoredServable("evil", str(tmp_path / "evil"), Latest(), policy_in=breaks)
    good = MonitoredServable("good", str(tmp_path / "good"), Latest())
    source, models = FileSystem(), (evil, good)
    for _ in range(3):
        found = {servable.name: found for servable, found in source.find(models)}
        assert isinstance(found["evil"], ServingError)
        assert found["evil"].message.startswith(f"{evil.base_path} cannot be looked at: Overflow")
        assert found["good"] == {1: Version(str(tmp_path / "good/1"))}
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_what_has_not_changed_is_told_without_being_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    file_system = FileSystem(clock=lambda: now_s)
    servables = [
        MonitoredServable(f"m{n}", model(tmp_path / f"m{n}", "1").base_path, Latest())
        for n in range(LISTED_IN_TURN + 1)
    ]

    def found() -> dict[str, object]:
        return {servable.name: what for servable, what in file_system.find(servables)}

    first = found()
    now_s = 10.0
    assert found() == first
    listed: list[str] = []

    def list_names(path: str) -> list[str]:
        listed.append(path)
        return ["1"]

    monkeypatch.setattr("salver.sources.file_system.list_names", list_names)
    assert found() == first
    assert len(listed) == LISTED_IN_TURN
    servables = [MonitoredServable(s.name, s.base_path, All()) for s in servables]
    assert found() == first
    assert len(listed) == 2 * LISTED_IN_TURN + 1


@pytest.mark.parametrize(
    ("policy", "versions"),
    [(Latest(), [1]), (All(), [1]), (Specific((1, 2)), [1]), (Specific((2,)), [])],
)
def test_a_base_path_that_is_a_version_and_has_none_is_version_1(
    policy: VersionPolicy, versions: list[int], tmp_path: Path
) -> None:
    (tmp_path / "model.x").touch()
    servable = MonitoredServable(
        "m", str(tmp_path), policy, is_version=lambda where: Path(where, "model.x").exists()
    )
    assert find_versions(servable) == dict.fromkeys(versions, str(tmp_path))
    (tmp_path / "7").mkdir()
    assert str(tmp_path) not in find_versions(servable).values()
