from pathlib import Path

import pytest
from obstore.store import MemoryStore

from salver.errors import AlreadyExists, NotFound, Unavailable
from salver.remote.places import place_of
from salver.remote.stores import Bucket
from salver.remote.uploading import Claim, Outdone, is_writable, upload
from salver.sources.settings import SourceSettings


class Store(Bucket):
    """A bucket in memory, which may look at no conditions."""

    def __init__(self, *, has_conditions: bool = True) -> None:
        self.memory = MemoryStore()
        self.has_conditions = has_conditions
        super().__init__(self.memory, place_of("s3://b"), "nothing", SourceSettings(), {})

    def put_new(self, path: str, content: bytes) -> None:
        if self.has_conditions:
            super().put_new(path, content)
        else:
            self.put(path, content)

    def claim(self, waits: list[float] | None = None) -> Claim:
        waits = [] if waits is None else waits
        return Claim(self, "m/1", "s3://b/m/1", waits.append)

    def keys(self) -> list[str]:
        return [meta["path"] for page in self.memory.list() for meta in page]


@pytest.mark.parametrize("has_conditions", [True, False])
def test_who_comes_later_is_outdone(*, has_conditions: bool) -> None:
    store, waits = Store(has_conditions=has_conditions), list[float]()
    first = store.claim(waits)
    first.take()
    assert waits == ([] if has_conditions else [1.0])
    first.check()
    if has_conditions:
        with pytest.raises(Outdone):
            store.claim().take()
        first.check()
    else:  # the last of those who begin together has it
        store.claim().take()
        with pytest.raises(Outdone):
            first.check()


def test_who_wrote_first_sees_that_another_wrote_meanwhile() -> None:
    store = Store(has_conditions=False)
    second = store.claim()
    first = Claim(store, "m/1", "s3://b/m/1", lambda _seconds: second.take())
    with pytest.raises(Outdone):
        first.take()
    second.check()


@pytest.mark.parametrize("has_conditions", [True, False])
def test_what_was_uploaded_since_it_was_looked_for_is_refused(*, has_conditions: bool) -> None:
    store = Store(has_conditions=has_conditions)
    store.put("m/1/SHA256SUMS", b"")
    with pytest.raises(AlreadyExists, match="s3://b/m/1 is there already"):
        store.claim().take()


def test_a_claim_whose_answer_was_lost_is_still_ones_own() -> None:
    class Lossy(Store):
        losses = 1

        def put_new(self, path: str, content: bytes) -> None:
            super().put_new(path, content)
            if self.losses:
                self.losses -= 1
                raise Unavailable("the connection was reset")

    store = Lossy()
    store.claim().take()
    with pytest.raises(Outdone):
        store.claim().take()


def test_who_gives_up_leaves_what_is_anothers() -> None:
    store = Store(has_conditions=False)
    first, second = store.claim(), store.claim()
    first.take()
    second.take()
    first.give_up()
    second.check()
    second.give_up()
    assert store.keys() == []


@pytest.mark.parametrize("uri", ["s3://b/m", "gs://b/m", "GCS://b/m", "az://c/m", "abfss://c@a/m"])
def test_to_buckets_something_can_be_uploaded(uri: str) -> None:
    assert is_writable(uri)


@pytest.mark.parametrize("uri", ["http://h/m/1", "https://h/m/1", "hf://owner/repo", "file:///m/1"])
def test_nothing_is_uploaded_elsewhere_than_to_buckets(uri: str, tmp_path: Path) -> None:
    assert not is_writable(uri)
    (tmp_path / "model").write_bytes(b"x")
    with pytest.raises(Exception, match=f"Nothing can be uploaded to {uri}") as raised:
        upload(tmp_path, uri)
    assert "To object stores it can" in (getattr(raised.value, "hint", None) or "")


def test_a_claim_that_is_gone_is_nobodys() -> None:
    store = Store(has_conditions=False)
    claim = store.claim()
    claim.take()
    store.delete(["m/1/SHA256SUMS.part"])
    with pytest.raises(Outdone):
        claim.check()
    with pytest.raises(NotFound):
        store.read_small("m/1/SHA256SUMS.part", 100)
