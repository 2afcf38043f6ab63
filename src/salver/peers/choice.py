"""Which of several peers is asked: of two at random the one with fewer requests outstanding.

Where some of them are in the zone of this server, two of those are drawn, and two of the others;
the better one of the own zone is asked unless it has clearly more to do.

A peer that fails is put aside for a while that doubles with each failure. When that is over one
request may try it, and the others come back when that one was answered; while it waits for its
answer, one more may try each second. Where all that could be asked are aside, one request at a time
tries at once: a lone peer that has come back is found.

Source of the two choices: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing".
"""

import math
import random
from collections.abc import Callable, Collection, Sequence
from typing import Final

from salver.errors import Overloaded

__all__ = ["Asked", "Choice", "PeerState", "is_about_equal"]

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 10.0
_MOST_DOUBLINGS: Final = 16
_SILENT_S: Final = 1.0  # in less, a peer that lives may have answered nothing
_TRIAL_S: Final = 1.0  # an answer may take longer; others then try too
_MORE: Final = 2  # requests that a peer of the own zone may have outstanding beyond another one's
_MORE_SHARE: Final = 4  # or a quarter of the other one's


class PeerState:
    """What is known of one peer.

    Attributes:
        name: of the peer.
        outstanding: requests that wait for it.
        failures: in a row.
        aside_since_s: when the last of them was.
        aside_until_s: when it may be tried again.
        tried_s: when a request has begun to find out whether it is back; never when none does.
        answered_s: when it has answered last.
    """

    __slots__ = (
        "answered_s",
        "aside_since_s",
        "aside_until_s",
        "failures",
        "name",
        "outstanding",
        "tried_s",
    )

    def __init__(self, name: str) -> None:
        """Nothing was asked of it yet."""
        self.name = name
        self.outstanding = 0
        self.failures = 0
        self.aside_since_s = 0.0
        self.aside_until_s = 0.0
        self.tried_s = -math.inf
        self.answered_s = 0.0

    def is_tried(self, now_s: float) -> bool:
        """Whether a request finds out now whether it is back."""
        return now_s - self.tried_s < _TRIAL_S


class Asked:
    """One request to one peer, from its choice to its end; ended once."""

    __slots__ = ("_choice", "_is_trial", "begun_s", "peer")

    def __init__(self, choice: "Choice", peer: PeerState, begun_s: float, is_trial: bool) -> None:
        self._choice = choice
        self._is_trial = is_trial
        self.peer = peer
        self.begun_s = begun_s

    def answered(self) -> None:
        """The peer lives."""
        peer = self.peer
        peer.answered_s = self._choice.now()
        peer.failures = 0
        self._end()

    def failed(self) -> None:
        """The peer cannot be reached, or has broken off."""
        self._end()
        self._choice.put_aside(self.peer, self.begun_s)

    def expired(self) -> None:
        """Its time was over first. A peer that has been silent meanwhile, and for long, has failed.

        How little time a request has is for a client to say, and speaks against no peer.
        """
        self._end_unanswered()

    def left(self) -> None:
        """Its client waits no longer: the same."""
        self._end_unanswered()

    def _end_unanswered(self) -> None:
        self._end()
        is_long = self._choice.now() - self.begun_s >= _SILENT_S
        if is_long and self.peer.answered_s < self.begun_s:
            self._choice.put_aside(self.peer, self.begun_s)

    def given_up(self) -> None:
        """It was not sent, or failed here, which says nothing of the peer."""
        self._end()

    def _end(self) -> None:
        self.peer.outstanding -= 1
        if self._is_trial and self.peer.tried_s == self.begun_s:
            self.peer.tried_s = -math.inf


class Choice:
    """Belongs to the loop."""

    def __init__(
        self,
        *,
        most_outstanding: int,
        monotonic: Callable[[], float],
        pick: Callable[[int], int] = random.randrange,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Know no peer.

        Args:
            most_outstanding: requests that may wait for one peer.
            monotonic: seconds from any moment on.
            pick: a number below another, at random.
            jitter: a number from 0 to 1, at random.
        """
        self._most_outstanding = most_outstanding
        self._pick = pick
        self._jitter = jitter
        self._peers: dict[str, PeerState] = {}
        self._near: Collection[str] = ()
        self.now = monotonic

    def choose(self, nodes: Sequence[str], tried: Collection[str] = ()) -> Asked | None:
        """One of `nodes`, of equals the first; None where none may be asked now.

        Args:
            nodes: names of peers, preferred first.
            tried: those that need not be tried again.

        Raises:
            Overloaded: too many requests wait for all that may be asked.
        """
        now_s = self.now()
        untried = [self._state(name) for name in nodes if name not in tried]
        ready = [peer for peer in untried if _is_ready(peer, now_s)]
        if not ready:
            waiting = [peer for peer in untried if not peer.is_tried(now_s)]
            if not waiting:
                return None
            return self._ask(min(waiting, key=lambda peer: peer.aside_until_s), now_s)
        peer = self._better(ready)
        if peer.outstanding >= self._most_outstanding:
            peer = min(ready, key=lambda each: each.outstanding)
            if peer.outstanding >= self._most_outstanding:
                raise Overloaded(
                    f"{peer.outstanding} requests wait for the server {peer.name} already",
                    hint="--peer_max_outstanding_requests sets this limit.",
                )
        return self._ask(peer, now_s)

    def hold(self, name: str) -> Callable[[], None]:
        """Count a request to a peer as outstanding after its answer has begun.

        Returns:
            Ends that; may be called again.
        """
        held = [self._state(name)]
        held[0].outstanding += 1

        def release() -> None:
            if held:
                held.pop().outstanding -= 1

        return release

    def put_aside(self, peer: PeerState, begun_s: float) -> None:
        """Ask it no more for a while.

        Args:
            peer: that has failed.
            begun_s: when what has failed was begun: a peer that dies fails all its requests, which
                is one failure.
        """
        if peer.failures and begun_s < peer.aside_since_s:
            return
        pause_s = _FIRST_PAUSE_S * 2.0 ** min(peer.failures, _MOST_DOUBLINGS)
        peer.failures += 1
        peer.aside_since_s = self.now()
        pause_s = min(pause_s, _LONGEST_PAUSE_S) * (0.5 + self._jitter() / 2)
        peer.aside_until_s = peer.aside_since_s + pause_s

    def keep(self, names: Collection[str], near: Collection[str] = ()) -> None:
        """Forget all peers but these, and those that are still asked.

        Args:
            names: of the peers.
            near: those of them that are preferred: of the zone of this server.
        """
        self._near = frozenset(near)
        gone = [
            name for name, peer in self._peers.items() if name not in names and not peer.outstanding
        ]
        for name in gone:
            del self._peers[name]

    def states(self) -> list[PeerState]:
        """Of the peers that were asked. From any thread."""
        return list(self._peers.values())

    def _better(self, ready: "list[PeerState]") -> PeerState:
        near = [peer for peer in ready if peer.name in self._near] if self._near else ready
        if not near or len(near) == len(ready):
            return self._of_two(ready)
        far = [peer for peer in ready if peer.name not in self._near]
        one, other = self._of_two(near), self._of_two(far)
        return one if is_about_equal(one.outstanding, other.outstanding) else other

    def _of_two(self, ready: "list[PeerState]") -> PeerState:
        count = len(ready)
        if count == 1:
            return ready[0]
        first = self._pick(count)
        second = (first + 1 + self._pick(count - 1)) % count
        one, other = ready[min(first, second)], ready[max(first, second)]
        return other if other.outstanding < one.outstanding else one

    def _ask(self, peer: PeerState, now_s: float) -> Asked:
        peer.outstanding += 1
        is_trial = peer.failures > 0
        if is_trial:
            peer.tried_s = now_s
        return Asked(self, peer, now_s, is_trial)

    def _state(self, name: str) -> PeerState:
        peer = self._peers.get(name)
        if peer is None:
            peer = self._peers[name] = PeerState(name)
        return peer


def is_about_equal(near: int, far: int) -> bool:
    """Whether so many requests outstanding are not clearly more than others are.

    Args:
        near: of a peer of the own zone.
        far: of the best one elsewhere.
    """
    return near <= far + max(_MORE, far // _MORE_SHARE)


def _is_ready(peer: PeerState, now_s: float) -> bool:
    return not peer.failures or (now_s >= peer.aside_until_s and not peer.is_tried(now_s))
