import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, text_format

from salver._pb import POOL, message_class

_ROOT = Path(__file__).parents[3]
_COMPILED = _ROOT / "src" / "salver" / "_pb" / "descriptors.binpb"

needs_compiler = pytest.mark.skipif(
    importlib.util.find_spec("grpc_tools") is None, reason="grpcio-tools is not installed"
)
needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="tensorflow is not installed"
)

_IMPORTS = {
    "ours first": ("from salver._pb import message_class", "import tensorflow as tf"),
    "TensorFlow first": ("import tensorflow as tf", "from salver._pb import message_class"),
}

_BOTH_WORK = """
ours = message_class("tensorflow.Example")()
ours.features.feature["x"].float_list.value.append(1.5)
theirs = tf.train.Example.FromString(ours.SerializeToString())
assert theirs.features.feature["x"].float_list.value[0] == 1.5
assert type(theirs) is not type(ours)
"""

_DUMP_THEIRS = """
import sys
from google.protobuf import descriptor_pb2
from tensorflow.core.example import example_pb2
from tensorflow.core.protobuf import config_pb2, error_codes_pb2, named_tensor_pb2, saved_model_pb2

found = {}

def visit(file):
    if file.name not in found:
        found[file.name] = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(found[file.name])
        for dependency in file.dependencies:
            visit(dependency)

for module in (example_pb2, config_pb2, error_codes_pb2, named_tensor_pb2, saved_model_pb2):
    visit(module.DESCRIPTOR)
everything = descriptor_pb2.FileDescriptorSet(file=found.values())
open(sys.argv[1], "wb").write(everything.SerializeToString())
"""

# Known only as bytes here.
_OPAQUE = {
    "tensorflow.RunMetadata": {"step_stats", "cost_graph", "partition_graphs", "function_graphs"}
}

_Field = tuple[str, int, int, int, str]


def _child(*lines: str, arguments: tuple[str, ...] = ()) -> None:
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "\n".join(lines), *arguments],
        check=True,
        capture_output=True,
        timeout=120,
    )


def _fields(
    files: descriptor_pb2.FileDescriptorSet,
) -> dict[str, set[_Field]]:
    """Full name of each message and enum → what is in it."""
    found: dict[str, set[_Field]] = {}
    for file in files.file:
        for enum in file.enum_type:
            found[f"{file.package}.{enum.name}"] = _values(enum)
        for message in file.message_type:
            found.update(_message(file.package, message))
    return found


def _message(
    scope: str, message: descriptor_pb2.DescriptorProto
) -> Iterator[tuple[str, set[_Field]]]:
    name = f"{scope}.{message.name}"
    yield (
        name,
        {(f.name, f.number, f.type, f.label, f.type_name) for f in message.field},
    )
    for enum in message.enum_type:
        yield f"{name}.{enum.name}", _values(enum)
    for nested in message.nested_type:
        yield from _message(name, nested)


def _values(enum: descriptor_pb2.EnumDescriptorProto) -> set[_Field]:
    return {(value.name, value.number, 0, 0, "") for value in enum.value}


def _ours() -> descriptor_pb2.FileDescriptorSet:
    return descriptor_pb2.FileDescriptorSet.FromString(_COMPILED.read_bytes())


@needs_compiler
def test_descriptors_are_what_the_proto_files_give(tmp_path: Path) -> None:
    target = tmp_path / "descriptors.binpb"
    subprocess.run([sys.executable, _ROOT / "scripts" / "protos", target], check=True, timeout=60)
    compiled = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())
    ours = {file.name: file for file in _ours().file if not file.name.startswith("google/")}
    assert ours == {
        file.name: file for file in compiled.file if not file.name.startswith("google/")
    }


@needs_tensorflow
@pytest.mark.parametrize("order", _IMPORTS)
def test_tensorflow_can_be_imported_beside_our_messages(order: str) -> None:
    _child(*_IMPORTS[order], _BOTH_WORK)


@needs_tensorflow
def test_tensorflow_messages_are_those_of_the_installed_tensorflow(tmp_path: Path) -> None:
    target = tmp_path / "theirs.binpb"
    _child(_DUMP_THEIRS, arguments=(str(target),))
    theirs = _fields(descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes()))
    ours = _fields(_ours())
    shared = {name for name in ours if name in theirs}
    assert {"tensorflow.ConfigProto", "tensorflow.SavedModel", "tensorflow.TensorProto"} <= shared
    for name in sorted(shared):
        # An older or newer TensorFlow may lack or have a field; what both have must agree.
        mine, his = (
            {field[0]: field for field in side[name] if field[0] not in _OPAQUE.get(name, ())}
            for side in (ours, theirs)
        )
        both = mine.keys() & his.keys()
        assert {field: mine[field] for field in both} == {field: his[field] for field in both}, name


def test_a_message_we_do_not_define_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        message_class("tensorflow.NoSuchMessage")


def test_a_class_is_made_once() -> None:
    assert message_class("tensorflow.Example") is message_class("tensorflow.Example")


def test_the_pool_is_not_the_default_one() -> None:
    from google.protobuf import descriptor_pool

    assert POOL is not descriptor_pool.Default()


def test_the_graph_of_a_model_is_skipped_in_both_forms() -> None:
    text = """
      saved_model_schema_version: 1
      meta_graphs {
        meta_info_def { tags: "serve" stripped_op_list { op { name: "Add" } } }
        graph_def { node { name: "x" attr { key: "k" value { list { i: [1, 2] } } } } }
        signature_def { key: "s" value { inputs { key: "x" value { name: "x:0" } } } }
      }
    """
    model = text_format.Parse(
        text, message_class("tensorflow.SavedModel")(), allow_unknown_field=True
    )
    assert list(model.meta_graphs[0].signature_def) == ["s"]
    # field 2 of MetaGraphDef, with whatever the graph holds
    binary = b"\x12\x06\x12\x04\x0a\x02hi"
    reread = message_class("tensorflow.SavedModel").FromString(binary)
    assert reread.SerializeToString() == binary
