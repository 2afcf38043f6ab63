import hashlib
import re
from datetime import datetime, timezone

import pytest

from salver.access.keys import KeyLine, Keys, line_of, lines_of, new_key, read_expires
from salver.errors import InvalidArgument

SUM = "ab" * 32
SECRET = "s" * 32


def keys(*made: tuple[str, KeyLine]) -> Keys:
    return Keys([line for _, line in made])


def test_a_new_key_has_its_id_and_32_characters_and_is_found_by_all_of_it() -> None:
    key, line = new_key("ci", "scorer")
    assert re.fullmatch(r"salver_ci_[A-Za-z0-9]{32}", key)
    assert line == KeyLine("ci", hashlib.sha256(key.encode()).digest(), "scorer")
    assert keys((key, line)).find(key.encode()) == line


def test_no_two_keys_are_alike() -> None:
    assert len({new_key("a", "r")[0] for _ in range(100)}) == 100


def test_the_line_does_not_hold_the_key() -> None:
    key, line = new_key("ci", "scorer")
    assert key.rpartition("_")[2] not in line.text


@pytest.mark.parametrize("id", ["a_b", "a.b-c_d_", "A" * 64])
def test_an_id_may_have_what_separates_the_parts_of_a_key(id: str) -> None:
    key, line = new_key(id, "r")
    assert keys((key, line), new_key("a", "r")).find(key.encode()) == line


@pytest.mark.parametrize(
    "id", ["", "a b", "_a", "ä", "a\n", "a" * 65, "#a", "salver_a", "anonymous"]
)
def test_an_id_that_would_break_the_file_is_refused(id: str) -> None:
    with pytest.raises(InvalidArgument, match="An id has"):
        new_key(id, "r")


def test_what_is_nearly_a_key_is_none() -> None:
    key, line = new_key("ci", "r")
    known = keys((key, line))
    other = new_key("other", "r")[0]
    wrong = [
        "",
        "salver_",
        "salver_ci_",
        key[:-1],
        key + "x",
        key.upper(),
        key.replace("ci", "cj"),
        key[len("salver_") :],
        "ci",
        line.sum.hex(),
        f"salver_ci_{other.rpartition('_')[2]}",
        key + "x" * 1_000_000,
    ]
    assert [known.find(each.encode()) for each in wrong] == [None] * len(wrong)


def test_the_sum_of_nothing_opens_nothing() -> None:
    line = KeyLine("ci", b"\0" * 32, "r")
    assert Keys([line]).find(b"salver_ci_" + b"\0" * 32) is None
    assert Keys().find(b"salver_ci_" + SECRET.encode()) is None


def test_a_file_is_read_line_by_line() -> None:
    text = f"# keys\n\n a {SUM} scorer\nb {SUM} root 2027-01-31T00:00:00Z\r\n"
    assert lines_of(text.encode(), "keys.txt") == [
        KeyLine("a", bytes.fromhex(SUM), "scorer"),
        KeyLine("b", bytes.fromhex(SUM), "root", 1801353600.0),
    ]


def test_a_line_is_written_as_it_is_read() -> None:
    for line in (new_key("a", "r")[1], new_key("a", "r", 1801353600.0)[1]):
        assert line_of(line.text) == line


def test_a_file_of_nothing_has_no_keys() -> None:
    assert lines_of(b"", "keys.txt") == lines_of(b"# none\n", "keys.txt") == []


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("\0\1\2\n", "keys.txt:1: a line is"),
        ("<html>", "keys.txt:1: a line is"),
        (f"a {SUM}", "keys.txt:1: a line is"),
        (f"a {SUM} r 2027-01-01 more", "keys.txt:1: a line is"),
        (f"a {SUM} r\nb {SUM[:-1]} r", "keys.txt:2: a SHA-256 has"),
        (f"a {SUM.upper()} r", "keys.txt:1: a SHA-256 has"),
        (f"ä {SUM} r", "keys.txt:1: an id has"),
        (f"a {SUM} r soon", "keys.txt:1: a time is written"),
        (f"a {SUM} r 2027-02-30", "keys.txt:1: a time is written"),
        (f"a {SUM} r 9999-12-31", "keys.txt:1: a time is written"),
        (f"a {SUM} r 2027-01-01T00:00:00", "keys.txt:1: a time is written"),
        (f"a {SUM} r\na {SUM} r", "keys.txt:2: the id a is there twice"),
    ],
)
def test_one_wrong_line_makes_the_file_wrong(content: str, wrong: str) -> None:
    with pytest.raises(InvalidArgument, match=wrong):
        lines_of(content.encode(), "keys.txt")


def test_bytes_that_are_no_text_are_no_file_of_keys() -> None:
    with pytest.raises(InvalidArgument, match=r"keys.txt is no file of keys"):
        lines_of(b"\xff\xfe", "keys.txt")


def test_an_error_does_not_quote_a_key_that_was_put_in_the_file() -> None:
    key = new_key("ci", "r")[0]
    for content in (key, f"{key} {SUM} r", f"ci {key} r", f"ci {SUM} r {key}"):
        with pytest.raises(InvalidArgument) as caught:
            lines_of(content.encode(), "keys.txt")
        assert key[-32:] not in str(caught.value)
        assert key[-32:] not in repr(caught.value.__cause__)


def test_a_day_counts_to_its_end() -> None:
    end = datetime(2027, 2, 1, tzinfo=timezone.utc).timestamp()
    assert read_expires("2027-01-31") == end
    assert read_expires("2027-02-01T00:00:00Z") == end
    assert read_expires("2027-02-01T01:30:00+01:30") == end
