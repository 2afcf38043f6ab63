"""A loaded Python model: its methods as programs.

Plain methods are run one at a time, in whichever thread asks. `async def` runs many at once, in the
thread of the model's own event loop. What answers more than once is in `streams`.
"""

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from salver.backends.python.event_loop import EventLoop
from salver.backends.python.failures import running
from salver.backends.python.made import Made
from salver.backends.python.streams import Begin, LastAnswer, send_all, send_all_async
from salver.backends.python.values import given_to, taken_from
from salver.errors import Internal, NotFound, Unavailable
from salver.vocabulary.model import Answers, InternalBatching, Program
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature

__all__ = ["Method", "PythonModel"]

_LARGEST_REQUEST: Final = 1 << 20  # rows; what has more than a run may have is run in pieces
_MOST_WAITING: Final = 10_000  # batches, each of at least one request
_ASYNC_BATCHES: Final = 4

_NOTHING: Final = object()


@dataclass(frozen=True, slots=True)
class Method:
    """What runs a signature.

    Attributes:
        signature: what it takes and gives.
        call: dict of inputs → dict of outputs, a generator of such, or either as a coroutine.
        is_async: whether it is `async def`.
        begin: in the place of `call`, where answers come by other ways than to be returned.
    """

    signature: Signature
    call: Callable[[dict[str, Array]], Any]
    is_async: bool
    begin: Begin | None = None

    @classmethod
    def of(cls, signature: Signature, call: Callable[[dict[str, Array]], Any]) -> "Method":
        """A method of a model's class."""
        is_async = inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)
        written = inspect.unwrap(call)
        if inspect.isgeneratorfunction(written) or inspect.isasyncgenfunction(written):
            signature = replace(signature, streams=True)
        return cls(signature, call, is_async)


class PythonModel:
    """See `salver.vocabulary.model.Model`, and `StreamableModel`."""

    definitions: Final = None
    graph: Final = None

    def __init__(
        self,
        name: str,
        methods: Mapping[str, Method],
        *,
        max_batch_size: int,
        loop: EventLoop | None,
        on_close: Callable[[], None],
    ) -> None:
        """Take over a model that has been loaded.

        Args:
            name: for the log.
            methods: signature name → what runs it.
            max_batch_size: the most rows of a run; 0: requests are not merged.
            loop: of a model that has `async def`.
            on_close: ends it.
        """
        self.name = name
        self.signatures: Mapping[str, Signature] = {
            name: method.signature for name, method in methods.items()
        }
        self.batching = None
        if max_batch_size:
            self.batching = InternalBatching(
                num_batch_threads=1 if loop is None else _ASYNC_BATCHES,
                max_batch_size=_LARGEST_REQUEST,
                max_execution_batch_size=max_batch_size,
                max_enqueued_batches=_MOST_WAITING,
            )
        # A plain function may return a generator; where requests are merged, one that does not say
        # so runs for several of them.
        self.streamable = [
            name for name, of in self.signatures.items() if of.streams or not max_batch_size
        ]
        self.asynchronous = [
            name for name, of in methods.items() if of.is_async and loop is not None
        ]
        self._methods = methods
        self._lock = threading.Lock()  # held while the model's own code runs, unless that is async
        self._loop = loop
        self._has_rows = max_batch_size > 0
        self._on_close = on_close

    def program(self, signature_name: str, outputs: Sequence[str] | None = None) -> Program:
        """See `Model.program`."""
        method = self._method(signature_name)
        wanted = tuple(method.signature.outputs if outputs is None else outputs)
        return _Program(partial(self._run, signature_name, method, wanted))

    def start(self, signature_name: str, feeds: Sequence[Array]) -> "Future[list[Array]]":
        """See `StartableModel.start`."""
        method = self._method(signature_name)
        wanted = tuple(method.signature.outputs)
        if method.begin is not None:
            last = LastAnswer()
            last.follow(self.stream(signature_name, feeds, last))
            return last.future
        if method.is_async and self._loop is not None:
            return self._loop.start(self._run_async(signature_name, method, wanted, feeds))
        return Made(partial(self._run, signature_name, method, wanted, feeds))

    def stream(
        self, signature_name: str, feeds: Sequence[Array], answers: Answers
    ) -> "Future[None]":
        """See `StreamableModel.stream`."""
        method = self._method(signature_name)
        inputs = given_to(method.signature, feeds)
        what = f"{signature_name} of {self.name}"
        take = self._taking(method, feeds)
        if method.begin is not None:
            with running(what):
                return method.begin(inputs, take, answers, self._loop)
        if method.is_async and self._loop is not None:
            return self._loop.start(send_all_async(what, method.call, inputs, take, answers))
        return Made(partial(self._stream_here, what, method, inputs, take, answers))

    def _stream_here(
        self,
        what: str,
        method: Method,
        inputs: dict[str, Array],
        take: Callable[[Any], list[Array]],
        answers: Answers,
    ) -> None:
        with self._lock:
            send_all(what, method.call, inputs, take, answers)

    def _taking(self, method: Method, feeds: Sequence[Array]) -> Callable[[Any], list[Array]]:
        """What makes arrays of what a method gives."""
        rows = self._rows(feeds)
        wanted = tuple(method.signature.outputs)
        return lambda outputs: taken_from(method.signature, outputs, wanted, rows)

    def close(self) -> None:
        """See `Model.close`."""
        try:
            with self._lock:
                self._on_close()
        finally:
            if self._loop is not None:
                self._loop.close()

    def _method(self, signature_name: str) -> Method:
        found = self._methods.get(signature_name)
        if found is None:
            raise NotFound(f"The model has no signature {signature_name}")
        return found

    def _run(
        self, signature_name: str, method: Method, wanted: Sequence[str], feeds: Sequence[Array]
    ) -> list[Array]:
        if method.begin is not None:
            outputs = self.start(signature_name, feeds).result()
            return [outputs[list(method.signature.outputs).index(name)] for name in wanted]
        if method.is_async and self._loop is not None:
            run = self._run_async(signature_name, method, wanted, feeds)
            try:
                return self._loop.start(run).result()
            except CancelledError:
                raise Unavailable(f"{self.name} is being unloaded") from None
        inputs = given_to(method.signature, feeds)
        rows = self._rows(feeds)
        with self._lock:
            with running(f"{signature_name} of {self.name}"):
                outputs = method.call(inputs)
                if isinstance(outputs, Iterator):
                    outputs = _last(outputs)
            return taken_from(method.signature, outputs, wanted, rows)

    async def _run_async(
        self, signature_name: str, method: Method, wanted: Sequence[str], feeds: Sequence[Array]
    ) -> list[Array]:
        inputs = given_to(method.signature, feeds)
        outputs: Any = _NOTHING
        with running(f"{signature_name} of {self.name}", is_async=True):
            answer = method.call(inputs)
            if inspect.isasyncgen(answer):
                async for outputs in answer:  # noqa: B007 - the last counts
                    pass
            else:
                outputs = await answer
                if isinstance(outputs, Iterator):
                    outputs = _last(outputs)
        if outputs is _NOTHING:
            raise Internal("The model has yielded nothing")
        return taken_from(method.signature, outputs, wanted, self._rows(feeds))

    def _rows(self, feeds: Sequence[Array]) -> int | None:
        return len(feeds[0]) if self._has_rows and feeds else None


class _Program:
    """See `Program`."""

    __slots__ = ("run", "run_in_caller", "run_inline")

    can_loop: Final = True

    def __init__(self, run: Callable[[Sequence[Array]], list[Array]]) -> None:
        self.run = run
        self.run_in_caller = run
        self.run_inline = run


def _last(values: Iterator[Any]) -> Any:
    last: Any = _NOTHING
    for last in values:  # noqa: B007 - the last counts
        pass
    if last is _NOTHING:
        raise Internal("The model has yielded nothing")
    return last
