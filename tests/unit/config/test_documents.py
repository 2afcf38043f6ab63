import json
import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from salver.config.documents import Node, read_json, read_yaml
from salver.config.text_format import Misplaced, ending_of


def _nothing() -> None:
    pass


def _read(text: str, form: str) -> Node | None:
    return read_json(text, _nothing) if form == "json" else read_yaml(text, _nothing)


def _bare(node: Node | None) -> Any:
    value = None if node is None else node.value
    if isinstance(value, dict):
        return {key: _bare(child) for key, (_, child) in value.items()}
    return [_bare(child) for child in value] if isinstance(value, list) else value


def _wrong(text: str, form: str) -> tuple[int, int, str]:
    with pytest.raises(Misplaced) as caught:
        _read(text, form)
    return caught.value.line, caught.value.column, str(caught.value)


@pytest.mark.parametrize(
    ("path", "ending"),
    [
        ("models.yaml", ".yaml"),
        ("/etc/Models.YML", ".yml"),
        ("models.json", ".json"),
        ("models.config", ""),
        ("yaml", ""),
    ],
)
def test_the_ending_of_its_name_says_what_a_file_is(path: str, ending: str) -> None:
    assert ending_of(path) == ending


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda of: st.lists(of, max_size=4) | st.dictionaries(st.text('ab é"\\\n', max_size=3), of),
    max_leaves=12,
)


@given(_VALUES, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_json_is_read_as_python_reads_it(value: Any, indent: Any, is_ascii: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii)
    read = _bare(_read(text, "json"))
    assert read == value
    assert json.dumps(read) == json.dumps(value)  # 1 is not 1.0, nor true


@given(st.text('[]{},:"\\0123456789.eE+-truefalsn \n', max_size=12))
def test_what_is_no_json_for_python_is_none_here_and_what_is_one_is_one(text: str) -> None:
    twice: list[str] = []

    def note(found: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in found]
        twice.extend(key for key in keys if keys.count(key) > 1)
        return dict(found)

    try:
        expected = json.loads(text, object_pairs_hook=note)
    except ValueError:
        _wrong(text, "json")
        return
    if twice:
        assert "is there twice" in _wrong(text, "json")[2]
    else:
        assert repr(_bare(_read(text, "json"))) == repr(expected)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("off", "off"),
        ("12:30", "12:30"),
        ("2024-01-02", "2024-01-02"),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-7", -7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1_000", "1_000"),
        ("True", True),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("9" * 41, "9" * 41),
    ],
)
def test_scalars_of_yaml_are_those_of_its_core_schema(text: str, value: object) -> None:
    read = _bare(_read(f"x: {text}", "yaml"))["x"]
    assert read == value
    assert type(read) is type(value)


def test_an_empty_document_is_none() -> None:
    assert _read("# nothing yet\n", "yaml") is None
    assert _wrong("", "json") == (1, 1, "a value is missing")


def test_everything_knows_its_place() -> None:
    for form, text in (("yaml", "a:\n  - é\n  - 2\n"), ("json", '{"a":\n   ["é",\n 2]}')):
        root = _read(text, form)
        assert root is not None
        assert isinstance(root.value, dict)
        key, items = root.value["a"]
        assert isinstance(items.value, list)
        places = [(node.line, node.column) for node in (root, key, *items.value)]
        assert places == (
            [(1, 1), (1, 1), (2, 5), (3, 5)] if form == "yaml" else [(1, 1), (1, 2), (2, 5), (3, 2)]
        )


@pytest.mark.parametrize(
    ("form", "text", "place"),
    [
        ("yaml", "a: 1\nb: 2\na: 3\n", (3, 1, 'the key "a" is there twice')),
        ("yaml", "a: &x 1\nb: *x\n", (1, 4, "anchors and aliases are not taken here")),
        ("yaml", "a: 1\nb: *x\n", (2, 4, "anchors and aliases are not taken here")),
        ("yaml", "a: !!str 1\n", (1, 4, "tags are not taken here: tag:yaml.org,2002:str")),
        ("yaml", "a: 1\n---\nb: 2\n", (2, 1, "there is more than one document")),
        ("yaml", "? [a]\n: 1\n", (1, 3, "a key must be a scalar")),
        ("yaml", "a: \0", (1, 4, "a character '\\x00' is not allowed")),
        ("yaml", "é: 1\na: \x1b", (2, 4, "a character '\\x1b' is not allowed")),
        ("yaml", "<<: {a: 1}\n<<: {b: 2}", (2, 1, 'the key "<<" is there twice')),
        ("json", '{"a": 1,\n "a": 2}', (2, 2, 'the key "a" is there twice')),
        ("json", "[1, 2", (1, 6, '"," or "]" is missing')),
        ("json", "[1,]", (1, 4, "a value is missing")),
        ("json", "{a: 1}", (1, 2, "a key in quotes is missing")),
        ("json", '{"a" 1}', (1, 6, '":" is missing')),
        ("json", '["a\0"]', (1, 4, "Invalid control character at")),
        ("json", '"a', (1, 1, "Unterminated string starting at")),
        ("json", "[1] 2", (1, 5, "something follows the document")),
        ("json", "1" * 41, (1, 1, "a number is too long")),
        ("json", "NaN", (1, 1, "a value is missing")),
        ("json", "// no\n{}", (1, 1, "a value is missing")),
    ],
)
def test_what_is_not_taken_is_refused_where_it_is(
    form: str, text: str, place: tuple[int, int, str]
) -> None:
    assert _wrong(text, form) == place


@pytest.mark.parametrize("text", ["a: [1, 2", "a: 'b", "\ta: 1", "a: b: c", "- a\nb: 1"])
def test_what_is_no_yaml_is_told_by_the_words_of_its_library(text: str) -> None:
    line, column, reason = _wrong(text, "yaml")
    assert line >= 1
    assert column >= 1
    assert reason


@pytest.mark.parametrize("form", ["yaml", "json"])
@pytest.mark.parametrize("text", ["[" * 1_000_000, '{"a":' * 200_000, "[" * 33 + "]" * 33])
def test_nesting_without_end_is_refused_at_once(form: str, text: str) -> None:
    begun = time.monotonic()
    assert _wrong(text, form)[2] == "more than 32 levels of nesting"
    assert time.monotonic() - begun < 2


def test_a_bomb_of_aliases_is_refused_at_its_first_anchor() -> None:
    lines = [
        "a: &a [x, x]",
        *(f"{b}: &{b} [*{a}, *{a}]" for a, b in zip("abcdefg", "bcdefgh", strict=True)),
    ]
    assert _wrong("\n".join(lines), "yaml")[:2] == (1, 4)


def test_no_object_is_made_by_a_tag() -> None:
    text = "a: !!python/object/apply:os.system ['true']"
    assert "tags are not taken here" in _wrong(text, "yaml")[2]


def test_without_its_compiled_part_the_library_reads_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = ["a: [1, é]\nb: {c: 'd'}", "a: &x 1", "[" * 1_000_000, "a: !!str 1", "\ta: 1"]

    def read(text: str) -> object:
        try:
            return _read(text, "yaml")
        except Misplaced as error:
            return error.line, error.column

    compiled = list(map(read, texts))
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert list(map(read, texts)) == compiled


def test_more_values_than_a_configuration_can_have_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("salver.config.documents._MOST_VALUES", 10)
    for form in ("yaml", "json"):
        assert _wrong("[" + "1, " * 10 + "1]", form)[2] == "more than 10 values"


def test_whoever_reads_a_document_may_rest_at_each_value() -> None:
    rests = list[int]()
    read_yaml("a: [1, 2]", lambda: rests.append(1))
    assert len(rests) == 5
    read_json('{"a": [1, 2]}', lambda: rests.append(1))
    assert len(rests) == 10
