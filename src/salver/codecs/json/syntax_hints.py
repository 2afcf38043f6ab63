"""Advice for a person whose body is no JSON: what it seems to be instead, and what to send.

Looks at the first bytes and at those around the fault, however long the body is. Pure.
"""

import re
from collections.abc import Callable
from typing import Final

__all__ = ["EMPTY", "syntax_hint"]

EMPTY: Final = 'The body is empty. Send JSON, for example {"instances": [[1.0, 2.0]]}.'
_NO_JSON: Final = 'The body must be JSON, for example {"instances": [[1.0, 2.0]]}.'

_HEAD_BYTES: Final = 512
_NEAR_BYTES: Final = 40

_PIXELS: Final = (
    "The REST API takes JSON. Decode the picture and send its pixels as nested lists of numbers; "
    'to a model that decodes pictures itself send {"instances": [{"b64": "<the file in base64>"}]}.'
)
_SOUND: Final = (
    "The REST API takes JSON. Decode the sound and send its samples as a list of numbers; "
    'to a model that decodes sound itself send {"instances": [{"b64": "<the file in base64>"}]}.'
)
_TO_LIST: Final = 'In Python: json.dumps({"instances": array.tolist()}).'
_DUMPS: Final = "In Python send json.dumps(data), or requests.post(url, json=data)."
_FORM: Final = (
    "The REST API takes JSON: with curl, -d '{\"instances\": [[1.0, 2.0]]}' (not -F, and no "
    "--data-urlencode); with requests, json=… (not data= or files=)."
)

_PICTURES: Final = (
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
)
_SOUNDS: Final = (
    (b"OggS", "an Ogg file"),
    (b"ID3", "an MP3 file"),
    (b"fLaC", "a FLAC file"),
)
_FILES: Final = (
    (b"\x93NUMPY", f"The body is a .npy file. The REST API takes JSON. {_TO_LIST}"),
    (b"PK\x03\x04", f"The body is a ZIP archive, as .npz files are. Send JSON. {_TO_LIST}"),
    (b"%PDF", "The body is a PDF. The REST API takes JSON."),
    (b"\x1f\x8b", "The body is gzipped: say so with the header Content-Encoding: gzip."),
    (b"\x80\x02", f"The body is pickled Python. Send JSON. {_DUMPS}"),
    (b"\x80\x03", f"The body is pickled Python. Send JSON. {_DUMPS}"),
    (b"\x80\x04", f"The body is pickled Python. Send JSON. {_DUMPS}"),
    (b"\x80\x05", f"The body is pickled Python. Send JSON. {_DUMPS}"),
    (b"@", "The body begins with '@': curl reads a file only for -d @FILE, without a blank."),
    (b"'{", 'The shell has kept the single quotes: cmd.exe wants "{\\"instances\\": [[1.0]]}".'),
    (b"<", "The body is HTML or XML. The REST API takes JSON."),
)
_MULTIPART: Final = re.compile(rb"--[^\r\n]{1,70}\r?\n[Cc]ontent-[Dd]isposition: *form-data")
_OF_PICTURE: Final = re.compile(rb"[Cc]ontent-[Tt]ype: *image/")
_URLENCODED: Final = re.compile(rb"[\w.%+\[\]-]{1,64}=[^=]")
_SINGLE_QUOTED: Final = re.compile(rb"[\s\[{,:]*'")
_NAME: Final = re.compile(rb"(?P<name>[A-Za-z_]\w*)\s*:")
_WORDS: Final = (
    (re.compile(rb"(?:None|True|False)\b"), "'{}' is Python; JSON writes null, true and false."),
    (re.compile(rb"(?:nan|inf|infinity)\b", re.I), "'{}' is written NaN, Infinity or -Infinity."),
    (re.compile(rb"(?:np|numpy|tf|torch|jnp)\.|(?:array|tensor|Tensor)\("), ""),
    (re.compile(rb"//|/\*|#"), "JSON has no comments."),
    (re.compile(rb"\.\.\."), ""),
)
_PRINTED: Final = (
    f"The body has an array as Python prints it, which JSON cannot read, and cut where long. "
    f"{_TO_LIST}"
)
_POINT: Final = re.compile(rb"[0-9]\.(?:[\s,\]}]|$)")
_BLANK_BETWEEN: Final = re.compile(rb"[0-9.][ \n]+-?[0-9.]")


def syntax_hint(body: bytes, offset: int) -> str | None:
    """What to do about a body that is no JSON; None where nothing is known.

    Args:
        body: not empty.
        offset: of the fault.
    """
    found = _of_the_whole(body[:_HEAD_BYTES]) or _of_the_place(body, offset)
    return found or (_NO_JSON if offset == 0 else None)


# -- what the body is ------------------------------------------------------------------------------


def _of_the_whole(head: bytes) -> str | None:
    for kinds, advice in ((_PICTURES, _PIXELS), (_SOUNDS, _SOUND)):
        for magic, name in kinds:
            if head.startswith(magic):
                return f"The body is {name}. {advice}"
    if head.startswith(b"RIFF"):
        is_picture = head[8:12] == b"WEBP"
        name, advice = ("a WebP picture", _PIXELS) if is_picture else ("a WAV file", _SOUND)
        return f"The body is {name}. {advice}"
    if _MULTIPART.match(head):
        what = ", with a picture in it" if _OF_PICTURE.search(head) else ""
        more = " Send the picture's pixels as nested lists of numbers." if what else ""
        return f"The body is a form (multipart/form-data){what}. {_FORM}{more}"
    for magic, text in _FILES:
        if head.startswith(magic):
            return text
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\x00" in head[:4]:
        return "The body is UTF-16 or UTF-32; JSON is sent as UTF-8."
    if _URLENCODED.match(head):
        return f"The body is a form (name=value). {_FORM}"
    return None


# -- what stands where the fault is ----------------------------------------------------------------


def _of_the_place(body: bytes, offset: int) -> str | None:
    before = body[max(0, offset - _NEAR_BYTES) : offset].rstrip()
    here = body[offset : offset + _NEAR_BYTES]
    return next((hint for look in _LOOKS if (hint := look(before, here)) is not None), None)


def _quotes(_before: bytes, here: bytes) -> str | None:
    if _SINGLE_QUOTED.match(here):
        return f"JSON takes double quotes, and this body has single ones. {_DUMPS}"
    if here.startswith((b"\xe2\x80\x9c", b"\xe2\x80\x9d", b"\xe2\x80\x98", b"\xe2\x80\x99")):
        return "The quotes are typographic ones; JSON takes plain double quotes."
    return None


def _words(before: bytes, here: bytes) -> str | None:
    # The fault of a number that has begun lies behind its first characters.
    for start in (here, before[-3:] + here, before[-1:] + here):
        for pattern, text in _WORDS:
            if found := pattern.match(start.lstrip(b"[{, :")):
                return text.format(found[0].decode(errors="replace")) if text else _PRINTED
    return None


def _numbers(before: bytes, here: bytes) -> str | None:
    near = before[-_NEAR_BYTES:] + here
    if _POINT.search(before[-2:] + here[:2]) or _BLANK_BETWEEN.match(before[-1:] + b" " + here):
        return _PRINTED
    return "JSON takes no plus sign before a number." if near and here.startswith(b"+") else None


def _names(before: bytes, here: bytes) -> str | None:
    if before[-1:] not in (b"{", b",") or (found := _NAME.match(here)) is None:
        return None
    name = found["name"].decode()
    return (
        f'JSON writes names in double quotes: "{name}". A shell takes them away unless the whole '
        "body stands in single quotes."
    )


def _commas(before: bytes, here: bytes) -> str | None:
    if before.endswith(b",") and here[:1] in (b"]", b"}"):
        return "JSON takes no comma before a closing bracket."
    return None


def _strings(_before: bytes, here: bytes) -> str | None:
    if here.startswith(b"\\"):
        return r"A backslash within a string is written \\."
    if here[:1] in (b"\n", b"\r", b"\t"):  # between values they are skipped
        return r"A line break or tab within a string is written \n, \r or \t."
    return None


def _the_end(_before: bytes, here: bytes) -> str | None:
    if not here:
        return "The body ends in the middle: is it whole, and is every bracket closed?"
    return None


_LOOKS: Final[tuple[Callable[[bytes, bytes], str | None], ...]] = (
    _quotes,
    _words,
    _commas,
    _names,
    _numbers,
    _strings,
    _the_end,
)
