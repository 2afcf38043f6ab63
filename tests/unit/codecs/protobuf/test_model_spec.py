import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tests.wire_forms import broken

from salver._pb import message_class
from salver.codecs.protobuf.model_spec import ModelSpec, decode_model_spec, encode_model_spec
from salver.errors import Internal

MESSAGE = message_class("tensorflow.serving.ModelSpec")
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
versions = st.integers(-(2**63), 2**63 - 1)
specs = st.one_of(
    st.builds(ModelSpec, text, st.none() | versions, st.none(), text),
    st.builds(ModelSpec, text, st.none(), text, text),
)


def message_of(spec: ModelSpec) -> bytes:
    message = MESSAGE(name=spec.name, signature_name=spec.signature_name)
    if spec.version is not None:
        message.version.value = spec.version
    if spec.label is not None:
        message.version_label = spec.label
    data: bytes = message.SerializeToString()
    return data


@given(specs)
def test_a_spec_is_written_as_protobuf_would_and_read_back(spec: ModelSpec) -> None:
    assert encode_model_spec(spec) == message_of(spec)
    assert decode_model_spec(message_of(spec)) == spec


def test_version_0_is_a_version() -> None:
    assert decode_model_spec(b"\x12\x00") == ModelSpec("", 0)
    assert decode_model_spec(b"") == ModelSpec("")


def test_an_empty_label_is_a_label() -> None:
    assert decode_model_spec(b"\x22\x00") == ModelSpec("", None, "")


@pytest.mark.parametrize(
    ("data", "spec"),
    [
        (b"\x12\x02\x08\x05\x22\x01a", ModelSpec("", None, "a")),
        (b"\x22\x01a\x12\x02\x08\x05", ModelSpec("", 5)),
        (b"\x12\x02\x08\x05\x12\x00", ModelSpec("", 5)),
        (b"\x0a\x01a\x0a\x01b", ModelSpec("b")),
        (b"\x1a\x01s\x0a\x01a", ModelSpec("a", signature_name="s")),
    ],
    ids=["label last", "version last", "versions merged", "name twice", "any order"],
)
def test_the_last_of_a_field_wins(data: bytes, spec: ModelSpec) -> None:
    assert decode_model_spec(data) == spec
    assert decode_model_spec(memoryview(data)) == spec


def test_a_long_name_is_read_though_not_kept() -> None:
    spec = ModelSpec("m" * 10_000, 1)
    assert decode_model_spec(encode_model_spec(spec)) == spec


@given(broken(specs.map(message_of)) | st.binary(max_size=20))
def test_broken_bytes_are_an_internal_error_or_what_protobuf_reads(data: bytes) -> None:
    try:
        expected = MESSAGE.FromString(data).SerializeToString()
    except DecodeError:
        with pytest.raises(Internal):
            decode_model_spec(data)
    else:
        assert decode_model_spec(data) == decode_model_spec(expected)
