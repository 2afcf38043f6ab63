"""The calls of a client, as steps: what is sent when, what is tried again, what is remembered.

Knows neither sockets nor loops: `blocking` and `asynchronous` take the steps.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar, cast

from salver.client.answers import (
    ListedModel,
    ModelMetadata,
    ModelStatus,
    Outputs,
    ScoredClass,
)
from salver.client.attempts import Deadline, Retries
from salver.client.exchange import Exchange, Pause, Send, Steps, Which
from salver.client.features import Example, Examples
from salver.client.feeds import as_feeds
from salver.client.untyped import as_columns, as_they_are
from salver.client.v2_forms import classes_of, values_of
from salver.client.wire import Predicted, TensorWire, Wire
from salver.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unimplemented,
)
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature, is_internal

__all__ = ["Operations"]

T = TypeVar("T")

_MOST_KNOWN: Final = 256  # signatures remembered; past that all are forgotten
_FIRST_LOOK_S: Final = 0.05
_LONGEST_LOOK_S: Final = 0.5
# Servers that do not say which version answered are asked again for signatures after so long.
_STALE_S: Final = 10.0
_UNKNOWN: Final = Signature({}, {})
_SCORES: Final = (DataType.FLOAT16, DataType.BFLOAT16, DataType.FLOAT32, DataType.FLOAT64)


class Operations:
    """Makes the steps of calls. Thread-safe: what it remembers are immutable values in a dict."""

    def __init__(
        self,
        wire: Wire,
        retries: Retries,
        timeout_s: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make them.

        Args:
            wire: of the server's API.
            retries: of calls that do not reach it.
            timeout_s: of calls that say nothing else; None for no limit.
            clock: seconds, monotonic.
        """
        self._wire = wire
        self._retries = retries
        self._timeout_s = timeout_s
        self._clock = clock
        self._known: dict[Which, tuple[ModelMetadata, float]] = {}
        self._is_version_told = False

    # -- inference ---------------------------------------------------------------------------------

    def predict(
        self,
        which: Which,
        inputs: Any,
        signature: str | None,
        outputs: Sequence[str] | None,
        timeout_s: float | None,
    ) -> Steps[Outputs]:
        """Compute outputs; see `Client.predict`."""
        deadline = self._deadline(timeout_s)
        name = signature or DEFAULT_SIGNATURE

        def ask(known: ModelMetadata) -> Steps[Outputs]:
            return self._predict(which, inputs, name, outputs or (), known, deadline)

        return (yield from self._with_known(which, ask, deadline))

    def _with_known(
        self, which: Which, ask: Callable[[ModelMetadata], Steps[T]], deadline: Deadline
    ) -> Steps[T]:
        """Ask with what is known of a version; again when that was out of date."""
        known, is_fresh = yield from self._recall(which, deadline)
        try:
            return (yield from ask(known))
        except (InvalidArgument, FailedPrecondition, Internal) as error:
            if is_fresh or which.version is not None:
                raise
            renewed = yield from self._learn(which, deadline)
            if renewed.signatures == known.signatures and renewed.version in (0, known.version):
                raise error from None  # what was remembered is not what is wrong
        return (yield from ask(renewed))

    def _predict(
        self,
        which: Which,
        inputs: Any,
        name: str,
        outputs: Sequence[str],
        known: ModelMetadata,
        deadline: Deadline,
    ) -> Steps[Outputs]:
        feeds, signature = self._feeds(inputs, name, known)
        if signature is not None:
            _check_outputs(outputs, name, signature)
        answer = yield from self._ask(self._wire.predict(which, name, feeds, outputs), deadline)
        is_other = self._note_version(which, known, answer)
        if signature is None:
            signature = _UNKNOWN
        elif is_other and self._wire.needs_signature:
            signature = yield from self._signature_of(which, answer, name, signature, deadline)
        arrays = answer.arrays(signature)
        missing = [output for output in outputs if output not in arrays]
        if missing:
            raise Internal(f"The answer has no output {missing[0]!r}, which was asked for")
        chosen = {output: arrays[output] for output in outputs} if outputs else arrays
        return Outputs(chosen, answer.version if which.version is None else which.version)

    def _feeds(
        self, inputs: Any, name: str, known: ModelMetadata
    ) -> tuple[Mapping[str, Array], Signature | None]:
        """What the request feeds, and the signature; None where the server does not tell of it."""
        if self._wire.is_of_tensors and name not in known.signatures:
            return as_they_are(inputs, name), None
        signature = _signature(known, name)
        return as_feeds(inputs, name, signature), signature

    def _note_version(self, which: Which, known: ModelMetadata, answer: Predicted) -> bool:
        """Remember which version answered; whether it is another than was known."""
        self._is_version_told = answer.version is not None
        if answer.version is None or answer.version == known.version:
            return False
        if known.version:
            self._known.pop(which, None)
        else:  # nobody said before
            self._keep(which, replace(known, version=answer.version))
        return True

    def _signature_of(
        self,
        which: Which,
        answer: Predicted,
        name: str,
        known: Signature,
        deadline: Deadline,
    ) -> Steps[Signature]:
        """The signature of the version that answered, which is another than was known."""
        try:
            said = yield from self._learn(Which(which.name, answer.version), deadline)
        except NotFound:  # it answered, and has gone since
            return known
        self._keep(which, said)
        return said.signatures.get(name, known)

    def classify(
        self,
        which: Which,
        examples: Examples,
        signature: str | None,
        timeout_s: float | None,
    ) -> Steps[list[list[ScoredClass]]]:
        """Classify examples; see `Client.classify`."""
        if self._wire.is_of_tensors:
            deadline = self._deadline(timeout_s)

            def ask(known: ModelMetadata) -> Steps[Array]:
                return self._of_one_output(which, examples, signature, known, deadline, True)

            return classes_of((yield from self._with_known(which, ask, deadline)))
        exchange = self._wire.classify(which, signature or "", cast("Sequence[Example]", examples))
        return (yield from self._ask(exchange, self._deadline(timeout_s)))

    def regress(
        self,
        which: Which,
        examples: Examples,
        signature: str | None,
        timeout_s: float | None,
    ) -> Steps[Array]:
        """Compute a value per example; see `Client.regress`."""
        if self._wire.is_of_tensors:
            deadline = self._deadline(timeout_s)

            def ask(known: ModelMetadata) -> Steps[Array]:
                return self._of_one_output(which, examples, signature, known, deadline, False)

            return values_of((yield from self._with_known(which, ask, deadline)))
        exchange = self._wire.regress(which, signature or "", cast("Sequence[Example]", examples))
        return (yield from self._ask(exchange, self._deadline(timeout_s)))

    def _of_one_output(
        self,
        which: Which,
        examples: Any,
        name: str | None,
        known: ModelMetadata,
        deadline: Deadline,
        are_classes: bool,
    ) -> Steps[Array]:
        """The classes, or the numbers, of the only output that has numbers."""
        wire = cast("TensorWire", self._wire)
        name = name or DEFAULT_SIGNATURE
        signature = _signature(known, name)
        feeds = as_feeds(as_columns(examples), name, signature)
        output = _numbers(name, signature)
        if are_classes:
            exchange = wire.classes(which, name, feeds, output)
        else:
            exchange = wire.predict(which, name, feeds, (output,))
        answer = yield from self._ask(exchange, deadline)
        self._note_version(which, known, answer)
        arrays = answer.arrays(signature)
        if output not in arrays:
            raise Internal(f"The answer has no output {output!r}, which was asked for")
        return arrays[output]

    # -- reports -----------------------------------------------------------------------------------

    def status(self, which: Which, timeout_s: float | None) -> Steps[ModelStatus]:
        """Where versions stand."""
        return (yield from self._ask(self._wire.status(which), self._deadline(timeout_s)))

    def metadata(self, which: Which, timeout_s: float | None) -> Steps[ModelMetadata]:
        """What a version takes and gives."""
        return (yield from self._learn(which, self._deadline(timeout_s)))

    def models(self, timeout_s: float | None) -> Steps[tuple[ListedModel, ...]]:
        """All models."""
        deadline = self._deadline(timeout_s)
        return (yield from self._ask(self._wire.models(), deadline))

    def wait_ready(self, which: Which | None, timeout_s: float) -> Steps[None]:
        """Wait until a model, or the server, answers; see `Client.wait_ready`."""
        deadline = Deadline(timeout_s, self._clock)
        look_s = _FIRST_LOOK_S
        reason = "it does not answer"
        while True:
            status = None
            try:
                if which is None:
                    yield from self._look_at_server(deadline)
                    return
                exchange = self._wire.is_up(which)
                status = exchange.read((yield Send(exchange, deadline.left_s())))
            except (Unavailable, NotFound) as error:  # it has not begun to listen, or to load
                reason = error.message
            except DeadlineExceeded:
                pass  # what was the reason before still is
            if status is not None:
                if _is_up(status):
                    return
                states = [f"version {of.version} is {of.state}" for of in status.versions]
                reason = ", ".join(states) or "it has no version"
            if not deadline.is_after(look_s):
                what = "The server" if which is None else f"Model {which.name!r}"
                raise DeadlineExceeded(f"{what} was not ready within {timeout_s:g} s: {reason}")
            yield Pause(look_s)
            look_s = min(_LONGEST_LOOK_S, 1.5 * look_s)

    def _look_at_server(self, deadline: Deadline) -> Steps[None]:
        exchange = self._wire.ready()
        try:
            exchange.read((yield Send(exchange, deadline.left_s())))
        except Unimplemented:  # without the question: it listens, and that is all it can say
            return

    # -- sending -----------------------------------------------------------------------------------

    def _deadline(self, timeout_s: float | None) -> Deadline:
        return Deadline(self._timeout_s if timeout_s is None else timeout_s, self._clock)

    def _ask(self, exchange: Exchange[T], deadline: Deadline) -> Steps[T]:
        """Send until it arrives. Each call of the API may come twice without harm."""
        retry = 0
        while True:
            try:
                return exchange.read((yield Send(exchange, deadline.left_s())))
            except Unavailable:
                pause_s = self._retries.pause_s(retry)
                if pause_s is None or not deadline.is_after(pause_s):
                    raise
            yield Pause(pause_s)
            retry += 1

    # -- what is known -----------------------------------------------------------------------------

    def _recall(self, which: Which, deadline: Deadline) -> Steps[tuple[ModelMetadata, bool]]:
        """What is known of a version, and whether the server was just asked for it."""
        found = self._known.get(which)
        if found is not None and (which.version is not None or not self._is_stale(found[1])):
            return found[0], False
        try:
            return (yield from self._learn(which, deadline)), True
        except InvalidArgument:
            if not self._wire.is_of_tensors:
                raise
        # A model without a default signature, or a server without metadata: it can be asked anyway.
        unknown = ModelMetadata(which.name, which.version or 0, {})
        self._keep(which, unknown)
        return unknown, True

    def _is_stale(self, learnt_s: float) -> bool:
        return not self._is_version_told and self._clock() - learnt_s > _STALE_S

    def _learn(self, which: Which, deadline: Deadline) -> Steps[ModelMetadata]:
        said = yield from self._ask(self._wire.metadata(which), deadline)
        self._keep(which, said)
        return said

    def _keep(self, which: Which, said: ModelMetadata) -> None:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[which] = said, self._clock()


def _signature(known: ModelMetadata, name: str) -> Signature:
    signature = known.signatures.get(name)
    if signature is None:
        names = [of for of in known.signatures if not is_internal(of)]
        raise FailedPrecondition(
            f'Serving signature key "{name}" not found.',
            hint=f"The model has {', '.join(map(repr, names)) or 'none'}.",
        )
    return signature


def _check_outputs(outputs: Sequence[str], name: str, signature: Signature) -> None:
    for output in outputs:
        if output not in signature.outputs:
            raise InvalidArgument(
                f"Signature {name!r} has no output {output!r}.",
                hint=f"It gives {', '.join(map(repr, signature.outputs))}.",
            )


def _numbers(name: str, signature: Signature) -> str:
    """The only output, or the only one of floating-point numbers.

    Raises:
        InvalidArgument: there are several.
    """
    found = list(signature.outputs)
    if len(found) > 1:
        found = [of for of in found if signature.outputs[of].dtype in _SCORES]
    if len(found) != 1:
        raise InvalidArgument(
            f"Signature {name!r} has {len(signature.outputs)} outputs: which are the scores?",
            hint="Ask for one with predict(…, outputs=[…]).",
        )
    return found[0]


def _is_up(status: ModelStatus) -> bool:
    """Whether a version answers.

    Raises:
        ServingError: none does or will: of the newest that failed.
    """
    if status.available:
        return True
    is_over = all(of.state == "END" for of in status.versions)
    failed = [of.error for of in status.versions if of.error is not None]
    if is_over and failed:
        raise failed[0]
    return False
