"""What the inference calls of gRPC have in common: which servable, how long, what is logged."""

from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.room import Room
from salver.errors import InvalidArgument
from salver.inference.call import (
    InferenceRequest,
    IsActive,
)
from salver.inference.logged import LoggedCall, Messages, Method
from salver.instruments.threads import LARGE_BYTES
from salver.vocabulary.requests import Array, ServableRequest

__all__ = ["MessageRequest", "given_spec", "room_for", "servable_request"]


def given_spec(spec: ModelSpec | None) -> ModelSpec:
    """The spec of a request that must have one.

    Raises:
        InvalidArgument: it has none.
    """
    if spec is None:
        raise InvalidArgument("Missing ModelSpec")
    return spec


def servable_request(spec: ModelSpec) -> ServableRequest:
    """Which servable a spec wants.

    Raises:
        InvalidArgument: it names no model.
    """
    if not spec.name:
        raise InvalidArgument("ModelSpec has no name specified.")
    return ServableRequest(spec.name, spec.version, spec.label)


def room_for(data: bytes, is_active: IsActive | None) -> Room:
    """How much may be made of a message: in the loop, no more than does not take long."""
    if is_active is None:
        return Room(len(data), made_bytes=LARGE_BYTES)
    return Room(len(data))


class MessageRequest(InferenceRequest[bytes]):
    """What a message asks for.

    Attributes:
        data: the message.
        spec: of the model, as it came.
    """

    __slots__ = ("data", "spec")

    method: Method

    def __init__(self, servable: ServableRequest, spec: ModelSpec, data: bytes) -> None:
        self.servable = servable
        self.spec = spec
        self.data = data

    def logged(self, outputs: list[Array], answer: bytes, *, wants_bodies: bool) -> LoggedCall:
        """See `InferenceRequest`."""
        return LoggedCall(
            self.method,
            self.servable,
            self.handle.id.version,
            self.spec.signature_name,
            Messages(self.data, answer),
        )
