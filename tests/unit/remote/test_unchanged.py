from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from salver.errors import NotFound
from salver.remote.unchanged import Unchanged
from salver.sources.protocol import MonitoredServable
from salver.vocabulary.servable import Latest

SERVABLE = MonitoredServable("m", "s3://b/m", Latest())


def pages(*contents: str) -> list[Sequence[dict[str, Any]]]:
    return [[{"path": f"m/{n}", "size": 1, "e_tag": each} for n, each in enumerate(contents)]]


def read(changed: Iterable[Sequence[Any]] | None) -> list[Sequence[Any]] | None:
    return None if changed is None else list(changed)


def test_the_same_listing_is_recognised() -> None:
    unchanged = Unchanged()
    assert read(unchanged.changed(iter(pages("a", "b")))) == pages("a", "b")
    unchanged.settle([(SERVABLE, {})], is_quiet=True)
    assert unchanged.changed(iter(pages("a", "b"))) is None
    assert unchanged.found == [(SERVABLE, {})]
    unchanged.settle(unchanged.found, is_quiet=True)
    assert unchanged.changed(iter(pages("a", "b"))) is None


@pytest.mark.parametrize("other", [("a",), ("a", "c"), ("b", "a"), ("a", "b", "c"), ()])
def test_another_listing_is_read(other: tuple[str, ...]) -> None:
    unchanged = Unchanged()
    unchanged.changed(iter(pages("a", "b")))
    unchanged.settle([], is_quiet=True)
    assert read(unchanged.changed(iter(pages(*other)))) == pages(*other)


def test_files_without_an_etag_are_told_apart_by_their_dates() -> None:
    def dated(date: int) -> Iterator[Sequence[dict[str, Any]]]:
        return iter([[{"path": "m", "size": 1, "e_tag": None, "last_modified": date}]])

    unchanged = Unchanged()
    unchanged.changed(dated(1))
    unchanged.settle([], is_quiet=True)
    assert unchanged.changed(dated(2)) is not None


def test_what_is_waited_for_or_failed_is_read_again() -> None:
    unchanged = Unchanged()
    unchanged.changed(iter(pages("a")))
    unchanged.settle([], is_quiet=False)
    assert unchanged.changed(iter(pages("a"))) is not None
    unchanged.settle([(SERVABLE, NotFound("gone"))], is_quiet=True)
    assert unchanged.changed(iter(pages("a"))) is not None


def test_of_very_many_pages_none_is_kept() -> None:
    unchanged = Unchanged()
    for _ in range(2):
        many = [page for n in range(70) for page in pages(str(n))]
        assert read(unchanged.changed(iter(many))) == many
        unchanged.settle([], is_quiet=True)
