import json

import numpy as np
import pytest

from salver.codecs.json.syntax import read_tree
from salver.codecs.oip import json_pieces
from salver.codecs.oip.json_pieces import Cut, Kind, cut_numbers
from salver.errors import Cancelled


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_pieces, "_SHORT_BYTES", 8)
    monkeypatch.setattr(json_pieces, "_PIECE_BYTES", 32)


def active() -> bool:
    return True


def cut_of(data: str) -> Cut:
    cut = cut_numbers(b'{"name":"x","data":%b,"z":1}' % data.encode(), active)
    assert cut is not None
    return cut


def numbers_of(data: str, kind: Kind = "d") -> list[float]:
    cut = cut_of(data)
    found: list[float] = cut.numbers(read_tree(cut.rest)["data"], kind, active).tolist()
    return found


@pytest.mark.parametrize(
    ("data", "numbers"),
    [
        (list(range(100)), list(range(100))),
        ([[1, 2, 3]] * 40, [1, 2, 3] * 40),
        ([[[0.5, 1.5], [2.5, 3.5]]] * 20, [0.5, 1.5, 2.5, 3.5] * 20),
    ],
)
def test_numbers_are_read_in_pieces(data: object, numbers: list[float]) -> None:
    for separators in ((", ", ": "), (",", ":")):
        assert numbers_of(json.dumps(data, separators=separators)) == numbers
    assert numbers_of(json.dumps(data, indent=1)) == numbers


def test_integers_stay_exact() -> None:
    assert numbers_of(json.dumps([(1 << 63) - 1] * 9), "i") == [(1 << 63) - 1] * 9
    assert numbers_of(json.dumps([(1 << 64) - 1] * 9), "u") == [(1 << 64) - 1] * 9


def test_the_rest_has_all_but_the_numbers() -> None:
    text = json.dumps({"a": 1, "data": [1] * 20, "b": [{"data": [2] * 30}, {"data": [3]}]}).encode()
    cut = cut_numbers(text, active)
    assert cut is not None
    rest = read_tree(cut.rest)
    assert (rest["a"], rest["b"][1]) == (1, {"data": [3]})
    assert cut.knows(rest["data"])
    assert not cut.knows("data")
    assert cut.numbers(rest["data"], "d", active).tolist() == [1] * 20
    assert cut.numbers(rest["b"][0]["data"], "d", active).tolist() == [2] * 30


def test_a_text_without_such_lists_is_left_whole() -> None:
    for text in (b"{}", b'{"data":"' + b"x" * 99 + b'"}', b'{"data":[1,2]}', b'{"data" 1, 2, 3, 4'):
        assert cut_numbers(text, active) is None


@pytest.mark.parametrize(
    "data",
    [
        "[1,2,3,4,5,6]]",
        "[1,2,3],[4,5,6,7,8]",
        "[[1,2,3,4,5,6,7]",
        "[1,2,3,4,5,,6,7,8]",
        "[1,2,3 4,5,6,7,8,9]",
        "[1,2,true,4,5,6,7,8]",
        "[" + "1" * 200 + "]",
        "[1,2,3,4,5,6,7,8],9",
        "[NaN,1,2,3,4,5,6,7]",
        "[1,2,3,4,5,6,7,8,]",
        "[" + ",".join(["1"] * 50) + "]]" + ",[1",
        "[123456789012345678901234567890]",
    ],
)
def test_what_is_no_list_of_numbers_is_refused(data: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        numbers_of(data)


def test_numbers_of_another_kind_are_refused() -> None:
    with pytest.raises(TypeError):
        numbers_of("[1.5,2,3,4,5]", "i")
    with pytest.raises(ValueError, match="RANGE"):
        numbers_of("[-1,2,3,4,5]", "u")


def test_nobody_reads_on_for_who_has_left() -> None:
    with pytest.raises(Cancelled):
        cut_numbers(b'{"data":[1,2,3,4,5,6,7,8]}', lambda: False)
    cut = cut_of(json.dumps([1] * 100))
    with pytest.raises(Cancelled):
        cut.numbers(read_tree(cut.rest)["data"], "d", lambda: False)


def test_pieces_are_put_together_in_their_order() -> None:
    values = np.random.default_rng(3).integers(-1000, 1000, 500).tolist()
    assert numbers_of(json.dumps(values), "i") == values
