from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from salver._pb import message_class
from salver.config.model_files import MESSAGE, model_server_config
from salver.config.schema import DESCRIPTIONS, json_schema
from salver.config.text_format import Misplaced

jsonschema = pytest.importorskip("jsonschema")

_DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"

_RIGHT = [
    "models: []",
    "schema: 1\nmodels: [{name: a, base_path: /a, model_platform: tensorflow}]",
    "model_config_list: {config: [{name: a}]}",
    "modelConfigList: {config: [{name: a, basePath: /a}]}",
    "models: [{name: a, model_version_policy: {latest: {num_versions: 2}}}]",
    "models: [{name: a, model_version_policy: {all: {}}}]",
    "models: [{name: a, model_version_policy: {specific: {versions: [1, '2']}}}]",
    "models: [{name: a, version_labels: {stable: 1, canary: '2'}}]",
    "models: [{name: a, model_type: TENSORFLOW}]",
    "models: [{name: a, logging_config: {sampling_config: {sampling_rate: 0.5}}}]",
    "models: [{name: a, salver: {options: {a: 1, b: x, c: true, d: 1.5}}}]",
    "models: [{name: a, salver: {max_queued_runs: 0, replicas: {min: 1, max: 1, pinned: false}}}]",
]
_WRONG = [
    "[]",
    "schema: 2",
    "mdels: []",
    "models: {name: a}",
    "models: [{nme: a}]",
    "models: [{name: 1}]",
    "models: [{name: a, version_labels: {stable: new}}]",
    "models: [{name: a, model_type: KERAS}]",
    "models: [{name: a, model_version_policy: {all: {}, latest: {}}}]",
    "models: [{name: a, model_version_policy: {latest: {num_versions: -1}}}]",
    "models: [{name: a, salver: {options: {a: [1]}}}]",
    "models: [{name: a, salver: {replicas: {pinned: 1}}}]",
    "models: []\nmodel_config_list: {}",
]


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("text", _RIGHT)
def test_what_the_server_reads_is_right_by_the_schema(text: str, validator: Any) -> None:
    model_server_config(text.encode(), "m.yaml")
    validator.validate(yaml.safe_load(text))


@pytest.mark.parametrize("text", _WRONG)
def test_what_the_server_refuses_is_wrong_by_the_schema(text: str, validator: Any) -> None:
    with pytest.raises(Misplaced):
        model_server_config(text.encode(), "m.yaml")
    assert not validator.is_valid(yaml.safe_load(text))


def test_the_examples_of_the_documentation_are_right_by_the_schema(validator: Any) -> None:
    examples = [
        text.partition("```")[0]
        for text in _DOCUMENT.read_text(encoding="utf-8").split("```yaml\n")[1:]
    ]
    assert examples
    for example in examples:
        model_server_config(example.encode(), "m.yaml")
        validator.validate(yaml.safe_load(example))


def _fields(descriptor: Any, seen: set[str]) -> Iterator[tuple[str, Any]]:
    seen.add(descriptor.name)
    for field in descriptor.fields:
        yield f"{descriptor.name}.{field.name}", field
        kind = field.message_type
        of_ours = kind is not None and not kind.full_name.startswith("google.")
        if of_ours and not kind.GetOptions().map_entry and kind.name not in seen:
            yield from _fields(kind, seen)


def test_every_field_has_a_description_and_nothing_else_has() -> None:
    assert {name for name, _ in _fields(message_class(MESSAGE).DESCRIPTOR, set())} == set(
        DESCRIPTIONS
    )


def test_every_field_of_salver_is_documented() -> None:
    text = _DOCUMENT.read_text(encoding="utf-8")
    documented = text.split("### Options of one model")[1].split("\n#")[0]
    for name, _ in _fields(message_class("salver.ModelOptions").DESCRIPTOR, set()):
        field = name.partition(".")[2]
        assert f"`{field}`" in documented or f"`replicas.{field}`" in documented, field


def test_every_field_of_a_model_is_documented() -> None:
    text = _DOCUMENT.read_text(encoding="utf-8").split("## Files")[1]
    for field in message_class("tensorflow.serving.ModelConfig").DESCRIPTOR.fields:
        assert f"`{field.name}`" in text or f"{field.name}:" in text, field.name
