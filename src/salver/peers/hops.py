"""What servers of one map tell each other with a request that one hands on to another.

- `salver-forwarded` names the server that hands it on. Such a request is never handed on again.
- `salver-peer-token` is a secret that they share. Who shows it is a peer; who shows another one is
  refused, so that servers with different secrets cannot send a request round for ever.
- `salver-principal` says whom the request is from. It counts only from a peer.

What a client sends of this by itself goes no further. Where there is a secret, a `salver-forwarded`
without it says nothing: it is a field of an ordinary client.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from salver.errors import InvalidArgument, Unauthenticated, WrongPeerToken
from salver.inference.context import RequestContext
from salver.vocabulary.access import Principal

__all__ = [
    "FORWARDED",
    "OWN_FIELDS",
    "PARENT",
    "PRINCIPAL",
    "TOKEN",
    "Hops",
    "Said",
    "parse_tokens",
]

FORWARDED: Final = b"salver-forwarded"
TOKEN: Final = b"salver-peer-token"
PRINCIPAL: Final = b"salver-principal"
PARENT: Final = b"traceparent"
"""Of W3C Trace Context. That of the client stays behind where a request is traced here."""

OWN_FIELDS: Final = frozenset({FORWARDED, TOKEN, PRINCIPAL})
"""What a client sends of these is dropped."""

CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key"})
"""What is not handed on with a principal: the peer needs it no more."""

_SHORTEST: Final = 16
_MOST_TOKENS: Final = 64
_LONGEST: Final = 1024
_MOST_KEPT: Final = 1024  # principals, by what was said of them

Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Said:
    """Whom a request is from, as a peer says.

    Attributes:
        name: of the principal.
        kind: how it was told; see `Principal`.
        role: the name of its role.
    """

    name: str
    kind: str
    role: str


def parse_tokens(content: bytes, path: str) -> tuple[bytes, ...]:
    """Read a file of secrets, one a line; lines that are empty or begin with `#` say nothing.

    Raises:
        InvalidArgument: there is none, or one is too short, too long or no printable ASCII.
    """
    lines = [line.strip() for line in content.splitlines()]
    tokens = tuple(line for line in lines if line and not line.startswith(b"#"))
    if not 1 <= len(tokens) <= _MOST_TOKENS:
        raise InvalidArgument(f"{path} needs 1 to {_MOST_TOKENS} secrets, one a line")
    for token in tokens:
        is_text = token.isascii() and token.decode("ascii", "replace").isprintable()
        if not (is_text and b" " not in token and _SHORTEST <= len(token) <= _LONGEST):
            raise InvalidArgument(
                f"{path} has a secret that is none: {_SHORTEST} to {_LONGEST} printable characters "
                "of ASCII without blanks are needed"
            )
    return tokens


class Hops:
    """What this server says to its peers, and what it believes of what they say. On the loop."""

    def __init__(
        self,
        name: str,
        tokens: Sequence[bytes] = (),
        *,
        certificate_names: frozenset[str] = frozenset(),
    ) -> None:
        """Begin.

        Args:
            name: of this server.
            tokens: the secrets; the first is shown, each is taken.
            certificate_names: of peers that say who they are by a certificate.
        """
        self._mark = name.encode("ascii")
        self._certificate_names = certificate_names
        self._kept: dict[tuple[str, str, str] | None, Fields] = {}
        self.put_tokens(tokens)

    def put_tokens(self, tokens: Sequence[bytes]) -> None:
        """Show and take these from here on."""
        self._tokens = tuple(tokens)
        self._sums = tuple(hashlib.sha256(token).digest() for token in tokens)
        self._kept = {}

    # -- what comes ------------------------------------------------------------------------------

    def is_handed_on(self, context: RequestContext) -> bool:
        """Whether a request has been handed on already.

        Raises:
            WrongPeerToken: it shows a secret that is not ours.
        """
        if context.header(FORWARDED) is None:
            return False
        # Without a secret the mark is believed: a request must not go round for ever.
        return self.is_of_peer(context) or not self._sums

    def is_of_peer(self, context: RequestContext) -> bool:
        """Whether a request is from a server that we believe.

        Raises:
            WrongPeerToken: it shows a secret that is not ours.
        """
        shown = context.header(TOKEN)
        if shown is not None and self._sums:
            if not self._is_right(shown):
                raise WrongPeerToken
            return True
        if not self._certificate_names:
            return False
        identity = context.identity
        return identity is not None and not self._certificate_names.isdisjoint(identity.names)

    def said_of(self, context: RequestContext) -> Said | None:
        """Whom a peer says that its request is from; None where it is no peer, or says nothing.

        Raises:
            WrongPeerToken: it shows a secret that is not ours.
            Unauthenticated: it says what means nothing here.
        """
        if context.header(FORWARDED) is None or not self.is_of_peer(context):
            return None
        said = context.header(PRINCIPAL)
        return None if said is None else _parsed(said)

    def _is_right(self, shown: bytes) -> bool:
        """In the same time, whichever it is and wherever it differs."""
        sum = hashlib.sha256(shown).digest()
        is_right = False
        for each in self._sums:
            is_right |= hmac.compare_digest(sum, each)
        return is_right

    # -- what goes -------------------------------------------------------------------------------

    def fields(self, principal: Principal | None) -> Fields:
        """What is added to a request that is handed on.

        Args:
            principal: whom it is from, as far as that is known.
        """
        known = None
        if principal is not None:
            known = (principal.name, principal.kind, principal.role.name)
        fields = self._kept.get(known)
        if fields is None:
            fields = self._made(known)
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[known] = fields
        return fields

    def vouches(self) -> bool:
        """Whether peers believe what this server says of principals."""
        return bool(self._tokens) or bool(self._certificate_names)

    def _made(self, known: tuple[str, str, str] | None) -> Fields:
        fields = [(FORWARDED, self._mark)]
        if self._tokens:
            fields.append((TOKEN, self._tokens[0]))
        if known is not None and self.vouches():
            # JSON in ASCII: names may be any text.
            fields.append((PRINCIPAL, json.dumps(known).encode("ascii")))
        return tuple(fields)


def _parsed(said: bytes) -> Said:
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, list) and len(found) == 3 and all(isinstance(it, str) for it in found):
        return Said(*found)
    raise Unauthenticated("A peer names a principal in a form that is not known")
