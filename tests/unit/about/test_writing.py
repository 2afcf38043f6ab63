import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salver.about.assets import read_about
from salver.about.writing import write_about
from salver.errors import InvalidArgument, NotFound, ServingError


@pytest.fixture
def version(tmp_path: Path) -> Path:
    path = tmp_path / "staged" / "1"
    path.mkdir(parents=True)
    return path


def with_example(**example: Any) -> dict[str, Any]:
    return {"signatures": {"s": {"examples": [example]}}}


def test_a_dict_becomes_the_document(version: Path) -> None:
    about = {"title": "Ziffern, größer", "signatures": {"s": {"inputs": {"x": {"unit": "µm"}}}}}
    written = write_about(version, about)
    assert written == read_about(version)
    text = (version / "assets" / "salver.json").read_text(encoding="utf-8")
    assert json.loads(text) == about
    assert "größer" in text


def test_arrays_and_bytes_are_written_as_the_api_takes_them(version: Path) -> None:
    inputs = {"x": np.eye(2, dtype=np.float32), "n": np.int64(3), "b": b"\x00"}
    write_about(version, with_example(inputs=inputs))
    about = read_about(version)
    assert about is not None
    (example,) = about.signatures["s"].examples
    assert example.inputs == {"x": [[1.0, 0.0], [0.0, 1.0]], "n": 3, "b": {"b64": "AA=="}}


def test_a_path_is_a_file_that_is_copied(version: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "seven.png", tmp_path / "b" / "seven.png"
    for path in (first, second):
        path.parent.mkdir()
        path.write_bytes(str(path).encode())
    files = [{"files": {"x": path}} for path in (first, second, first)]
    about = write_about(version, {"signatures": {"s": {"examples": files}}})
    names = [example.files["x"] for example in about.signatures["s"].examples]
    assert names == ["examples/seven.png", "examples/seven-2.png", "examples/seven.png"]
    assert (version / "assets" / names[1]).read_bytes() == str(second).encode()


def test_a_name_is_a_file_that_is_there_already(version: Path) -> None:
    (version / "assets").mkdir()
    (version / "assets" / "one.png").write_bytes(b"one")
    assert write_about(version, with_example(files={"x": "one.png"})).files == {"one.png"}
    with pytest.raises(NotFound, match=r"salver\.json names two\.png, which is not below assets/"):
        write_about(version, with_example(files={"x": "two.png"}))


def test_a_file_brings_what_its_examples_name_from_beside_it(version: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "one.png").write_bytes(b"beside")
    path = tmp_path / "digits.json"
    path.write_text(json.dumps(with_example(files={"x": "pictures/one.png"})))
    write_about(version, str(path))
    assert (version / "assets" / "salver.json").read_bytes() == path.read_bytes()
    assert (version / "assets" / "pictures" / "one.png").read_bytes() == b"beside"
    (version / "assets" / "pictures" / "one.png").write_bytes(b"the model's own")
    write_about(version, path)
    assert (version / "assets" / "pictures" / "one.png").read_bytes() == b"the model's own"


@pytest.mark.parametrize(
    ("about", "message"),
    [
        (3, "about is a dict, or a file, not a int"),
        ([("title", "x")], "about is a dict, or a file, not a list"),
        ({"title": object()}, "about cannot be written as JSON: a object is nothing"),
        ({"title": 3}, "salver.json: title: text is wanted, not 3"),
        ({"title": "x" * (1 << 20)}, "salver.json is longer than 1 MiB"),
        ({"title": "\udcff"}, "about cannot be written as JSON: "),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_written(
    version: Path, about: Any, message: str
) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        write_about(version, about)
    assert refusal.value.message.startswith(message)
    assert os.listdir(version) == []


def test_a_document_that_holds_itself_is_refused(version: Path) -> None:
    about: dict[str, Any] = {}
    about["signatures"] = about
    with pytest.raises(InvalidArgument, match="cannot be written as JSON"):
        write_about(version, about)


def test_what_cannot_be_read_or_written_is_told(version: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"none\.json; No such file"):
        write_about(version, tmp_path / "none.json")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidArgument, match="pipe is no regular file"):
        write_about(version, tmp_path / "pipe")
    with pytest.raises(InvalidArgument, match="pipe is no regular file"):
        write_about(version, with_example(files={"x": tmp_path / "pipe"}))
    (version / "assets").touch()
    with pytest.raises(ServingError, match="assets"):
        write_about(version, {})
