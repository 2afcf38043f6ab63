from salver.oip.rest.description import WHICH, about
from salver.oip.rest.generate_description import generate_operations
from salver.openapi.description import ServedModel
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature, TensorSpec

TEXT = TensorSpec(DataType.STRING, (-1,))


def model(name: str = DEFAULT_SIGNATURE) -> ServedModel:
    signature = Signature({"text": TEXT, "limit": TEXT}, {"y": TEXT}, optional=frozenset({"limit"}))
    return ServedModel(name="m", version=1, key="m.v1", signatures={name: signature})


def test_a_body_has_a_member_for_each_input() -> None:
    for operation in generate_operations(WHICH, about):
        assert operation.of_model is not None
        made = operation.of_model(model())
        assert made is not None
        schema = made["requestBody"]["content"]["application/json"]["schema"]
        assert list(schema["properties"]) == ["text", "limit"]
        assert schema["required"] == ["text"]


def test_a_model_without_a_default_signature_has_none() -> None:
    for operation in generate_operations(WHICH, about):
        assert operation.of_model is not None
        assert operation.of_model(model("other")) is None


def test_streams_answer_events() -> None:
    for operation in generate_operations(WHICH, about):
        content = operation.about["responses"]["200"]["content"]
        is_stream = operation.path.endswith("_stream")
        assert list(content) == ["text/event-stream" if is_stream else "application/json"]
