import contextlib
import gc
import json
import random
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.json_bodies import signature

from salver.codecs.json import document as json_document
from salver.codecs.json import exact as json_exact
from salver.codecs.json import flat as json_flat
from salver.codecs.json import long as json_long
from salver.codecs.json import pieces as json_pieces
from salver.codecs.json import scan as json_scan
from salver.codecs.json.document import Document, PredictInputs
from salver.codecs.json.exact import ExactBody
from salver.codecs.json.syntax import parse
from salver.errors import Cancelled, InvalidArgument, ServingError
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.requests import TakesLong
from salver.vocabulary.signature import Signature

FLOAT = signature(x=DataType.FLOAT32)
TWO = signature(a=DataType.FLOAT32, b1=DataType.INT32)


def refusal(body: bytes) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as refused:
        Document(body)
    return refused.value


def big(body: str) -> bytes:
    """The same document, too large for the way small ones take."""
    return (body + " " * 3000).encode()


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('{"instances": [1]}', ""),
        ('{"signature_name": "a", "instances": [1]}', "a"),
        ('{"instances": [1], "signature_name": "a"}', "a"),
        ('{"signature_name": "a", "instances": [1], "signature_name": "b"}', "a"),
        ('{"signature_name": "a", "instances": [1], "signature_name": 5}', "a"),
        ('{"signature\\u005fname": "a", "signature_name": "b"}', "a"),
        ('{"signature_name": "\\u0101\\"", "instances": [1]}', 'ā"'),
        ('{"signature_name": "", "instances": [NaN]}', ""),
        ('{"instances": [NaN]}', ""),
        ("{}", ""),
    ],
)
@pytest.mark.parametrize("written", [str.encode, big])
def test_the_first_signature_name_counts(
    body: str, name: str, written: Callable[[str], bytes]
) -> None:
    assert Document(written(body)).signature_name == name


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "JSON Parse error: The document is empty"),
        (
            '{"instances": [1}',
            "JSON Parse error: Missing a comma or ']' after an array element. at offset: 16",
        ),
        ("[1, 2]", "JSON Value: [1, 2] Is not object"),
        ("5", "JSON Value: 5 Is not object"),
        ("NaN", "JSON Value:  Is not object"),
        (
            '{"signature_name": 5}',
            'JSON Value: {\n    "signature_name": 5\n} not formatted correctly. '
            "'signature_name' key must be a string value.",
        ),
        (
            '{"signature_name": null, "signature_name": "a"}',
            'JSON Value: {\n    "signature_name": null,\n    "signature_name": "a"\n} '
            "not formatted correctly. 'signature_name' key must be a string value.",
        ),
    ],
)
def test_a_body_is_refused_before_any_model_is_looked_up(body: str, message: str) -> None:
    assert refusal(body.encode()).message == message
    if body:
        assert refusal(big(body)).message == message


def test_a_body_that_is_no_object_gets_a_hint() -> None:
    assert "must be a JSON object" in (refusal(b"[1]").hint or "")
    assert "written twice" in (refusal(b'"{\\"instances\\": [1]}"').hint or "")


@pytest.mark.parametrize(("asked", "said"), [("", "DEFAULT"), ("sig", "sig")])
def test_a_signature_without_inputs_is_refused(asked: str, said: str) -> None:
    document = Document(b'{"data": 1}')
    with pytest.raises(InvalidArgument) as refused:
        document.predict_inputs(asked, Signature({}, {}))
    assert refused.value.message == f"Failed to get input map for signature: {said}"


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [1.0, 2.0, 5.0]}',
        b'{"signature_name": "a", "instances": [1, 2, 5]}',
        b'{"instances": [{"x": 1}, {"x": 2}, {"x": 5}]}',
        b'\xef\xbb\xbf{"instances": [1.0, 2.0, 5.0]} and more',
        b'{"instances": [1, 2, 5], "instances": []}',
        b'{"instances": [1, 2, 5], "b": "\xff"}',
        b'{"instances": [1, 2, 5], "b": NaN}',
        b'{"instances": [1, 2, 5], "b": -NaN}',
        b'{"instances": [{"x": 1, "x": 3}, {"x": 2}, {"x": 5}]}',
        b'{"instances": [1, 2, 5], "b": ' + b"[" * 2000 + b"]" * 2000 + b"}",
        b'{"instances": [1.0, 2.0, 5.0]}' + b" " * 3000,
        b'{"instances": [1.0, 2.0, 5.0], "b": [1]}' + b" " * 3000,
        b'{"instances": [{"x": 1}, {"x": 2}, {"x": 5}]}' + b" " * 3000,
    ],
)
def test_one_tensor_is_read_whichever_way_it_takes(body: bytes) -> None:
    document = Document(body)
    for _ in range(2):  # asking twice is allowed
        inputs = document.predict_inputs("", FLOAT)
        assert inputs.is_row
        [array] = inputs.arrays
        assert array.dtype == np.float32
        assert array.tolist() == [1, 2, 5]


def test_nan_and_infinity_are_accepted() -> None:
    body = b'{"instances": [{"x": [NaN, 1]}, {"x": [-Infinity, Inf]}]}'
    [array] = Document(body).predict_inputs("", FLOAT).arrays
    np.testing.assert_array_equal(array, [[np.nan, 1], [-np.inf, np.inf]])


def test_half_a_million_levels_are_read_and_refused() -> None:
    levels = 500_000
    deep = b"[" * levels + b"]" * levels
    assert Document(b'{"instances":[1],"nested":' + deep + b"}").predict_inputs("", FLOAT)
    message = refusal(b'{"signature_name":' + deep + b"}").message
    assert message.endswith("'signature_name' key must be a string value.")
    document = Document(b'{"instances":' + deep + b"}")
    with pytest.raises(InvalidArgument, match="dimensions"):
        document.predict_inputs("", FLOAT)


DEPTHS = (30, 63, 64, 65, 66, 70, 100, 255, 1000, 1020, 1023, 1024, 1025, 5000, 100_000)
DEEP_BODIES = (
    b'{"instances":%b}',
    b'{"inputs":%b}',
    b'{"inputs":{"x":%b}}',
    b'{"inputs":{"a":%b,"b1":%b}}',
    b'{"instances":[{"x":%b}]}',
    b'{"instances":[{"x":%b},{"x":%b}]}',
    b'{"instances":[{"a":%b,"b1":%b},{"a":%b,"b1":%b}]}',
    b'{"signature_name":%b,"instances":[1]}',
    b'{"examples":%b}',
    b'{"examples":[%b]}',
    b'{"examples":[{"a":%b}]}',
    b'{"context":{"a":%b},"examples":[{"b":1}]}',
    b"%b",
)
NESTINGS = ((b"[", b"]"), (b'{"a":', b"}"), (b'[{"x":', b"}]"), (b'{"x":[', b"]}"), (b"[", b""))
INNERMOST = (b"", b"1.0", b"1", b'"a"', b'{"b64":"YQ=="}', b"true", b"NaN", b"null", b"1," * 999)


def answers_or_refuses(levels: int, form: bytes, nesting: tuple[bytes, bytes], more: bytes) -> None:
    """Read a deep document in every way; anything but an error for the client is raised."""
    opening, closing = nesting
    innermost = more.rstrip(b",") or (b"1" if opening.endswith(b":") else b"")
    body = form.replace(b"%b", opening * levels + innermost + closing * levels)
    for written in (body, body + b" " * 3000):
        for wanted in (FLOAT, signature(x=DataType.STRING), TWO):
            with contextlib.suppress(ServingError):
                Document(written).predict_inputs("", wanted)
        with contextlib.suppress(ServingError):
            Document(written).examples("classify")


@pytest.mark.parametrize("levels", DEPTHS)
def test_whatever_is_nested_however_deep_is_taken_or_refused(levels: int) -> None:
    rng = random.Random(levels)
    for _ in range(max(1, min(20, 20_000 // levels))):
        answers_or_refuses(
            levels, rng.choice(DEEP_BODIES), rng.choice(NESTINGS), rng.choice(INNERMOST)
        )


@pytest.mark.stress
@pytest.mark.parametrize("levels", DEPTHS)
def test_every_form_of_document_is_taken_or_refused_however_deep_it_is(levels: int) -> None:
    for form in DEEP_BODIES:
        for nesting in NESTINGS:
            for more in INNERMOST if levels < 1000 else INNERMOST[:2]:
                answers_or_refuses(levels, form, nesting, more)


@pytest.mark.parametrize("levels", [65, 66, 70, 1000, 1020, 1025, 100_000])
@pytest.mark.parametrize("kind", [DataType.FLOAT32, DataType.INT32, DataType.STRING])
@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_more_axes_than_an_array_has_are_refused(key: str, kind: DataType, levels: int) -> None:
    value = '"a"' if kind is DataType.STRING else "1"
    body = f'{{"{key}": {"[" * levels}{value}{"]" * levels}}}'
    for written in (body.encode(), big(body)):
        with pytest.raises(InvalidArgument, match="more than 64 dimensions"):
            Document(written).predict_inputs("", signature(x=kind))


def test_rows_with_as_many_axes_as_an_array_may_have_are_one_axis_too_many() -> None:
    value = "[" * 64 + "1.0" + "]" * 64
    for row in (f'{{"x": {value}}}', value):
        for rows in (row, f"{row}, {row}"):
            with pytest.raises(InvalidArgument, match=r"65 dimensions|more than 64 dimensions"):
                Document(big(f'{{"instances": [{rows}]}}')).predict_inputs("", FLOAT)


def test_examples_are_read() -> None:
    body = b'{"signature_name": "s", "context": {"a": 1}, "examples": [{"b": 1.5}, {}]}'
    document = Document(body)
    assert document.signature_name == "s"
    assert len(document.examples("classify")) == 2
    assert document.examples("regress") == document.examples("classify")


def test_examples_are_missed_in_the_reference_s_words() -> None:
    document = Document(big('{"instances": [1]}'))
    with pytest.raises(InvalidArgument) as refused:
        document.examples("regress")
    assert refused.value.message == (
        'JSON Value: {\n    "instances": [1]\n} '
        "When method is classify, key 'examples' is expected and was not found"
    )


# Bodies that were to be read only if that is quick.


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [1.0, 2.0, 5.0]}',
        b'{"instances": [[1], [2, 3]]}',
        b"[" * 1000,
        b'{"instances": [' + b"1," * 20_000 + b"1]}",
    ],
)
def test_what_is_quick_or_tiny_is_read_in_the_loop(body: bytes) -> None:
    def outcome(only_quickly: bool) -> object:
        try:
            found = Document(body, only_quickly=only_quickly).predict_inputs("", FLOAT)
            return found.arrays[0].shape
        except InvalidArgument as error:
            return error.message

    assert outcome(only_quickly=True) == outcome(only_quickly=False)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 60_000,
        b'{"instances": [' + b"1," * 20_000 + b"]}",
        b'{"instances": [' + b"NaN," * 20_000 + b"1]}",
        b"[" + b"1," * 20_000 + b"1]",
        b'{"instances": [[' + b"1],[" * 20_000 + b"1,2]]}",
        b'{"instances": ["' + b'1","' * 20_000 + b'1"]}',
        b'{"instances": [' + b'{"x":1},' * 20_000 + b"1]}",
        b'{"instances": [' + b"1," * 200_000 + b"]}",
    ],
)
def test_what_is_neither_is_not_read_yet(body: bytes) -> None:
    def inputs(only_quickly: bool) -> None:
        Document(body, only_quickly=only_quickly).predict_inputs("", FLOAT)

    with pytest.raises(TakesLong):
        inputs(only_quickly=True)
    with contextlib.suppress(InvalidArgument):
        inputs(only_quickly=False)


def test_many_examples_are_not_quick() -> None:
    body = b'{"examples": [' + b'{"a": 1},' * 1000 + b"{}]}"
    with pytest.raises(TakesLong):
        Document(body, only_quickly=True).examples("classify")
    assert len(Document(b'{"examples": [{}]}', only_quickly=True).examples("classify")) == 1


# Bodies of many values.

LONG_ROWS = b'{"signature_name":"s","instances":[' + b"[1.0,2.0]," * 100_000


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            LONG_ROWS + b"[1.0,[2.0]]]}",
            "Failed to process element: 100000 of 'instances' list. Error: INVALID_ARGUMENT: "
            "Encountered list at unexpected level: 1 expected < 1",
        ),
        (LONG_ROWS + b"]}", "JSON Parse error: Invalid value. at offset: 1000035"),
        (
            b'{"instances":' + b"[" * 2_000_000,
            "JSON Parse error: Nested more than 1048576 levels deep",
        ),
    ],
)
def test_a_hopeless_body_costs_little_memory(body: bytes, message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArgument) as refused:
            Document(body).predict_inputs("", FLOAT)
        assert tracemalloc.get_traced_memory()[1] < 6 * len(body)
    finally:
        tracemalloc.stop()
    assert refused.value.message == message


def test_a_long_body_is_read_in_parts() -> None:
    document = Document(LONG_ROWS.replace(b"2.0", b"NaN", 1) + b"[3.0,4.0]]}")
    assert document.signature_name == "s"
    [array] = document.predict_inputs("s", FLOAT).arrays
    assert array.shape == (100_001, 2)
    assert np.isnan(array).sum() == 1
    assert array[-1].tolist() == [3, 4]


@pytest.mark.parametrize("blanks", [b"", b" " * 5000])
@pytest.mark.parametrize("rows", [b"[1.0,2.0]," * 100_000, b""])
def test_what_is_larger_than_is_read_at_once_is_read_in_parts(
    monkeypatch: pytest.MonkeyPatch, blanks: bytes, rows: bytes
) -> None:
    monkeypatch.setattr(json_document, "_LARGEST_WHOLE_BYTES", 0)
    monkeypatch.setattr(json_document, "_LARGE_BODY_BYTES", 0)
    monkeypatch.setattr(json_document, "SMALL_BODY_BYTES", 0)
    # Each of them reads a body in one step.
    for never in ("read_plain", "read_flat", "read_values", "read_tree_values", "read_exactly"):
        monkeypatch.setattr(json_document, never, None)
    body = b'%b{"instances":%b[%b[3.0,4.0]%b]%b}%b'
    document = Document(body % (blanks, blanks, rows, blanks, blanks, blanks))
    [array] = document.predict_inputs("s", FLOAT).arrays
    assert array.shape == (rows.count(b"[") + 1, 2)
    assert array[-1].tolist() == [3.0, 4.0]


@pytest.mark.parametrize("blanks", [b" " * 100, b" " * 10_000])
def test_blanks_around_the_numbers_change_nothing(blanks: bytes) -> None:
    body = blanks.join([b"", b'{"instances":', b"[[1.0,", b"2.0]", b"]", b"}", b""])
    document = Document(body + b" " * 3000)
    assert document.predict_inputs("s", FLOAT).arrays[0].tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("place", [0, 500])
def test_a_long_text_among_many_numbers_takes_no_memory(place: int) -> None:
    """numpy would give each of them the room of the longest: 4 GB here."""
    numbers = [b"1.0"] * 1000
    numbers[place] = b'"%b"' % (b"a" * 1_000_000)
    body = b'{"instances":[%b]}' % b",".join(numbers)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArgument, match="is not of expected type: float"):
            Document(body).predict_inputs("", FLOAT)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(body)
    finally:
        tracemalloc.stop()


def test_an_error_shows_no_more_than_the_beginning_of_a_long_text() -> None:
    body = b'{"instances":["%b"]}' % (b"a" * 100_000)
    with pytest.raises(InvalidArgument) as refused:
        Document(body).predict_inputs("", FLOAT)
    assert refused.value.message.count("a" * (16 << 10)) == 1
    assert len(refused.value.message) < 17 << 10


def test_reading_ends_when_the_client_has_left() -> None:
    body = LONG_ROWS.replace(b"2.0", b"NaN") + b"[3.0,4.0]]}"
    with pytest.raises(Cancelled):
        Document(body, is_active=lambda: False)
    assert Document(body, is_active=lambda: True).signature_name == "s"


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [1.0, 2.0]}',
        b'{"instances": [[1.0], [2.0, 3.0]]}',
        b'{"instances": [{"x": 1}]}',
        b'{"instances": [NaN]}',
        b'{"instances": [1.0, 2.0]}' + b" " * 3000,
        LONG_ROWS + b"[1.0,NaN]]}",
    ],
)
def test_a_document_that_is_let_go_keeps_nothing(body: bytes) -> None:
    gc.collect()
    gc.disable()
    try:
        before = sys.getrefcount(body)
        document = Document(body)
        with contextlib.suppress(InvalidArgument):
            document.predict_inputs("", FLOAT)
        del document
        assert sys.getrefcount(body) == before
    finally:
        gc.enable()


# The quick ways against the exact one.

KINDS = {
    "float": DataType.FLOAT32,
    "double": DataType.FLOAT64,
    "half": DataType.FLOAT16,
    "int": DataType.INT32,
    "byte": DataType.UINT8,
    "long": DataType.INT64,
    "ulong": DataType.UINT64,
    "uint": DataType.UINT32,
    "bool": DataType.BOOL,
    "string": DataType.STRING,
    "none": DataType.UINT16,
}
Answer = tuple[Any, ...]


def described(
    read: Callable[[bytes, Signature], tuple[str, PredictInputs]], body: bytes, wanted: Signature
) -> Answer:
    """What is made of a body: the arrays to the bit, or the error."""
    try:
        name, inputs = read(body, wanted)
    except ServingError as error:
        return (error.code, error.message, error.hint)
    arrays = [
        (array.dtype, array.shape, array.tolist() if array.dtype == object else array.tobytes())
        for array in inputs.arrays
    ]
    return (name, inputs.is_row, *arrays)


def exactly(body: bytes, wanted: Signature) -> tuple[str, PredictInputs]:
    reading = ExactBody(parse(body))
    return reading.signature_name, reading.inputs(wanted.inputs)


def quickly(body: bytes, wanted: Signature) -> tuple[str, PredictInputs]:
    document = Document(body)
    return document.signature_name, document.predict_inputs("", wanted)


@pytest.fixture(params=["small", "large", "long", "larger"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Send every body the way small ones take, or that of large, long or still larger ones."""
    limit = 10**9 if request.param in ("small", "long") else -1
    monkeypatch.setattr(json_document, "SMALL_BODY_BYTES", limit)
    monkeypatch.setattr(json_flat, "_SMALLEST_NAMED_ROW_BYTES", 0)
    monkeypatch.setattr(json_scan, "_SMALLEST_STRETCH_BYTES", 4)
    monkeypatch.setattr(json_scan, "_LARGEST_STRETCH_BYTES", 32)
    monkeypatch.setattr(json_exact, "_SCALARS_AT_ONCE", 2)
    monkeypatch.setattr(json_pieces, "_PIECE_BYTES", 8)
    monkeypatch.setattr(json_long, "_PART_BYTES", 8)
    if request.param in ("long", "larger"):
        monkeypatch.setattr(json_document, "_LARGE_BODY_BYTES", 0)
        monkeypatch.setattr(json_document, "_MOST_VALUES", -1)
    if request.param == "larger":
        monkeypatch.setattr(json_document, "_LARGEST_WHOLE_BYTES", -1)
    return str(request.param)


SCALARS = [
    "0", "1", "-1", "-0", "300", "2147483647", "2147483648", "-2147483649", "4294967296",
    "9223372036854775808", "18446744073709551615", "18446744073709551616", "1.5", "-0.0", "1e39",
    "1e5", "1e-50", "0.1", "123456789012345678901234567890", "1152921573326323713", "65520",
    "NaN", "-Infinity", "Inf", "true", "false", "null", '"a"', '"5"', '"\\u00e9"', '"http://x"',
    '"instances"', '{"b64": "aGk="}', '{"b64": "?"}', '{"b64": 1}', "{}", "1.", "01", "nope",
]  # fmt: skip
FITTING = {
    DataType.BOOL: ["true", "false"],
    DataType.STRING: ['"a"', '"\\u00e9"', '"http://x"', '"instances"', '{"b64": "aGk="}', '"[1]"'],
    DataType.INT32: ["0", "1", "-1", "-0", "300"],
    DataType.UINT64: ["0", "1", "9223372036854775808"],
    DataType.UINT32: ["0", "1", "4294967295"],
    DataType.FLOAT32: ["0", "-0", "1.5", "1e39", "1e5", "0.1", "NaN", "-Infinity", "Inf", "65520"],
}
JUNK = [
    "{", "}", "[", "]", ",", ":", '"', "\\", " ", "1", "-", "e", ".", "\x00", "\xff", '"a":',
    '"x":1,', "[1,2]", '"instances":[1],', '"inputs":[1],', '"signature_name":"b",', "NaN",
    '"signature_name":1,',
]  # fmt: skip


def random_body(rng: random.Random, names: list[str], kind: DataType) -> bytes:
    """A request: mostly regular and of scalars that fit, sometimes anything."""
    fitting = FITTING.get(kind) or FITTING[rng.choice([DataType.INT32, DataType.FLOAT32])]
    scalars = fitting if rng.random() < 0.7 else SCALARS
    palette = rng.sample(scalars, min(len(scalars), rng.choice([1, 1, 2, 3])))
    is_regular = rng.random() < 0.8
    shapes = {name: [rng.randint(0, 3) for _ in range(rng.randint(0, 3))] for name in names}
    shapes |= {name: [max(size, 1) for size in shape] for name, shape in shapes.items()
               if rng.random() < 0.8}  # fmt: skip

    def tensor(shape: list[int]) -> str:
        if not is_regular and rng.random() < 0.1:
            return rng.choice(["[]", "[[1]]", "1", "[1, [2]]"])
        if not shape:
            return rng.choice(palette)
        return "[" + rng.choice([",", ", "]).join(tensor(shape[1:]) for _ in range(shape[0])) + "]"

    def named() -> str:
        order = rng.sample(names, len(names)) if rng.random() < 0.3 else names
        extra = rng.choice([[], [], [], [], [], [], [names[0]], ["more"]])
        return "{" + ",".join(
            f'"{name}": {tensor(shapes.get(name, []))}' for name in [*order, *extra]
        ) + "}"  # fmt: skip

    key = rng.choice(["instances", "inputs"])
    is_plain = len(names) == 1 and rng.random() < 0.6
    if key == "instances":
        rows = [tensor(shapes[names[0]]) if is_plain else named() for _ in range(rng.randint(1, 3))]
        value = "[" + ",".join(rows) + "]"
    else:
        value = tensor(shapes[names[0]]) if is_plain else named()
    head = rng.choice(["", "", "", "", '"signature_name":"e1",', '"other": [1],'])
    tail = rng.choice(["", "", "", "", "", ',"signature_name": "s[]"', ',"inputs":[1]'])
    space = rng.choice(["", " "])
    return f'{{{head}{space}"{key}":{space}{value}{tail}}}{space}'.encode("latin-1")


def mutated(rng: random.Random, body: bytes) -> bytes:
    changed = bytearray(body)
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(0, len(changed))
        how = rng.random()
        if how < 0.3:
            del changed[at : at + 1]
        elif how < 0.4:
            del changed[at:]
        elif how < 0.5:
            end = rng.randint(at, len(changed))
            changed[at:at] = changed[at:end]
        else:
            changed[at:at] = rng.choice(JUNK).encode("latin-1")
    return bytes(changed)


@given(rng=st.randoms(use_true_random=False))
def check(rng: random.Random) -> None:
    names = rng.choice([["x"], ["x"], ["x"], ["a", "b"], ["e1", "e2"], ["b64"], ["inputs"]])
    kind = rng.choice(list(KINDS.values()))
    wanted = signature(
        **{name: kind if rng.random() < 0.8 else rng.choice(list(KINDS.values())) for name in names}
    )
    for _ in range(5):
        body = random_body(rng, names, kind)
        if rng.random() < 0.4:
            body = mutated(rng, body)
        expected = described(exactly, body, wanted)
        assert described(quickly, body, wanted) == expected, (body, wanted)


@pytest.mark.usefixtures("way")
def test_the_quick_ways_answer_as_the_exact_one_does() -> None:
    check()


@pytest.mark.usefixtures("way")
@given(st.binary() | st.lists(st.sampled_from([j.encode("latin-1") for j in JUNK])).map(b"".join))
def test_garbage_raises_nothing_but_serving_errors(body: bytes) -> None:
    assert described(quickly, body, FLOAT) == described(exactly, body, FLOAT)
    with contextlib.suppress(ServingError):
        Document(body).examples("classify")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "body",
    [
        b'{"signature_name": "s", "instances": [[1.5, -2e3], [NaN, 4]], "more": "\\u00e9\\n"}',
        b'{"instances":[[1.5,2],[3,4]]}',
        b'{"instances":[{"x":[1,2]},{"x":[3,4]}],"signature_name":"s"}',
        b'{"inputs":{"x":[[1],[2]]}}',
    ],
)
def test_a_body_cut_anywhere_or_with_more_behind_it_reads_as_exactly(body: bytes) -> None:
    for end in range(len(body) + 1):
        cut = body[:end]
        assert described(quickly, cut, FLOAT) == described(exactly, cut, FLOAT)
    for more in (b"x", b"}", b"{}", b"\x00", b"\xff", b'{"instances":[1]}'):
        longer = body + more
        assert described(quickly, longer, FLOAT) == described(exactly, body, FLOAT)


ARRAYS = st.sampled_from(list(KINDS.values())[:-2]).flatmap(
    lambda dtype: st.tuples(
        st.just(dtype),
        hnp.arrays(numpy_dtype(dtype), hnp.array_shapes(max_dims=4, max_side=4)),
    )
)


@pytest.mark.usefixtures("way")
@given(ARRAYS, st.sampled_from(["instances", "inputs", "rows", "columns"]))
def test_arrays_of_every_dtype_come_back_as_they_were(
    typed: tuple[DataType, Any], form: str
) -> None:
    dtype, array = typed
    if form == "rows":
        content: Any = {"instances": [{"x": row} for row in array.tolist()]}
    elif form == "columns":
        content = {"inputs": {"x": array.tolist()}}
    else:
        content = {form: array.tolist()}
    document = Document(json.dumps(content).encode())
    [found] = document.predict_inputs("", signature(x=dtype)).arrays
    assert found.dtype == array.dtype
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, array)


@given(st.lists(st.text(), min_size=1), st.booleans())
def test_strings_come_back_as_they_were(texts: list[str], ensure_ascii: bool) -> None:
    body = json.dumps({"instances": texts}, ensure_ascii=ensure_ascii).encode()
    document: Document = Document(body)
    [found] = document.predict_inputs("", signature(x=DataType.STRING)).arrays
    assert found.tolist() == [text.encode() for text in texts]


def test_a_body_of_many_small_values_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_document, "read_long", lambda _source: ExactBody({"is_long": True}))
    monkeypatch.setattr(json_document, "read_flat", lambda _source: None)

    def is_long(body: bytes) -> bool:
        return Document(body).has("is_long")

    assert is_long(b'{"a":[' + b"1," * 200_000 + b"1]}")
    assert is_long(b"[" * 300_000)
    assert not is_long(b'{"a":[1]}')
    assert not is_long(b'{"instances":[{"b64":"' + b"A" * 1_000_000 + b'"}]}')
    assert is_long(b'{"instances":[{"b64":"' + b"A" * (16 << 20) + b'"}]}')
