"""The interceptor that lets a request pass when it is known whose it is and that it may.

It stands before every route and method of every port, and before each message of a stream that
names a model by message. What it refuses goes no further: 401, 403 and 429 over REST,
UNAUTHENTICATED, PERMISSION_DENIED and RESOURCE_EXHAUSTED over gRPC, in the form of the API.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Final, NoReturn, Protocol, TypeVar, cast

from salver.access.limits import refused_later
from salver.access.permits import covers_all_models
from salver.access.priority import in_batch
from salver.access.tokens import KeysAwaited
from salver.errors import Code, LimitExceeded, PermissionDenied, ServingError, Unauthenticated
from salver.inference.context import PRINCIPAL, RequestContext
from salver.inference.later import Later
from salver.transport.messages import HttpResponse, StreamedResponse
from salver.vocabulary.access import ANONYMOUS, Access, Principal, Priority, Verb
from salver.vocabulary.requests import ServableRequest

__all__ = ["Count", "Enter", "Gate", "Guard", "Passing", "Release", "refused"]

A = TypeVar("A")

Release = Callable[[], None]
"""To be called once, when the request is over."""

Enter = Callable[[Principal], "Release | None"]
"""Counts a request against the limits of its principal; None where nothing waits for its end.

Raises:
    ResourceExhausted: it would be too much.
"""

Count = Callable[[str, str, Code], None]
"""Told of each request that is over: principal, model, code."""

# An attribute of an enumeration is looked up in a tenth of a microsecond.
_OPEN: Final = Access.OPEN
_BY_MESSAGE: Final = Access.BY_MESSAGE
_BATCH: Final = Priority.BATCH
_OK: Final = Code.OK

_NO_CREDENTIALS: Final = "Credentials are missing"
_HINT: Final = "Send a key or a token: the header `Authorization: Bearer KEY`, or `x-api-key: KEY`."


class Guard(Protocol):
    """Knows principals, and what each of them may."""

    @property
    def anonymous(self) -> Principal:
        """Whom a request without credentials is from; what it may, everybody may."""
        ...

    def identify(self, context: RequestContext, /) -> Principal:
        """Whom a request is from.

        Raises:
            Unauthenticated: its credentials are wrong.
            KeysAwaited: that cannot be told before keys have been fetched.
        """
        ...

    async def identify_later(self, context: RequestContext, error: KeysAwaited, /) -> Principal:
        """The same, when `identify` has raised that."""
        ...

    def has_verb(self, principal: Principal, verb: Verb, /) -> bool:
        """Whether a principal may do this at all, with whatever model."""
        ...

    def may(self, principal: Principal, verb: Verb, model: str | None, /) -> bool:
        """Whether a principal may do this, with a model where one is named; counts nothing."""
        ...

    def refused(self, error: Unauthenticated | PermissionDenied, /) -> None:
        """Count a request that others than `permit` have refused."""
        ...

    def permit(self, principal: Principal, verb: Verb, servable: ServableRequest | None, /) -> None:
        """Let it pass that a principal does this, with a model where one is named.

        Raises:
            Unauthenticated: it is nobody in particular, and that is not enough.
            PermissionDenied: it may not.
        """
        ...


class Gate:
    """An `Interceptor`. Belongs to the loop."""

    def __init__(
        self, guard: Guard, *, enter: Enter | None = None, count: Count | None = None
    ) -> None:
        """Make it.

        Args:
            guard: see there.
            enter: see there; None without limits.
            count: see there.
        """
        self._guard = guard
        self._enter = enter or _no_limit
        self._count = count or _not_counted

    def __call__(
        self, context: RequestContext, proceed: "Callable[[], A | Coroutine[Any, Any, A]]", /
    ) -> "A | Coroutine[Any, Any, A]":
        """See `Interceptor`.

        Raises:
            Unauthenticated: the request brings no credentials, or wrong ones.
            PermissionDenied: its principal may not.
            ResourceExhausted: its principal has had enough for now.
        """
        if context.need.verb is _OPEN:
            return proceed()
        try:
            principal = self._guard.identify(context)
        except KeysAwaited as awaited:
            return self._let_in_later(context, proceed, awaited)
        return self._let_in(principal, context, proceed)

    async def _let_in_later(
        self,
        context: RequestContext,
        proceed: "Callable[[], A | Coroutine[Any, Any, A]]",
        awaited: KeysAwaited,
    ) -> A:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        principal = await self._guard.identify_later(context, awaited)
        if context.timeout_s is not None:
            context.timeout_s -= loop.time() - began_s
        answer = self._let_in(principal, context, proceed)
        return await answer if isinstance(answer, Coroutine) else answer

    def _let_in(
        self,
        principal: Principal,
        context: RequestContext,
        proceed: "Callable[[], A | Coroutine[Any, Any, A]]",
    ) -> "A | Coroutine[Any, Any, A]":
        context.principal = principal
        PRINCIPAL.set(principal)
        verb = context.need.verb
        # Of gRPC this reads the message, which is not done for who may do no such thing.
        is_read = verb in principal.role.verbs or self._is_read(principal, context)
        servable = context.servable if is_read else None
        model = "" if servable is None else servable.name
        release: Release | None = None
        try:
            if verb is not _BY_MESSAGE:
                release = self._enter(principal)  # refusals, too, cost time
            if type(verb) is Verb:
                self._check(principal, verb, servable, is_filtered=context.need.is_filtered)
            else:
                self._check_known(principal)
            is_batch = principal.role.priority is _BATCH
            answer = in_batch(proceed) if is_batch else proceed()
        except BaseException as error:  # noqa: BLE001 - handed on
            Passing(principal.name, model, self._count, release).ended(error)
            return refused(error, context.timeout_s)
        return Passing(principal.name, model, self._count, release).pass_on(answer)

    # -- checks ----------------------------------------------------------------------------------

    def _is_read(self, principal: Principal, context: RequestContext) -> bool:
        """Whether to look which model is asked for, by who seems not to have the verb."""
        verb = context.need.verb
        if context.protocol != "GRPC":
            return True  # the path says it
        return type(verb) is Verb and self._guard.has_verb(principal, verb)

    def _check_known(self, principal: Principal) -> None:
        # Whoever may do something here is let in, even without a name.
        if principal.kind == ANONYMOUS and not principal.role.verbs - {Verb.HEALTH}:
            error = Unauthenticated(_NO_CREDENTIALS, hint=_HINT)
            self._guard.refused(error)
            raise error

    def _check(
        self,
        principal: Principal,
        verb: Verb,
        servable: ServableRequest | None,
        *,
        is_filtered: bool,
    ) -> None:
        if servable is None and not is_filtered:
            self._check_all_models(principal, verb)
        self._guard.permit(principal, verb, servable)

    def _check_all_models(self, principal: Principal, verb: Verb) -> None:
        """Of a request that is about no one model; or about one, in a way that cannot be read."""
        if not self._guard.may(principal, verb, None):
            return  # `permit` says why
        for role in (principal.role, self._guard.anonymous.role):
            if verb in role.verbs and covers_all_models(role):
                return
        error = PermissionDenied(
            f"The role of {principal.name} permits {verb.value} for some models only, and the "
            "request names none that can be read"
        )
        self._guard.refused(error)
        raise error


def refused(error: BaseException, timeout_s: float | None) -> "Coroutine[Any, Any, NoReturn]":
    """Fail a request by what was raised: at once, or later where its client did not wait.

    Args:
        error: that was raised.
        timeout_s: that the client waits at most; None: for ever.
    """
    if isinstance(error, LimitExceeded) and error.delay_s:
        return refused_later(error, timeout_s)
    try:
        raise error
    finally:
        del error  # it knows this frame, and through it all that the request holds


def _no_limit(_principal: Principal) -> Release | None:
    return None


def _not_counted(_principal: str, _model: str, _code: Code) -> None:
    """Nobody counts."""


class Passing:
    """A request that has been let in, until it is over."""

    __slots__ = ("_count", "_is_over", "_model", "_principal", "_release")

    def __init__(self, principal: str, model: str, count: Count, release: Release | None) -> None:
        self._principal = principal
        self._model = model
        self._count = count
        self._release = release
        self._is_over = False

    def pass_on(self, answer: "A | Coroutine[Any, Any, A]") -> "A | Coroutine[Any, Any, A]":
        """What an endpoint has answered, now or later."""
        if type(answer) is not HttpResponse and isinstance(answer, Coroutine):
            return Later(_awaited(answer, self), lambda: _given_up(answer, self))
        return self.answered(answer)

    def answered(self, answer: A) -> A:
        """The request has its answer, which may go on being made while it is sent."""
        if isinstance(answer, HttpResponse) and type(answer) is HttpResponse:
            status = answer.status
            self.over(_OK if status < 400 else _CODES.get(status, Code.UNKNOWN))
            return answer
        if isinstance(answer, StreamedResponse):
            answer.parts = cast("AsyncGenerator[bytes, None]", _Parts(answer.parts, self))
            return answer
        code = Code.OK
        if isinstance(answer, HttpResponse) and answer.status >= 400:
            code = _CODES.get(answer.status, Code.UNKNOWN)
        self.over(code)
        return answer

    def ended(self, error: BaseException) -> None:
        """The request has failed, or was given up."""
        if isinstance(error, ServingError):
            self.over(error.code)
        elif isinstance(error, MemoryError):
            self.over(Code.RESOURCE_EXHAUSTED)
        else:
            self.over(Code.INTERNAL if isinstance(error, Exception) else Code.CANCELLED)

    def over(self, code: Code) -> None:
        """Give back what it has taken, and count it; once."""
        if self._is_over:
            return
        self._is_over = True
        if self._release is not None:
            self._release()
        self._count(self._principal, self._model, code)


async def _awaited(answer: Coroutine[Any, Any, A], passing: Passing) -> A:
    try:
        return passing.answered(await answer)
    except BaseException as error:
        passing.ended(error)
        raise


def _given_up(answer: Coroutine[Any, Any, Any], passing: Passing) -> None:
    answer.close()
    passing.over(Code.CANCELLED)


class _Parts:
    """The parts of an answer, and at their end that of its request; closed in any case."""

    def __init__(self, parts: "AsyncGenerator[bytes, None]", passing: Passing) -> None:
        self._parts = parts
        self._passing = passing

    def __aiter__(self) -> "_Parts":
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._parts.__anext__()
        except StopAsyncIteration:
            self._passing.over(Code.OK)
            raise
        except BaseException as error:
            self._passing.ended(error)
            raise

    async def aclose(self) -> None:
        try:
            await self._parts.aclose()
        finally:
            self._passing.over(Code.CANCELLED)


_CODES: Final = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    405: Code.UNIMPLEMENTED,
    409: Code.ABORTED,
    412: Code.FAILED_PRECONDITION,
    413: Code.RESOURCE_EXHAUSTED,
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}
"""Of answers that are refusals though nothing was raised."""
