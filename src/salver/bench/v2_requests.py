"""Requests of the Open Inference Protocol, in the forms that a load may have."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from salver.client.exchange import Exchange, Which
from salver.client.v2_rest_wire import V2RestWire
from salver.errors import InvalidArgument
from salver.vocabulary.requests import Array

__all__ = ["Form", "check_v2", "infer_exchange", "infer_path"]

Form = Literal["auto", "json", "binary"]
"""How tensors go over REST: both ways as JSON, both ways as raw bytes, or as `salver.Client` has
them: small inputs as JSON, the rest raw."""

_FORMS: Final[Mapping[Form, V2RestWire]] = {
    "auto": V2RestWire(),
    "json": V2RestWire(small_bytes=1 << 62, is_answer_raw=False),
    "binary": V2RestWire(small_bytes=-1),
}


def check_v2(method: str, form: Form, *, is_grpc: bool, has_bodies: bool) -> None:
    """Refuse what the protocol has not.

    Raises:
        InvalidArgument: it was asked for.
    """
    if method not in ("auto", "predict"):
        raise InvalidArgument(f"The Open Inference Protocol has no {method}")
    if is_grpc and form != "auto":
        raise InvalidArgument("--form is of REST: over gRPC tensors are always raw")
    if is_grpc and has_bodies:
        raise InvalidArgument(
            "By --protocol v2 a request of --input goes over REST alone",
            hint="Without --input random requests are sent over gRPC.",
        )
    if has_bodies and form != "auto":
        raise InvalidArgument("--form is for random requests; --input says what is sent")


def infer_path(which: Which) -> str:
    """Where requests of REST go."""
    return _FORMS["auto"].predict(which, "", {}, ()).path


def infer_exchange(
    which: Which, signature: str, feeds: Mapping[str, Array], form: Form
) -> Exchange[Any]:
    """A request of REST.

    Raises:
        Unimplemented: the protocol has no datatype for an input.
    """
    return _FORMS[form].predict(which, signature, feeds, ())
