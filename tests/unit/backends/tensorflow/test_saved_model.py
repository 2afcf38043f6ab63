import os
import re
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from salver._pb import message_class
from salver.backends.tensorflow.library import Library
from salver.backends.tensorflow.saved_model import (
    MetaGraph,
    check_files,
    meta_graph_with_tags,
    read_meta_graphs,
)
from salver.errors import DataLoss, NotFound, PermissionDenied, ServingError, Unimplemented, Unknown
from salver.instruments.files import NotRegular
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import TensorSpec

EVERYTHING = """
saved_model_schema_version: 1
meta_graphs {
  meta_info_def { tags: "serve" tags: "gpu" tensorflow_version: "2.21.0" }
  signature_def {
    key: "serving_default"
    value {
      inputs {
        key: "b"
        value { name: "b:0" dtype: DT_FLOAT_REF tensor_shape { unknown_rank: true } }
      }
      inputs {
        key: "a"
        value {
          name: "a:0" dtype: DT_STRING
          tensor_shape { dim { size: -1 } dim { size: 3 name: "width" } }
        }
      }
      outputs { key: "z" value { name: "z:1" dtype: DT_INT64 tensor_shape { } } }
      outputs {
        key: "y"
        value { dtype: DT_FLOAT coo_sparse { values_tensor_name: "v:0" } }
      }
      method_name: "tensorflow/serving/predict"
      defaults { key: "b" value { dtype: DT_FLOAT float_val: 2.5 } }
    }
  }
  signature_def { key: "another" value { method_name: "other" } }
}
"""
GRAPH_AS_TEXT = """
meta_graphs {
  meta_info_def { tags: "serve" stripped_op_list { op { name: "Add" } } }
  graph_def { node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } } }
  saver_def { filename_tensor_name: "save/Const:0" version: V2 }
  collection_def { key: "c" value { node_list { value: "n" } } }
}
"""


def saved_model(text: str) -> Any:
    return text_format.Parse(
        text, message_class("tensorflow.SavedModel")(), allow_unknown_field=True
    )


@pytest.fixture
def everything(tmp_path: Path) -> MetaGraph:
    (tmp_path / "saved_model.pb").write_bytes(saved_model(EVERYTHING).SerializeToString())
    [meta_graph] = read_meta_graphs(tmp_path)
    return meta_graph


def with_tags(*tags: str) -> MetaGraph:
    return MetaGraph(tags=tags, signatures={}, names={}, definitions=b"")


def test_tags_are_sorted(everything: MetaGraph) -> None:
    assert everything.tags == ("gpu", "serve")


def test_signatures_inputs_and_outputs_are_in_alphabetical_order(everything: MetaGraph) -> None:
    signature = everything.signatures["serving_default"]
    assert list(everything.signatures) == ["another", "serving_default"]
    assert (list(signature.inputs), list(signature.outputs)) == (["a", "b"], ["y", "z"])


def test_an_input_has_a_name_a_type_and_a_shape(everything: MetaGraph) -> None:
    inputs = everything.signatures["serving_default"].inputs
    assert inputs["a"] == TensorSpec(DataType.STRING, (-1, 3))
    assert everything.names["serving_default"].inputs["a"] == "a:0"


def test_an_unknown_rank_is_told_from_rank_zero(everything: MetaGraph) -> None:
    signature = everything.signatures["serving_default"]
    assert (signature.inputs["b"].shape, signature.outputs["z"].shape) == (None, ())


def test_a_reference_type_is_what_it_refers_to(everything: MetaGraph) -> None:
    assert everything.signatures["serving_default"].inputs["b"].dtype is DataType.FLOAT32


def test_an_encoding_of_several_tensors_has_no_name(everything: MetaGraph) -> None:
    assert everything.names["serving_default"].outputs["y"] == ""
    assert not everything.signatures["serving_default"].outputs["y"].is_dense


def test_method_names_and_defaults_are_kept(everything: MetaGraph) -> None:
    signature = everything.signatures["serving_default"]
    default = signature.defaults["b"]
    assert default is not None
    assert (default.dtype, default.tolist()) == (np.float32, 2.5)
    assert signature.method_name == "tensorflow/serving/predict"
    assert everything.signatures["another"].method_name == "other"


def test_the_signatures_are_kept_verbatim(everything: MetaGraph) -> None:
    kept = message_class("tensorflow.serving.SignatureDefMap").FromString(everything.definitions)
    original = saved_model(EVERYTHING).meta_graphs[0].signature_def
    assert dict(kept.signature_def) == dict(original)


def test_the_text_form_says_the_same(tmp_path: Path, everything: MetaGraph) -> None:
    other = tmp_path / "text"
    other.mkdir()
    (other / "saved_model.pbtxt").write_text(EVERYTHING)
    assert read_meta_graphs(str(other)) == [everything]


def test_the_graph_of_the_text_form_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pbtxt").write_text(GRAPH_AS_TEXT)
    assert [of.tags for of in read_meta_graphs(tmp_path)] == [("serve",)]


def test_the_binary_form_goes_before_the_text_form(tmp_path: Path, everything: MetaGraph) -> None:
    (tmp_path / "saved_model.pbtxt").write_text("{")
    assert read_meta_graphs(tmp_path) == [everything]


def test_the_graph_is_not_read(tmp_path: Path, everything: MetaGraph) -> None:
    path = tmp_path / "saved_model.pb"
    [whole] = saved_model(EVERYTHING).meta_graphs
    constants = bytes(3_000_000)
    graph = b"\x12" + varint(len(constants)) + constants
    # Fields of every kind that nothing is known of, before, between and behind.
    others = b"\x79" + bytes(8) + b"\x7d" + bytes(4) + b"\x78" + varint(1 << 40)
    content = others + graph + whole.SerializeToString() + others
    path.write_bytes(b"\x08\x01" + others + b"\x12" + varint(len(content)) + content)
    tracemalloc.start()
    try:
        assert read_meta_graphs(tmp_path) == [everything]
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def varint(value: int) -> bytes:
    digits = []
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xff\xff",
        b"\x0a",
        bytes(range(256)),
        b"\x80" * 11,
        b"\x13\x14",
        b"\x12\x02\x12\x01",
        b"\x12\x03\x0a\x01\x22",
        b"\x79\x00",
    ],
)
def test_a_corrupt_file_is_data_loss(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "saved_model.pb"
    path.write_bytes(content)
    with pytest.raises(DataLoss) as raised:
        read_meta_graphs(tmp_path)
    assert raised.value.message == f"Can't parse {path} as binary proto"


@pytest.mark.parametrize("content", [b"meta_graphs {", b"\xff", b"meta_graphs: 1"])
def test_a_corrupt_text_file_is_data_loss(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "saved_model.pbtxt"
    path.write_bytes(content)
    with pytest.raises(DataLoss) as raised:
        read_meta_graphs(tmp_path)
    assert raised.value.message == f"Can't parse {path} as text proto"


def test_a_directory_without_a_saved_model_says_what_it_should_have(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").mkdir()
    with pytest.raises(NotFound) as raised:
        read_meta_graphs(tmp_path)
    assert raised.value.message == (
        "Specified file path does not appear to contain a SavedModel bundle "
        "(should have a file called `saved_model.pb`)\n"
        f"Specified file path: {tmp_path}"
    )


@pytest.mark.parametrize("beside", ["checkpoint", "saved_model.pb"])
def test_a_session_bundle_is_refused_even_beside_a_saved_model(tmp_path: Path, beside: str) -> None:
    (tmp_path / "export.meta").touch()
    (tmp_path / beside).touch()
    with pytest.raises(Unimplemented) as raised:
        read_meta_graphs(tmp_path)
    assert raised.value.message == "Session Bundle is deprecated and removed."


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read")
def test_a_file_that_cannot_be_read_gives_the_words_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / "saved_model.pb"
    path.symlink_to("/proc/self/mem")
    with pytest.raises(Unknown, match=f"^{re.escape(f'{path}; Input/output error')}$"):
        read_meta_graphs(tmp_path)


@pytest.mark.parametrize("name", ["variables/variables.index", "assets/a/b", "fingerprint.pb"])
def test_what_tensorflow_would_wait_for_is_found_before_it_does(tmp_path: Path, name: str) -> None:
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "variables.data-00000-of-00001").touch()
    (tmp_path / "variables" / "lost").symlink_to("nowhere")
    (tmp_path / "assets" / "a").mkdir(parents=True)
    check_files(tmp_path)
    os.mkfifo(tmp_path / name)
    with pytest.raises(NotRegular, match=f"{name}; Is a pipe, not a regular file$"):
        check_files(tmp_path)


@pytest.fixture
def nobodys_directory() -> Iterator[Path]:
    """A directory all may read with a model none may, in a process without root's rights."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        Path(directory, "saved_model.pb").touch(mode=0)
        was = os.geteuid()
        if was == 0:
            os.seteuid(65534)
        try:
            yield Path(directory)
        finally:
            os.seteuid(was)


def test_a_file_that_may_not_be_read_is_permission_denied(nobodys_directory: Path) -> None:
    path = nobodys_directory / "saved_model.pb"
    with pytest.raises(PermissionDenied, match=f"^{re.escape(f'{path}; Permission denied')}$"):
        read_meta_graphs(nobodys_directory)


@pytest.mark.parametrize("wanted", [("serve", "gpu"), ("gpu", "serve")])
def test_a_variant_is_chosen_by_the_whole_set_of_its_tags(wanted: tuple[str, ...]) -> None:
    both = [with_tags("serve"), with_tags("gpu", "serve")]
    assert meta_graph_with_tags(both, wanted, "dir") is both[1]
    assert meta_graph_with_tags(both, ("serve",), "dir") is both[0]


@pytest.mark.parametrize(
    ("present", "hint"),
    [
        ([("gpu", "serve"), ("train",)], "dir has the tag sets: {gpu,serve}, {train}"),
        ([()], "dir has the tag sets: {}"),
        ([], "dir has the tag sets: none"),
    ],
)
def test_tags_that_no_variant_has_are_named_with_those_there_are(
    present: list[tuple[str, ...]], hint: str
) -> None:
    with pytest.raises(NotFound) as raised:
        meta_graph_with_tags([with_tags(*tags) for tags in present], ("serve", "tpu"), "dir")
    assert raised.value.message == (
        "Could not find meta graph def matching supplied tags: { serve tpu }. "
        "To inspect available tag-sets in the SavedModel, please use the SavedModel CLI: "
        "`saved_model_cli`"
    )
    assert raised.value.hint == hint


@pytest.mark.parametrize(
    ("name", "tags"), [("two_tags", b"tpu"), ("empty_pb", b"serve"), ("corrupt_pb", b"serve")]
)
def test_what_is_wrong_with_a_file_is_told_in_the_words_of_tensorflow(
    library: Library, version_path: Callable[[str], Path], name: str, tags: bytes
) -> None:
    directory = str(version_path(name))
    with pytest.raises(ServingError) as ours:
        meta_graph_with_tags(read_meta_graphs(directory), [tags.decode()], directory)
    assert (ours.value.code, ours.value.message) == said_by_tensorflow(library, directory, tags)


def test_a_file_cut_short_is_data_loss(version_path: Callable[[str], Path]) -> None:
    # TensorFlow says OUT_OF_RANGE, "Read less bytes than requested", without naming the file.
    directory = version_path("truncated_pb")
    with pytest.raises(DataLoss) as raised:
        read_meta_graphs(directory)
    assert raised.value.message == f"Can't parse {directory / 'saved_model.pb'} as binary proto"


def said_by_tensorflow(library: Library, directory: str, tag: bytes) -> tuple[int, str]:
    from ctypes import c_char_p

    quick = library.quick
    status, options, graph = quick.TF_NewStatus(), quick.TF_NewSessionOptions(), quick.TF_NewGraph()
    quick.TF_LoadSessionFromSavedModel(
        options, None, directory.encode(), (c_char_p * 1)(tag), 1, graph, None, status
    )
    code, message = quick.TF_GetCode(status), quick.TF_Message(status).decode()
    quick.TF_DeleteGraph(graph)
    quick.TF_DeleteSessionOptions(options)
    quick.TF_DeleteStatus(status)
    return code, message
