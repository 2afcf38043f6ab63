import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import text_format

from salver._pb import message_class
from salver.cli import salver
from salver.cli.warmup import warmup
from salver.codecs.protobuf.prediction_log import (
    LogKind,
    decode_prediction_log,
    encode_prediction_log,
)
from salver.codecs.protobuf.tfrecord import write_record
from salver.errors import AlreadyExists, DataLoss, InvalidArgument, NotFound
from salver.warmup.replay import REQUESTS_FILE
from salver.warmup.storing import read_file

MODEL = """
meta_graphs {
  meta_info_def { tags: "serve" }
  signature_def { key: "serving_default" value {
    inputs { key: "x" value { name: "x:0" dtype: DT_FLOAT tensor_shape { dim { size: -1 } } } }
    outputs { key: "y" value { name: "y:0" dtype: DT_FLOAT } }
    method_name: "tensorflow/serving/predict" } }
  signature_def { key: "text" value {
    inputs { key: "inputs" value {
      name: "t:0" dtype: DT_STRING tensor_shape { dim { size: -1 } } } }
    outputs { key: "scores" value { name: "s:0" dtype: DT_FLOAT } }
    method_name: "tensorflow/serving/classify" } }
}
"""


@pytest.fixture
def version(tmp_path: Path) -> Path:
    path = tmp_path / "digits" / "3"
    path.mkdir(parents=True)
    put(path, MODEL)
    return path


def put(path: Path, text: str) -> None:
    model = text_format.Parse(text, message_class("tensorflow.SavedModel")())
    (path / "saved_model.pb").write_bytes(model.SerializeToString())


Printed = Callable[..., str]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    """Runs the command, which works; gives what it prints."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        assert warmup([str(argument) for argument in arguments]) == 0
        return capsys.readouterr().out

    return run


# -- make ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["model", "version"])
def test_make_writes_into_a_version(version: Path, printed: Printed, what: str) -> None:
    source = version.parent.parent / "examples.json"
    source.write_text('{"instances": [1, 2]}')
    path = version / REQUESTS_FILE
    said = printed("make", version if what == "version" else version.parent, "--from", source)
    assert said == f"1 record written to {path}.\n"
    assert printed("show", path) == (
        "record 1: predict, model digits, signature serving_default\n"
        "  x: float [2] 1.0, 2.0\n"
        f"1 record in {path}\n"
    )


def test_a_saved_model_without_a_version_is_named_by_its_directory(
    version: Path, printed: Printed
) -> None:
    plain = version.rename(version.parent.parent / "plain")
    printed("make", plain, "--signature=serving_default")
    assert "model plain, signature serving_default" in printed("show", plain)


def test_make_without_requests_takes_the_signatures(
    version: Path, printed: Printed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert warmup(["make", str(version), "--name=other"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"2 records written to {version / REQUESTS_FILE}.\n"
    assert captured.err == (
        "salver: warning: text: the request made is of an example without features; a model "
        "that does not take it will fail to load\n"
    )
    assert printed("show", version.parent) == (
        "record 1: predict, model other, signature serving_default\n"
        "  x: float [1] 0.0\n"
        "record 2: classify, model other, signature text\n"
        "  example: {}\n"
        f"2 records in {version / REQUESTS_FILE}\n"
    )


def test_what_is_left_out_is_said(version: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert warmup(["make", str(version), "--method=classify"]) == 0
    assert re.match(
        "salver: warning: serving_default: left out: No classification inputs found",
        capsys.readouterr().err,
    )
    assert len(list(read_file(version / REQUESTS_FILE))) == 1


def test_nothing_to_write_is_an_error(version: Path, tmp_path: Path) -> None:
    empty = tmp_path / "none.jsonl"
    empty.write_text("\n \n")
    with pytest.raises(InvalidArgument) as caught:
        warmup(["make", str(version), "--from", str(empty)])
    assert caught.value.message == f"No request can be made for {version}."
    assert os.listdir(version) == ["saved_model.pb"]


def test_a_line_is_a_request(version: Path, tmp_path: Path, printed: Printed) -> None:
    source, output = tmp_path / "requests.jsonl", tmp_path / "elsewhere"
    source.write_text(
        '{"instances": [1]}\n\n{"signature_name": "text", "examples": [{"a": 1.5}]}\r\n'
        '{"inputs": {"x": [2, 3]}}'
    )
    assert printed("make", version, "--from", source, "--output", output) == (
        f"3 records written to {output}.\n"
    )
    kinds = [decode_prediction_log(record) for record in read_file(output)]
    assert [of.kind for of in kinds if of is not None] == [
        LogKind.PREDICT,
        LogKind.CLASSIFY,
        LogKind.PREDICT,
    ]


def test_what_is_there_is_appended_to_or_replaced_only_when_asked(
    version: Path, printed: Printed
) -> None:
    one = ("make", version, "--signature=serving_default")
    path = version / REQUESTS_FILE
    printed(*one)
    with pytest.raises(AlreadyExists):
        printed(*one)
    assert printed(*one, "--append") == f"1 record written to {path}, which has 2 now.\n"
    assert printed(*one, "--force") == f"1 record written to {path}.\n"


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (['{"instances": [1]}', '{"instances": ["a"]}'], "{source}:2: Failed to process element"),
        (["{"], "{source}:1: JSON Parse error"),
        (['{"instances": [1]}', "", "[]"], "{source}:3: JSON Value: []"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_written(
    version: Path, tmp_path: Path, lines: list[str], text: str
) -> None:
    source = tmp_path / "requests.jsonl"
    source.write_text("\n".join(lines))
    with pytest.raises(InvalidArgument) as caught:
        warmup(["make", str(version), "--from", str(source)])
    assert caught.value.message.startswith(text.format(source=source))
    assert os.listdir(version) == ["saved_model.pb"]


def test_a_source_that_is_not_there_is_named(version: Path, tmp_path: Path) -> None:
    source = tmp_path / "none.json"
    with pytest.raises(NotFound) as caught:
        warmup(["make", str(version), "--from", str(source)])
    assert caught.value.message == f"{source}; No such file or directory"


def test_of_several_graphs_the_one_that_is_served_counts(version: Path, printed: Printed) -> None:
    put(version, 'meta_graphs { meta_info_def { tags: "gpu" } }' + MODEL)
    printed("make", version, "--signature=serving_default")
    put(version, 'meta_graphs { meta_info_def { tags: "gpu" } }' * 2)
    with pytest.raises(NotFound, match="Could not find meta graph def matching supplied tags"):
        printed("make", version, "--force")


def test_the_only_graph_counts_whatever_its_tags(version: Path, printed: Printed) -> None:
    put(version, MODEL.replace('"serve"', '"gpu"'))
    printed("make", version, "--signature=serving_default")


def test_a_tflite_model_is_asked_by_the_signatures_of_its_file(
    version_path: Callable[[str], Path], tmp_path: Path, printed: Printed
) -> None:
    version = tmp_path / "lite" / "7"
    version.mkdir(parents=True)
    shutil.copy(version_path("lite_plain") / "model.tflite", version)
    printed("make", version)
    first, *_, last = printed("show", version).splitlines()
    assert first == "record 1: predict, model lite, signature serving_default"
    assert last == f"1 record in {version / REQUESTS_FILE}"


# -- show ------------------------------------------------------------------------------------------


def test_show_as_json_is_what_make_takes(version: Path, tmp_path: Path, printed: Printed) -> None:
    printed("make", version)
    before = list(read_file(version / REQUESTS_FILE))
    source = tmp_path / "shown.jsonl"
    source.write_text(printed("show", "--json", version))
    assert [json.loads(line)["kind"] for line in source.read_text().splitlines()] == [
        "predict",
        "classify",
    ]
    printed("make", version, "--from", source, "--force")
    assert list(read_file(version / REQUESTS_FILE)) == before


def test_a_record_without_a_kind_is_shown_as_empty(tmp_path: Path, printed: Printed) -> None:
    path = tmp_path / "log"
    path.write_bytes(write_record(b""))
    assert printed("show", path) == f"record 1: empty, skipped by a warmup\n1 record in {path}\n"
    assert printed("show", path, "--json") == "{}\n"


def test_an_empty_file_has_no_records(tmp_path: Path, printed: Printed) -> None:
    path = tmp_path / "log"
    path.touch()
    assert printed("show", path) == f"0 records in {path}\n"
    assert printed("show", path, "--json") == ""


def test_a_version_without_a_file_is_told_how_to_get_one(version: Path) -> None:
    with pytest.raises(NotFound) as caught:
        warmup(["show", str(version.parent)])
    assert caught.value.message == f"{version} has no warmup file."
    assert caught.value.hint == "salver warmup make writes one."


@pytest.mark.parametrize("flag", [[], ["--json"]])
@pytest.mark.parametrize(
    "record",
    [
        b"no log",
        encode_prediction_log(LogKind.CLASSIFY, b"\x0a"),
        encode_prediction_log(
            LogKind.PREDICT, bytes.fromhex("120b 0a0178 1206 0863 1202 0a00".replace(" ", ""))
        ),
    ],
    ids=["no log", "no request", "no tensor"],
)
def test_a_record_that_is_wrong_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], record: bytes, flag: list[str]
) -> None:
    path = tmp_path / "log"
    path.write_bytes(write_record(b"") + write_record(record))
    with pytest.raises(DataLoss) as caught:
        warmup(["show", str(path), *flag])
    assert caught.value.message.startswith(f"{path}: record 2: ")
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_reader_that_has_seen_enough_is_no_error(
    version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert warmup(["make", str(version)]) == 0
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        assert warmup(["show", str(version)]) == 0
        assert os.readlink(f"/proc/self/fd/{broken.fileno()}") == os.devnull


# -- the command -----------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["make", "--help"], ["show", "-h"]])
def test_help_is_no_failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert warmup(arguments) == 0
    assert capsys.readouterr().out.startswith("usage: salver warmup")


@pytest.mark.parametrize(
    "arguments",
    [[], ["mend"], ["make"], ["show", "a", "b"], ["make", "a", "--append", "--force"]],
)
def test_misuse_is_told_with_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert warmup(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: salver warmup")


def test_it_is_a_command_of_salver(version: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert salver.main(["salver", "warmup", "show", str(version)]) == 1
    assert capsys.readouterr().err == (
        f"salver: {version} has no warmup file.\n  salver warmup make writes one.\n"
    )


def test_without_standard_output_show_is_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "log"
    file.write_bytes(write_record(b""))
    monkeypatch.setattr(sys, "stdout", None)
    assert warmup(["show", str(file)]) == 0
