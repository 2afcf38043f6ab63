"""What an API brings to an inference call: codecs, and the requests that they read."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from salver.inference.logged import LoggedCall
from salver.inference.servable import Meter, SignatureCall, Start, Stream, StreamedRun
from salver.inference.serving import Handle
from salver.vocabulary.requests import Array, ServableRequest

__all__ = ["Codec", "InferenceRequest", "IsActive"]

A = TypeVar("A")

IsActive = Callable[[], bool]
"""Whether anybody still waits for the answer. None in its place: this is the loop."""


class InferenceRequest(Generic[A]):
    """A request as one codec reads it. One is made for each request, hence the slots.

    Attributes:
        servable: which one it wants.
        handle: the version that answers, from `decode` on.
        start: begins the run.
        feeds: what is run on.
        meter: counts the answer; None where nobody does.
        begun_s: when the request began to be handled, by `time.perf_counter`.
        is_last: of a stream: whether the answer that is encoded is known to be the last one.
    """

    __slots__ = ("begun_s", "feeds", "handle", "is_last", "meter", "servable", "start")

    handle: Handle
    start: Start
    feeds: list[Array]
    meter: Meter | None
    begun_s: float
    is_last: bool

    def __init__(self, servable: ServableRequest) -> None:
        self.servable = servable

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        """Find out what runs, and what is fed to it.

        Args:
            handle: the version that is to answer.
            is_active: see there.

        Returns:
            False where the codec does not know this request after all: the next one tries.

        Raises:
            ServingError: the request does not fit the version.
            TakesLong: in the loop.
        """
        raise NotImplementedError

    def runs(self, handle: Handle, call: SignatureCall, feeds: list[Array], meter: Any) -> None:
        """Set all that `decode` has to set, for a run of a whole signature.

        Args:
            handle: the version.
            call: of one of its signatures.
            feeds: in the order of its inputs.
            meter: method and entrypoint, the key of `call.meters`.
        """
        self.handle = handle
        self.start = call.start
        self.feeds = feeds
        self.meter = call.meters[meter]

    def begin(self, stream: Stream, timeout_s: float | None) -> StreamedRun:
        """Begin a run that has several answers.

        Args:
            stream: begins it.
            timeout_s: that there is; None: for ever.
        """
        return stream(self.feeds, timeout_s=self.time_left(timeout_s), on_end=self.handle.release)

    def time_left(self, timeout_s: float | None) -> float | None:
        """How long a stream of answers may take.

        Args:
            timeout_s: that there is; None: for ever.
        """
        return timeout_s

    def encode(self, outputs: list[Array]) -> A:
        """The answer, of the outputs in the order in which `start` gives them.

        Raises:
            TakesLong: it is better made by `encode_large`.
        """
        raise NotImplementedError

    def encode_large(self, outputs: list[Array], check: Callable[[], None]) -> A:
        """The same in a thread.

        Args:
            outputs: of the run.
            check: may be called now and then; what it raises ends the work.
        """
        return self.encode(outputs)

    def logged(self, outputs: list[Array], answer: A, *, wants_bodies: bool) -> LoggedCall | None:
        """What is written of the call once it is answered; None for nothing.

        Args:
            outputs: of the run.
            answer: made of them.
            wants_bodies: see `CallLogger`.
        """
        return None


Codec = Callable[[bytes, Any, IsActive | None], InferenceRequest[A] | None]
"""Reads a message as far as no version need be known for it; None: it is none that this one knows.

Its arguments are the message, what its API hands along with it, and `IsActive`. It raises
ServingError, and in the loop TakesLong.
"""
