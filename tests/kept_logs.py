"""Request logs that keep what they are given: what the APIs are tested with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from salver.inference.logged import CallLogger, LoggedCall

__all__ = ["KeptLogger", "KeptLogs"]


@dataclass
class KeptLogger:
    """Takes every call, or none."""

    wants_bodies: bool = False
    is_chosen: bool = True
    calls: list[LoggedCall] = field(default_factory=list)

    def is_sampled(self) -> bool:
        return self.is_chosen

    def log(self, call: LoggedCall) -> None:
        self.calls.append(call)


@dataclass
class KeptLogs:
    """Loggers by name of the model."""

    loggers: Mapping[str, CallLogger]
