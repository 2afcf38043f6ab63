import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from salver._pb import message_class
from salver.backends.selection import Selector
from salver.cli.show import show
from salver.cli.show_about import show_about

_MODEL = """
meta_graphs { meta_info_def { tags: "serve" } signature_def { key: "serving_default" value {
  inputs { key: "x" value { name: "x:0" dtype: DT_FLOAT
    tensor_shape { dim { size: -1 } dim { size: 2 } } } }
  outputs { key: "y" value { name: "y:0" dtype: DT_FLOAT
    tensor_shape { dim { size: -1 } dim { size: 13 } } } } } } }
"""


@pytest.fixture
def version(tmp_path: Path) -> Path:
    path = tmp_path / "m" / "1"
    (path / "assets").mkdir(parents=True)
    model = text_format.Parse(_MODEL, message_class("tensorflow.SavedModel")())
    (path / "saved_model.pb").write_bytes(model.SerializeToString())
    return path


def _told(version: Path) -> str:
    info = Selector()(version).info()
    return show_about(version, None if info is None else info.signatures)


def say(version: Path, value: Any) -> str:
    (version / "assets" / "salver.json").write_text(json.dumps(value))
    return _told(version)


def test_everything_is_told_in_few_lines(version: Path) -> None:
    told = say(
        version,
        {
            "title": "Shoes", "description": "Which shoe\nfits?",
            "signatures": {"serving_default": {
                "title": "Fit",
                "inputs": {"x": {
                    "title": "A foot", "kind": "image", "layout": "HW", "range": [0, 16],
                    "inverted": True, "unit": "mm", "names": ["length", "width"],
                    "units": ["mm", ""], "choices": ["a", 2],
                }},
                "outputs": {"y": {
                    "kind": "classes", "labels": [f"c{n}" for n in range(13)], "unit": "%",
                    "threshold": 0.5, "description": "The likeliest",
                }},
                "examples": [
                    {"title": "mine", "inputs": {"x": [1, 2]}},
                    {"title": "hers", "files": {"x": "her.png"}},
                    {"files": {"x": "his.png"}}, {"inputs": {"x": [1, 2]}},
                ],
            }},
        },
    )  # fmt: skip
    assert (
        told
        == """\
assets/salver.json says:
  Shoes
  Which shoe fits?
  signature serving_default:
    Fit
    input x: image HW; from 0 to 16 mm; light on dark; columns length (mm), width; one of a, 2
      A foot
    output y: classes; 13 labels: c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, …; in %; \
threshold 0.5
      The likeliest
    examples: mine; hers (her.png); his.png; untitled"""
    )


def test_what_does_not_fit_the_model_is_told(version: Path) -> None:
    told = say(version, {"tilte": 1, "signatures": {"serving_default": {"inputs": {"z": {}}}}})
    assert told.splitlines()[-3:] == [
        "    input z: nothing more",
        "  warning: tilte is not known, and left out; did you mean title?",
        "  warning: signatures.serving_default.inputs.z: the signature has no such input; it has "
        "'x'",
    ]


def test_a_wrong_document_is_told_and_the_signatures_are_shown_all_the_same(version: Path) -> None:
    (version / "assets" / "salver.json").write_text("{")
    told = show(version.parent)
    assert "signature_def['serving_default']" in told
    assert "assets/salver.json cannot be used:\n  salver.json: Expecting property" in told


def test_a_model_that_says_nothing_is_shown_as_ever(version: Path) -> None:
    assert _told(version) == ""
    assert "salver.json" not in show(version)


def test_a_file_that_may_not_be_read_is_told(version: Path) -> None:
    (version / "assets" / "salver.json").symlink_to("/etc/hostname")
    assert _told(version).endswith("assets/salver.json is no regular file")


def test_a_strangers_words_do_nothing_to_the_terminal(version: Path) -> None:
    hostile = "\x1b]0;owned\x07\u202e\ud800"
    told = say(version, {"title": hostile, hostile: 1})
    assert told.isascii()
    assert "\\x1b]0;owned\\x07\\u202e\\ud800" in told
    (version / "assets" / "salver.json").write_text(json.dumps({hostile: 1, "title": {hostile: 1}}))
    assert _told(version).isascii()
