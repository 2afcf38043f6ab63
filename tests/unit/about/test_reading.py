import json
from typing import Any

import pytest
from hypothesis import given, strategies

from salver.about.document import (
    About,
    Example,
    InputAbout,
    InputKind,
    Layout,
    OutputAbout,
    OutputKind,
    SignatureAbout,
    plain,
)
from salver.about.reading import MOST_BYTES, parse_about
from salver.errors import InvalidArgument

WHOLE: dict[str, Any] = {
    "schema": 1,
    "title": "Digits",
    "description": "Reads handwriting.",
    "signatures": {
        "serving_default": {
            "title": "Read",
            "inputs": {
                "x": {
                    "title": "A digit", "description": "Drawn", "kind": "image", "layout": "HW",
                    "range": [0, 16], "inverted": True,
                },
                "person": {
                    "kind": "vector", "names": ["age", "height"], "units": ["years", "cm"],
                },
                "colour": {"kind": "category", "choices": ["red", 2, True], "unit": "hue"},
            },
            "outputs": {
                "p": {"kind": "classes", "labels": ["a", 1], "unit": "%", "threshold": 0.5},
            },
            "examples": [
                {"title": "a seven", "inputs": {"x": [[0, 1]], "person": [1, 2]}},
                {"files": {"x": "examples/seven.png"}},
            ],
        }
    },
}  # fmt: skip


def parse(value: Any) -> About:
    return parse_about(json.dumps(value).encode())


def inside(**members: Any) -> Any:
    return {"signatures": {"s": {"inputs": {"x": members}}}}


def test_everything_that_may_be_said_is_read() -> None:
    assert parse(WHOLE) == About(
        title="Digits",
        description="Reads handwriting.",
        signatures={
            "serving_default": SignatureAbout(
                title="Read",
                inputs={
                    "x": InputAbout(
                        title="A digit",
                        description="Drawn",
                        kind=InputKind.IMAGE,
                        layout=Layout.HW,
                        range=(0, 16),
                        inverted=True,
                    ),
                    "person": InputAbout(
                        kind=InputKind.VECTOR, names=("age", "height"), units=("years", "cm")
                    ),
                    "colour": InputAbout(
                        kind=InputKind.CATEGORY, choices=("red", 2, True), unit="hue"
                    ),
                },
                outputs={
                    "p": OutputAbout(
                        kind=OutputKind.CLASSES, labels=("a", "1"), unit="%", threshold=0.5
                    )
                },
                examples=(
                    Example(title="a seven", inputs={"x": [[0, 1]], "person": [1, 2]}),
                    Example(files={"x": "examples/seven.png"}),
                ),
            )
        },
    )


def test_what_is_read_is_written_the_same_again() -> None:
    about = parse(WHOLE)
    assert parse(plain(about)) == about
    assert about.files == {"examples/seven.png"}


@pytest.mark.parametrize("text", ["{}", '{"schema": 1}', '{"title": null}', "\ufeff{}"])
def test_nothing_has_to_be_said(text: str) -> None:
    assert parse_about(text.encode()) == About()


def test_an_empty_kind_or_layout_is_none() -> None:
    assert parse(inside(kind="", layout="")).signatures["s"].inputs["x"] == InputAbout()


def test_unknown_members_are_told_of_and_left_out() -> None:
    about = parse({"tilte": "x", **inside(rage=[0, 1]), "α β": 1})
    assert about.warnings == (
        "tilte is not known, and left out; did you mean title?",
        '"α β" is not known, and left out',
        "signatures.s.inputs.x.rage is not known, and left out; did you mean range?",
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "the document: an object is wanted, not []"),
        ({"schema": 2}, "schema: 1 is the only one there is, not 2"),
        ({"schema": True}, "schema: 1 is the only one there is, not true"),
        ({"title": 1}, "title: text is wanted, not 1"),
        ({"signatures": []}, "signatures: an object is wanted, not []"),
        (inside(kind="img"), "signatures.s.inputs.x.kind: one of image, audio, text, category, "
                             'number, vector is wanted, not "img"'),
        (inside(kind=[]), "signatures.s.inputs.x.kind: one of image, audio, text, category, "
                          "number, vector is wanted, not []"),
        (inside(range=[16, 0]), "signatures.s.inputs.x.range: two numbers are wanted, the lesser "
                                "first, not [16, 0]"),
        (inside(range=[0]), "signatures.s.inputs.x.range: two numbers are wanted, the lesser "
                            "first, not [0]"),
        (inside(range=[0, "1"]), 'signatures.s.inputs.x.range[1]: a number is wanted, not "1"'),
        (inside(range=[False, True]), "signatures.s.inputs.x.range[0]: a number is wanted, "
                                      "not false"),
        (inside(inverted="yes"), 'signatures.s.inputs.x.inverted: true or false is wanted, '
                                 'not "yes"'),
        (inside(names="ab"), 'signatures.s.inputs.x.names: a list is wanted, not "ab"'),
        (inside(names=[[1]]), "signatures.s.inputs.x.names[0]: text is wanted, not [1]"),
        (inside(names=["a"], units=["b", "c"]), "signatures.s.inputs.x.units: a unit for each of "
                                                'the 1 names is wanted, not ["b", "c"]'),
        (inside(units=["b"]), 'signatures.s.inputs.x.units: names first, not ["b"]'),
        (inside(choices=["a", "a"]), "signatures.s.inputs.x.choices: each choice is wanted once, "
                                     'not ["a", "a"]'),
        ({"signatures": {"s": {"outputs": {"y": {"threshold": "high"}}}}},
         'signatures.s.outputs.y.threshold: a number is wanted, not "high"'),
        ({"signatures": {"a b": {"examples": {}}}},
         'signatures."a b".examples: a list is wanted, not {}'),
        ({"signatures": {"s": {"examples": [{}]}}},
         "signatures.s.examples[0]: an example has inputs, or files, or both"),
        ({"signatures": {"s": {"examples": [{"inputs": {"x": 1}, "files": {"x": "a"}}]}}},
         "signatures.s.examples[0].files.x: x has a value in inputs already"),
        ({"signatures": {"s": {"examples": [{"inputs": {"x": 1}}] * 101}}},
         "signatures.s.examples: 100 examples at most are wanted"),
        ({"description": ["long" * 100]},
         f'description: text is wanted, not ["{"long" * 14}lo…'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_and_its_place_named(value: Any, message: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        parse(value)
    assert refusal.value.message == f"salver.json: {message}"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 999])
def test_a_range_is_finite(number: str) -> None:
    document = json.dumps(inside(range=[0, "N"])).replace('"N"', number)
    with pytest.raises(InvalidArgument, match=r"range\[1\]: a finite number is wanted"):
        parse_about(document.encode())


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../secret", "a/../b", "./a", "a//b", "a/", "a\\b", "a\nb", "a\0b"],
)
def test_a_file_of_an_example_is_below_the_assets(name: str) -> None:
    value = {"signatures": {"s": {"examples": [{"files": {"x": name}}]}}}
    with pytest.raises(InvalidArgument, match="a file below assets/ is wanted"):
        parse(value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "Expecting property name enclosed in double quotes at line 1, column 2"),
        (b'{"a":\n 1 2}', "Expecting ',' delimiter at line 2, column 4"),
        (b"\xff{}", "it is no UTF-8"),
        (b"[" * 200_000, "it is too deep"),
        (b'{"title": "a", "title": "b"}', '"title" stands twice in one object'),
        (b"[" + b"9" * 5000 + b"]", "Exceeds the limit"),
    ],
)
def test_text_that_cannot_be_read_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        parse_about(data)
    assert refusal.value.message.startswith(f"salver.json: {message}")


@pytest.mark.parametrize("depth", [32, 33, 900])
def test_a_value_is_no_deeper_than_tensors_are(depth: int) -> None:
    head, tail = '{"signatures": {"s": {"examples": [{"inputs": {"x": ', "}}]}}}"
    value = head + "[" * depth + "]" * depth + tail
    if depth <= 32:
        assert parse(plain(parse_about(value.encode()))).signatures["s"].examples
        return
    with pytest.raises(
        InvalidArgument, match=r"examples\[0\].inputs.x: 32 levels of lists at most"
    ):
        parse_about(value.encode())


def test_what_is_wrong_may_itself_be_deep() -> None:
    deep = b"[" * 900 + b"]" * 900
    with pytest.raises(InvalidArgument, match=r"salver\.json: "):
        parse_about(b'{"title": ' + deep + b"}")


_VALUES = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats()
    | strategies.text(max_size=5) | strategies.sampled_from(["image", "HW", "classes", "x"]),
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(
        strategies.sampled_from([
            "schema", "title", "signatures", "inputs", "outputs", "examples", "files", "kind",
            "layout", "range", "names", "units", "choices", "labels", "threshold", "s", "x",
        ]),
        inner,
        max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@given(_VALUES)
def test_any_json_is_read_or_refused_and_what_is_read_can_be_sent_on(value: Any) -> None:
    try:
        about = parse(value)
    except InvalidArgument as error:
        assert error.message.startswith("salver.json: ")  # noqa: PT017 - either is right
        return
    sent = json.loads(json.dumps(plain(about)))
    assert isinstance(sent, dict)


def test_a_document_has_a_mebibyte_at_most() -> None:
    filling = MOST_BYTES - len(b'{"title": ""}')
    assert parse_about(b'{"title": "%s"}' % (b"a" * filling)).title
    with pytest.raises(InvalidArgument, match="longer than 1 MiB"):
        parse_about(b'{"title": "%s"}' % (b"a" * (filling + 1)))


def test_a_refused_document_is_not_kept_by_the_error() -> None:
    data = json.dumps({"title": 1, "description": "x" * 1000}).encode()
    with pytest.raises(InvalidArgument) as refusal:
        parse_about(data)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__
