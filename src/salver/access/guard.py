"""Who a request is from, and whether they may do what it asks for.

A guard has two sides. On the loop it identifies and permits, from rules that never change; threads
read files and fetch key sets, and put other rules in their place. What was found of credentials is
kept with the rules it was found by, so that nothing outlives a revocation or a change of keys.
"""

import asyncio
import enum
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from salver.access.files import AuthFiles
from salver.access.identified import Identified
from salver.access.key_fetchers import KeyFetchers
from salver.access.keys import KEY_PREFIX, Keys
from salver.access.permits import Permits
from salver.access.rules import Rules
from salver.access.tokens import KeysAwaited, NoKeys, verify
from salver.config.auth import AuthConfig
from salver.errors import PermissionDenied, ServingError, Unauthenticated
from salver.inference.context import RequestContext
from salver.metrics.catalogue import BY_NAME
from salver.metrics.text import Family
from salver.vocabulary.access import ANONYMOUS, Principal, Role, Verb
from salver.vocabulary.requests import ServableRequest

__all__ = ["Guard", "KeysAwaited", "Outcome", "make_guard"]

_BEARER: Final = b"bearer "
_SPELLED: Final = b"Bearer "  # as clients write it
_KEYS_S: Final = 5.0  # that a request waits for a key set
_CLOSE_S: Final = 1.0


class Outcome(enum.Enum):
    """What was decided of a request; the values are what the metric says."""

    ALLOWED = "allowed"
    NO_CREDENTIALS = "no_credentials"
    WRONG_CREDENTIALS = "wrong_credentials"
    DENIED = "denied"
    NO_KEYS = "no_keys"


class _Standing:
    """The rules in force, made ready for look-ups, and what was found by them."""

    __slots__ = (
        "anonymous",
        "by_api_key",
        "by_authorization",
        "certificates",
        "keys",
        "of_anybody",
        "of_role",
        "rules",
        "taken",
    )

    def __init__(self, rules: Rules) -> None:
        config = rules.config
        self.rules = rules
        self.keys = Keys(rules.lines)
        self.anonymous = Principal(ANONYMOUS, ANONYMOUS, config.anonymous)
        self.certificates = {
            name: Principal(name, "mtls", role) for name, role in config.certificates.items()
        }
        ids = {line.id for line in rules.lines}
        self.taken = frozenset({*ids, *config.certificates, ANONYMOUS})
        self.of_role = {name: Permits(role) for name, role in config.roles.items()}
        self.of_anybody = Permits(config.anonymous)
        self.by_authorization = Identified()
        self.by_api_key = Identified()


class Guard:
    """Identifies principals and permits what their roles say.

    Its calls are made on the loop. `start` begins to watch the files, `close` ends that.

    Attributes:
        standing: the rules in force, to be compared by identity: it is another object as soon as
            anything that was found by them may be found otherwise.
        num_allowed: requests that were permitted; whoever remembers that it was, counts the next.
    """

    def __init__(
        self,
        config: AuthConfig,
        *,
        now: Callable[[], float] = time.time,  # noqa: TID251 - the clock that is injected
        make_files: Callable[..., AuthFiles] = AuthFiles,
        make_fetchers: Callable[..., KeyFetchers] = KeyFetchers,
    ) -> None:
        """Read all that the configuration names; what is wrong is logged, and lets nobody in.

        Args:
            config: of `--auth_config_file`.
            now: seconds since the epoch.
            make_files: makes what reads files.
            make_fetchers: makes what fetches key sets.
        """
        self._now = now
        self._counts = dict.fromkeys(Outcome, 0)
        self.num_allowed = 0
        self.standing: _Standing = _Standing(Rules(config))
        self._fetchers = make_fetchers(self._publish)
        self._files = make_files(config, self._fetchers.configure)

    def start(self) -> None:
        """Begin to watch the files and to fetch key sets, in threads."""
        self._fetchers.start()
        self._files.start()

    def close(self) -> None:
        """Watch and fetch no more. Threads that need long to end are left behind."""
        self._files.stop()
        self._fetchers.stop()
        self._files.close(_CLOSE_S)
        self._fetchers.close(_CLOSE_S)

    @property
    def anonymous(self) -> Principal:
        """Whom requests without credentials are from; what it may do, everybody may."""
        return self.standing.anonymous

    # -- who -------------------------------------------------------------------------------------

    def identify(self, context: RequestContext) -> Principal:
        """Whom a request is from.

        The first of these counts: `Authorization: Bearer` with a key or a token, `x-api-key` with a
        key, the client's certificate. Without any of them it is `anonymous`, whatever that may do.
        What is shown and is wrong is refused; it never makes a request an anonymous one. A
        certificate that the rules do not name says nothing: whoever shows it has passed TLS alone.

        Raises:
            Unauthenticated: the credentials are wrong, or no more taken. The text quotes nothing.
            KeysAwaited: mixed into an Unauthenticated or Unavailable: the caller answers with that,
                or better asks `identify_later`, which counts what comes of it.
        """
        standing = self.standing
        shown = context.header(b"authorization")
        if shown is not None:
            known = standing.by_authorization.get(shown)
            if known is not None and self._now() < known[1]:
                return known[0]
            return self._counted(self._by_authorization, standing, shown, context)
        shown = context.header(b"x-api-key")
        if shown is not None:
            known = standing.by_api_key.get(shown)
            if known is not None and self._now() < known[1]:
                return known[0]
            return self._counted(self._by_key, standing, shown, context)
        if standing.certificates:
            return _by_certificate(standing, context)
        return standing.anonymous

    async def identify_later(self, context: RequestContext, error: KeysAwaited) -> Principal:
        """The same after `identify` has raised `error`: wait for keys that are being fetched.

        Raises:
            Unauthenticated: see `identify`.
            Unavailable: the keys of the token's issuer cannot be had, or many others wait for them.
        """
        try:
            fetched = self._fetchers.fetched(error.url)
            if fetched is not None:
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(asyncio.wrap_future(fetched), _KEYS_S)
            return self.identify(context)
        except KeysAwaited as last:
            no_keys = isinstance(last, NoKeys)
            self._counts[Outcome.NO_KEYS if no_keys else Outcome.WRONG_CREDENTIALS] += 1
            raise

    def known(self, context: RequestContext) -> tuple[Principal, float] | None:
        """Whose all requests are that bring the same header fields, as far as is known already.

        To be asked after `identify`, whose answer it repeats.

        Returns:
            Whose they are, and until when in seconds since the epoch; None where the fields do not
            settle it, or are spelled in an unusual way.
        """
        standing = self.standing
        shown = context.header(b"authorization")
        if shown is not None:
            return standing.by_authorization.get(shown)
        shown = context.header(b"x-api-key")
        if shown is not None:
            return standing.by_api_key.get(shown)
        return None if standing.certificates else (standing.anonymous, math.inf)

    def _counted(
        self,
        find: "Callable[[_Standing, bytes, RequestContext], Principal]",
        standing: _Standing,
        shown: bytes,
        context: RequestContext,
    ) -> Principal:
        try:
            return find(standing, shown, context)
        except KeysAwaited:
            raise
        except ServingError:
            self._counts[Outcome.WRONG_CREDENTIALS] += 1
            raise

    def _by_authorization(
        self, standing: _Standing, shown: bytes, context: RequestContext
    ) -> Principal:
        if shown[: len(_BEARER)].lower() != _BEARER:
            if (key := context.header(b"x-api-key")) is not None:
                return self._by_key(standing, key, context)  # the other is a proxy's, say
            raise Unauthenticated("Authorization must be Bearer, with a key or a token")
        value = shown[len(_BEARER) :].strip(b" ")
        # Kept in one spelling: who has one token cannot fill the room of all with blanks.
        spelled = _SPELLED + value
        known = standing.by_authorization.get(spelled)
        if known is not None and self._now() < known[1]:
            return known[0]
        if value.startswith(KEY_PREFIX):
            principal, until_s = self._of_key(standing, value)
        else:
            rules = standing.rules
            roles = rules.config.roles
            found = verify(value, rules.trusted, roles, self._now(), taken=standing.taken)
            principal, until_s = found.principal, found.until_s
        standing.by_authorization.put(spelled, principal, until_s)
        return principal

    def _by_key(self, standing: _Standing, shown: bytes, _context: RequestContext) -> Principal:
        key = shown.strip(b" ")
        principal, until_s = self._of_key(standing, key)
        standing.by_api_key.put(key, principal, until_s)
        return principal

    def _of_key(self, standing: _Standing, key: bytes) -> tuple[Principal, float]:
        line = standing.keys.find(key)
        if line is None:
            raise Unauthenticated("The API key is not valid")
        until_s = math.inf if line.expires_s is None else line.expires_s
        if self._now() >= until_s:
            raise Unauthenticated("The API key has expired")
        return standing.rules.principal_of(line), until_s

    # -- what ------------------------------------------------------------------------------------

    def permit(self, principal: Principal, verb: Verb, servable: ServableRequest | None) -> None:
        """Let a principal do something, or not. To be called once for each request.

        What counts is what the configuration says of their role now, also for who was identified
        long ago: a stream's later messages.

        Args:
            principal: whom the request is from.
            verb: what it is to do.
            servable: the model that it concerns; None for none in particular. Health, metadata and
                metrics of no model are permitted with the verb alone: whoever lists models asks
                `may` of each. To predict or to administer without a model takes a role for all
                models, so that nobody gets past their patterns by what cannot be read.

        Raises:
            Unauthenticated: nobody has said who they are, and that is not enough.
            PermissionDenied: the role of the principal does not cover it.
        """
        if self.may(principal, verb, None if servable is None else servable.name):
            self.num_allowed += 1
            return
        if principal.kind == ANONYMOUS:
            self._counts[Outcome.NO_CREDENTIALS] += 1
            raise Unauthenticated(
                "Credentials are missing",
                hint="Send Authorization: Bearer with a key or a token, or x-api-key with a key.",
            )
        self._counts[Outcome.DENIED] += 1
        of = "" if servable is None else f" of the model {servable.name}"
        raise PermissionDenied(f"{principal.name} may not do this: {verb.value}{of}")

    def may(self, principal: Principal, verb: Verb, model: str | None) -> bool:
        """Whether a principal may do something; for lists of models. Counts nothing.

        Args:
            principal: whoever asks.
            verb: what is asked for.
            model: its name; None for none in particular: see `permit`.
        """
        standing = self.standing
        permits = standing.of_role.get(principal.role.name)
        if permits is not None and permits.covers(verb, model):
            return True
        return standing.of_anybody.covers(verb, model)

    def role_of(self, kind: str, name: str) -> Role:
        """The role of a name, for a principal that another server of ours has identified.

        One that is none of the configuration may do what anybody may.

        Args:
            kind: see `Principal`.
            name: of the role.
        """
        rules = self.standing.rules
        return rules.config.anonymous if kind == ANONYMOUS else rules.role_of(name)

    def has_verb(self, principal: Principal, verb: Verb) -> bool:
        """Whether a principal may do something with any model at all. Counts nothing."""
        standing = self.standing
        role = standing.rules.config.roles.get(principal.role.name)
        return verb in standing.anonymous.role.verbs or (role is not None and verb in role.verbs)

    def refused(self, error: Unauthenticated | PermissionDenied) -> None:
        """Count a request that was refused by who asked `may` or nobody, and not `permit`."""
        is_nobody = isinstance(error, Unauthenticated)
        self._counts[Outcome.NO_CREDENTIALS if is_nobody else Outcome.DENIED] += 1

    # -- beside ----------------------------------------------------------------------------------

    def families(self) -> list[Family]:
        """What was decided: `salver_auth_decisions_total`. From any thread."""
        counts = {**self._counts, Outcome.ALLOWED: self.num_allowed}
        cells = [((outcome.value,), count) for outcome, count in counts.items() if count]
        return [Family(BY_NAME["salver_auth_decisions_total"], list(cells))]

    def _publish(self, rules: Rules) -> None:
        """Put other rules in force; from any thread, one after the other."""
        self.standing = _Standing(rules)


def _by_certificate(standing: _Standing, context: RequestContext) -> Principal:
    identity = context.identity
    names: Sequence[str] = () if identity is None else identity.names
    for name in names:
        if (principal := standing.certificates.get(name)) is not None:
            return principal
    return standing.anonymous


def make_guard(config: AuthConfig | None) -> Guard | None:
    """The guard of a server; None where none is asked for: everybody may do everything."""
    return None if config is None else Guard(config)
