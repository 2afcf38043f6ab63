"""What is known of a version that is isolated. Pure but for the future and the event it holds."""

import threading
from dataclasses import dataclass, field
from typing import Final

from salver.vocabulary.servable import ServableId
from salver.workers.blame import BlameShare
from salver.workers.member import Member
from salver.workers.versions import Source

__all__ = ["FIRST_PAUSE_S", "IsolationRecord"]

FIRST_PAUSE_S: Final = 10.0
_LONGEST_PAUSE_S: Final = 3600.0
_PROVEN_RUNS: Final = 100  # for each death
_PROVEN_S: Final = 10.0  # likewise
_PROVEN_WITH_FEW_RUNS_S: Final = 600.0  # or with none: another version may answer in its place
_TRIAL_RUNS: Final = 10  # of a version that is quarantined, one after the other
_TRIAL_S: Final = 5.0
_LONGEST_TRIAL_S: Final = 600.0
_MOST_RUNS: Final = 32  # at one time of one that is only isolated


@dataclass(slots=True, eq=False)
class IsolationRecord:
    """A version that is isolated, and the process that runs it. Under the lock of `Isolation`.

    Attributes:
        is_quarantined: or it is only isolated.
        trials: how often it was quarantined or a trial of it failed.
        retry_at_s: no process is started before.
        member: the process, while it takes requests.
        is_trial: whether that was started for a version that was quarantined by then.
        has_ended: whether it has ended.
        running: requests in it now.
        runs: those it has answered since it was started.
        since_s: when that was.
        changed: set when there is something to be done about it.
    """

    id: ServableId
    source: Source
    share: BlameShare
    is_quarantined: bool = False
    trials: int = 0
    retry_at_s: float = 0.0
    member: Member | None = None
    is_trial: bool = False
    has_ended: bool = False
    running: int = 0
    runs: int = 0
    since_s: float = 0.0
    changed: threading.Event = field(default_factory=threading.Event)

    @property
    def reason(self) -> str:
        """Why it is not served as others are, in words."""
        what = "is quarantined" if self.is_quarantined else "is isolated"
        count = max(1, self.share.count)
        deaths = f"{count} worker death{'s' if count > 1 else ''} ({self.share.cause})"
        return f"Version {self.id.version} of model {self.id.name} {what}: {deaths}"

    @property
    def is_full(self) -> bool:
        """Whether as many requests are in the process as there may be."""
        return self.running >= (1 if self.is_quarantined else _MOST_RUNS)

    def is_proven(self, now_s: float) -> bool:
        """Whether it has behaved so long that it may come back."""
        age_s = now_s - self.since_s
        if self.is_quarantined:
            return self.runs >= _TRIAL_RUNS and age_s >= _TRIAL_S
        many = self.runs >= _PROVEN_RUNS * self.share.count
        if not many and age_s < _PROVEN_WITH_FEW_RUNS_S:
            return False
        return age_s >= _PROVEN_S * self.share.count

    def is_in_vain(self, now_s: float) -> bool:
        """Whether a long trial has shown nothing: too few requests have come, or one hangs."""
        return self.is_quarantined and now_s - self.since_s >= _LONGEST_TRIAL_S

    def open(self, member: Member, now_s: float) -> None:
        """Requests may go to a process."""
        self.member, self.running, self.runs, self.since_s = member, 0, 0, now_s

    def pause(self, now_s: float) -> float:
        """Keep it from being tried for a while, each time for longer; for how long."""
        self.trials += 1
        pause_s = min(_LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self.trials - 1, 16))
        self.retry_at_s = now_s + pause_s
        return pause_s
