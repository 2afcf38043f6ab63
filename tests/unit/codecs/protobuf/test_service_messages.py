from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tests.wire_forms import broken

from salver._pb import message_class
from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.service_messages import (
    MetadataRequest,
    ReloadRequest,
    SessionRunRequest,
    VersionReport,
    decode_metadata_request,
    decode_reload_request,
    decode_session_run_request,
    decode_status_request,
    encode_metadata_response,
    encode_reload_response,
    encode_session_run_response,
    encode_status_response,
)
from salver.codecs.protobuf.tensor_proto import decode_tensor, encode_tensor
from salver.config.models import ModelConfig, from_message
from salver.errors import Internal
from salver.vocabulary.servable import Latest, Specific

SPEC = ModelSpec("m", 3)
DECODERS: dict[str, Callable[[bytes], Any]] = {
    "GetModelMetadataRequest": decode_metadata_request,
    "GetModelStatusRequest": decode_status_request,
    "ReloadConfigRequest": decode_reload_request,
    "SessionRunRequest": decode_session_run_request,
}


def serving(name: str) -> Any:
    return message_class(f"tensorflow.serving.{name}")


def filled() -> dict[str, bytes]:
    """A request of each kind with something in it."""
    metadata = serving("GetModelMetadataRequest")(metadata_field=["signature_def", "other"])
    metadata.model_spec.name = "m"
    status = serving("GetModelStatusRequest")()
    status.model_spec.version.value = 0
    reload = serving("ReloadConfigRequest")(metric_names=["/a", "/b"])
    one = reload.config.model_config_list.config.add(
        name="m", base_path="/models/m", model_platform="tensorflow", version_labels={"stable": 2}
    )
    one.model_version_policy.specific.versions.extend([1, 2])
    reload.config.model_config_list.config.add(name="n", base_path="/models/n", model_type=1)
    session = serving("SessionRunRequest")(
        fetch=["y:0", "z:0"], target=["init"], tensor_name_is_alias=True
    )
    session.model_spec.name = "m"
    session.feed.add(name="x:0").tensor.ParseFromString(
        encode_tensor(np.array([1.5]), as_content=False)
    )
    session.feed.add(name="x:0")
    session.options.timeout_in_ms = 5
    return {
        message.DESCRIPTOR.name: message.SerializeToString()
        for message in (metadata, status, reload, session)
    }


FILLED = filled()


@pytest.mark.parametrize("name", DECODERS)
@given(st.data())
def test_broken_bytes_are_an_internal_error_or_a_request(name: str, data: st.DataObject) -> None:
    spoiled = data.draw(broken(st.just(FILLED[name])))
    try:
        serving(name).FromString(spoiled)
    except DecodeError:
        with pytest.raises(Internal, match=f"^Failed to parse tensorflow.serving.{name}$"):
            DECODERS[name](spoiled)
    else:
        DECODERS[name](spoiled)


def test_a_metadata_request_names_fields() -> None:
    found = decode_metadata_request(FILLED["GetModelMetadataRequest"])
    assert found == MetadataRequest(ModelSpec("m"), ("signature_def", "other"))
    assert decode_metadata_request(b"") == MetadataRequest(None, ())


def test_a_metadata_response_holds_the_signatures_verbatim() -> None:
    signatures = serving("SignatureDefMap")()
    signatures.signature_def["s"].inputs["x"].name = "x:0"
    packed = signatures.SerializeToString() + b"\xf8\x7f\x01"  # a field nobody knows is kept
    data = encode_metadata_response(SPEC, packed)
    message = serving("GetModelMetadataResponse").FromString(data)
    assert (message.model_spec.name, message.model_spec.version.value) == ("m", 3)
    assert list(message.metadata) == ["signature_def"]
    found = message.metadata["signature_def"]
    assert found.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    assert found.value == packed


def test_a_status_request_is_a_spec() -> None:
    assert decode_status_request(FILLED["GetModelStatusRequest"]) == ModelSpec("", 0)
    assert decode_status_request(b"") is None


def test_a_status_response_has_the_versions_in_the_order_given() -> None:
    data = encode_status_response(
        [VersionReport(2, 30), VersionReport(1, 50, 5, "gone"), VersionReport(0, 10)]
    )
    found = serving("GetModelStatusResponse").FromString(data).model_version_status
    assert [(one.version, one.state) for one in found] == [(2, 30), (1, 50), (0, 10)]
    assert [(one.status.error_code, one.status.error_message) for one in found] == [
        (0, ""),
        (5, "gone"),
        (0, ""),
    ]
    assert all(one.HasField("status") for one in found)
    assert encode_status_response([]) == b""


def test_a_text_that_utf_8_has_no_form_for_does_not_fail_the_answer() -> None:
    data = encode_status_response([VersionReport(1, 50, 5, "no \udcff")])
    found = serving("GetModelStatusResponse").FromString(data).model_version_status
    assert found[0].status.error_message == "no ?"


def test_a_reload_request_is_a_configuration() -> None:
    found = decode_reload_request(FILLED["ReloadConfigRequest"])
    assert found.metric_names == ("/a", "/b")
    assert from_message(found.config) == (
        ModelConfig(
            name="m",
            base_path="/models/m",
            model_platform="tensorflow",
            version_policy=Specific((1, 2)),
            names_versions=True,
            version_labels={"stable": 2},
        ),
        ModelConfig(name="n", base_path="/models/n", model_type=1, version_policy=Latest(1)),
    )


def test_an_empty_list_of_models_is_a_configuration_without_models() -> None:
    found = decode_reload_request(b"\x0a\x02\x0a\x00")
    assert from_message(found.config) == ()


@pytest.mark.parametrize("data", [b"", b"\x0a\x00", b"\x0a\x02\x12\x00"])
def test_another_configuration_or_none_gives_no_models(data: bytes) -> None:
    assert decode_reload_request(data) == ReloadRequest(None, ())


def test_a_reload_response_says_ok_and_how_much_counters_grew() -> None:
    message = serving("ReloadConfigResponse").FromString(
        encode_reload_response([("/a", 5), ("/b", 0)])
    )
    assert message.HasField("status")
    assert (message.status.error_code, message.status.error_message) == (0, "")
    assert [(one.name, one.int64_value_increase) for one in message.metric] == [
        ("/a", 5),
        ("/b", 0),
    ]
    assert message.metric[1].WhichOneof("value_increase") == "int64_value_increase"


def test_a_session_run_request_has_feeds_fetches_and_targets() -> None:
    found = decode_session_run_request(FILLED["SessionRunRequest"])
    assert [name for name, _ in found.feeds] == ["x:0", "x:0"]
    assert decode_tensor(found.feeds[0][1]).tolist() == [1.5]
    assert found.feeds[1][1] == b""
    assert (found.spec, found.fetches, found.targets) == (
        ModelSpec("m"),
        ("y:0", "z:0"),
        ("init",),
    )
    assert found.is_alias
    assert message_class("tensorflow.RunOptions").FromString(found.options).timeout_in_ms == 5
    assert decode_session_run_request(b"") == SessionRunRequest(None, (), (), (), False, b"")


@pytest.mark.parametrize("as_content", [False, True], ids=["values", "content"])
def test_a_session_run_response_names_tensors(as_content: bool) -> None:
    tensors = [("y:0", np.array([1.5, 2.5])), ("s:0", np.array([b"a"], object))]
    data = encode_session_run_response(SPEC, tensors, as_content=as_content)
    message = serving("SessionRunResponse").FromString(data)
    assert [one.name for one in message.tensor] == ["y:0", "s:0"]
    for one, (_, array) in zip(message.tensor, tensors, strict=True):
        assert decode_tensor(one.tensor.SerializeToString()).tolist() == array.tolist()
    assert bool(message.tensor[0].tensor.tensor_content) is as_content
    assert message.model_spec.version.value == 3
    assert not message.HasField("metadata")
