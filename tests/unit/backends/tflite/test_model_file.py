from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from salver.backends.tflite.flatbuffer import root_table
from salver.backends.tflite.model_file import Subgraph, Tensor, parse, read
from salver.errors import Internal, InvalidArgument, NotFound
from salver.vocabulary.dtypes import DataType

VersionPath = Callable[[str], Path]
UNREADABLE = "Cannot build FlatBufferModel from buffer."


def test_the_tensors_of_a_file_without_signatures_are_read(version_path: VersionPath) -> None:
    file = read(version_path("lite_plain") / "model.tflite")
    (graph,) = file.subgraphs
    assert [(t.name, t.dtype, t.shape) for t in (*graph.inputs, *graph.outputs)] == [
        ("x_in", DataType.FLOAT32, (-1,)),
        ("y_out", DataType.FLOAT32, (-1,)),
    ]
    assert (file.signature_defs, file.table_signatures) == ({}, ())
    assert (file.has_loops, file.custom_operations) == (False, ())


def test_each_signature_of_the_table_has_a_subgraph(version_path: VersionPath) -> None:
    file = read(version_path("lite") / "model.tflite")
    names = {each.name: each for each in file.table_signatures}
    assert set(names) == {"serving_default", "mixed", "strings", "regress", "classify"}
    assert sorted(each.subgraph for each in file.table_signatures) == [0, 1, 2, 3, 4]
    assert (set(names["mixed"].inputs), set(names["mixed"].outputs)) == (
        {"a", "b"},
        {"product", "next"},
    )


def test_signatures_in_the_metadata_are_kept_serialized(version_path: VersionPath) -> None:
    file = read(version_path("lite_metadata") / "model.tflite")
    assert set(file.signature_defs) == {"serving_default", "doubtful"}
    assert b"x_in:0" in file.signature_defs["serving_default"]


def test_loops_and_operations_that_are_not_tflites_own_are_noticed(
    version_path: VersionPath,
) -> None:
    assert read(version_path("lite_loop") / "model.tflite").has_loops
    custom = read(version_path("lite_custom") / "model.tflite")
    assert custom.custom_operations == ("ParseExampleV2",)


def test_one_of_the_references_files_is_read(reference_model: Callable[[str], Path]) -> None:
    path = reference_model("saved_model_half_plus_two_tflite_with_sigdef")
    file = read(path / "00000123" / "model.tflite")
    assert file.subgraphs == (
        Subgraph(
            (Tensor("tflite_input", 0, DataType.FLOAT32, (1, 1)),),
            (Tensor("y", 4, DataType.FLOAT32, (1, 1)),),
        ),
    )
    assert b"tflite_input:0" in file.signature_defs["serving_default"]


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as raised:
        read(tmp_path / "model.tflite")
    assert raised.value.message == f"{tmp_path}/model.tflite; No such file or directory"


@pytest.mark.parametrize("data", [b"", b"TFL3", b"no model of any kind", b"\x1c\0\0\0TFL3"])
def test_what_is_no_model_is_refused_in_the_references_words(data: bytes) -> None:
    with pytest.raises(InvalidArgument) as raised:
        parse(data)
    assert raised.value.message == UNREADABLE
    assert raised.value.hint is not None
    assert raised.value.hint.startswith("The file is not a whole TFLite model: ")


def test_a_file_cut_anywhere_is_an_error_of_ours_or_still_readable(
    version_path: VersionPath,
) -> None:
    whole = (version_path("lite") / "model.tflite").read_bytes()
    for size in range(0, len(whole), 61):
        with suppress(InvalidArgument):
            parse(whole[:size])


def test_a_model_without_functions_is_refused() -> None:
    empty = bytes.fromhex("0c000000 54464c33 04000400 04000000")
    with pytest.raises(InvalidArgument) as raised:
        parse(empty)
    assert raised.value.message == UNREADABLE
    assert raised.value.hint == "The file is not a whole TFLite model: it has no function."


def test_a_signature_of_a_function_that_is_not_there_is_refused(version_path: VersionPath) -> None:
    data = (version_path("lite") / "model.tflite").read_bytes()
    hints = set()
    for at in range(8, len(data)):  # wherever the numbers of the functions stand
        with suppress(Internal):
            try:
                parse(data[:at] + b"\x09" + data[at + 1 :])
            except InvalidArgument as error:
                hints.add(error.hint)
    text = "a signature is of a function that is not there"
    assert f"The file is not a whole TFLite model: {text}." in hints


def test_signatures_that_cannot_be_read_are_refused(version_path: VersionPath) -> None:
    data = bytearray((version_path("lite_metadata") / "model.tflite").read_bytes())
    buffers = root_table(bytes(data), b"TFL3").tables(4)
    flexbuffer = next(
        octets for each in buffers if b"doubtful" in (octets := each.octets(0) or b"")
    )
    kind = data.index(flexbuffer) + len(flexbuffer) - 2
    data[kind] = 5 << 2
    with pytest.raises(InvalidArgument) as raised:
        parse(bytes(data))
    assert raised.value.message == "Invalid SignatureDefs found in TfLite model: no map"


def test_a_type_that_no_array_holds_is_named_by_its_number(version_path: VersionPath) -> None:
    data = (version_path("lite_loop") / "model.tflite").read_bytes()
    texts = set()
    for at in range(8, len(data)):  # wherever the types stand
        with suppress(InvalidArgument):
            try:
                parse(data[:at] + b"\x0d" + data[at + 1 :])
            except Internal as error:
                texts.add(error.message)
    assert texts == {"Unknown TfLite type: 13"}
