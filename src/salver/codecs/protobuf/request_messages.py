"""Requests of the PredictionService, written as a client would.

Source: TensorFlow Serving, `apis/{predict,classification,regression,input}.proto`.
"""

from collections.abc import Mapping, Sequence

from salver.codecs.protobuf.model_spec import ModelSpec, encode_model_spec
from salver.codecs.protobuf.tensor_proto import encode_tensor
from salver.codecs.protobuf.wire import length_delimited
from salver.vocabulary.requests import Array

__all__ = ["encode_examples_request", "encode_predict_request"]


def encode_predict_request(spec: ModelSpec, inputs: Mapping[str, Array]) -> bytes:
    """Serialize a `PredictRequest` for all outputs.

    Args:
        spec: which servable and signature.
        inputs: alias → tensor.

    Raises:
        Internal: no tensor has the elements of an input.
    """
    parts = [length_delimited(1, encode_model_spec(spec))]
    for alias, array in inputs.items():
        tensor = encode_tensor(array, as_content=False)
        entry = length_delimited(1, alias.encode()) + length_delimited(2, tensor)
        parts.append(length_delimited(2, entry))
    return b"".join(parts)


def encode_examples_request(spec: ModelSpec, examples: Sequence[bytes]) -> bytes:
    """Serialize a `ClassificationRequest` or `RegressionRequest`, which have the same fields.

    Args:
        spec: which servable and signature.
        examples: serialized `tensorflow.Example` messages.
    """
    example_list = b"".join([length_delimited(1, example) for example in examples])
    input = length_delimited(1, example_list)
    return length_delimited(1, encode_model_spec(spec)) + length_delimited(2, input)
