"""Which version the deaths of workers are to be blamed on. Pure: deaths in, shares out.

What ran when a worker died is known, but mostly not which of it was the cause. A death with one
suspect is that one's. A death with several is shared out: a version that has answered thousands of
requests is thousands of times less likely to be the cause than one that has answered none, and one
that other workers have died of alone is likely to be it again. Once a version is charged with as
many deaths as make it guilty, all deaths at which it was present are its own, and the versions
that ran beside it by chance are cleared.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from salver.vocabulary.servable import ServableId

__all__ = ["DEATHS_TO_QUARANTINE", "Blame", "BlameShare"]

DEATHS_TO_QUARANTINE: Final = 3
_WINDOW_S: Final = 3600.0  # deaths that lie further apart are no pattern
_NEARLY: Final = 0.5  # of a death may have gone to others for want of evidence
_SURE: Final = 0.9
_FEW_ANSWERS: Final = 1000
_ALONE: Final = 4  # how much more likely a version is the cause for each death of its alone
_MOST_DEATHS: Final = 256


@dataclass(frozen=True, slots=True)
class _Death:
    at_s: float
    cause: str
    answers: Mapping[ServableId, int]  # of each suspect, up to then


@dataclass(frozen=True, slots=True)
class BlameShare:
    """What a version is charged with.

    Attributes:
        deaths: how many, by parts where it is not clear.
        cause: of the last of them.
        answers: how many requests it had answered before that.
    """

    deaths: float
    cause: str
    answers: int = 0

    @property
    def count(self) -> int:
        """In whole deaths."""
        return round(self.deaths)

    def is_at_least(self, deaths: int) -> bool:
        """Whether there is evidence for so many."""
        return self.deaths >= deaths - _NEARLY

    @property
    def is_grave(self) -> bool:
        """Whether the version will probably do it again soon.

        Once is enough of one that has hardly answered anything; a version that has answered
        thousands of requests may have met the one that it does not survive.
        """
        return self.deaths >= (_SURE if self.answers < _FEW_ANSWERS else 2 - _NEARLY)


@dataclass(slots=True)
class Blame:
    """The deaths of the last hour. Not safe to use from several threads."""

    _deaths: list[_Death] = field(default_factory=list)

    def died(self, at_s: float, cause: str, answers: Mapping[ServableId, int]) -> None:
        """A process has died.

        Args:
            at_s: by a clock that goes only forward.
            cause: in a word, such as `SIGSEGV`.
            answers: the versions that ran, and how many requests each has answered so far.
        """
        self._deaths = [death for death in self._deaths if at_s - death.at_s < _WINDOW_S]
        if answers:
            self._deaths = [*self._deaths[1 - _MOST_DEATHS :], _Death(at_s, cause, dict(answers))]

    def suspects(self) -> set[ServableId]:
        """All versions that were present at a death."""
        return {id for death in self._deaths for id in death.answers}

    def forget(self, id: ServableId, *, keeping: int = 0) -> None:
        """Clear a version.

        Args:
            id: the version.
            keeping: how many of its latest deaths still count.
        """
        own = [death for death in self._deaths if id in death.answers]
        kept = own[len(own) - keeping :]
        cleared: list[_Death] = []
        for death in self._deaths:
            if id not in death.answers or any(death is each for each in kept):
                cleared.append(death)
            elif others := {each: n for each, n in death.answers.items() if each != id}:
                cleared.append(_Death(death.at_s, death.cause, others))
        self._deaths = cleared

    def shares(self, guilty: Collection[ServableId] = ()) -> dict[ServableId, BlameShare]:
        """What each version is charged with.

        Args:
            guilty: versions whose guilt is settled, by whatever else is known.
        """
        proven = list(guilty)
        while True:
            shares = self._shared_out(proven)
            worst = max(
                (id for id in shares if id not in proven),
                key=lambda id: (shares[id].deaths, self._alone(id), id),
                default=None,
            )
            if worst is None or not shares[worst].is_at_least(DEATHS_TO_QUARANTINE):
                return shares
            proven.append(worst)

    def _shared_out(self, proven: Collection[ServableId]) -> dict[ServableId, BlameShare]:
        deaths: dict[ServableId, float] = {}
        last: dict[ServableId, _Death] = {}
        for death in self._deaths:
            guilty = [id for id in proven if id in death.answers]
            suspects = guilty[:1] or list(death.answers)
            weights = {id: self._weight(id, death) for id in suspects}
            total = sum(weights.values())
            for id, weight in weights.items():
                deaths[id] = deaths.get(id, 0.0) + weight / total
                last[id] = death
        return {
            id: BlameShare(count, last[id].cause, last[id].answers[id])
            for id, count in deaths.items()
        }

    def _weight(self, id: ServableId, death: _Death) -> float:
        return (1 + _ALONE * self._alone(id)) / (1 + death.answers[id])

    def _alone(self, id: ServableId) -> int:
        """How many deaths it was the only suspect of."""
        return sum(death.answers.keys() == {id} for death in self._deaths)
