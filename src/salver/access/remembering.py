"""A gate that knows again whom it has let in.

Most clients bring the same header fields with each request, and transports keep these as one object
(`Headers`). What the gate has found of them it keeps there, as an `Admission`: whose they are, and
for which models they may. The next request that brings them is let in by that, as long as the rules
in force are those that it was found by: then the limits alone are left to be asked. Anything else
goes the whole way, through the gate itself.
"""

import math
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol

from salver.access import gate
from salver.access.gate import Enter, Gate, refused
from salver.access.passing import Count, Passing, Release
from salver.access.priority import in_batch
from salver.inference.context import PRINCIPAL, RequestContext
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.access import Need, Principal, Priority, Verb
from salver.vocabulary.admission import Admission, Tally
from salver.vocabulary.requests import ServableRequest

__all__ = ["Guard", "RememberingGate"]

_MOST_MODELS: Final = 64  # that are remembered with one set of fields

Endpoint = Callable[[Any], Any]
Method = Callable[[bytes, Any], Any]
Read = Callable[[bytes], "ServableRequest | None"]


class Guard(gate.Guard, Protocol):
    """A guard whose answers can be remembered; see `salver.access.guard.Guard`."""

    num_allowed: int

    @property
    def standing(self) -> object:
        """The rules in force, to be compared by identity."""
        ...

    def known(self, context: RequestContext, /) -> tuple[Principal, float] | None:
        """Whose all requests are that bring the same header fields, and until when."""
        ...


class RememberingGate(Gate):
    """See `Gate` and `Remembering`. Belongs to the loop."""

    def __init__(
        self,
        guard: Guard,
        *,
        enter: Enter,
        is_spent: Callable[[Principal], bool] | None = None,
        count: Count,
        tally: Callable[[str, str], Tally | None],
        now: Callable[[], float] = time.time,  # noqa: TID251 - the clock that is injected
    ) -> None:
        """Make it.

        Args:
            guard: knows principals, and what each may.
            enter: see `Gate`; it has nothing to do with a role that has no limits.
            is_spent: see `Gate`.
            count: see `Gate`; for all but the usual good answers.
            tally: what counts these, of a principal and a model; see `PrincipalRequests`.
            now: seconds since the epoch.
        """
        super().__init__(guard, enter=enter, is_spent=is_spent, count=count)
        self._standing = guard
        self._limited = enter
        self._tally = tally
        self._now = now

    def screen(self, context: Any, *, is_named: bool) -> Coroutine[Any, Any, None] | None:
        """See `Gate.screen`."""
        known = None if context.headers is None else context.headers.admission
        if (
            known is None
            or known.rules is not self._standing.standing
            or known.need is not context.need
            or known.enter is not None
            or (known.until_s is not None and self._now() >= known.until_s)
            or (
                is_named
                and ((servable := context.servable) is None or servable.name not in known.tallies)
            )
        ):
            return super().screen(context, is_named=is_named)
        return None

    def before_endpoint(self, need: Need, endpoint: Endpoint) -> Endpoint:
        """See `Remembering`."""
        guard, now, count = self._standing, self._now, self._count

        def answer(request: HttpRequest) -> Any:
            known = request.headers.admission
            servable = request.servable
            if (
                known is None
                or known.rules is not guard.standing
                or known.need is not need
                or servable is None
                or (known.until_s is not None and now() >= known.until_s)
                or (tally := known.tallies.get(servable.name)) is None
            ):
                return self._whole(need, partial(endpoint, request), request)
            request.principal = principal = known.principal
            if PRINCIPAL.get() is not principal:
                PRINCIPAL.set(principal)
            release: Release | None = None
            try:
                if known.enter is not None:
                    release = known.enter(principal)
                guard.num_allowed += 1
                if known.is_batch:
                    response = in_batch(partial(endpoint, request))
                else:
                    response = endpoint(request)
            except BaseException as error:  # noqa: BLE001 - handed on
                Passing(principal.name, servable.name, count, release).ended(error)
                return refused(error, request.timeout_s)
            if type(response) is HttpResponse and response.status < 400:  # as usual
                if release is not None:
                    release()
                tally.answered += 1
                return response
            return Passing(principal.name, servable.name, count, release).pass_on(response)

        return answer

    def before_method(self, need: Need, method: Method, read_servable: Read | None) -> Method:
        """See `Remembering`."""
        guard, now, count = self._standing, self._now, self._count

        def answer(data: bytes, call: Any) -> Any:
            known = None if call.headers is None else call.headers.admission
            if (
                known is None
                or known.rules is not guard.standing
                or known.need is not need
                or read_servable is None
                or (known.until_s is not None and now() >= known.until_s)
                or (servable := read_servable(data)) is None
                or (tally := known.tallies.get(servable.name)) is None
            ):
                if read_servable is not None:
                    call.read_servable = partial(read_servable, data)
                return self._whole(need, partial(method, data, call), call)
            call.principal = principal = known.principal
            if PRINCIPAL.get() is not principal:
                PRINCIPAL.set(principal)
            release: Release | None = None
            try:
                if known.enter is not None:
                    release = known.enter(principal)
                guard.num_allowed += 1
                if known.is_batch:
                    response = in_batch(partial(method, data, call))
                else:
                    response = method(data, call)
            except BaseException as error:  # noqa: BLE001 - handed on
                Passing(principal.name, servable.name, count, release).ended(error)
                return refused(error, call.timeout_s)
            if type(response) is bytes:  # as usual
                if release is not None:
                    release()
                tally.answered += 1
                return response
            return Passing(principal.name, servable.name, count, release).pass_on(response)

        return answer

    def _whole(self, need: Need, proceed: Callable[[], Any], context: Any) -> Any:
        """Let a request in the whole way, and remember it where the next may do with less."""
        rules = self._standing.standing
        context.need = need
        answer = self(context, proceed)
        if context.headers is not None and type(need.verb) is Verb:
            self._remember(rules, need, context)
        return answer

    def _remember(self, rules: object, need: Need, context: Any) -> None:
        guard, verb, servable = self._standing, need.verb, context.servable
        known = None if servable is None else guard.known(context)
        if known is None or type(verb) is not Verb:
            return
        principal, until_s = known
        if principal is not context.principal or not guard.may(principal, verb, servable.name):
            return  # it was refused, or by whom else
        tally = self._tally(principal.name, servable.name)
        if tally is None or guard.standing is not rules:
            return
        before = context.headers.admission
        tallies = {servable.name: tally}
        if (
            before is not None
            and before.rules is rules
            and before.need is need
            and before.principal is principal
            and len(before.tallies) < _MOST_MODELS
        ):
            tallies = {**before.tallies, **tallies}
        context.headers.admission = Admission(
            rules,
            need,
            None if until_s == math.inf else until_s,
            principal,
            self._limited if principal.role.has_limits else None,
            is_batch=principal.role.priority is Priority.BATCH,
            tallies=tallies,
        )
