import struct
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.backends.tflite.flatbuffer import Malformed, Table, flexbuffer_map, root_table


def _flexbuffer(entries: dict[bytes, bytes], kind: int = 5) -> bytes:
    """A map with one-byte widths: keys, key vector, strings, values, kinds, root."""
    out = bytearray()
    key_at, string_at = {}, {}
    for key in sorted(entries):
        key_at[key] = len(out)
        out += key + b"\0"
    for key in sorted(entries):
        out.append(len(entries[key]))
        string_at[key] = len(out)
        out += entries[key] + b"\0"
    out.append(len(entries))
    keys_at = len(out)
    for key in sorted(entries):
        out.append(len(out) - key_at[key])
    out.append(len(out) - keys_at)
    out.append(1)
    out.append(len(entries))
    values_at = len(out)
    for key in sorted(entries):
        out.append(len(out) - string_at[key])
    out += bytes([kind << 2]) * len(entries)
    out.append(len(out) - values_at)
    return bytes(out) + bytes([9 << 2, 1])


def _flatbuffer(*fields: tuple[str, int]) -> bytes:
    """A root table of scalars: each a form of `struct` and a value."""
    body = b"".join(struct.pack("<" + form, value) for form, value in fields)
    offsets, place = [], 4
    for form, _ in fields:
        offsets.append(place)
        place += struct.calcsize(form)
    vtable = struct.pack(f"<{2 + len(fields)}H", 4 + 2 * len(fields), 4 + len(body), *offsets)
    head = struct.pack("<I4s", 8 + len(vtable), b"TEST")
    return head + vtable + struct.pack("<i", len(vtable)) + body


@pytest.mark.parametrize("kind", [5, 25])
def test_a_map_of_strings_or_blobs_is_read(kind: int) -> None:
    entries = {b"serving_default": b"\x0a\x00\xff", b"b": b""}
    assert flexbuffer_map(_flexbuffer(entries, kind)) == {
        "serving_default": b"\x0a\x00\xff",
        "b": b"",
    }


def test_a_map_of_anything_else_is_malformed() -> None:
    with pytest.raises(Malformed, match="no string"):
        flexbuffer_map(_flexbuffer({b"a": b"x"}, kind=1))


def _spoilt(change: Callable[[bytearray], object]) -> bytes:
    data = bytearray(_flexbuffer({b"a": b"x"}))
    change(data)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x24", "too short"),
        (_spoilt(lambda data: data.__setitem__(-2, 5 << 2)), "no map"),
        (_spoilt(lambda data: data.__setitem__(-1, 3)), "no map"),
        (_spoilt(lambda data: data.__setitem__(-3, 0xFF)), "points before the start"),
        (_spoilt(lambda data: data.__setitem__(-7, 3)), "no width"),
        (_spoilt(lambda data: data.__setitem__(-6, 0xFF)), "points behind the end"),
        (bytes.fromhex("6101010001010001 00040524 01"), "."),
    ],
)
def test_a_spoilt_map_is_malformed(data: bytes, text: str) -> None:
    with pytest.raises(Malformed, match=text):
        flexbuffer_map(data)


def test_a_key_without_an_end_is_malformed() -> None:
    data = _flexbuffer({b"a": b"x"}).replace(b"\0", b"\1")
    with pytest.raises(Malformed):
        flexbuffer_map(data)


def test_scalars_are_read_and_absent_ones_have_their_default() -> None:
    table = root_table(_flatbuffer(("i", -3), ("b", 7)), b"TEST")
    assert (table.number(0, "<i"), table.number(1, "<b"), table.number(2, "<i", 9)) == (-3, 7, 9)
    assert (table.text(5), table.octets(5), table.numbers(5), list(table.tables(5))) == (
        None,
        None,
        None,
        [],
    )


def test_another_kind_of_file_is_malformed() -> None:
    with pytest.raises(Malformed, match="no file of the kind OTHR"):
        root_table(_flatbuffer(("i", 1)), b"OTHR")


def test_a_vector_longer_than_the_file_is_malformed() -> None:
    table = root_table(_flatbuffer(("I", 4), ("I", 1 << 30)), b"TEST")
    for read in (table.octets, table.numbers, lambda field: list(table.tables(field))):
        with pytest.raises(Malformed, match="points behind the end"):
            read(0)


@given(st.binary(max_size=60))
def test_no_bytes_do_worse_than_being_malformed(data: bytes) -> None:
    for whole in (data, data + bytes([9 << 2, 1])):
        with suppress(Malformed):
            flexbuffer_map(whole)
    with suppress(Malformed):
        table: Table = root_table(data[:4] + b"TFL3" + data[4:], b"TFL3")
        for field in range(4):
            table.text(field)
            table.numbers(field)
            list(table.tables(field))
