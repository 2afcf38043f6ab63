"""Options of ONNX models: their values, and the page that lists them."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from salver.backends.onnxruntime.options import OnnxRuntimeOptions
from salver.backends.options import fill, flags_of
from salver.errors import InvalidArgument

_PAGE = Path(__file__).parents[4] / "docs" / "onnx.md"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("intra_op_num_threads", "-1"),
        ("intra_op_num_threads", "many"),
        ("num_shared_threads", "1000000"),
        ("execution_mode", "side by side"),
        ("graph_optimization_level", "most"),
        ("log_severity_level", "5"),
        ("max_nodes", "0"),
        ("allow_spinning", "perhaps"),
        ("no_such_option", "1"),
    ],
)
def test_a_value_that_means_nothing_is_an_error_that_names_the_option(name: str, text: str) -> None:
    with pytest.raises(InvalidArgument, match=name):
        fill(OnnxRuntimeOptions, {name: text}, of="onnxruntime")


def test_lists_are_texts_with_commas() -> None:
    options = fill(OnnxRuntimeOptions, {"providers": "A, B", "custom_op_libraries": "/a.so"})
    assert options.providers == ("A", "B")
    assert options.custom_op_libraries == ("/a.so",)


def test_the_page_lists_every_option_with_its_default() -> None:
    table = _PAGE.read_text(encoding="utf-8").partition("## Options")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \| (?:`(\S*)`)? ?\|", table, re.MULTILINE)
    flags = flags_of("onnxruntime", OnnxRuntimeOptions)
    assert [name for name, _ in listed] == [each.name for each in fields(OnnxRuntimeOptions)]
    for (_, default), flag in zip(listed, flags, strict=True):
        assert default == str(flag.default).lower() or default == str(flag.default)


def test_the_page_on_configuration_names_every_flag() -> None:
    text = _PAGE.with_name("configuration.md").read_text(encoding="utf-8")
    named = re.findall(r"`--(onnxruntime_\w+)`", text)
    assert named == [flag.name for flag in flags_of("onnxruntime", OnnxRuntimeOptions)]
