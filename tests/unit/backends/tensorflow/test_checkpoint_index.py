import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.checkpoint_tables import block, entry, handle, strings, table
from tests.graph_wire import FLOAT, STRING, number

from salver.backends.tensorflow.checkpoint_index import check_index
from salver.codecs.protobuf.wire import varint
from salver.errors import Code, DataLoss, ServingError

HEADER = {b"": number(1, 1)}
HUGE = 1 << 40


def check(directory: Path, index: bytes, data: bytes = b"") -> None:
    path = directory / "variables.index"
    path.write_bytes(index)
    (directory / "variables.data-00000-of-00001").write_bytes(data)
    check_index(path, lambda: None)


@pytest.mark.parametrize(
    "name", ["big", "classes", "convnet", "half_plus_two", "half_plus_two_tf2"]
)
def test_what_was_saved_passes(name: str, version_path: Callable[[str], Path]) -> None:
    check_index(version_path(name) / "variables" / "variables.index", lambda: None)


def test_a_version_without_variables_passes(tmp_path: Path) -> None:
    check_index(tmp_path / "variables" / "variables.index", lambda: None)


def test_sound_entries_pass(tmp_path: Path) -> None:
    data, checksum = strings(2, 3)
    entries = {
        b"float": entry(FLOAT, [64, 64], 0, 16384),
        b"of_no_rank": entry(FLOAT, [], 0, 4),
        b"none": entry(STRING, [0], 0, 0),
        b"strings": entry(STRING, [2], 0, len(data), checksum=checksum),
        b"in_parts": entry(STRING, [2, 2], 0, 0, slices=[[(0, 1), (0, 2)], [(1, 1), (0, 2)]]),
    }
    check(tmp_path, table(HEADER | entries), data)


@pytest.mark.parametrize("size", [0, 1, 47])
def test_what_tensorflow_refuses_by_itself_is_left_to_it(tmp_path: Path, size: int) -> None:
    check(tmp_path, bytes(size))
    check(tmp_path, bytes(200))
    check(tmp_path, table(HEADER, raw=b""))
    check(tmp_path, table(HEADER, raw=b"abc"))
    check(tmp_path, table(HEADER, compression=7))
    check(tmp_path, table(HEADER, raw=b"\xff" * 9, compression=1))
    check(tmp_path, table(HEADER, raw=b"abcdefgh\xff\xff\xff\xff"))


@pytest.mark.parametrize(
    ("index", "says"),
    [
        (table(HEADER, footer=handle(0, 0) + handle(1 << 62, HUGE)), "a block lies behind its end"),
        (table(HEADER, footer=handle(0, 0) + handle(0, (1 << 64) - 6)), "a block lies behind"),
        (table(HEADER, footer=b"\xff" * 40), "a number does not end"),
        (table(HEADER, index=[(b"\xff", handle(0, HUGE))]), "a block lies behind its end"),
        (table(HEADER, index=[(b"\xff", handle(1 << 62, 1))]), "a block lies behind its end"),
        (table(HEADER, index=[(b"\xff", b"\x80")]), "a number does not end"),
        (
            table({}, raw=handle(0, 1 << 31) + varint(1 << 31) + b"a" + struct.pack("<II", 0, 1)),
            "an entry is longer than its block",
        ),
        (
            table({}, raw=handle(9, 1) + varint(1) + b"ab" + struct.pack("<II", 0, 1)),
            "an entry is longer than its block",
        ),
        (
            table({}, raw=handle(0, 1) + varint(1) + b"ab" + struct.pack("<II", 1 << 30, 1)),
            "a block points behind itself",
        ),
        (table({b"v": entry(FLOAT, [HUGE, HUGE], 0, 4)}), "v is a tensor with more elements than"),
        (table({b"v": entry(FLOAT, [1] * 300, 0, 4)}), "v is a tensor of 300 dimensions"),
        (table({b"v": b"\xff" * 9}), "an entry is none"),
        (
            table({b"v": entry(FLOAT, [64, 64], 0, 4, slices=[[(-5, -7), (0, 1)]])}),
            "v has a part that begins before it",
        ),
        (table({b"v": entry(STRING, [1 << 31], 0, 9)}), "v has 2147483648 strings in 9 bytes"),
        (table({b"v": entry(STRING, [2], 0, -5)}), "v has 2 strings in -5 bytes"),
    ],
)
def test_what_ends_the_process_is_refused_and_not_tried_again(
    tmp_path: Path, index: bytes, says: str
) -> None:
    with pytest.raises(DataLoss, match=r"variables\.index is corrupt: ") as caught:
        check(tmp_path, index)
    assert says in caught.value.message
    assert caught.value.is_final
    assert caught.value.hint


@pytest.mark.parametrize("lengths", [(1 << 62, 1 << 62), (1 << 35, 5), (60, 60)])
def test_strings_are_no_longer_than_the_file(tmp_path: Path, lengths: tuple[int, int]) -> None:
    data, checksum = strings(*lengths)
    index = table(HEADER | {b"s": entry(STRING, [2], 7, len(data), checksum=checksum)})
    with pytest.raises(DataLoss, match="s has a string of more bytes than all together"):
        check(tmp_path, index, bytes(7) + data)


@pytest.mark.parametrize("offset", [-4096, 1 << 62, 1 << 70, 5000])
def test_strings_that_are_not_there_are_left_to_tensorflow(tmp_path: Path, offset: int) -> None:
    check(tmp_path, table(HEADER | {b"s": entry(STRING, [2], offset, 40)}), bytes(50))
    check(tmp_path, table(HEADER | {b"s": entry(STRING, [2], 0, 40)}), b"\x01")
    (tmp_path / "variables.data-00000-of-00001").unlink()
    check_index(tmp_path / "variables.index", lambda: None)


def test_keys_are_put_together_of_what_they_share(tmp_path: Path) -> None:
    bad = entry(FLOAT, [HUGE, HUGE], 0, 4)
    good = entry(FLOAT, [], 0, 4)
    body = varint(0) + varint(2) + varint(len(good)) + b"a1" + good
    body += varint(1) + varint(1) + varint(len(bad)) + b"2" + bad
    with pytest.raises(DataLoss, match="corrupt: a2 is a tensor"):
        check(tmp_path, table({}, raw=body + struct.pack("<II", 0, 1)))


def test_compressed_blocks_are_looked_at_too(tmp_path: Path) -> None:
    bad = block([(b"v", entry(FLOAT, [1] * 300, 0, 4))])
    pieces = [bad[at : at + 60] for at in range(0, len(bad), 60)]
    raw = varint(len(bad)) + b"".join(bytes([(len(p) - 1) << 2]) + p for p in pieces)
    with pytest.raises(DataLoss, match="v is a tensor of 300 dimensions"):
        check(tmp_path, table({}, raw=raw, compression=1))


def test_others_get_their_turn_meanwhile(tmp_path: Path) -> None:
    breaths: list[None] = []
    path = tmp_path / "variables.index"
    path.write_bytes(table({b"%05d" % n: entry(FLOAT, [], 0, 4) for n in range(1000)}))
    check_index(path, lambda: breaths.append(None))
    assert len(breaths) == 1000


def test_a_file_that_cannot_be_read_gives_the_words_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "variables.index").mkdir()
    with pytest.raises(ServingError, match="Is a directory") as caught:
        check_index(tmp_path / "variables.index", lambda: None)
    assert caught.value.code is Code.FAILED_PRECONDITION


SOUND = table(HEADER | {b"a": entry(FLOAT, [2], 0, 8), b"b": entry(STRING, [1], 8, 9)})


@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), max_size=6))
def test_whatever_is_wrong_with_it_is_told_as_such(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    index = bytearray(SOUND)
    for place, octet in changes:
        index[place] = octet
    directory = tmp_path_factory.getbasetemp() / "mutated"
    directory.mkdir(exist_ok=True)
    with suppress(DataLoss):
        check(directory, bytes(index), bytes(20))
