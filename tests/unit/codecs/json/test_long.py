import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.json_bodies import signature

from salver.codecs.json import flat as json_flat
from salver.codecs.json import long as json_long
from salver.codecs.json.debug_text import debug_text
from salver.codecs.json.long import long_tree
from salver.codecs.json.syntax import parse
from salver.codecs.json.tree import ARRAY_TYPES, MISSING, OBJECT_TYPES, Pairs
from salver.errors import Cancelled, InvalidArgument
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import Signature


def always() -> bool:
    return True


@pytest.fixture
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_long, "_PART_BYTES", 6)


def whole(value: Any) -> Any:
    """A value with all that is long in it read."""
    if isinstance(value, ARRAY_TYPES):
        return [whole(item) for item in value]
    if isinstance(value, OBJECT_TYPES):
        return [(name, whole(item)) for name, item in value.items()]
    return value


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
    found, expected = long_tree(body, always), parse(body)
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
    assert whole(long_tree(body, always)) == whole(parse(body))


@pytest.mark.usefixtures("short_parts")
def test_lists_know_their_length_and_objects_their_first_members() -> None:
    found = long_tree(b'{"a":[1,2,3,4,5,6,[7,8]],"b":1,"b":2,"c":{"d":"0123456789"}}', always)
    assert isinstance(found, Pairs)
    assert len(found.get("a", MISSING)) == 7
    assert found.get("b", MISSING) == 1
    assert found.get("c", MISSING) == {"d": "0123456789"}


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="offset: 3"):
        long_tree(b"[1,]", always)


@pytest.mark.usefixtures("short_parts")
def test_reading_ends_when_nobody_wants_the_document_any_more() -> None:
    is_active = True

    found = long_tree(b'{"a":[1,2,3,4,5,6,7,8],"b":[1,2,3,4,5]}', lambda: is_active)
    elements = found.get("a", MISSING)
    is_active = False
    with pytest.raises(Cancelled):
        list(elements)
    with pytest.raises(Cancelled):
        found.get("b", MISSING)


def test_memory_is_that_of_a_part() -> None:
    body = b'{"instances":[' + b",".join([b"[1.0,2.0,3.0]"] * 200_000) + b"]}"
    tracemalloc.start()
    try:
        rows = long_tree(body, always).get("instances", MISSING)
        assert sum(1 for _ in rows) == 200_000
        assert tracemalloc.get_traced_memory()[1] < 2 * len(body)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["[%s]", '{"a":%s}', '{"a":[%s],"b":1}'])
def test_depth_costs_no_stack_and_no_time(form: str) -> None:
    levels = 100_000
    opening, closing = form.split("%s")
    body = (opening * levels + "1" + closing * levels).encode()
    found = long_tree(body, always)
    assert debug_text(found) == debug_text(parse(body))


def test_the_first_of_what_is_long_is_read_without_looking_for_its_end() -> None:
    asked: list[None] = []

    def is_active() -> bool:
        asked.append(None)
        return True

    body = b"[" * 50 + b"1" + b",[2]" * 500_000 + b"]" * 50
    found = long_tree(body, always)
    assert debug_text(found).startswith("[" * 50 + "1, [2], ")
    found = long_tree(body, is_active)
    before = len(asked)
    debug_text(found)
    assert len(asked) - before < 200


FLOAT = signature(x=DataType.FLOAT32)
STRING = signature(x=DataType.STRING)


@pytest.mark.parametrize(
    ("text", "wanted", "is_named", "arrays"),
    [
        (b"1,2", FLOAT, False, [[1, 2]]),
        (b"[1],[2]", FLOAT, False, [[[1], [2]]]),
        (b'{"x":1},{"x":2}', FLOAT, True, [[1, 2]]),
        (b'{"x":[1,2]},{"x":[3,4]}', FLOAT, True, [[[1, 2], [3, 4]]]),
        (b"Infinity,1", FLOAT, False, [[float("inf"), 1]]),
        (b'"a","\\u00e9"', STRING, False, [[b"a", "é".encode()]]),
        (b'{"b64":"aGk="}', STRING, False, [[b"hi"]]),
        # Of the other form, or in doubt.
        (b"1,2", FLOAT, True, None),
        (b'{"x":1},{"x":2}', FLOAT, False, None),
        (b'{"x":[1,2]},{"x":[3,4]}', FLOAT, False, None),
        (b'{"b64":"aGk="}', STRING, True, None),
        (b"[1],[2,3]", FLOAT, False, None),
        (b'"a"', FLOAT, False, None),
        (b'{"x":1,"x":2}', FLOAT, True, None),
    ],
)
def test_rows_become_arrays_by_the_quick_ways_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
    text: bytes,
    wanted: Signature,
    is_named: bool,
    arrays: list[Any] | None,
) -> None:
    for smallest in (0, 10**9):
        monkeypatch.setattr(json_flat, "_SMALLEST_NAMED_ROW_BYTES", smallest)
        part, _ = long_tree(b"[%b,0]" % text, always).parts()
        found = part.arrays(wanted.inputs, is_named=is_named)
        assert (None if found is None else [array.tolist() for array in found]) == arrays
        assert len(list(part.values())) == part.count


@pytest.mark.usefixtures("short_parts")
def test_a_row_that_is_long_itself_is_not_read_at_once() -> None:
    [part] = long_tree(b"[[1,2,3,4,5,6,7,8,9]]", always).parts()
    assert part.arrays(FLOAT.inputs, is_named=False) is None
