"""What is counted of requests that are handed on. On the loop; read from any thread."""

import enum
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from salver.metrics.catalogue import BY_NAME
from salver.metrics.text import Cell, Family
from salver.peers.choice import PeerState

__all__ = ["Counts", "Outcome", "PeerOutcome"]

_OTHERS: Final = ""
_MOST_PEERS: Final = 2000  # have cells of their own


class Outcome(enum.Enum):
    """What came of a request; the values are what the metric says."""

    ANSWERED = "answered"
    UNREACHABLE = "unreachable"
    LOST = "lost"
    OVERLOADED = "overloaded"
    LATE = "late"
    CANCELLED = "cancelled"

    __hash__ = object.__hash__  # a tenth of what Enum's own takes; members are there once


class PeerOutcome(enum.Enum):
    """What came of asking one peer; the values are what the metric says."""

    ANSWERED = "answered"
    ABSENT = "absent"
    NOT_BEGUN = "not_begun"
    REFUSED = "refused"
    LOST = "lost"
    LATE = "late"
    CANCELLED = "cancelled"

    __hash__ = object.__hash__


class Counts:
    """The cells."""

    def __init__(self) -> None:
        """Start at nothing."""
        self._outcomes: Counter[Outcome] = Counter()
        self._of_peers: Counter[tuple[str, PeerOutcome]] = Counter()
        self._peers: set[str] = set()

    def ended(self, outcome: Outcome) -> None:
        """A request is over."""
        self._outcomes[outcome] += 1

    def asked(self, peer: str, outcome: PeerOutcome) -> None:
        """A peer was asked, and that is over."""
        if peer not in self._peers:
            if len(self._peers) >= _MOST_PEERS:
                peer = _OTHERS
            self._peers.add(peer)
        self._of_peers[peer, outcome] += 1

    def families(
        self,
        states: Sequence[PeerState],
        connections: Mapping[str, int],
        generation: int,
        now: Callable[[], float],
    ) -> list[Family]:
        """All of it.

        Args:
            states: of the peers.
            connections: name of a peer → how many there are.
            generation: of the map.
            now: the clock of the states.
        """
        now_s = now()
        ended: list[Cell] = [((each.value,), n) for each, n in self._outcomes.copy().items()]
        asked: list[Cell] = [
            ((peer, each.value), n) for (peer, each), n in self._of_peers.copy().items()
        ]
        waiting: list[Cell] = [((peer.name,), peer.outstanding) for peer in states]
        aside = sum(peer.failures > 0 and now_s < peer.aside_until_s for peer in states)
        return [
            Family(BY_NAME["salver_forwarded_requests_total"], ended),
            Family(BY_NAME["salver_peer_requests_total"], asked),
            Family(BY_NAME["salver_peer_outstanding_requests"], waiting),
            Family(
                BY_NAME["salver_peer_connections"],
                [((peer,), n) for peer, n in connections.items()],
            ),
            Family(BY_NAME["salver_peers_put_aside"], [((), aside)]),
            Family(BY_NAME["salver_peer_map_generation"], [((), generation)]),
        ]
