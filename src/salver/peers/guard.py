"""Who a request is from that a peer has handed on: the peer has found out, and is believed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from salver.access.gate import Enter
from salver.access.passing import Release
from salver.access.remembering import Guard
from salver.access.tokens import KeysAwaited
from salver.errors import PermissionDenied, Unauthenticated
from salver.inference.context import RequestContext
from salver.peers.hops import FORWARDED, Hops
from salver.vocabulary.access import Principal, Role, Verb
from salver.vocabulary.requests import ServableRequest

__all__ = [
    "PeerGuard",
    "RoleGuard",
    "Vouched",
    "counted_where_it_came_in",
    "spent_where_it_came_in",
]


@dataclass(frozen=True, slots=True)
class Vouched(Principal):
    """Whom a request is from as a peer says. Its limits were counted there."""


class RoleGuard(Guard, Protocol):
    """A guard that knows roles by their names."""

    def role_of(self, kind: str, name: str, /) -> Role:
        """The role of a name, for a principal that another server of ours has identified."""
        ...


class PeerGuard:
    """A `Guard` around another one, which is asked of all requests that no peer speaks for."""

    def __init__(self, guard: RoleGuard, hops: Hops) -> None:
        """Put it around `guard`.

        Args:
            guard: knows those who ask, and what they may.
            hops: believes peers.
        """
        self._guard = guard
        self._hops = hops

    @property
    def anonymous(self) -> Principal:
        """See `Guard`."""
        return self._guard.anonymous

    @property
    def standing(self) -> object:
        """See `Guard`."""
        return self._guard.standing

    @property
    def num_allowed(self) -> int:
        """See `Guard`."""
        return self._guard.num_allowed

    @num_allowed.setter
    def num_allowed(self, number: int) -> None:
        self._guard.num_allowed = number

    def known(self, context: RequestContext) -> tuple[Principal, float] | None:
        """See `Guard`; what a peer says of a request is asked each time."""
        return None if context.header(FORWARDED) is not None else self._guard.known(context)

    def identify(self, context: RequestContext) -> Principal:
        """See `Guard`.

        Raises:
            Unauthenticated: also where a peer shows a secret that is not ours.
            KeysAwaited: see `Guard`.
        """
        if context.header(FORWARDED) is None:
            return self._guard.identify(context)
        try:
            said = self._hops.said_of(context)
        except Unauthenticated as error:
            self._guard.refused(error)
            raise
        if said is None:
            return self._guard.identify(context)
        role = self._guard.role_of(said.kind, said.role)
        return Vouched(said.name, said.kind, role)

    async def identify_later(self, context: RequestContext, error: KeysAwaited) -> Principal:
        """See `Guard`."""
        return await self._guard.identify_later(context, error)

    def has_verb(self, principal: Principal, verb: Verb) -> bool:
        """See `Guard`."""
        return self._guard.has_verb(principal, verb)

    def may(self, principal: Principal, verb: Verb, model: str | None) -> bool:
        """See `Guard`."""
        return self._guard.may(principal, verb, model)

    def refused(self, error: Unauthenticated | PermissionDenied) -> None:
        """See `Guard`."""
        self._guard.refused(error)

    def permit(self, principal: Principal, verb: Verb, servable: ServableRequest | None) -> None:
        """See `Guard`."""
        self._guard.permit(principal, verb, servable)


def counted_where_it_came_in(enter: Enter) -> Enter:
    """The same limits, but for requests that peers have counted already."""

    def enter_once(principal: Principal) -> Release | None:
        return None if type(principal) is Vouched else enter(principal)

    return enter_once


def spent_where_it_came_in(is_spent: Callable[[Principal], bool]) -> Callable[[Principal], bool]:
    """Whether the limits are spent, but not those of requests that peers have counted already."""

    def is_spent_here(principal: Principal) -> bool:
        return type(principal) is not Vouched and is_spent(principal)

    return is_spent_here
