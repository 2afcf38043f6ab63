import json
import re

import pytest

from salver.codecs.json.syntax import parse, read_tree
from salver.codecs.json.syntax_hints import syntax_hint
from salver.errors import InvalidArgument

PNG = b"\x89PNG\r\n\x1a\n" + bytes(80)
PRINTED = "an array as Python prints it"


def hint_of(body: bytes) -> str:
    """What a request with this body is told."""
    with pytest.raises(InvalidArgument, match="JSON Parse error") as raised:
        read_tree(body)
    return raised.value.hint or ""


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (b"", "The body is empty"),
        (PNG, "The body is a PNG picture"),
        (b"\xff\xd8\xff\xe0" + bytes(80), "The body is a JPEG picture"),
        (b"GIF89a", "The body is a GIF picture"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "The body is a WebP picture"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "The body is a WAV file"),
        (b"OggS\x00", "The body is an Ogg file"),
        (b"\x93NUMPY\x01\x00", "The body is a .npy file"),
        (b"PK\x03\x04", "The body is a ZIP archive"),
        (b"\x80\x04\x95", "The body is pickled Python"),
        (b"\x1f\x8b\x08", "Content-Encoding: gzip"),
        (b"%PDF-1.7", "The body is a PDF"),
        (b"@data.json", "curl reads a file only for -d @FILE"),
        (b"'{instances: [[1]]}'", "The shell has kept the single quotes"),
        (b"<html>", "HTML or XML"),
        (b"instances=%5B%5B1%5D%5D", "a form (name=value)"),
        ('{"instances": [1]}'.encode("utf-16"), "UTF-16"),
        ('{"instances": [1]}'.encode("utf-16-le"), "UTF-16"),
        (b"hello", "The body must be JSON"),
    ],
)
def test_what_the_body_is_instead_of_json_is_said(body: bytes, hint: str) -> None:
    assert hint in hint_of(body)


@pytest.mark.parametrize(
    ("content_type", "hint"),
    [
        (b"image/png", "a form (multipart/form-data), with a picture in it"),
        (b"text/plain", "a form (multipart/form-data). The REST API takes JSON"),
    ],
)
def test_a_form_says_so_and_whether_it_holds_a_picture(content_type: bytes, hint: str) -> None:
    form = (
        b'--b0b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
        b"Content-Type: " + content_type + b"\r\n\r\n" + PNG + b"\r\n--b0b--\r\n"
    )
    assert hint in hint_of(form)


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ("{'instances': [[1.0]]}", "JSON takes double quotes"),
        ("{\"instances\": ['a']}", "JSON takes double quotes"),
        ("{“instances”: [1]}", "typographic"),
        ('{"instances": [[1.0, None]]}', "'None' is Python"),
        ('{"instances": [True]}', "'True' is Python"),
        ('{"instances": [False, 1]}', "'False' is Python"),
        ('{"instances": [nan]}', "'nan' is written NaN"),
        ('{"instances": [1.0, -inf]}', "'inf' is written NaN, Infinity"),
        ('{"instances": [1, 2],}', "no comma before a closing bracket"),
        ('{"instances": [1, 2,]}', "no comma before a closing bracket"),
        ('{"instances": [1] // rows\n}', "no comments"),
        ("{instances: [[1]]}", 'names in double quotes: "instances"'),
        ('{"instances": [[1]]', "ends in the middle"),
        ('{"instances": "abc', "ends in the middle"),
        ('{"instances": [1. 2. 3.]}', PRINTED),
        ('{"instances": [1 2 3]}', PRINTED),
        ('{"instances": [[0.1\n  0.2]]}', PRINTED),
        ('{"instances": [array([1, 2])]}', PRINTED),
        ('{"instances": tensor([1])}', PRINTED),
        ('{"instances": [np.float32(1.0)]}', PRINTED),
        ('{"instances": [1, 2, ..., 3]}', PRINTED),
        ('{"instances": [+1]}', "no plus sign"),
        ('{"instances": "C:\\data"}', "A backslash within a string"),
        ('{"instances": "a\nb"}', "A line break or tab within a string"),
    ],
)
def test_what_stands_where_the_fault_is_is_explained(body: str, hint: str) -> None:
    assert hint in hint_of(body.encode())


def test_the_text_of_the_error_stays_that_of_the_reference() -> None:
    with pytest.raises(InvalidArgument) as raised:
        parse(b"{'instances': 1}")
    assert raised.value.message == (
        "JSON Parse error: Missing a name for object member. at offset: 1"
    )


def test_a_fault_that_says_nothing_gets_no_hint() -> None:
    assert syntax_hint(b'{"instances" [1]}', 13) is None


def test_a_fault_far_inside_a_large_body_is_explained_by_its_own_place() -> None:
    rows = json.dumps([[0.5] * 100] * 2000)
    body = f'{{"instances": {rows[:-1]}, [None]]}}'.encode()
    assert "'None' is Python" in hint_of(body)


def test_no_offset_is_out_of_reach() -> None:
    for body in (b"[", b'{"a"', b"\x00", b"-"):
        with pytest.raises(InvalidArgument) as raised:
            parse(body)
        offset = re.search(r"offset: (\d+)", raised.value.message)
        assert offset is not None
        syntax_hint(body, int(offset[1]))
