"""The interceptor that lets a request pass when it is known whose it is and that it may.

It stands before every route and method of every port, and before each message of a stream that
names a model by message. What it refuses goes no further: 401, 403 and 429 over REST,
UNAUTHENTICATED, PERMISSION_DENIED and RESOURCE_EXHAUSTED over gRPC, in the form of the API.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn, Protocol, TypeVar

from salver.access.limits import refused_later
from salver.access.passing import Count, Passing, Release
from salver.access.permits import covers_all_models
from salver.access.priority import in_batch
from salver.access.tokens import KeysAwaited
from salver.errors import Code, LimitExceeded, PermissionDenied, Unauthenticated
from salver.inference.context import PRINCIPAL, RequestContext
from salver.vocabulary.access import ANONYMOUS, Access, Principal, Priority, Verb
from salver.vocabulary.requests import ServableRequest

__all__ = ["Enter", "Gate", "Guard", "refused"]

A = TypeVar("A")

Enter = Callable[[Principal], "Release | None"]
"""Counts a request against the limits of its principal; None where nothing waits for its end.

Raises:
    ResourceExhausted: it would be too much.
"""

# An attribute of an enumeration is looked up in a tenth of a microsecond.
_OPEN: Final = Access.OPEN
_BY_MESSAGE: Final = Access.BY_MESSAGE
_BATCH: Final = Priority.BATCH

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
        self,
        guard: Guard,
        *,
        enter: Enter | None = None,
        is_spent: "Callable[[Principal], bool] | None" = None,
        count: Count | None = None,
    ) -> None:
        """Make it.

        Args:
            guard: see there.
            enter: see there; None without limits.
            is_spent: whether `enter` would refuse a request now; counts nothing.
            count: see there.
        """
        self._is_spent = is_spent or _never_spent
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

    def screen(
        self, context: RequestContext, *, is_named: bool
    ) -> "Coroutine[Any, Any, None] | None":
        """See `Screening`. Whoever is refused here is counted as one who is refused later.

        Raises:
            Unauthenticated: see `__call__`, like the others.
            PermissionDenied: likewise.
            ResourceExhausted: likewise.
        """
        if context.need.verb is _OPEN:
            return None
        try:
            principal = self._guard.identify(context)
        except KeysAwaited as awaited:
            return self._screen_later(context, awaited, is_named=is_named)
        return self._screened(principal, context, is_named=is_named)

    async def _screen_later(
        self, context: RequestContext, awaited: KeysAwaited, *, is_named: bool
    ) -> None:
        principal = await self._guard.identify_later(context, awaited)
        refusal = self._screened(principal, context, is_named=is_named)
        if refusal is not None:
            await refusal

    def _screened(
        self, principal: Principal, context: RequestContext, *, is_named: bool
    ) -> "Coroutine[Any, Any, None] | None":
        is_spent = context.need.verb is not _BY_MESSAGE and self._is_spent(principal)
        if not is_spent and self._may(principal, context, is_named=is_named):
            return None
        answer = self._let_in(principal, context, _go_on)
        return answer if isinstance(answer, Coroutine) else None

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

    def _may(self, principal: Principal, context: RequestContext, *, is_named: bool) -> bool:
        """Whether `_check` or `_check_known` would let it pass, as far as is known."""
        need, guard = context.need, self._guard
        verb = need.verb
        if type(verb) is not Verb:
            return _is_known(principal)
        if not is_named:
            return guard.has_verb(principal, verb)
        servable = context.servable
        if servable is None:
            return guard.may(principal, verb, None) and (
                need.is_filtered or self._covers_all_models(principal, verb)
            )
        return guard.may(principal, verb, servable.name)

    def _check_known(self, principal: Principal) -> None:
        if not _is_known(principal):
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
        if self._covers_all_models(principal, verb):
            return
        error = PermissionDenied(
            f"The role of {principal.name} permits {verb.value} for some models only, and the "
            "request names none that can be read"
        )
        self._guard.refused(error)
        raise error

    def _covers_all_models(self, principal: Principal, verb: Verb) -> bool:
        roles = (principal.role, self._guard.anonymous.role)
        return any(verb in role.verbs and covers_all_models(role) for role in roles)


def _is_known(principal: Principal) -> bool:
    """Whether it is let in where that takes no verb: whoever may do something here is."""
    return principal.kind != ANONYMOUS or bool(principal.role.verbs - {Verb.HEALTH})


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


def _go_on() -> None:
    """What is behind the gate while the body of a request has not come."""


def _never_spent(_principal: Principal) -> bool:
    return False


def _no_limit(_principal: Principal) -> Release | None:
    return None


def _not_counted(_principal: str, _model: str, _code: Code) -> None:
    """Nobody counts."""
