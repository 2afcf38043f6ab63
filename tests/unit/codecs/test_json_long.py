import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.codecs import json_exact, json_long
from salver.codecs.json_long import is_long, long_tree
from salver.codecs.json_value import LongList, Pairs, debug_text, find, is_object, members
from salver.errors import Cancelled, InvalidArgument


def never() -> None:
    """The document is wanted."""


@pytest.fixture
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_long, "_PART_BYTES", 6)


def whole(value: Any) -> Any:
    """A value with all that is long in it read."""
    if isinstance(value, (list, LongList)):
        return [whole(item) for item in value]
    if is_object(value):
        return [(name, whole(item)) for name, item in members(value)]
    return value


def test_a_body_of_many_small_values_is_long() -> None:
    assert is_long(b"[" + b"1," * 200_000 + b"1]")
    assert is_long(b"[" * 300_000)
    assert not is_long(b"[1]")
    assert not is_long(b'{"instances":[{"b64":"' + b"A" * 1_000_000 + b'"}]}')


@pytest.mark.usefixtures("short_parts")
@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"[       ]",
        b"{}",
        b"5",
        b'"a string, and a long one"',
        b'\xef\xbb\xbf {"a": [1, 2, 3, 4, 5, 6], "b": {"c": [[[1, 2, 3, 4]]], "d": "efghijkl"}} x',
        b'{"a":1,"a":2,"b":3,"a":4}',
        b'{"b64":"a,b,c,d,e,f,g"}',
        b'[{"\\u0061,]}":"\\",]\\\\"},{"b":[NaN,1,2,3,4,5]}]',
        b'[1,2,3,"\xff\xff\xff\xff\xff\xff\xff\xff\xff",4,5]',
        b'[[[[[["deeper",1,2,3]]]]],1,[2,3]]',
    ],
)
def test_a_long_document_reads_as_the_exact_parser_reads_it(body: bytes) -> None:
    found, expected = long_tree(body, never), json_exact.parse(body)
    for _ in range(2):  # it can be gone through any number of times
        assert repr(whole(found)) == repr(whole(expected))
        assert debug_text(found) == debug_text(expected)


@pytest.mark.usefixtures("short_parts")
@given(
    st.recursive(
        st.none() | st.integers(-99, 99) | st.text('ab"\\,[]{}'),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text('a"\\,]'), inner),
    )
)
def test_any_document_reads_as_the_exact_parser_reads_it(value: Any) -> None:
    body = json.dumps(value).encode()
    assert whole(long_tree(body, never)) == whole(json_exact.parse(body))


@pytest.mark.usefixtures("short_parts")
def test_lists_know_their_length_and_objects_their_first_members() -> None:
    found = long_tree(b'{"a":[1,2,3,4,5,6,[7,8]],"b":1,"b":2,"c":{"d":"0123456789"}}', never)
    assert isinstance(found, Pairs)
    assert len(find(found, "a")) == 7
    assert find(found, "b") == 1
    assert find(found, "c") == {"d": "0123456789"}


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="offset: 3"):
        long_tree(b"[1,]", never)


@pytest.mark.usefixtures("short_parts")
def test_reading_ends_when_nobody_wants_the_document_any_more() -> None:
    is_wanted = True

    def check() -> None:
        if not is_wanted:
            raise Cancelled

    found = long_tree(b'{"a":[1,2,3,4,5,6,7,8],"b":[1,2,3,4,5]}', check)
    elements = find(found, "a")
    is_wanted = False
    with pytest.raises(Cancelled):
        list(elements)
    with pytest.raises(Cancelled):
        find(found, "b")


def test_memory_is_that_of_a_part() -> None:
    body = b'{"instances":[' + b",".join([b"[1.0,2.0,3.0]"] * 200_000) + b"]}"
    tracemalloc.start()
    try:
        rows = find(long_tree(body, never), "instances")
        assert sum(1 for _ in rows) == 200_000
        assert tracemalloc.get_traced_memory()[1] < 2 * len(body)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["[%s]", '{"a":%s}', '{"a":[%s],"b":1}'])
def test_depth_costs_no_stack_and_no_time(form: str) -> None:
    levels = 100_000
    opening, closing = form.split("%s")
    body = (opening * levels + "1" + closing * levels).encode()
    found = long_tree(body, never)
    assert debug_text(found) == debug_text(json_exact.parse(body))


def test_the_first_of_what_is_long_is_read_without_looking_for_its_end() -> None:
    asked: list[None] = []
    body = b"[" * 50 + b"1" + b",[2]" * 500_000 + b"]" * 50
    found = long_tree(body, never)
    assert debug_text(found).startswith("[" * 50 + "1, [2], ")
    found = long_tree(body, lambda: asked.append(None))
    before = len(asked)
    debug_text(found)
    assert len(asked) - before < 200
