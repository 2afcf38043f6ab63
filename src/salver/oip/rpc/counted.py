"""Which model a call names, for interceptors and for the counters of failures."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from salver.codecs.oip.service_messages import leading_texts
from salver.errors import Code, ServingError
from salver.metrics.outcomes import Outcomes
from salver.oip.rpc.infer import METER_KEY, servable_of
from salver.vocabulary.requests import ServableRequest

__all__ = ["failure_counters", "named_servable"]

_NAMED: Final = (
    "ModelReady", "ModelMetadata", "ModelInfer", "ModelStreamInfer", "ModelConfig",
    "ModelStatistics",
)  # fmt: skip
_OF_REPOSITORY: Final = ("RepositoryModelLoad", "RepositoryModelUnload")


def failure_counters(
    service: str, outcomes: Outcomes
) -> Mapping[str, Callable[[bytes, BaseException], None]]:
    """Full names of methods → what counts a failure, told the message and the error.

    Args:
        service: its full name, `/inference.GRPCInferenceService`.
        outcomes: counts them.
    """

    def count(data: bytes, error: BaseException) -> None:
        texts = leading_texts(data, 1)
        if texts is None:  # it is no request
            return
        version: int | None = None
        if isinstance(error, ServingError):
            code, version = error.code, error.version
        elif isinstance(error, MemoryError):
            code = Code.RESOURCE_EXHAUSTED
        else:
            is_left = isinstance(error, asyncio.CancelledError)
            code = Code.CANCELLED if is_left else Code.INTERNAL
        outcomes.failed(texts[0], code, entrypoint=METER_KEY[1], version=version, protocol="v2")

    return {f"{service}/ModelInfer": count}


def named_servable(method: str, data: bytes) -> ServableRequest | None:
    """Which servable a request names; None for none, or where it cannot be read.

    Args:
        method: its full name.
        data: the message.
    """
    name = method.rpartition("/")[2]
    if name in _OF_REPOSITORY:
        texts = leading_texts(data, 2)
        return ServableRequest(texts[1]) if texts and texts[1] else None
    if name not in _NAMED:
        return None
    texts = leading_texts(data, 2)
    return servable_of(*texts) if texts and texts[0] else None
