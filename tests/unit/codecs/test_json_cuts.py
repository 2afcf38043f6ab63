import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.codecs.json_cuts import find_cuts, stretch_of


@pytest.mark.parametrize(
    ("text", "commas", "end"),
    [
        (b"", [], -1),
        (b"1,2", [1], -1),
        (b"1,[2,3],4]", [1, 7], 9),
        (b'"a,]",{"b":[1,2]}}', [5], 17),
        (b'"a\\",",2],3', [6], 8),
        (b"]", [], 0),
        (b'"', [], -1),
    ],
)
def test_commas_between_a_container_s_own_elements_are_found(
    text: bytes, commas: list[int], end: int
) -> None:
    found = find_cuts(text)
    assert (found.commas.tolist(), found.end) == (commas, end)


VALUES = st.recursive(
    st.none() | st.integers() | st.text('ab"\\,[]{}'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('a"\\,]'), inner),
)


@given(st.lists(VALUES), st.integers(1, 9))
def test_stretches_of_any_size_give_the_same_cuts(values: list[Any], size: int) -> None:
    body = json.dumps(values).encode() + b",1]"
    position, depth, is_in_string = 1, 0, False
    starts = [1]
    while True:
        stretch = stretch_of(body, position, size)
        found = find_cuts(stretch, depth, is_in_string)
        starts += [position + comma + 1 for comma in found.commas.tolist()]
        if found.end >= 0:
            break
        position += len(stretch)
        depth, is_in_string = found.depth, found.is_in_string
    end = position + found.end
    pieces = [body[a:b].rstrip(b", ") for a, b in zip(starts, [*starts[1:], end], strict=True)]
    assert [json.loads(piece) for piece in pieces if piece] == values


def test_a_stretch_does_not_end_within_an_escape() -> None:
    assert stretch_of(b'x\\\\\\"y', 0, 4) == b'x\\\\\\"'
    assert stretch_of(b'x\\\\\\"y', 0, 3) == b"x\\\\"
