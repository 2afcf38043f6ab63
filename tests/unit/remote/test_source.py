import hashlib
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore
from tests.integration.serving import eventually

from salver.about.config_file import policy_in
from salver.config.remote import RemoteStore
from salver.errors import Aborted, InvalidArgument, NotFound, ServingError, Unavailable
from salver.instruments.files import Footprint
from salver.remote.beside import MOST_BYTES
from salver.remote.places import Place
from salver.remote.source import ObjectStoreSource
from salver.remote.stores import Bucket
from salver.sources.protocol import MonitoredServable, Version
from salver.sources.settings import SourceSettings
from salver.vocabulary.servable import All, Latest, Specific, VersionPolicy


class Stage:
    """Lets everything pass."""

    def check(self) -> None: ...
    def progress(self, _done_bytes: int) -> None: ...
    def wait(self, _seconds: float) -> None: ...


class Store:
    """A bucket in memory, and a source that polls it at the times of a clock."""

    def __init__(self, **settings: Any) -> None:
        self.memory = MemoryStore()
        self.requests: Counter[str] = Counter()
        self.now_s = 1000.0
        self.error: ServingError | None = None
        self.source = ObjectStoreSource(
            SourceSettings(count=self._count, **settings), lambda: self.now_s, self._open
        )
        self.servables: tuple[MonitoredServable, ...] = ()

    def _count(self, _scheme: str, operation: str, code: str) -> None:
        self.requests[operation if code == "ok" else f"{operation} {code}"] += 1

    def _open(self, place: Place, _store: RemoteStore, settings: SourceSettings) -> Bucket:
        if self.error is not None:
            raise self.error
        return Bucket(self.memory, place, "nothing", settings, {})

    def put(self, key: str, content: bytes = b"x") -> None:
        self.memory.put(key, content)

    def put_whole(self, prefix: str, **files: bytes) -> None:
        sums = ""
        for name, content in files.items():
            self.put(f"{prefix}/{name}", content)
            sums += f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        self.put(f"{prefix}/SHA256SUMS", sums.encode())

    def watch(self, *names: str, policy: VersionPolicy = Latest()) -> None:  # noqa: B008
        self.servables = tuple(MonitoredServable(n, f"s3://b/m/{n}", policy) for n in names)

    def poll(self) -> dict[str, Any]:
        return {
            servable.name: found if isinstance(found, ServingError) else dict(found)
            for servable, found in self.source.find(self.servables)
        }


def test_complete_versions_are_found_with_their_sizes() -> None:
    store = Store()
    store.put_whole("m/a/1", x=b"12345")
    store.watch("a")
    (found,) = store.poll()["a"].values()
    assert found.location == "s3://b/m/a/1"
    assert found.files == Footprint(2, 5 + 64 + 4, 0, 0)
    assert len(found.revision) == 64


def test_all_models_of_one_parent_cost_one_listing() -> None:
    store = Store()
    names = [f"m{n}" for n in range(50)]
    for name in names:
        store.put_whole(f"m/{name}/1", x=b"1")
    store.watch(*names)
    assert set(store.poll()) == set(names)
    assert store.requests == {"list": 1}


def test_a_listing_of_a_parent_that_costs_more_than_one_of_each_is_given_up() -> None:
    store = Store()
    for name in ("a", "b"):
        store.put_whole(f"m/{name}/1", x=b"1")
    for number in range(4500):
        store.put(f"m/other/{number}")
    store.watch("a", "b")
    assert set(store.poll()) == {"a", "b"}
    assert store.requests["list"] <= 6
    store.requests.clear()
    store.now_s += 100
    store.poll()
    assert store.requests == {"list": 2}


def test_models_that_are_listed_one_by_one_are_not_listed_all_the_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store(poll_wait_s=1.0)
    names = [f"m{n}" for n in range(40)]
    for name in names:
        store.put_whole(f"m/{name}/1", x=b"1")
    for number in range(45_000):
        store.put(f"m/other/{number}")
    store.watch(*names)
    assert set(store.poll()) == set(names)
    assert store.source.poll_wait_s == 2.0
    assert "The models below s3://b/m are listed one by one" in caplog.text


def test_nothing_is_listed_before_the_next_poll_is_due() -> None:
    store = Store(poll_wait_s=60.0)
    store.put_whole("m/a/1", x=b"1")
    store.watch("a")
    store.poll()
    assert 54.0 <= store.source.poll_wait_s <= 66.0
    assert store.poll() == {}
    assert store.requests == {"list": 1}
    store.now_s += 67
    assert list(store.poll()) == ["a"]


def test_a_model_that_is_new_is_listed_at_once() -> None:
    store = Store(poll_wait_s=60.0)
    store.put_whole("m/a/1", x=b"1")
    store.put_whole("m/b/1", x=b"1")
    store.watch("a")
    store.poll()
    store.watch("a", "b")
    assert list(store.poll()["b"]) == [1]


def test_models_that_change_while_a_listing_hangs_are_those_of_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, gate, pages = Store(poll_wait_s=1.0), threading.Event(), Bucket.pages

    def hanging(bucket: Bucket, path: str) -> Any:
        assert gate.wait(30)
        return pages(bucket, path)

    monkeypatch.setattr(SourceSettings, "quiet_s", 0.05)
    store.source = ObjectStoreSource(SourceSettings(poll_wait_s=1.0), lambda: 1.0, store._open)
    monkeypatch.setattr(Bucket, "pages", hanging)
    for name in "abc":
        store.put_whole(f"m/{name}/1", x=b"1")
    store.watch("a", "b")
    assert store.poll() == {}
    store.watch("b", "c")
    assert store.poll() == {}
    gate.set()
    told: dict[str, Any] = {}

    def both_are_told() -> bool:
        told.update(store.poll())
        return told.keys() >= {"b", "c"}

    eventually("the new model is told of", both_are_told)
    assert sorted(told["c"]) == [1]


def test_what_has_not_changed_is_the_same_object() -> None:
    store = Store(poll_wait_s=1.0)
    store.put_whole("m/a/1", x=b"1")
    store.watch("a")
    (first,) = [found for _, found in store.source.find(store.servables)]
    store.now_s += 2
    (second,) = [found for _, found in store.source.find(store.servables)]
    assert second is first


def test_a_version_without_a_manifest_has_to_stay_the_same_for_a_while() -> None:
    store = Store(poll_wait_s=60.0, settle_s=10.0)
    store.put("m/a/1/saved_model.pb")
    store.watch("a")
    assert store.poll() == {}
    assert store.source.poll_wait_s == 10.0
    store.now_s += 10
    assert list(store.poll()["a"]) == [1]


def test_a_version_that_is_in_the_cache_need_not() -> None:
    kept: list[int] = []

    def is_kept(number: int, _version: Version) -> bool:
        kept.append(number)
        return True

    store = Store(is_kept=is_kept)
    store.put("m/a/1/saved_model.pb")
    store.watch("a")
    assert list(store.poll()["a"]) == [1]
    assert kept == [1]


def test_an_older_version_serves_until_the_newest_is_complete() -> None:
    store = Store(poll_wait_s=1.0)
    store.put_whole("m/a/1", x=b"1")
    store.put("m/a/2/x")
    store.watch("a")
    assert list(store.poll()["a"]) == [1]
    store.put_whole("m/a/2", x=b"1")
    store.now_s += 2
    assert list(store.poll()["a"]) == [2]


def test_a_version_that_is_written_anew_is_not_given_up_and_then_counts_as_new_files() -> None:
    store = Store(poll_wait_s=1.0, settle_s=10.0)
    store.put("m/a/1/x", b"one")
    store.watch("a")
    store.poll()
    store.now_s += 10
    before = store.poll()["a"][1]
    store.put("m/a/1/x", b"two")
    store.now_s += 2
    assert store.poll()["a"][1] == before
    store.now_s += 10
    after = store.poll()["a"][1]
    assert after.location == before.location
    assert after.revision != before.revision


@pytest.mark.parametrize(
    ("policy", "expected"),
    [(Latest(2), [1998, 1999]), (Specific((3, 5)), [3, 5]), (All(), list(range(1, 2000)))],
)
def test_of_a_model_with_very_many_versions_those_that_may_be_asked_for_are_listed(
    policy: VersionPolicy, expected: list[int]
) -> None:
    store = Store()
    for number in range(1, 2000):
        store.put_whole(f"m/a/{number}", x=b"1")
    store.watch("a", policy=policy)
    assert sorted(store.poll()["a"]) == expected
    if not isinstance(policy, All):
        assert store.requests["list"] < 12


def test_a_base_path_without_anything_is_told_once_and_changes_nothing() -> None:
    store = Store(poll_wait_s=1.0)
    store.watch("a")
    error = store.poll()["a"]
    assert error.message == (
        "Could not find base path s3://b/m/a for servable a with error NOT_FOUND: s3://b/m/a not "
        "found"
    )
    store.now_s += 2
    assert store.poll() == {}


def test_a_store_that_is_away_is_asked_less_and_less_often_and_told_of_in_one_line() -> None:
    store = Store(poll_wait_s=60.0)
    store.error = Unavailable("the store is away")
    store.watch("a", "b", "c")
    waits = []
    for _ in range(9):
        found = store.poll()
        assert sorted(found) == ["a", "b", "c"]
        (error,) = {id(error): error for error in found.values()}.values()
        assert error.message.startswith("the store is away and 2 more below the same path; ")
        waits.append(store.source.poll_wait_s)
        store.now_s += store.source.poll_wait_s + 0.1
        store.error = Unavailable("the store is away")
    assert 0.8 < waits[0] < 1.2
    assert waits == sorted(waits) or all(54 <= wait <= 66 for wait in waits[6:])
    store.error = None
    store.put_whole("m/a/1", x=b"1")
    assert list(store.poll()["a"]) == [1]


def test_a_base_path_of_files_by_which_a_model_is_known_is_version_1() -> None:
    store = Store(settle_s=0.0)
    store.put("m/a/model.onnx")
    store.put("m/a/assets/labels.txt")
    store.servables = (
        MonitoredServable(
            "a", "s3://b/m/a", Latest(), lambda path: Path(path, "model.onnx").exists()
        ),
    )
    found = store.poll()["a"][1]
    assert found.location == "s3://b/m/a"
    assert found.files.num_files == 2


def is_onnx(directory: str) -> bool:
    return any(path.suffix == ".onnx" for path in Path(directory).iterdir())


def watch_files(store: Store, *names: str) -> None:
    store.servables = tuple(
        MonitoredServable(name, f"s3://b/m/{name}", Latest(), is_onnx) for name in names
    )


@pytest.mark.parametrize("others", [(), ("other.onnx", "c")])
def test_a_base_path_that_is_a_file_is_version_1(tmp_path: Path, others: tuple[str, ...]) -> None:
    store = Store(settle_s=0.0)
    store.put("m/net.onnx", b"net")
    store.put("m/other.onnx", b"another")
    store.put("m/c/1/model.onnx", b"c")
    watch_files(store, "net.onnx", *others)
    found = store.poll()
    assert {name: of[1].location for name, of in found.items()} == {
        name: f"s3://b/m/{name}{'/1' if name == 'c' else ''}" for name in ("net.onnx", *others)
    }
    assert found["net.onnx"][1].files == Footprint(1, 3, 0, 0)
    store.source.fetch(found["net.onnx"][1], tmp_path, Stage())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"net.onnx": b"net"}


def test_a_file_that_is_overwritten_or_removed_is_not_mixed(tmp_path: Path) -> None:
    store = Store(settle_s=0.0)
    store.put("net.onnx", b"net")
    store.servables = (MonitoredServable("net", "s3://b/net.onnx", Latest(), is_onnx),)
    version = store.poll()["net"][1]
    store.put("net.onnx", b"other")
    with pytest.raises(Aborted, match="has changed"):
        store.source.fetch(version, tmp_path, Stage())
    store.memory.delete("net.onnx")
    with pytest.raises(NotFound, match="not there any more"):
        store.source.fetch(version, tmp_path, Stage())


def test_a_file_that_is_no_model_and_a_marker_of_a_directory_are_no_versions() -> None:
    store = Store(settle_s=0.0)
    store.put("m/net.txt", b"no")
    store.put("m/dir.onnx", b"")
    watch_files(store, "net.txt")
    assert store.poll() == {"net.txt": {}}
    watch_files(store, "dir.onnx")
    assert "not found" in store.poll()["dir.onnx"].message


def test_only_a_name_of_a_file_costs_a_look_whether_it_is_one() -> None:
    store = Store(settle_s=0.0)
    watch_files(store, "net")
    store.poll()
    assert store.requests == {"list": 1}
    watch_files(store, "net.onnx")
    store.poll()
    assert store.requests == {"list": 2, "head 404": 1}


def test_names_that_no_file_can_have_end_no_poll() -> None:
    store = Store(settle_s=0.0, poll_wait_s=1.0)
    store.put(f"m/a/{'x' * 300}")
    store.put("m/a/back\\slash")
    store.watch("a")
    assert store.poll() == {"a": {}}


def test_a_version_of_more_files_than_any_model_has_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("salver.remote.listing._MOST_PAGES_OF_ONE", 3)
    store = Store()
    for number in range(3001):
        store.put(f"m/a/1/{number}")
    store.watch("a")
    error = store.poll()["a"]
    assert isinstance(error, InvalidArgument)
    assert error.message == "s3://b/m/a/1 has more than 3000 files"


# -- what is beside versions -----------------------------------------------------------------------


def watch_with_config(store: Store, *names: str) -> None:
    store.servables = tuple(
        MonitoredServable(n, f"s3://b/m/{n}", Latest(), policy_in=policy_in) for n in names
    )


def test_a_config_beside_the_versions_says_which_are_served() -> None:
    store = Store(poll_wait_s=1.0)
    for number in (1, 2, 3):
        store.put_whole(f"m/a/{number}", x=b"1")
    store.put("m/a/config.pbtxt", b"version_policy { specific { versions: [1, 2] } }")
    watch_with_config(store, "a")
    assert sorted(store.poll()["a"]) == [1, 2]
    store.requests.clear()
    store.now_s += 2
    assert sorted(store.poll()["a"]) == [1, 2]
    assert store.requests == {"list": 1}  # it is read when it has changed
    store.put("m/a/config.pbtxt", b"version_policy { all {} }")
    store.now_s += 2
    assert sorted(store.poll()["a"]) == [1, 2, 3]
    store.memory.delete("m/a/config.pbtxt")
    store.now_s += 2
    assert sorted(store.poll()["a"]) == [3]


def test_a_policy_of_the_configuration_goes_before_that_of_the_file() -> None:
    store = Store()
    for number in (1, 2):
        store.put_whole(f"m/a/{number}", x=b"1")
    store.put("m/a/config.pbtxt", b"version_policy { all {} }")
    store.watch("a")
    assert sorted(store.poll()["a"]) == [2]
    assert store.requests == {"list": 1}


def test_a_config_that_is_none_leaves_the_usual_policy() -> None:
    store = Store()
    store.put_whole("m/a/1", x=b"1")
    store.put("m/a/config.pbtxt", b"{{{")
    watch_with_config(store, "a")
    assert sorted(store.poll()["a"]) == [1]


@pytest.mark.parametrize("others", ["", "bc"])
def test_a_config_at_which_the_look_breaks_is_an_error_of_its_model_alone(
    others: str, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(directory: str) -> VersionPolicy | None:
        if Path(directory, "config.pbtxt").read_bytes() == b"evil":
            raise OverflowError
        return None

    store = Store(poll_wait_s=1.0)
    for name in ("a", *others):
        store.put_whole(f"m/{name}/1", x=b"1")
        store.put(f"m/{name}/config.pbtxt", b"evil" if name == "a" else b"good")
    store.servables = tuple(
        MonitoredServable(n, f"s3://b/m/{n}", Latest(), policy_in=breaks) for n in ("a", *others)
    )
    found = store.poll()
    assert "s3://b/m/a cannot be looked at: OverflowError" in found.pop("a").message
    assert found == {name: found[name] for name in others}
    assert all(sorted(versions) == [1] for versions in found.values())
    for _ in range(3):
        store.now_s += 2
        assert "a" not in store.poll()  # of which there is nothing new to tell
    assert [record.exc_info is not None for record in caplog.records] == [True]


@pytest.mark.parametrize("others", ["", "bc"])
def test_a_listing_at_which_the_look_breaks_is_asked_for_later(
    others: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_bucket: Bucket, path: str) -> Any:
        raise RecursionError(path)

    monkeypatch.setattr(Bucket, "pages", breaks)
    store = Store(poll_wait_s=1.0)
    store.watch("a", *others)
    for _ in range(3):
        errors = list(store.poll().values())
        assert len(errors) == 1 + len(others)
        assert all("cannot be looked at: RecursionError" in error.message for error in errors)
        assert store.source.poll_wait_s > 0.8
        store.now_s += store.source.poll_wait_s
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_a_config_that_is_too_large_is_an_error_of_its_model_alone() -> None:
    store = Store()
    for name in "abc":
        store.put_whole(f"m/{name}/1", x=b"1")
    store.put("m/a/config.pbtxt", b"#" * (MOST_BYTES + 1))
    store.put("m/b/config.pbtxt", b"max_batch_size: 8")
    watch_with_config(store, "a", "b", "c")
    found = store.poll()
    assert f"is larger than {MOST_BYTES} bytes" in found["a"].message
    assert sorted(found["b"]) == sorted(found["c"]) == [1]


def test_the_config_of_a_model_with_very_many_files_is_read_too() -> None:
    store = Store()
    for number in range(3):
        store.put_whole(f"m/a/{number}", x=b"1")
    for number in range(2100):
        store.put(f"m/a/1/{number}")
    store.put("m/a/config.pbtxt", b"version_policy { specific { versions: 0 } }")
    watch_with_config(store, "a")
    assert sorted(store.poll()["a"]) == [0]


def test_a_config_is_brought_beside_the_version_as_it_was_listed() -> None:
    store = Store(poll_wait_s=1.0)
    store.put_whole("m/a/1", x=b"1")
    store.watch("a")
    bare = store.poll()["a"][1]
    assert store.source.beside(bare, Stage()) == {}
    store.put("m/a/config.pbtxt", b"max_batch_size: 8")
    store.now_s += 2
    version = store.poll()["a"][1]
    assert (version.revision, bool(version.beside)) == (bare.revision, True)
    assert store.source.beside(version, Stage()) == {"config.pbtxt": b"max_batch_size: 8"}
    store.put("m/a/config.pbtxt", b"max_batch_size: 9")
    with pytest.raises(Aborted, match="has changed since it was listed"):
        store.source.beside(version, Stage())


def test_a_config_that_could_not_be_read_is_read_again_though_nothing_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store(poll_wait_s=1.0)
    for name in ("a", "b"):
        store.put_whole(f"m/{name}/1", x=b"1")
        store.put_whole(f"m/{name}/2", x=b"1")
    store.put("m/a/config.pbtxt", b"version_policy { all {} }")
    watch_with_config(store, "a", "b")
    bucket = store.source._bucket("s3://b/m/a")
    with monkeypatch.context() as patched:
        patched.setattr(bucket, "read_small", fails)
        for _ in range(3):
            store.poll()
            store.now_s += 2
    assert sorted(store.poll()["a"]) == [1, 2]


def fails(*_what: Any) -> bytes:
    raise Unavailable("away")


def test_a_listing_that_is_what_it_was_means_what_it_meant() -> None:
    store = Store(poll_wait_s=1.0)
    for name in ("a", "b"):
        store.put_whole(f"m/{name}/1", x=b"1")
    store.watch("a", "b", "c")
    first = store.poll()
    assert isinstance(first["c"], ServingError)
    for _ in range(3):
        store.now_s += 2
        again = store.poll()
        assert {name: again[name] for name in ("a", "b")} == {n: first[n] for n in ("a", "b")}
    store.put_whole("m/a/1", x=b"2")  # overwritten in place
    store.put_whole("m/b/2", x=b"2")
    store.now_s += 2
    last = store.poll()
    assert last["a"][1].revision != first["a"][1].revision
    assert sorted(last["b"]) == [2]
    store.watch("a", "b")
    store.now_s += 2
    assert sorted(store.poll()) == ["a", "b"]


# -- fetching --------------------------------------------------------------------------------------


def fetched(store: Store, into: Path) -> dict[str, bytes]:
    (version,) = store.poll()["a"].values()
    into.mkdir()
    store.source.fetch(version, into, Stage())
    return {
        str(path.relative_to(into)): path.read_bytes() for path in into.rglob("*") if path.is_file()
    }


def test_the_files_of_a_version_are_fetched(tmp_path: Path) -> None:
    store = Store(settle_s=0.0)
    store.put("m/a/1/saved_model.pb", b"model")
    store.put("m/a/1/variables/index", b"")
    store.put("m/a/10/x", b"of another version")
    store.watch("a", policy=Specific((1,)))
    assert fetched(store, tmp_path / "v") == {"saved_model.pb": b"model", "variables/index": b""}


def test_a_version_that_has_gone_is_not_there_any_more(tmp_path: Path) -> None:
    store = Store(settle_s=0.0)
    store.put("m/a/1/x", b"1")
    store.watch("a")
    (version,) = store.poll()["a"].values()
    store.memory.delete("m/a/1/x")
    with pytest.raises(NotFound, match="s3://b/m/a/1 is not there any more"):
        store.source.fetch(version, tmp_path, Stage())


def test_a_version_that_has_changed_since_it_was_listed_is_not_mixed(tmp_path: Path) -> None:
    store = Store(settle_s=0.0)
    store.put("m/a/1/x", b"1")
    store.watch("a")
    (version,) = store.poll()["a"].values()
    store.put("m/a/1/x", b"2")
    with pytest.raises(Aborted, match="s3://b/m/a/1 has changed since it was listed"):
        store.source.fetch(version, tmp_path, Stage())


def test_a_manifest_that_names_what_is_not_there_is_refused(tmp_path: Path) -> None:
    store = Store()
    store.put_whole("m/a/1", x=b"1", y=b"2")
    store.memory.delete("m/a/1/y")
    store.watch("a")
    with pytest.raises(InvalidArgument, match="its SHA256SUMS names y, which is not there"):
        fetched(store, tmp_path / "v")


def test_names_that_are_one_file_where_capitals_do_not_count_are_refused(tmp_path: Path) -> None:
    store = Store(settle_s=0.0)
    store.put("m/a/1/x")
    store.put("m/a/1/X")
    store.watch("a")
    with pytest.raises(InvalidArgument, match="'X' and 'x' cannot both be files of a model"):
        fetched(store, tmp_path / "v")
