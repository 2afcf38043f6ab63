"""`inference.GRPCInferenceService`: the table of its methods.

Source: the specification's `inference_grpc.md`, and Triton's `grpc/grpc_server.cc`.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from salver.codecs.oip.service_messages import decode_request, encode_response
from salver.inference.call import Inference
from salver.inference.serving import Serving
from salver.oip.asking import Labels
from salver.oip.reports import model_metadata, server_metadata, unready_model
from salver.oip.rpc.extensions import extension_methods
from salver.oip.rpc.infer import InferCodecs, servable_of
from salver.oip.rpc.models import ModelFacts, ModelMethods
from salver.protocols.methods import Call, MethodTable
from salver.vocabulary.access import Access, Verb

__all__ = ["FILTERED", "SERVICE", "VERBS", "InferenceService", "inference_methods"]

SERVICE: Final = "/inference.GRPCInferenceService"

VERBS: Final = {
    f"{SERVICE}/{name}": verb
    for verb, names in (
        (Verb.HEALTH, ("ServerLive", "ServerReady", "ModelReady")),
        (
            Verb.METADATA,
            (
                "ServerMetadata",
                "ModelMetadata",
                "ModelConfig",
                "ModelStatistics",
                "RepositoryIndex",
            ),
        ),
        (Verb.PREDICT, ("ModelInfer", "ModelStreamInfer")),
        (
            Access.KNOWN,  # there is no shared memory, and that is all they tell
            tuple(
                f"{kind}SharedMemory{action}"
                for kind in ("System", "Cuda")
                for action in ("Status", "Register", "Unregister")
            ),
        ),
    )
    for name in names
}
"""What the methods do; the others administer the server."""

FILTERED: Final = frozenset(
    f"{SERVICE}/{name}"
    for name in (
        "ServerLive",
        "ServerReady",
        "ServerMetadata",
        "ModelStatistics",
        "RepositoryIndex",
    )
)
"""Those that tell of no model, or of those alone that the principal may see."""

_LIVE: Final = encode_response("ServerLiveResponse", {"live": True})


def inference_methods(
    serving: Serving,
    inference: Inference,
    unready: Callable[[], str | None],
    facts: ModelFacts,
    labels: Labels | None = None,
) -> MethodTable:
    """All methods of the service but ModelStreamInfer.

    Args:
        serving: see `InferenceService`; so are the next two.
        inference: answers the requests.
        unready: why this server should get no traffic now.
        facts: what is told of models, and done to them.
        labels: of classes; see `OipRequest`.
    """
    return {
        **InferenceService(serving, inference, unready, labels).methods(),
        **ModelMethods(facts).methods(SERVICE),
        **extension_methods(SERVICE, serving, facts),
    }


class InferenceService:
    """Answers what the specification has. Belongs to the loop."""

    def __init__(
        self,
        serving: Serving,
        inference: Inference,
        unready: Callable[[], str | None],
        labels: Labels | None = None,
    ) -> None:
        """Make the service.

        Args:
            serving: finds the servables.
            inference: answers the requests, by a deadline.
            unready: why this server should get no traffic now, or None.
            labels: of classes; see `OipRequest`.
        """
        self._serving = serving
        self._answer = inference.answer
        self._unready = unready
        self._codecs = InferCodecs(labels).all

    def methods(self) -> MethodTable:
        """Its part of the table."""
        return {
            f"{SERVICE}/ServerLive": self.server_live,
            f"{SERVICE}/ServerReady": self.server_ready,
            f"{SERVICE}/ModelReady": self.model_ready,
            f"{SERVICE}/ServerMetadata": self.server_metadata,
            f"{SERVICE}/ModelMetadata": self.model_metadata,
            f"{SERVICE}/ModelInfer": self.model_infer,
        }

    def server_live(self, _data: bytes, _call: Call) -> bytes:
        """ServerLive: it is, since it answers."""
        return _LIVE

    def server_ready(self, _data: bytes, _call: Call) -> bytes:
        """ServerReady: whether it should get traffic."""
        return encode_response("ServerReadyResponse", {"ready": self._unready() is None})

    def model_ready(self, data: bytes, _call: Call) -> bytes:
        """ModelReady: whether a model, or one version of it, answers; of an unknown one, no."""
        request = decode_request("ModelReadyRequest", data)
        is_ready = unready_model(self._serving, servable_of(request.name, request.version)) is None
        return encode_response("ModelReadyResponse", {"ready": is_ready})

    def server_metadata(self, data: bytes, _call: Call) -> bytes:
        """ServerMetadata."""
        decode_request("ServerMetadataRequest", data)
        return encode_response("ServerMetadataResponse", server_metadata())

    def model_metadata(self, data: bytes, _call: Call) -> bytes:
        """ModelMetadata: of the signature that a request means which names none."""
        request = decode_request("ModelMetadataRequest", data)
        told, _ = model_metadata(self._serving, servable_of(request.name, request.version))
        return encode_response("ModelMetadataResponse", told)

    def model_infer(self, data: bytes, call: Call) -> bytes | Coroutine[Any, Any, bytes]:
        """ModelInfer: tensors in, tensors out.

        Raises:
            ServingError: also out of the coroutine.
        """
        return self._answer(self._codecs, data, None, call.timeout_s, is_first_in_loop=True)
