from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver._pb import message_class
from salver.codecs.json.examples import example_messages
from salver.codecs.json.syntax import parse
from salver.errors import InvalidArgument


def read(body: str) -> list[dict[str, Any]]:
    """Feature → values, None for a feature of no kind; per example."""
    found = []
    for raw in example_messages(parse(body.encode()), "classify"):
        message = message_class("tensorflow.Example").FromString(raw)
        example = {}
        for name, feature in message.features.feature.items():
            kind = feature.WhichOneof("kind")
            example[name] = None if kind is None else (kind, list(getattr(feature, kind).value))
        found.append(example)
    return found


def refusal(body: str) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as refused:
        example_messages(parse(body.encode()), "regress")
    return refused.value


@pytest.mark.parametrize(
    ("feature", "found"),
    [
        ("1", ("int64_list", [1])),
        ("[1, -9223372036854775808, 9223372036854775807]",
         ("int64_list", [1, -(2**63), 2**63 - 1])),
        ("[true, 2, false]", ("int64_list", [1, 2, 0])),
        ("1.0", ("float_list", [1.0])),
        ("[1e0, Infinity, 1e39]", ("float_list", [1.0, float("inf"), float("inf")])),
        ("[18446744073709551616]", ("float_list", [2.0**64])),
        ('"é"', ("bytes_list", ["é".encode()])),
        ('["a", {"b64": "aGk="}]', ("bytes_list", [b"a", b"hi"])),
        ('{"b64": "aGk="}', ("bytes_list", [b"hi"])),
        ("[]", None),
    ],
)  # fmt: skip
def test_the_first_element_decides_a_feature_s_kind(feature: str, found: Any) -> None:
    assert read(f'{{"examples": [{{"f": {feature}}}]}}') == [{"f": found}]


def test_nan_is_a_float() -> None:
    [example] = read('{"examples": [{"f": [NaN]}]}')
    kind, [value] = example["f"]
    assert kind == "float_list"
    assert value != value


def test_the_context_is_in_every_example_and_gives_way_to_it() -> None:
    body = '{"context": {"a": 1, "b": "x"}, "examples": [{"a": 2}, {"c": 0.5}, {}]}'
    one, context = ("int64_list", [1]), ("bytes_list", [b"x"])
    assert read(body) == [
        {"a": ("int64_list", [2]), "b": context},
        {"a": one, "b": context, "c": ("float_list", [0.5])},
        {"a": one, "b": context},
    ]


def test_of_a_repeated_feature_the_last_counts_but_of_a_repeated_key_the_first() -> None:
    assert read('{"examples": [{"f": 1.5, "f": 2}], "examples": 5}') == [{"f": ("int64_list", [2])}]
    assert read('{"examples": [{"f": 1.5, "f": []}]}') == [{"f": None}]


MIXED = "Unexpected element type in feature: f expecting type: "
MISSING = "When method is classify, key 'examples' is expected and was not found"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{}", f"JSON Value: {{}} {MISSING}"),
        (
            '{"instances": 1}',
            f'JSON Value: {{\n    "instances": 1\n}} {MISSING}',
        ),
        (
            '{"examples": {}}',
            'JSON Value: {\n    "examples": {}\n} Expecting \'examples\' value to be an list/array',
        ),
        (
            '{"examples": []}',
            'JSON Value: {\n    "examples": []\n} \'examples\' value is an empty array',
        ),
        ('{"examples": [1]}', "Example must be JSON object but got JSON Number"),
        ('{"examples": [{}, []]}', "Example must be JSON object but got JSON Array"),
        ('{"context": null, "examples": []}', "Example must be JSON object but got JSON Null"),
        ('{"context": {"f": null}}', "Feature: f has element with unexpected JSON type: Null"),
        (
            '{"examples": [{"f": [[1]]}]}',
            "Feature: f has element with unexpected JSON type: Array",
        ),
        (
            '{"examples": [{"f": [1, {"b": 1}]}]}',
            "Feature: f has element with unexpected JSON type: Object",
        ),
        ('{"examples": [{"f": ["a", 1]}]}', MIXED + "bytes"),
        ('{"examples": [{"f": [1.0, 2]}]}', MIXED + "float"),
        ('{"examples": [{"f": [1, 2.0]}]}', MIXED + "int64"),
        ('{"examples": [{"f": [true, "a"]}]}', MIXED + "int64"),
        (
            '{"examples": [{"f": 9223372036854775808}]}',
            "Feature: f has uint64_t element. Only int64_t is supported.",
        ),
        ('{"examples": [{"f": [1.5, 9223372036854775808]}]}', MIXED + "float"),
        ('{"examples": [{"f": {"b64": "?"}}]}', "Unable to base64 decode"),
    ],
)  # fmt: skip
def test_refuses_in_the_reference_s_words(body: str, message: str) -> None:
    assert refusal(body).message == message


def test_a_feature_name_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="is not UTF-8"):
        example_messages({"examples": [{"\udcff": 1}]}, "classify")


def test_hints_name_the_method_of_the_request() -> None:
    assert "This is a regress request." in (refusal("{}").hint or "")


@given(
    st.dictionaries(
        st.text(),
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1)
        | st.lists(st.floats(width=32, allow_nan=False), min_size=1)
        | st.lists(st.text(), min_size=1),
    )
)
def test_features_come_back_as_they_were(example: dict[str, list[Any]]) -> None:
    [raw] = example_messages({"examples": [example]}, "classify")
    message = message_class("tensorflow.Example").FromString(raw)
    assert set(message.features.feature) == set(example)
    for name, values in example.items():
        feature = message.features.feature[name]
        found = list(getattr(feature, feature.WhichOneof("kind")).value)
        assert found == [v.encode() if isinstance(v, str) else v for v in values]


def test_a_context_that_would_become_too_much_is_refused() -> None:
    text = "a" * (1 << 20)
    document = {"context": {"text": text}, "examples": [{}] * 100}
    with pytest.raises(InvalidArgument, match="for 100 examples would take more than 64 MiB"):
        example_messages(document, "classify")
    document["examples"] = [{}] * 50
    assert len(example_messages(document, "classify")) == 50
