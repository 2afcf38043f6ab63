"""Every flag, every field of a configuration message and every file in a version directory is in
the table of docs/compatibility.md, and nothing else is."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from salver._pb import POOL
from salver.config.options import FLAGS, FlagState

_DOCUMENT = Path(__file__).parents[2] / "docs" / "compatibility.md"
_SECTION = "## Every flag, field and file, and its state"
_STATES = ("works", "works better", "means nothing here")
_FIRST_OF_OURS = "host"

# The messages that files and reloads hold; ConfigProto is TensorFlow's, and handed to it whole.
_ROOTS = (
    "ModelServerConfig",
    "BatchingParameters",
    "SSLConfig",
    "MonitoringConfig",
    "PlatformConfigMap",
    "SavedModelBundleSourceAdapterConfig",
    "SavedModelConfig",
    "ThreadPoolFactoryConfig",
)
_WHOLE = ("tensorflow.ConfigProto", "tensorflow.NamedTensorProto")

# What a version directory may hold for the reference; lifecycle.md of its contract, and TensorFlow.
_FILES = {
    "saved_model.pb",
    "saved_model.pbtxt",
    "variables/",
    "assets/",
    "model.tflite",
    "batching_params.pbtxt",
    "assets.extra/tf_serving_warmup_requests",
    "assets.extra/saved_model_config.pb",
    "assets.extra/mlmd_uuid",
    "export.meta",
}


class Row(NamedTuple):
    state: str
    remark: str


def _table() -> dict[str, Row]:
    text = _DOCUMENT.read_text(encoding="utf-8").partition(f"\n{_SECTION}\n")[2]
    section = text.partition("\n## ")[0]
    found = re.findall(r"^\| `([^`]+)` \| ([^|]*) \| ?(.*?) ?\|$", section, re.MULTILINE)
    names = [name for name, _, _ in found]
    assert len(set(names)) == len(names)
    return {name: Row(state, remark) for name, state, remark in found}


def _fields(message: Any, seen: set[str]) -> Iterator[str]:
    if message.full_name in seen or message.file.package.startswith("google."):
        return
    seen.add(message.full_name)
    for field in message.fields:
        if field.message_type is not None and field.message_type.file.package == "salver":
            continue  # which the reference does not have
        is_entry = message.GetOptions().map_entry
        if not is_entry:
            yield f"{message.name}.{field.name}"
        if field.message_type is not None and field.message_type.full_name not in _WHOLE:
            yield from _fields(field.message_type, seen)


def _config_fields() -> list[str]:
    seen: set[str] = set()
    return [
        name
        for root in _ROOTS
        for name in _fields(POOL.FindMessageTypeByName(f"tensorflow.serving.{root}"), seen)
    ]


def _reference_flags() -> list[str]:
    names = [flag.name for flag in FLAGS]
    return [f"--{name}" for name in names[: names.index(_FIRST_OF_OURS)]]


def test_every_flag_field_and_file_of_the_reference_is_in_the_table_and_nothing_else() -> None:
    fields = _config_fields()
    assert len(set(fields)) == len(fields)
    assert sorted(_table()) == sorted([*_reference_flags(), *fields, *_FILES])


def test_each_has_one_of_three_states_and_a_reason_where_it_means_nothing() -> None:
    for name, row in _table().items():
        assert row.state in _STATES, name
        assert row.remark or row.state == "works", name


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_flags_that_have_no_effect_say_so_in_both_places(flag: Any) -> None:
    row = _table().get(f"--{flag.name}")
    if row is not None:
        assert (row.state == "means nothing here") == (flag.state is FlagState.NEVER)
